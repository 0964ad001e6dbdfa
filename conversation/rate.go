package conversation

import (
	"time"

	"hongyan/messages"
)

// Rate is the user's token bucket, as the generic cell rate algorithm keeps it (ITU-T I.371): one instant. It runs on the log's clock, so
// that a slow bot does not refill it, and whoever reads the same entries again comes to the same verdicts.
type Rate struct {
	FullNS int64             `cbor:"1,keyasint,omitempty" json:"full_ns"` // when the bucket is full again, Unix nanoseconds of log time
	At     messages.Position `cbor:"2,keyasint,omitempty" json:"-"`       // the last message that it counted
}

// Admit counts a message against the user's rate, and tells whether there was room for it. A message that was counted before, which a
// former owner read, is not counted again; if it had no room then, its key says so.
func (s State) Admit(a Arrival, limits Limits) (State, bool) {
	if limits.UserEvery <= 0 || a.At.Generation == s.Rate.At.Generation && !a.At.After(s.Rate.At) {
		return s, true
	}
	s.Rate.At = a.At
	full, ok := Take(s.Rate.FullNS, a.LogTime.UnixNano(), limits.UserEvery, limits.UserBurst)
	s.Rate.FullNS = full
	return s, ok
}

// Take takes one token at an instant from the bucket that is full again at full, both in nanoseconds: a token comes back in every, and the
// bucket holds burst of them. It returns when the bucket is full again, and whether there was a token.
// A clock that was ahead and is put right locks nobody out for longer than a bucket takes to fill.
func Take(full, at int64, every time.Duration, burst int) (int64, bool) {
	size := int64(max(burst, 1)) * int64(every)
	full = min(max(full, at), at+size)
	if full-at+int64(every) > size {
		return full, false
	}
	return full + int64(every), true
}
