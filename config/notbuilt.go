package config

// NotBuilt names everything that the configuration chooses and this version does not have. Starting refuses it: a choice that
// silently does nothing would be a lie. cfg comes from Load or Parse.
func NotBuilt(cfg *Config) []Fault {
	var faults []Fault
	add := func(path, what, fix string) {
		faults = append(faults, cfg.origin.fault(path, what+" is not built in this version", fix))
	}
	if cfg.Listen.API != "" {
		add("listen.api", "the push API", "remove the key")
	}
	for _, name := range (&validator{cfg: cfg}).botNames() {
		if t := cfg.Bots[name].Type; t != BotRules && t != "" {
			add("bots."+name+".type", "the bot type "+string(t), "use type rules")
		}
	}
	for _, l := range []struct {
		key string
		set bool
	}{
		{"user_rate", cfg.Limits.UserRate != Rate{}},
		{"user_burst", cfg.Limits.UserBurst != 0},
		{"account_rate", cfg.Limits.AccountRate != Rate{}},
		{"ip_rate", cfg.Limits.IPRate != Rate{}},
	} {
		if l.set {
			add("limits."+l.key, "this limit", "write 0 or remove the key")
		}
	}
	if len(cfg.APIKeys) > 0 {
		add("api_keys", "the push API", "remove the key")
	}
	return faults
}
