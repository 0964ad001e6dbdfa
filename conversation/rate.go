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
	at := a.LogTime.UnixNano()
	full := max(s.Rate.FullNS, at)
	burst := time.Duration(max(limits.UserBurst, 1)) * limits.UserEvery
	s.Rate.At = a.At
	if time.Duration(full-at)+limits.UserEvery > burst {
		return s, false
	}
	s.Rate.FullNS = full + limits.UserEvery.Nanoseconds()
	return s, true
}
