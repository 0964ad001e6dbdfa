package upstream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	tick       = 250 * time.Millisecond // how often Run looks
	standstill = 4 * tick               // Run was not woken for so long: this process stood still
	crowd      = 3                      // so many calls must wait, for fewer may each be slow by chance
	patience   = 3                      // times the usual silence
)

// Run watches for endpoints that have fallen silent, and lets breakers that have rested become half-open though nobody asks, until ctx
// ends. It returns nil.
func (u *Upstream) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	defer u.rest()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			u.look()
		}
	}
}

// look is one look of Run's.
func (u *Upstream) look() {
	u.mu.Lock()
	defer u.unlock()
	now := u.now()
	if u.late(now) {
		u.awake = now // what came meanwhile has not been read yet: all silences begin anew
	}
	u.ticked = now
	for _, e := range u.endpoints {
		e.refresh(now)
		if waiting, limit := e.silent(now); waiting > 0 {
			e.condemn(waiting, limit)
		}
	}
}

// rest says that Run looks no more.
func (u *Upstream) rest() {
	u.mu.Lock()
	defer u.unlock()
	u.ticked = time.Time{}
}

// late tells whether Run should have looked long ago: this process was stopped, or starved.
func (u *Upstream) late(now time.Time) bool {
	return !u.ticked.IsZero() && now.Sub(u.ticked) >= standstill
}

// stoodStill tells whether this process stood still until a moment ago, over a call that began at that time. It says nothing about the
// endpoint then that the call's deadline has passed, or its connection has gone.
func (u *Upstream) stoodStill(now, began time.Time) bool {
	return u.late(now) || began.Before(u.awake) && now.Sub(u.awake) < standstill
}

// silent tells over how many calls a closed endpoint has been silent for longer than it may, and how long that is; else 0.
//
// Nothing may have come from it for so long, on any call: one that speaks on some calls works. The oldest call must have waited for so
// long, so that an idle hour before it is no silence; and others for half of it, for a call that began a moment ago says nothing. That
// half is more than the usual silence, too. Calls from before the breaker last closed are left out: the outage they began in is over.
func (e *endpoint) silent(now time.Time) (waiting int, limit time.Duration) {
	limit = e.up.settings.Silence
	silence := now.Sub(later(e.heard, e.up.awake))
	if limit == 0 || e.state != gobreaker.StateClosed || silence <= limit {
		return 0, 0
	}
	usual, known := e.usual.silence()
	if limit = max(limit, patience*usual); !known || silence <= limit {
		return 0, 0
	}
	longest := time.Duration(0)
	for v := range e.visits {
		if waited := now.Sub(v.began); v.term == e.term && waited > limit/2 {
			waiting++
			longest = max(longest, waited)
		}
	}
	if waiting < min(crowd, e.up.places) || longest <= limit {
		return 0, 0
	}
	return waiting, limit
}

// condemn fails all calls of the endpoint, which opens its breaker before they have returned.
func (e *endpoint) condemn(waiting int, limit time.Duration) {
	now := e.up.now()
	e.lastError = fmt.Sprintf("fell silent: %d calls waited, and nothing came for %s", waiting, limit.Round(100*time.Millisecond))
	e.condemned = true
	for v := range e.visits {
		if v.term == e.term {
			e.tally.add(now, true)
		}
	}
	for v := range e.visits {
		v.over = true
		if v.cancel != nil {
			v.cancel(ErrSilent)
		}
		v.seat.leave(errFailed)
	}
	clear(e.visits)
}

// recent is how many calls an endpoint's usual silence is told from; known is from how many on.
const (
	recent = 32
	known  = 3
)

// usual remembers the longest silence within each of the endpoint's last good calls: from its beginning to the first sign of life, or
// between two. For a plain call this is the time to its answer, for a stream the time to the first chunk, also where the
// headers come long before it.
//
// The usual silence is the 90th percentile of them. A mean would lie between the short questions and the long ones of one model, and
// three times that condemns the long ones; of a percentile one freak in ten is no part.
type usual struct {
	silences [recent]time.Duration
	n        int // of them known
	next     int
}

func (h *usual) add(silence time.Duration) {
	h.silences[h.next] = silence
	h.next = (h.next + 1) % recent
	h.n = min(h.n+1, recent)
}

// silence returns the usual one, if it is known.
func (h *usual) silence() (time.Duration, bool) {
	if h.n < known {
		return 0, false
	}
	sorted := h.silences
	slices.Sort(sorted[:h.n])
	return sorted[(9*h.n+9)/10-1], true
}

// learn takes in a call of the present term that went well. What a probe shows that took longer than usual is the new usual: the endpoint has become slow, and
// would else be condemned again and again. A call over which this process stood still teaches nothing.
func (e *endpoint) learn(v *visit) {
	if v.began.Before(e.up.awake) {
		return
	}
	if before, ok := e.usual.silence(); ok && e.state == gobreaker.StateHalfOpen && v.longest > before {
		e.usual = usual{}
	}
	e.usual.add(v.longest)
}
