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
		if cfg.Bots[name].Type == BotFAQ {
			add("bots."+name+".type", "the bot type faq", "use type rules")
		}
	}
	if len(cfg.APIKeys) > 0 {
		add("api_keys", "the push API", "remove the key")
	}
	return faults
}
