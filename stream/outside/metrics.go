package outside

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	connected *prometheus.GaugeVec
	lost      *prometheus.CounterVec
}

// newMetrics registers them, or takes those that another connection of this process has registered.
func newMetrics(reg prometheus.Registerer) metrics {
	return metrics{
		connected: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_nats_connected", Help: "1 while the connection to the NATS servers stands, by its name.",
		}, []string{"connection"})),
		lost: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_nats_connections_lost_total", Help: "How often the connection to the NATS servers was lost, by its name.",
		}, []string{"connection"})),
	}
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	var there prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}
