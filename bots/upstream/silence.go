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
	if !u.ticked.IsZero() && now.Sub(u.ticked) >= standstill {
		u.awake = now // what came meanwhile has not been read yet: all silences begin anew
	}
	u.ticked = now
	for _, e := range u.endpoints {
		e.refresh(now)
		if silence, waiting := e.silent(now); waiting > 0 {
			e.condemn(now, silence, waiting)
		}
	}
}

// silent tells for how long a closed endpoint has been silent over how many calls, where that is longer than it may; else 0, 0.
//
// A call that began a moment ago says nothing, and neither does one from before the breaker last closed, so that both count as if they
// were not there; any sign of life on any call excuses the endpoint.
func (e *endpoint) silent(now time.Time) (silence time.Duration, waiting int) {
	limit := e.up.settings.Silence
	silence = now.Sub(later(e.heard, e.up.awake))
	if limit == 0 || e.state != gobreaker.StateClosed || silence <= limit {
		return 0, 0
	}
	usual, known := e.usual.silence()
	if limit = max(limit, patience*usual); !known || silence <= limit {
		return 0, 0
	}
	for v := range e.visits {
		if v.term == e.term && now.Sub(v.began) > limit {
			waiting++
		}
	}
	if waiting < min(crowd, e.up.places) {
		return 0, 0
	}
	return silence, waiting
}

// condemn fails all calls of the endpoint, and so opens its breaker before they have returned.
func (e *endpoint) condemn(now time.Time, silence time.Duration, waiting int) {
	brief := fmt.Sprintf("fell silent: %d calls have waited for %s", waiting, silence.Round(100*time.Millisecond))
	e.condemned = true
	for v := range e.visits {
		if v.cancel != nil {
			v.cancel(ErrSilent)
		}
		v.end(now, verdict{result: resultSilent, failed: true, brief: brief})
	}
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

// learn takes in a call that went well. What a probe shows that took longer than usual is the new usual: the endpoint has become slow, and
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
