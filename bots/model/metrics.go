package model

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
)

// The values of the label result of hongyan_model_tool_calls_total.
const (
	toolOK           = "ok"
	toolFailed       = "error"
	toolReported     = "reported" // it says itself that it failed
	toolLate         = "timeout"
	toolBadArguments = "bad_arguments"
	toolUnknown      = "unknown" // the model made the tool up
)

// metrics are what all model bots of a process count together.
type metrics struct {
	tokens *prometheus.CounterVec
	calls  *prometheus.CounterVec
}

// newMetrics registers the metrics on reg, or takes those that an earlier model bot registered there.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	tokens, err := bots.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hongyan_model_tokens_total",
		Help: "Model tokens by account, bot and direction (prompt, completion): as the endpoint tells, else estimated; failed attempts included.",
	}, []string{"account", "bot", "direction"}))
	if err != nil {
		return nil, fmt.Errorf("registering hongyan_model_tokens_total: %w", err)
	}
	calls, err := bots.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hongyan_model_tool_calls_total",
		Help: "Calls of tools by a model: ok, reported (the tool says that it failed), error, timeout, bad_arguments or unknown (there is " +
			"no such tool; its name is not shown).",
	}, []string{"bot", "tool", "result"}))
	if err != nil {
		return nil, fmt.Errorf("registering hongyan_model_tool_calls_total: %w", err)
	}
	return &metrics{tokens: tokens, calls: calls}, nil
}

// spent counts the tokens of a turn.
func (m *metrics) spent(account, bot string, prompt, completion int64) {
	if prompt > 0 {
		m.tokens.WithLabelValues(account, bot, "prompt").Add(float64(prompt))
	}
	if completion > 0 {
		m.tokens.WithLabelValues(account, bot, "completion").Add(float64(completion))
	}
}
