package cluster

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

var moveBuckets = []float64{.005, .01, .025, .05, .1, .2, .3, .5, 1, 1.5, 2.5, 5, 10, 30}

// Outcomes of requests.
const (
	requestAnswered = "answered"
	requestFailed   = "failed"
)

type metrics struct {
	members        prometheus.Gauge
	owned          prometheus.Gauge
	takeovers      *prometheus.CounterVec
	conflicts      prometheus.Counter
	takeoverTime   *prometheus.HistogramVec
	handOverTime   prometheus.Histogram
	moving         prometheus.GaugeFunc
	retries        prometheus.Counter
	requests       *prometheus.CounterVec
	peerUp         *prometheus.GaugeVec
	linkResets     prometheus.Counter
	faults         prometheus.Counter
	fences         *prometheus.CounterVec
	forcedReleases prometheus.Counter
}

// newMetrics registers the cluster's metrics. moving counts the partitions that this node is getting or giving away.
func newMetrics(r prometheus.Registerer, moving func() float64) (*metrics, error) {
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
		takeoverTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hongyan_takeover_seconds",
			Help:    "From the moment a partition belonged on this node, or its lost owner was last heard, until its epoch stood in the checkpoint.",
			Buckets: moveBuckets,
		}, []string{"planned"}),
		handOverTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hongyan_handover_seconds",
			Help:    "From the word to hand a partition over until its lease was free.",
			Buckets: moveBuckets,
		}),
		moving: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hongyan_partitions_moving", Help: "Partitions that belong on this node and are not served here yet, or are served here and belong elsewhere.",
		}, moving),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_request_retries_total", Help: "Tries of requests to users' actors after the first.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_requests_total", Help: "Requests to users' actors from this node by outcome: answered, or failed when their time was over.",
		}, []string{"outcome"}),
		peerUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_peer_up", Help: "1 while the other node answers over the transport between nodes.",
		}, []string{"peer"}),
		linkResets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_peer_resets_total", Help: "Connections to other nodes that were given up because nothing came back.",
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
		m.takeoverTime.WithLabelValues(planned)
	}
	for _, outcome := range []string{requestAnswered, requestFailed} {
		m.requests.WithLabelValues(outcome)
	}
	for _, reason := range []string{fenceStandstill, fenceDisconnected} {
		m.fences.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.members, m.owned, m.takeovers, m.conflicts, m.takeoverTime, m.handOverTime, m.moving, m.retries, m.requests,
		m.peerUp, m.linkResets, m.faults, m.fences, m.forcedReleases,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the cluster's metrics: %w", err)
		}
	}
	return m, nil
}
