package conversation

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"hongyan/messages"
)

// keyRecord is the packed size of one key: 16 bytes of key, 4 of log time in Unix seconds, 1 of outcome.
const keyRecord = messages.KeySize + 4 + 1

// KeyRing holds the recent message keys of a user with their outcomes, oldest first, packed into one byte string: a commit
// writes it as it is, and a lookup is a scan over at most MaxKeys records.
type KeyRing []byte

// MaxKeys bounds a ring (DESIGN §3 rule 10).
const MaxKeys = 1024

// KnownKey is one record of a ring.
type KnownKey struct {
	Key     messages.Key
	Outcome messages.Outcome
	LogTime time.Time // in whole seconds
}

// Len is the number of keys.
func (r KeyRing) Len() int { return len(r) / keyRecord }

// At returns the i-th key, 0 being the oldest.
func (r KeyRing) At(i int) KnownKey {
	rec := r[i*keyRecord : (i+1)*keyRecord]
	return KnownKey{
		Key:     messages.Key(rec[:messages.KeySize]),
		LogTime: time.Unix(int64(binary.BigEndian.Uint32(rec[messages.KeySize:])), 0).UTC(),
		Outcome: messages.Outcome(rec[messages.KeySize+4]),
	}
}

// Find returns the record of key. The newest are looked at first: that is where duplicates are.
func (r KeyRing) Find(key messages.Key) (KnownKey, bool) {
	for i := r.Len() - 1; i >= 0; i-- {
		if bytes.Equal(r[i*keyRecord:i*keyRecord+messages.KeySize], key[:]) {
			return r.At(i), true
		}
	}
	return KnownKey{}, false
}

// with returns the ring with k added, or with its outcome replaced where it is known; r itself stays as it was.
func (r KeyRing) with(k KnownKey) KeyRing {
	out := make(KeyRing, len(r), len(r)+keyRecord)
	copy(out, r)
	for i := out.Len() - 1; i >= 0; i-- {
		if bytes.Equal(out[i*keyRecord:i*keyRecord+messages.KeySize], k.Key[:]) {
			out[i*keyRecord+messages.KeySize+4] = byte(k.Outcome)
			return out
		}
	}
	out = append(out, k.Key[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(k.LogTime.Unix()))
	return append(out, byte(k.Outcome))
}

// trimmed drops keys whose log time lies before cutoff, then the oldest beyond MaxKeys. horizon is the log time of the newest
// key that had to go before its time, zero if none had to.
func (r KeyRing) trimmed(cutoff time.Time) (out KeyRing, horizon time.Time) {
	drop := 0
	for drop < r.Len() && r.At(drop).LogTime.Before(cutoff) {
		drop++
	}
	for r.Len()-drop > MaxKeys {
		horizon = r.At(drop).LogTime
		drop++
	}
	return r[drop*keyRecord:], horizon
}

// MarshalJSON shows the ring as a list of key (hex), outcome and log time.
func (r KeyRing) MarshalJSON() ([]byte, error) {
	type row struct {
		Key     string    `json:"key"`
		Outcome string    `json:"outcome"`
		LogTime time.Time `json:"log_time"`
	}
	rows := make([]row, 0, r.Len())
	for i := range r.Len() {
		k := r.At(i)
		rows = append(rows, row{Key: k.Key.String(), Outcome: OutcomeWord(k.Outcome), LogTime: k.LogTime})
	}
	return json.Marshal(rows)
}

// OutcomeWord is the outcome as people read it: answered, silent, dead, dropped_flood, limited.
func OutcomeWord(o messages.Outcome) string {
	switch o {
	case messages.Outcome_OUTCOME_ANSWERED:
		return "answered"
	case messages.Outcome_OUTCOME_SILENT:
		return "silent"
	case messages.Outcome_OUTCOME_DEAD:
		return "dead"
	case messages.Outcome_OUTCOME_DROPPED_FLOOD:
		return "dropped_flood"
	case messages.Outcome_OUTCOME_LIMITED:
		return "limited"
	default:
		return "none"
	}
}
