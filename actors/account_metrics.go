package actors

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// officialMetrics are those of the accounts whose actors are on this node.
type officialMetrics struct {
	alarm, blocked *prometheus.GaugeVec   // by account and reason: 1 while it lasts
	generation     *prometheus.GaugeVec   // by account
	fetches        *prometheus.CounterVec // by account, outcome
}

func newOfficialMetrics(reg prometheus.Registerer) *officialMetrics {
	f := promauto.With(reg)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	return &officialMetrics{
		alarm: gauge("hongyan_account_alarm", "1 while the account gets no token until somebody acts: an alarm.", "account", "reason"),
		blocked: gauge("hongyan_account_blocked", "1 while WeChat takes no messages of the account: daily_quota, minute_rate, no_right.",
			"account", "reason"),
		generation: gauge("hongyan_account_token_generation", "Counts the account's tokens.", "account"),
		fetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_account_token_fetches_total", Help: "Calls for a token, by outcome: ok or the error's class.",
		}, []string{"account", "outcome"}),
	}
}

func (m *officialMetrics) fetch(account string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = api.ClassOf(err).String()
	}
	m.fetches.WithLabelValues(account, outcome).Inc()
}

// report brings the gauges up to what the state machine has now.
func (m *officialMetrics) report(account string, s *accountState) {
	m.generation.WithLabelValues(account).Set(float64(s.Generation))
	for _, reason := range []string{AlarmAppSecret, AlarmAppID, AlarmIP, AlarmFrozen, AlarmTokenQuota, AlarmNoRight, AlarmConfig} {
		on := 0.0
		if s.Alarm.Reason == reason {
			on = 1
		}
		m.alarm.WithLabelValues(account, reason).Set(on)
	}
	for _, kind := range []messages.AccountBlock_Kind{messages.AccountBlock_KIND_DAILY_QUOTA, messages.AccountBlock_KIND_MINUTE_RATE,
		messages.AccountBlock_KIND_NO_RIGHT} {
		on := 0.0
		for _, b := range s.Blocks {
			if b.Kind == kind {
				on = 1
			}
		}
		m.blocked.WithLabelValues(account, blockWord(kind)).Set(on)
	}
}

// forget takes the account out of the gauges: its actor is not on this node any more.
func (m *officialMetrics) forget(account string) {
	of := prometheus.Labels{"account": account}
	m.alarm.DeletePartialMatch(of)
	m.blocked.DeletePartialMatch(of)
	m.generation.DeletePartialMatch(of)
}
