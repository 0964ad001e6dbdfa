package rules

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
)

// The values of the label result of hongyan_rules_reloads_total.
const (
	resultOK         = "ok"
	resultBroken     = "broken"     // the content has faults
	resultUnreadable = "unreadable" // the file is gone, or may not be read
)

// metrics are what all rules bots of a process count together.
type metrics struct {
	valid   *prometheus.GaugeVec
	reloads *prometheus.CounterVec
}

// newMetrics registers the metrics on reg, or takes those that an earlier rules bot registered there.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	valid, err := bots.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hongyan_rules_valid",
		Help: "1 where the rules in force are what the file holds; 0 where the file is broken or gone and old rules answer.",
	}, []string{"bot"}))
	if err != nil {
		return nil, fmt.Errorf("registering hongyan_rules_valid: %w", err)
	}
	reloads, err := bots.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hongyan_rules_reloads_total",
		Help: "Changes of a rules file while running: ok, broken or unreadable.",
	}, []string{"bot", "result"}))
	if err != nil {
		return nil, fmt.Errorf("registering hongyan_rules_reloads_total: %w", err)
	}
	return &metrics{valid: valid, reloads: reloads}, nil
}

// reload counts one change of the file and says whether the rules in force are what it holds.
func (m *metrics) reload(bot, result string) {
	m.reloads.WithLabelValues(bot, result).Inc()
	valid := 0.0
	if result == resultOK {
		valid = 1
	}
	m.valid.WithLabelValues(bot).Set(valid)
}
