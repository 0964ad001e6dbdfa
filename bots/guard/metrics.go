package guard

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
)

// metrics are what all filters of a process count together.
type metrics struct {
	blocked *prometheus.CounterVec
	cut     *prometheus.CounterVec
	valid   *prometheus.GaugeVec
}

// newMetrics registers the metrics on reg, or takes those that an earlier filter registered there.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		blocked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_answers_blocked_total",
			Help: "Answers that had a word of the block list: the word was replaced, or the answer was.",
		}, []string{"account"}),
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_answers_cut_total",
			Help: "Text answers that were longer than safety.max_length, and cut.",
		}, []string{"account"}),
		valid: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_block_list_valid",
			Help: "1 where the block list in force is what the file holds; 0 where the file is broken or gone and the old list holds.",
		}, []string{"file"}),
	}
	var err error
	if m.blocked, err = bots.Register(reg, m.blocked); err != nil {
		return nil, fmt.Errorf("registering hongyan_answers_blocked_total: %w", err)
	}
	if m.cut, err = bots.Register(reg, m.cut); err != nil {
		return nil, fmt.Errorf("registering hongyan_answers_cut_total: %w", err)
	}
	if m.valid, err = bots.Register(reg, m.valid); err != nil {
		return nil, fmt.Errorf("registering hongyan_block_list_valid: %w", err)
	}
	return m, nil
}
