package main

import (
	"maps"
	"slices"

	"hongyan/config"
	"hongyan/console"
)

// bots tells what this node's bots are at, by name; nothing before they are built.
func (d desk) bots() []console.BotStatus {
	if !d.built.Load() {
		return nil
	}
	var out []console.BotStatus
	for _, name := range slices.Sorted(maps.Keys(d.cfg.Bots)) {
		status := console.BotStatus{Name: name, Type: string(d.cfg.Bots[name].Type), Accounts: accountsWith(d.cfg, name)}
		if up := d.engine.bots.upstreams[name]; up != nil {
			s := up.Status()
			status.Upstream = &s
		}
		if bot := d.engine.bots.rules[name]; bot != nil {
			status.Rules = &console.RulesStatus{File: bot.File(), Rules: bot.Rules().Len(), Fault: bot.Fault()}
		}
		out = append(out, status)
	}
	return out
}

// accountsWith are the accounts whose chain has the bot.
func accountsWith(cfg *config.Config, bot string) []string {
	var ids []string
	for _, a := range cfg.Accounts {
		if slices.Contains(a.Bot, bot) {
			ids = append(ids, a.ID)
		}
	}
	return ids
}
