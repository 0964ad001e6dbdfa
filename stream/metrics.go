package stream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	publish map[string]prometheus.Observer // by result
	barrier prometheus.Observer
	dead    *prometheus.CounterVec
	readers *prometheus.CounterVec // by what became of them

	deadEnded *prometheus.CounterVec // by how
	deadKept  prometheus.Gauge
	bytes     *prometheus.GaugeVec // by stream
	limit     *prometheus.GaugeVec // by stream
}

// stageBuckets reach from an in-process call to WeChat's five seconds.
var stageBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	publish := f.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hongyan_log_publish_seconds", Help: "From a publish to its acknowledgement by the log.", Buckets: stageBuckets,
	}, []string{"result"})
	m := &metrics{
		publish: make(map[string]prometheus.Observer),
		barrier: f.NewHistogram(prometheus.HistogramOpts{
			Name: "hongyan_log_barrier_seconds", Help: "Wait for the fsync behind an acknowledged publish (durability disk).", Buckets: stageBuckets,
		}),
		dead: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_dead_letters_total", Help: "Dead letters published, by reason.",
		}, []string{"reason"}),
		deadEnded: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_dead_letters_ended_total", Help: "Dead letters taken up by a re-drive, or dropped by an operator.",
		}, []string{"how"}),
		deadKept: f.NewGauge(prometheus.GaugeOpts{
			Name: "hongyan_dead_letters", Help: "Dead letters that are kept, re-driven ones included.",
		}),
		readers: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_log_readers_total", Help: "Readers of partitions: opened, refused by the log, broken (and opened again behind their last entry).",
		}, []string{"event"}),
		bytes: f.NewGaugeVec(prometheus.GaugeOpts{Name: "hongyan_log_bytes", Help: "Size of a stream of the log."}, []string{"stream"}),
		limit: f.NewGaugeVec(prometheus.GaugeOpts{Name: "hongyan_log_max_bytes", Help: "Cap of a stream of the log."}, []string{"stream"}),
	}
	for _, result := range []string{"ok", "error", "unknown"} {
		m.publish[result] = publish.WithLabelValues(result)
	}
	return m
}

func (m *metrics) published(result string, began time.Time) {
	m.publish[result].Observe(time.Since(began).Seconds())
}
