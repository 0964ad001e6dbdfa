package groupsync

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	waiters    prometheus.Histogram // its count is the number of rounds
	seconds    prometheus.Histogram
	registerer prometheus.Registerer
}

func newMetrics() metrics {
	return metrics{
		waiters: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_fsync_waiters",
			Help:    "Callers that shared one fsync of the data folder's file system; the count is the number of fsyncs.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_fsync_seconds",
			Help:    "Duration of one fsync of the data folder's file system.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	if err := r.Register(m.waiters); err != nil {
		return err
	}
	if err := r.Register(m.seconds); err != nil {
		r.Unregister(m.waiters)
		return err
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registerer != nil {
		m.registerer.Unregister(m.waiters)
		m.registerer.Unregister(m.seconds)
	}
}

func (m *metrics) observe(waiters int, took time.Duration) {
	m.waiters.Observe(float64(waiters))
	m.seconds.Observe(took.Seconds())
}
