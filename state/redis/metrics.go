package redis

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/state"
)

// Outcomes of an operation, as label values.
var outcomes = map[string]error{
	"ok": nil, "not_found": state.ErrNotFound, "conflict": state.ErrConflict, "stale_epoch": state.ErrStaleEpoch,
	"unknown": state.ErrUnknown, "unavailable": state.ErrUnavailable, "full": state.ErrFull, "corrupt": state.ErrCorrupt,
	"invalid": state.ErrInvalid,
}

type metrics struct {
	operations *prometheus.CounterVec
	batch      prometheus.Histogram
	roundTrip  prometheus.Histogram
	redirects  prometheus.Counter
	short      prometheus.Counter

	count      map[string]map[error]prometheus.Counter // operations, looked up once
	registerer prometheus.Registerer
}

// The operations that are counted.
const (
	opLoad   = "load"
	opCommit = "commit"
	opDelete = "delete"
	opPing   = "ping"
)

func newMetrics() *metrics {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_redis_operations_total",
			Help: "Operations of the state store on Redis by kind and outcome; unknown means sent, and nobody said what became of it.",
		}, []string{"operation", "outcome"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_redis_batch_operations",
			Help:    "Operations that shared one round trip to Redis; the count is the number of round trips.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		roundTrip: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_redis_round_trip_seconds",
			Help:    "Duration of one round trip to Redis, its fsync and its replicas included.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		}),
		redirects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_redis_redirects_total",
			Help: "Operations that a node of a Redis Cluster sent on to another node.",
		}),
		short: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_redis_short_waits_total",
			Help: "Round trips whose writes too few replicas acknowledged, so that their outcome is unknown.",
		}),
		count: map[string]map[error]prometheus.Counter{},
	}
	for _, op := range []string{opLoad, opCommit, opDelete, opPing} {
		m.count[op] = map[error]prometheus.Counter{}
		for outcome, err := range outcomes {
			m.count[op][err] = m.operations.WithLabelValues(op, outcome)
		}
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.operations, m.batch, m.roundTrip, m.redirects, m.short}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	for _, c := range m.all() {
		if err := r.Register(c); err != nil {
			m.unregister()
			return err
		}
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registerer != nil {
		for _, c := range m.all() {
			m.registerer.Unregister(c)
		}
	}
}

// done counts an operation by its outcome.
func (m *metrics) done(op string, err error) {
	if err == nil {
		m.count[op][nil].Inc()
		return
	}
	for _, class := range outcomes {
		if class != nil && errors.Is(err, class) {
			m.count[op][class].Inc()
			return
		}
	}
}
