package remote

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
)

// metrics are what all remote bots of a process count together.
type metrics struct {
	resent  *prometheus.CounterVec
	unknown *prometheus.CounterVec
	omitted *prometheus.CounterVec
}

// newMetrics registers the metrics on reg, or takes those that an earlier bot registered there.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		resent: counter("hongyan_remote_resent_total",
			"Requests that went out once more within one call: an instance of the bot had died over them, or its connection broke.", "bot"),
		unknown: counter("hongyan_remote_unknown_fields_total",
			"Responses with a field that this version does not know, and left out.", "bot"),
		omitted: counter("hongyan_remote_omitted_total",
			"Requests without something that belongs to them: media that could not be had, media or history too large for the transport.",
			"bot", "what"),
	}
	var errs [3]error
	m.resent, errs[0] = bots.Register(reg, m.resent)
	m.unknown, errs[1] = bots.Register(reg, m.unknown)
	m.omitted, errs[2] = bots.Register(reg, m.omitted)
	return m, errors.Join(errs[:]...)
}
