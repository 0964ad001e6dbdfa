package conversation

import "time"

// Upstream says how the remote bots fared over one turn.
type Upstream uint8

// The values of Upstream.
const (
	UpstreamNotAsked Upstream = iota // or could not be, for reasons that are not the user's
	UpstreamOK
	UpstreamFailed
)

// Breaker is the user's own: it opens after turns of this user over which remote bots failed one after the other, though they may work
// for everybody else. It travels with the user's record.
type Breaker struct {
	Failures int   `cbor:"1,keyasint,omitempty" json:"failures"` // in a row
	UntilMS  int64 `cbor:"2,keyasint,omitempty" json:"until_ms"` // open until then, Unix milliseconds; the next turn after it is the probe
}

// Resting tells whether the user's breaker is open: remote bots are not asked, and what else there is answers at once.
// A time that lies further ahead than it can was written by a clock that was wrong.
func (s State) Resting(limits Limits, now time.Time) bool {
	left := s.Breaker.UntilMS - now.UnixMilli()
	return left > 0 && left <= limits.RestFor.Milliseconds()
}

// fared notes how the remote bots fared over a turn.
func (s State) fared(u Upstream, limits Limits, now time.Time) State {
	switch {
	case u == UpstreamOK:
		s.Breaker = Breaker{}
	case u == UpstreamFailed && limits.BreakAfter > 0:
		s.Breaker.Failures++
		if s.Breaker.Failures >= limits.BreakAfter {
			s.Breaker.UntilMS = now.Add(limits.RestFor).UnixMilli()
		}
	}
	return s
}
