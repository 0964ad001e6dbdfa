package upstream

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"hongyan/bots"
)

// metrics are what all upstreams of a process count together, with this one's own gauge and histogram taken out of them.
type metrics struct {
	calls       *prometheus.CounterVec
	refused     *prometheus.CounterVec
	state       *prometheus.GaugeVec
	transitions *prometheus.CounterVec
	seconds     prometheus.Observer
	inFlight    prometheus.Gauge
}

// newMetrics registers the upstreams' metrics on reg, or takes those that an earlier upstream registered there.
func newMetrics(reg prometheus.Registerer, upstream string) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_upstream_calls_total",
			Help: "Calls of an endpoint of a remote bot, by what came of them.",
		}, []string{"upstream", "endpoint", "result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_upstream_refused_total",
			Help: "Turns for which no endpoint was asked: all rest (open), all places are taken (busy), or over the rate (rate).",
		}, []string{"upstream", "reason"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_upstream_state",
			Help: "State of an endpoint's breaker: 0 closed, 1 half-open, 2 open.",
		}, []string{"upstream", "endpoint"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_upstream_transitions_total",
			Help: "Changes of state of an endpoint's breaker, by the new state: closed, half_open, open.",
		}, []string{"upstream", "endpoint", "to"}),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "hongyan_upstream_seconds",
		Help:    "How long one call of an endpoint took, whatever came of it.",
		Buckets: []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60, 120},
	}, []string{"upstream"})
	inFlight := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hongyan_upstream_in_flight",
		Help: "Places that are taken: turns that are at an upstream now.",
	}, []string{"upstream"})
	var err error
	put := func(name string, register func() error) {
		if err == nil {
			if err = register(); err != nil {
				err = fmt.Errorf("registering %s: %w", name, err)
			}
		}
	}
	put("hongyan_upstream_calls_total", func() (err error) { m.calls, err = bots.Register(reg, m.calls); return })
	put("hongyan_upstream_refused_total", func() (err error) { m.refused, err = bots.Register(reg, m.refused); return })
	put("hongyan_upstream_state", func() (err error) { m.state, err = bots.Register(reg, m.state); return })
	put("hongyan_upstream_transitions_total", func() (err error) { m.transitions, err = bots.Register(reg, m.transitions); return })
	put("hongyan_upstream_seconds", func() (err error) { seconds, err = bots.Register(reg, seconds); return })
	put("hongyan_upstream_in_flight", func() (err error) { inFlight, err = bots.Register(reg, inFlight); return })
	if err != nil {
		return nil, err
	}
	m.seconds, m.inFlight = seconds.WithLabelValues(upstream), inFlight.WithLabelValues(upstream)
	return m, nil
}

// stateValue is a state as the gauge shows it.
func stateValue(s gobreaker.State) float64 {
	switch s {
	case gobreaker.StateClosed:
		return 0
	case gobreaker.StateHalfOpen:
		return 1
	case gobreaker.StateOpen:
		return 2
	default:
		return 2
	}
}

// stateName is a state as labels and Status show it.
func stateName(s gobreaker.State) string {
	switch s {
	case gobreaker.StateClosed:
		return "closed"
	case gobreaker.StateHalfOpen:
		return "half_open"
	case gobreaker.StateOpen:
		return "open"
	default:
		return "open"
	}
}
