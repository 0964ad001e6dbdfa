package config

import "time"

// limits checks what bounds the messages that come in.
func (v *validator) limits() {
	l := v.cfg.Limits
	switch {
	case l.UserRate != Rate{}:
		v.count("limits.user_burst", l.UserBurst, 1, maxUserBurst)
	case l.UserBurst != 0 && l.UserBurst != defaultUserBurst:
		v.warn("limits.user_burst", "without limits.user_rate nothing holds a user back, and this key says nothing", "remove it, or set limits.user_rate")
	}
	if (l.IPRate != Rate{}) && len(v.cfg.Listen.TrustedProxies) == 0 {
		v.warn("limits.ip_rate", "without listen.trusted_proxies all requests through a proxy in front come from one address, the proxy's",
			"name the proxy's network there, or leave it if WeChat reaches this listener directly")
	}
}

// maxUserBurst bounds limits.user_burst.
const maxUserBurst = 1000

// bounds checks what keeps an account's users from spending without end.
func (v *validator) bounds(at string, a Account) {
	v.count(at+".breaker.failures", a.Breaker.Failures, 0, 100)
	v.between(at+".breaker.open", a.Breaker.Open, time.Second, time.Hour)
	for _, budget := range []struct {
		key    string
		tokens int64
	}{{".budget.user_tokens", a.Budget.UserTokens}, {".budget.account_tokens", a.Budget.AccountTokens}} {
		if budget.tokens < 0 {
			v.fault(at+budget.key, "the budget is negative", "write a number of tokens, or 0 for no bound")
		}
	}
	if a.Budget.AccountTokens > 0 && a.Budget.UserTokens > a.Budget.AccountTokens {
		v.warn(at+".budget.user_tokens", "one user may spend more than the whole account", "write less than account_tokens")
	}
	v.safety(at+".safety", a.Safety)
}

func (v *validator) safety(at string, s Safety) {
	if s.BlockFile != "" {
		v.file(at+".block_file", s.BlockFile, "the list of words")
	} else if s.Refusal != "" {
		v.warn(at+".refusal", "without safety.block_file no answer is refused, and this key says nothing", "remove it, or set block_file")
	}
	v.text(at+".replacement", s.Replacement)
	v.text(at+".refusal", s.Refusal)
	if s.MaxLength < 0 {
		v.fault(at+".max_length", "the length is negative", "write a number of characters, or 0 for no bound")
	}
}
