package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	calls    *prometheus.CounterVec   // by call and class
	seconds  *prometheus.HistogramVec // by call
	failures *prometheus.CounterVec   // by host
}

// newMetrics makes the metrics of one account's client and registers them, unless r is nil.
func newMetrics(r prometheus.Registerer, account string) (*metrics, error) {
	labels := prometheus.Labels{"account": account}
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_wechat_api_calls_total",
			Help: "Calls of WeChat's API by path and class of their end (ok, busy, token_invalid …).", ConstLabels: labels,
		}, []string{"call", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hongyan_wechat_api_call_duration_seconds",
			Help: "How long calls of WeChat's API took, all attempts together.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"call"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_wechat_api_host_failures_total",
			Help: "Attempts after which a host of WeChat's API was avoided for a minute.", ConstLabels: labels,
		}, []string{"host"}),
	}
	if r == nil {
		return m, nil
	}
	err := errors.Join(r.Register(m.calls), r.Register(m.seconds), r.Register(m.failures))
	if err != nil {
		return nil, fmt.Errorf("wechat api: metrics of account %q: %w", account, err)
	}
	return m, nil
}

// observe counts one call that took d and ended with err; nil is ok.
func (m *metrics) observe(call string, d time.Duration, err error) {
	class := "ok"
	if err != nil {
		class = ClassOf(err).String()
	}
	m.calls.WithLabelValues(call, class).Inc()
	m.seconds.WithLabelValues(call).Observe(d.Seconds())
}
