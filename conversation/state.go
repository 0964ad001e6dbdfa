package conversation

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Schema is the version of State that this code writes. Fields are only ever added, so that nodes of two versions can share
// a user: a reader skips what it does not know.
const Schema = 1

// State is all that Hongyan remembers of one user: the value of one record in the store. A State is never changed in place;
// every step returns a new one that may share memory with the old.
type State struct {
	Schema  uint8             `cbor:"1,keyasint" json:"schema"`
	Applied messages.Position `cbor:"2,keyasint" json:"applied"` // position of the last turn committed in queue order

	Keys      KeyRing `cbor:"3,keyasint,omitempty" json:"keys"`
	HorizonMS int64   `cbor:"4,keyasint,omitempty" json:"horizon_ms,omitempty"` // keys up to this log time may be missing early

	Answers []Recorded `cbor:"5,keyasint,omitempty" json:"answers,omitempty"` // committed, and either unsettled or recent
	Kept    []Kept     `cbor:"6,keyasint,omitempty" json:"kept,omitempty"`    // for the user's next message, in order
	Burials []Burial   `cbor:"7,keyasint,omitempty" json:"burials,omitempty"` // dead letters not known to be published

	Turns   []Turn            `cbor:"8,keyasint,omitempty" json:"turns"`
	Session map[string]string `cbor:"9,keyasint,omitempty" json:"session,omitempty"`
	LastMS  int64             `cbor:"10,keyasint,omitempty" json:"last_ms"` // Unix milliseconds of the last turn

	Follows Following `cbor:"11,keyasint,omitempty" json:"follows"`
	Counts  Counts    `cbor:"12,keyasint" json:"counts"`

	AppliedNS int64 `cbor:"13,keyasint,omitempty" json:"-"` // log time of Applied, Unix nanoseconds

	// AheadS is by how many seconds a message's CreateTime was ahead of its log time at most: with it the horizon, a log time, bounds
	// the CreateTime of every key that was forgotten early, and so tells its replay, whose log time is new (DESIGN §3 rule 10).
	AheadS    int64 `cbor:"14,keyasint,omitempty" json:"-"`
	NoticedMS int64 `cbor:"15,keyasint,omitempty" json:"noticed_ms,omitempty"` // when a flooding user was last told, Unix milliseconds

	Pushes []Pushed `cbor:"16,keyasint,omitempty" json:"pushes,omitempty"` // messages whose path is push, oldest first
	Grants []Grant  `cbor:"17,keyasint,omitempty" json:"grants,omitempty"` // leave to send customer-service messages

	Breaker  Breaker   `cbor:"18,keyasint,omitzero" json:"breaker,omitzero"`
	Spent    Spending  `cbor:"19,keyasint,omitzero" json:"spent,omitzero"`
	Rate     Rate      `cbor:"20,keyasint,omitzero" json:"rate,omitzero"`
	HandOver *HandOver `cbor:"21,keyasint,omitempty" json:"hand_over,omitempty"` // owed to the user's next message
}

// apply notes that the message's turn in the order of the log has come.
func (s State) apply(a Arrival) State {
	s.Applied, s.AppliedNS = a.At, a.LogTime.UnixNano()
	return s
}

// hasPassed tells whether an arrival stands at or before the last applied message: by its place, and across generations of the
// log, whose places say nothing about each other, by its log time.
func (s State) hasPassed(a Arrival) bool {
	if a.At.Generation != s.Applied.Generation && s.AppliedNS != 0 {
		return a.LogTime.UnixNano() <= s.AppliedNS
	}
	return !a.At.After(s.Applied)
}

// Following is what the user's subscribe and unsubscribe events said last.
type Following uint8

// The values of Following. Numbers are stored.
const (
	FollowsUnknown Following = 0
	FollowsYes     Following = 1
	FollowsNo      Following = 2
)

// MarshalText shows it as a word.
func (f Following) MarshalText() ([]byte, error) {
	return []byte([...]string{"unknown", "yes", "no"}[min(f, FollowsNo)]), nil
}

// Counts are the user's counters since the record was made.
type Counts struct {
	Turns    uint64 `cbor:"1,keyasint,omitempty" json:"turns"`
	Answered uint64 `cbor:"2,keyasint,omitempty" json:"answered"`
	Silent   uint64 `cbor:"3,keyasint,omitempty" json:"silent"`
	Dead     uint64 `cbor:"4,keyasint,omitempty" json:"dead"`
	Dropped  uint64 `cbor:"5,keyasint,omitempty" json:"dropped"`
	Kept     uint64 `cbor:"6,keyasint,omitempty" json:"kept"`   // answers that had to wait for a later message
	Pushed   uint64 `cbor:"7,keyasint,omitempty" json:"pushed"` // answers that left through WeChat's API
	Limited  uint64 `cbor:"8,keyasint,omitempty" json:"limited"`
}

// Blob is an encoded messages.Answer.
type Blob []byte

// Seal encodes an answer.
func Seal(a *messages.Answer) (Blob, error) {
	b, err := proto.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return b, nil
}

// Open decodes the answer.
func (b Blob) Open() (*messages.Answer, error) {
	a := new(messages.Answer)
	if err := proto.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("decode a stored answer of %d bytes: %w", len(b), err)
	}
	return a, nil
}

// MarshalJSON shows the answer itself.
func (b Blob) MarshalJSON() ([]byte, error) {
	a, err := b.Open()
	if err != nil {
		return json.Marshal(map[string]string{"error": err.Error()})
	}
	return protojson.Marshal(a)
}

// Recorded is the committed answer of a turn: what any later delivery of the same message gets.
type Recorded struct {
	Key     messages.Key `cbor:"1,keyasint" json:"key"`
	Answer  Blob         `cbor:"2,keyasint" json:"answer"`
	AtMS    int64        `cbor:"3,keyasint" json:"at_ms"`
	Settled bool         `cbor:"4,keyasint,omitempty" json:"settled"` // known to be delivered when this record was written
	Repeat  bool         `cbor:"5,keyasint,omitempty" json:"-"`       // carries answers whose first delivery is unknown
	// At is the message's own place in the log. Its entry is handed over again until the answer is settled, so a delivery that
	// stands behind it and comes without it finds an answer that was settled, though the mark got lost.
	At messages.Position `cbor:"6,keyasint,omitempty" json:"-"`
	// AssumedMS marks an answer of which nobody can tell whether it was written, and that counts as delivered because WeChat did not
	// deliver the message again in time (DESIGN §3 rule 13): the log time, in Unix milliseconds, of the last delivery up to then. One
	// that comes after all proves the contrary.
	AssumedMS int64 `cbor:"7,keyasint,omitempty" json:"assumed_ms,omitempty"`
}

// SettledBefore tells whether the answer was settled before a delivery at that position came up by itself.
func (r Recorded) SettledBefore(at messages.Position) bool {
	return r.Settled || (r.At.Generation == at.Generation && at.After(r.At))
}

// Kept is an answer that found no open exchange and waits for the user's next message.
type Kept struct {
	Key    messages.Key `cbor:"1,keyasint" json:"key"` // the message it answers
	Answer Blob         `cbor:"2,keyasint" json:"answer"`
	AtMS   int64        `cbor:"3,keyasint" json:"at_ms"`
	// Repeat marks an answer whose delivery is unknown and which reply.unknown=once allows to be given once more.
	Repeat bool  `cbor:"4,keyasint,omitempty" json:"repeat,omitempty"`
	PushMS int64 `cbor:"5,keyasint,omitempty" json:"push_ms,omitempty"` // when it may be pushed all the same, Unix milliseconds; 0: never
	Cut    bool  `cbor:"6,keyasint,omitempty" json:"cut,omitempty"`     // goes on where the text before it was cut
}

// Burial is a dead letter that is committed and, as far as the record knows, not published yet (DESIGN §3 rule 19).
type Burial struct {
	Key    messages.Key `cbor:"1,keyasint" json:"key"`
	Reason string       `cbor:"2,keyasint" json:"reason"`
	Detail string       `cbor:"3,keyasint,omitempty" json:"detail,omitempty"`
	Answer Blob         `cbor:"4,keyasint,omitempty" json:"answer,omitempty"` // the answer that was not delivered
	AtMS   int64        `cbor:"5,keyasint" json:"at_ms"`
	Number uint64       `cbor:"6,keyasint" json:"number"` // counts the user's dead letters, from 1
}

var encMode = func() cbor.EncMode {
	m, err := cbor.EncOptions{Sort: cbor.SortNone}.EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// Encode is the state as the store keeps it.
func (s State) Encode() ([]byte, error) {
	s.Schema = Schema
	b, err := encMode.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a user's state: %w", err)
	}
	return b, nil
}

// Decode reverses Encode. No bytes are the state of a user who never wrote.
func Decode(b []byte) (State, error) {
	if len(b) == 0 {
		return State{Schema: Schema}, nil
	}
	var s State
	if err := cbor.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("decode a user's state of %d bytes: %w", len(b), err)
	}
	if s.Schema == 0 || len(s.Keys)%keyRecord != 0 {
		return State{}, fmt.Errorf("decode a user's state of %d bytes: schema %d with %d bytes of keys is not a state", len(b), s.Schema, len(s.Keys))
	}
	return s, nil
}

// Recorded returns the recorded answer of a message.
func (s State) Recorded(key messages.Key) (Recorded, bool) {
	for _, r := range s.Answers {
		if r.Key == key {
			return r, true
		}
	}
	return Recorded{}, false
}

// IsKept tells whether the message's answer waits for the user's next message.
func (s State) IsKept(key messages.Key) bool {
	for _, k := range s.Kept {
		if k.Key == key {
			return true
		}
	}
	return false
}

// History is the conversation that a bot sees at now: nothing once the user was silent for longer than limits.Idle.
func (s State) History(limits Limits, now time.Time) []Turn {
	if s.idle(limits, now) {
		return nil
	}
	return s.Turns
}

// SessionAt is the bot's session values at now; they end with the conversation.
func (s State) SessionAt(limits Limits, now time.Time) map[string]string {
	if s.idle(limits, now) {
		return nil
	}
	return s.Session
}

func (s State) idle(limits Limits, now time.Time) bool {
	return limits.Idle > 0 && s.LastMS > 0 && now.UnixMilli()-s.LastMS > limits.Idle.Milliseconds()
}
