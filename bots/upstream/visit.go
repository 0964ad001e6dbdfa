package upstream

import (
	"context"
	"time"

	"github.com/sony/gobreaker/v2"
)

// seat is what the breaker has counted as one request. While the breaker is half-open, more than one visit may share it.
type seat struct {
	done    func(error)
	visits  int
	failed  bool      // one of the visits did
	settled bool      // done was called
	fresh   time.Time // when it was taken, or one of its visits heard anything
}

// leave ends one visit: the first success settles the seat, else the last visit does. The breaker is told exactly once.
func (s *seat) leave(err error) {
	s.visits--
	if s.settled {
		return
	}
	s.failed = s.failed || err == errFailed //nolint:errorlint // it is one of our own two, never wrapped
	switch {
	case err != nil && s.visits > 0:
		return
	case err != nil && s.failed:
		err = errFailed
	}
	s.settled = true
	s.done(err)
}

// visit is one call of one endpoint.
type visit struct {
	at      *endpoint
	seat    *seat
	term    uint64 // the endpoint's, when it began
	began   time.Time
	sign    time.Time     // of life, the last one
	longest time.Duration // silence so far
	cancel  context.CancelCauseFunc
	over    bool // for its endpoint: it has ended, or was condemned
}

// begin makes the visit one that can be ended for its endpoint's silence.
func (v *visit) begin(cancel context.CancelCauseFunc) {
	u := v.at.up
	u.mu.Lock()
	defer u.unlock()
	v.cancel = cancel
	if v.over { // condemned in the moment since it took its place
		cancel(ErrSilent)
	}
}

// alive notes a sign of life.
func (v *visit) alive() {
	u := v.at.up
	u.mu.Lock()
	defer u.unlock()
	if !v.over {
		v.hear(u.now())
	}
}

// hear notes that something came at now.
func (v *visit) hear(now time.Time) {
	v.longest = max(v.longest, now.Sub(v.sign))
	v.sign, v.seat.fresh, v.at.heard = now, now, now
}

// end ends the visit, and tells the breaker. It does nothing the second time.
func (v *visit) end(now time.Time, came verdict) {
	if v.over {
		return
	}
	e := v.at
	v.over = true
	delete(e.visits, v)
	switch came.result {
	case resultCancelled, resultPanic, resultTimeout:
	default:
		v.hear(now) // it was the endpoint that ended it
	}
	switch {
	case came.result == resultOK:
		if v.term == e.term {
			e.tally.add(now, false)
			e.learn(v)
		}
		v.seat.leave(nil)
	case came.failed && !e.up.stoodStill(now, v.began):
		e.lastError = came.brief
		if came.retryAfter > 0 {
			e.notBefore = later(e.notBefore, now.Add(came.retryAfter))
		}
		if v.term == e.term {
			e.tally.add(now, true)
		}
		v.seat.leave(errFailed)
	case came.result == Refused.String() && v.term == e.term && e.state == gobreaker.StateHalfOpen:
		v.seat.leave(nil) // a probe asks whether the endpoint answers, and it did
	default:
		v.seat.leave(errNeither)
	}
}
