package upstream

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Ready tells whether Do could ask an endpoint now: nil, else ErrOpen or ErrBusy, which is then the turn's error, and counted as Do's are.
// It takes nothing, no place and none of the rate, so Do may refuse a moment later all the same. It is for what costs something
// before a call, a picture to be fetched for instance.
func (u *Upstream) Ready() error {
	u.mu.Lock()
	defer u.unlock()
	if u.inFlight >= u.places {
		u.metrics.refused.WithLabelValues(u.name, "busy").Inc()
		return u.busy
	}
	now := u.now()
	for _, e := range u.endpoints {
		if e.hasRoom(now) {
			return nil
		}
	}
	u.metrics.refused.WithLabelValues(u.name, "open").Inc()
	return u.open
}

// hasRoom tells whether admit would let a call in.
func (e *endpoint) hasRoom(now time.Time) bool {
	e.refresh(now)
	switch e.state {
	case gobreaker.StateClosed:
		return true
	case gobreaker.StateHalfOpen:
		probes := e.breaker.Counts()
		return probes.Requests-probes.TotalExclusions < e.probes() || e.idleSeat(now) != nil
	default:
		return false
	}
}

// probes is how many calls the half-open breaker lets through.
func (e *endpoint) probes() uint32 { return uint32(min(e.up.settings.Probes, 1<<16)) }
