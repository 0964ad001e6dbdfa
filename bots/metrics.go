package bots

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label result of hongyan_bot_turns_total.
const (
	resultAnswered = "answered" // with something to say
	resultSilent   = "silent"   // handled, deliberately without an answer
	resultPassed   = "passed"   // not handled: the next link is asked
	resultTimeout  = "timeout"  // the link's own time, or the turn's, was over
	resultPanic    = "panic"
	resultError    = "error"

	resultSkipped     = "skipped"     // a remote link in a hurry, or while the user's breaker is open
	resultUnavailable = "unavailable" // its upstream could not be asked: breaker, places, rate
	resultHandedOver  = "handed_over" // to a support agent
)

// metrics are what all chains of a process count together.
type metrics struct {
	turns   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers the chains' metrics on reg, or takes those that an earlier chain registered there.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_bot_turns_total",
			Help: "Turns that came to a bot, by what it made of them: see docs/bots.md.",
		}, []string{"account", "link", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hongyan_bot_seconds",
			Help:    "How long a bot took for one turn, whatever came of it.",
			Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60},
		}, []string{"link"}),
	}
	var err error
	if m.turns, err = Register(reg, m.turns); err != nil {
		return nil, fmt.Errorf("registering hongyan_bot_turns_total: %w", err)
	}
	if m.seconds, err = Register(reg, m.seconds); err != nil {
		return nil, fmt.Errorf("registering hongyan_bot_seconds: %w", err)
	}
	return m, nil
}

// Register puts c on reg, and returns c or the equal collector that was there before, so that the bots of several accounts
// count on one metric. A nil reg registers nowhere.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if existing, ok := before.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return c, err
}

func (m *metrics) count(account, link, result string) {
	m.turns.WithLabelValues(account, link, result).Inc()
}

// resultOf is the result label of what a link returned.
func resultOf(resp Response, err error) string {
	switch {
	case errors.Is(err, errPanic):
		return resultPanic
	case errors.Is(err, ErrUnavailable):
		return resultUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return resultTimeout
	case err != nil:
		return resultError
	case !resp.Handled:
		return resultPassed
	case resp.HandOver != nil:
		return resultHandedOver
	case len(resp.Answers) == 0:
		return resultSilent
	default:
		return resultAnswered
	}
}
