package upstream

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"
)

// endpoint is one place to ask, with its breaker. Upstream.mu is held wherever it is touched, by the breaker's call-backs too.
type endpoint struct {
	up     *Upstream
	index  int
	name   string
	weight int

	// breaker knows the states, their order and the probes. What trips it is tally: gobreaker's own window files a call under the time
	// when it began, and forgets calls that took longer than the window, which are those that a breaker of models is for.
	breaker   *gobreaker.TwoStepCircuitBreaker[struct{}]
	state     gobreaker.State
	since     time.Time // in this state
	term      uint64    // counts states: a call that began in an earlier one says nothing about this one
	tally     tally
	condemned bool      // the next failure trips, whatever the tally says
	notBefore time.Time // an open breaker stays open until then: the endpoint's Retry-After
	downSince time.Time // when it last left closed
	lastError string    // in words for operators

	visits map[*visit]struct{} // under way
	heard  time.Time           // when anything came from it
	usual  usual
}

// What the breaker is told of a call that did not go well. It is excluded from the breaker's counts where it counts for nobody: a probe's
// place is free again then.
var (
	errFailed  = errors.New("failed")
	errNeither = errors.New("counts for nobody")
)

func (u *Upstream) newEndpoint(index int, spec Endpoint) *endpoint {
	now := u.now()
	e := &endpoint{
		up: u, index: index, name: spec.Name, weight: spec.Weight, since: now, heard: now,
		tally: newTally(u.settings.Window, now), visits: make(map[*visit]struct{}),
	}
	e.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   e.probes(),
		Timeout:       u.settings.Open,
		ReadyToTrip:   func(gobreaker.Counts) bool { return e.condemned || e.tally.trips(u.now(), u.settings.Failures) },
		OnStateChange: func(_ string, _, to gobreaker.State) { e.changed(to) },
		IsExcluded:    func(err error) bool { return errors.Is(err, errNeither) },
	})
	u.metrics.state.WithLabelValues(u.name, e.name).Set(0)
	return e
}

// changed notes a change of state. The breaker calls it.
func (e *endpoint) changed(to gobreaker.State) {
	now := e.up.now()
	from := e.state
	if from == gobreaker.StateClosed {
		e.downSince = now
	}
	c := change{endpoint: e.name, from: from, to: to, lastError: e.lastError, failures: e.tally.row, down: now.Sub(e.downSince)}
	e.state, e.since, e.condemned = to, now, false
	e.term++
	if to == gobreaker.StateClosed {
		e.tally = newTally(e.up.settings.Window, now)
	}
	if to == gobreaker.StateOpen {
		c.rest = e.retryAt().Sub(now)
	}
	e.up.changes = append(e.up.changes, c)
	e.up.metrics.state.WithLabelValues(e.up.name, e.name).Set(stateValue(to))
	e.up.metrics.transitions.WithLabelValues(e.up.name, e.name, stateName(to)).Inc()
}

// retryAt is when an open breaker lets a probe through.
func (e *endpoint) retryAt() time.Time {
	at := e.since.Add(e.up.settings.Open)
	if e.notBefore.After(at) {
		return e.notBefore
	}
	return at
}

// refresh lets an open breaker become half-open when it is time.
func (e *endpoint) refresh(now time.Time) {
	if e.state == gobreaker.StateOpen && !now.Before(e.notBefore) {
		e.breaker.State() // which looks at the clock
	}
}

// change is one of a breaker's state.
type change struct {
	endpoint   string
	from, to   gobreaker.State
	lastError  string
	failures   int
	rest, down time.Duration
}

// log says it: an outage is one warning and one line at its end, however many probes it took.
func (c change) log(to *slog.Logger) {
	switch {
	case c.to == gobreaker.StateClosed:
		to.Info("the endpoint works again", "endpoint", c.endpoint, "down_for", c.down)
	case c.from == gobreaker.StateClosed:
		to.Warn("the endpoint fails: it is not asked for a while", "endpoint", c.endpoint,
			"last_error", c.lastError, "failures_in_a_row", c.failures, "rest", c.rest)
	default:
		to.Debug("the endpoint's breaker", "endpoint", c.endpoint, "state", stateName(c.to), "last_error", c.lastError)
	}
}

// choose takes a place at one of the endpoints that were not tried: by weight among those whose breaker lets it, else the first of
// weight 0; nil where none has a place.
func (u *Upstream) choose(now time.Time, tried []*endpoint) *visit {
	var room [8]*endpoint
	left := room[:0]
	for _, e := range u.endpoints {
		if !slices.Contains(tried, e) {
			left = append(left, e)
		}
	}
	for len(left) > 0 {
		i := u.pick(left)
		if v := left[i].admit(now); v != nil {
			return v
		}
		left = slices.Delete(left, i, i+1)
	}
	return nil
}

// pick returns the index of one of the endpoints, of which there is at least one.
func (u *Upstream) pick(from []*endpoint) int {
	sum := 0
	for _, e := range from {
		sum += e.weight
	}
	if sum == 0 || len(from) == 1 {
		return 0
	}
	at := int(u.random() * float64(sum))
	for i, e := range from {
		if at < e.weight {
			return i
		}
		at -= e.weight
	}
	return len(from) - 1 // a random number of 1 or more, which there should not be
}

// admit takes a place at the endpoint, if its breaker lets it.
func (e *endpoint) admit(now time.Time) *visit {
	e.refresh(now)
	if e.state == gobreaker.StateOpen {
		return nil
	}
	var s *seat
	switch done, err := e.breaker.Allow(); {
	case err == nil:
		s = &seat{done: done}
	case e.state == gobreaker.StateHalfOpen:
		if s = e.idleSeat(now); s == nil {
			return nil
		}
	default:
		return nil
	}
	s.visits++
	s.fresh = now
	v := &visit{at: e, seat: s, term: e.term, began: now, sign: now}
	e.visits[v] = struct{}{}
	return v
}

// idleSeat is a probe's that has been silent for as long as a breaker rests. Another probe may share it then, else one that hangs until
// its turn is over would keep an endpoint that has long recovered from being asked.
func (e *endpoint) idleSeat(now time.Time) *seat {
	for v := range e.visits {
		if v.term == e.term && !v.seat.settled && now.Sub(v.seat.fresh) >= e.up.settings.Open {
			return v.seat
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
