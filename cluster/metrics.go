package cluster

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	members        prometheus.Gauge
	owned          prometheus.Gauge
	takeovers      *prometheus.CounterVec
	conflicts      prometheus.Counter
	takeoverTime   prometheus.Histogram
	faults         prometheus.Counter
	fences         *prometheus.CounterVec
	forcedReleases prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		members: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hongyan_cluster_members", Help: "Live members of the cluster as this node sees them, itself included.",
		}),
		owned: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hongyan_partitions_owned", Help: "Partitions whose actor runs on this node.",
		}),
		takeovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_takeovers_total", Help: "Partitions taken by this node; planned if the former owner released them in order.",
		}, []string{"planned"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_lease_conflicts_total", Help: "Lease writes refused because another node wrote first.",
		}),
		takeoverTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_takeover_seconds",
			Help:    "From the moment a partition belonged on this node to the start of its actor.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_partition_faults_total", Help: "Partition actors that ended by themselves: a stale epoch or a fault.",
		}),
		fences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_self_fences_total", Help: "Times this node dropped all its partitions because it could not trust itself.",
		}, []string{"reason"}),
		forcedReleases: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_forced_releases_total", Help: "Partition actors that did not hand over in time and were stopped.",
		}),
	}
	for _, planned := range []string{"true", "false"} {
		m.takeovers.WithLabelValues(planned)
	}
	for _, reason := range []string{fenceStandstill, fenceDisconnected} {
		m.fences.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.members, m.owned, m.takeovers, m.conflicts, m.takeoverTime, m.faults, m.fences, m.forcedReleases,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the cluster's metrics: %w", err)
		}
	}
	return m, nil
}
