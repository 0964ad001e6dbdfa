package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

// upstreamKeys are the keys of every bot that asks a program outside the engine.
var upstreamKeys = []string{"timeout", "max_in_flight", "rate", "breaker"}

// botKeys are the keys that belong to each type, besides type itself.
var botKeys = map[BotType][]string{
	BotRules: {"file"},
	BotFAQ:   {},
	BotOpenAI: slices.Concat([]string{"endpoints", "base_url", "api_key", "api_key_file", "model", "system", "temperature", "max_tokens",
		"context_tokens", "images", "new_words", "new_reply", "exhausted", "tools"}, upstreamKeys),
	BotHTTP: slices.Concat([]string{"endpoints", "url", "secret", "secret_file", "media"}, upstreamKeys),
	BotNATS: slices.Concat([]string{"subject", "media"}, upstreamKeys),
}

func (v *validator) botNames() []string { return slices.Sorted(maps.Keys(v.cfg.Bots)) }

func (v *validator) bots() {
	used := make(map[string]bool)
	for _, a := range v.cfg.Accounts {
		for _, name := range a.Bot {
			used[name] = true
		}
	}
	for _, name := range v.botNames() {
		at, b := "bots."+name, v.cfg.Bots[name]
		if !accountID.MatchString(name) {
			v.fault(at, fmt.Sprintf("%q is not a name for a bot", name), accountIDForm)
		}
		if b.Type == "" {
			v.fault(at+".type", "the bot has no type", "write type: rules")
			continue
		}
		v.foreignKeys(at, b)
		v.bot(at, name, b)
		if !used[name] {
			v.warn(at, "no account uses this bot", fmt.Sprintf("add it to an account: bot: [%s]", name))
		}
	}
}

// foreignKeys reports keys that belong to other types.
func (v *validator) foreignKeys(at string, b Bot) {
	t := reflect.TypeFor[Bot]()
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		path := at + "." + key
		if key == "type" || !v.origin.has(path) || slices.Contains(botKeys[b.Type], key) {
			continue
		}
		fix := "remove it; the type has no keys of its own"
		if own := botKeys[b.Type]; len(own) > 0 {
			fix = "remove it; the type has " + strings.Join(own, ", ")
		}
		v.fault(path, fmt.Sprintf("%s does not belong to a bot of type %s", key, b.Type), fix)
	}
}

func (v *validator) bot(at, name string, b Bot) {
	switch b.Type {
	case BotRules:
		v.rulesFile(at+".file", b.File)
	case BotFAQ:
	case BotOpenAI:
	case BotHTTP:
	case BotNATS:
		if strings.ContainsAny(b.Subject, " *>\t\r\n") || strings.HasPrefix(b.Subject, ".") || strings.HasSuffix(b.Subject, ".") {
			v.fault(at+".subject", fmt.Sprintf("%q is not a subject to send to", b.Subject), "write hy.bot."+name)
		}
	}
	if slices.Contains(botKeys[b.Type], "timeout") {
		v.duration(at+".timeout", b.Timeout, 10*time.Minute)
	}
}

func (v *validator) rulesFile(path string, file Path) {
	if file == "" {
		v.fault(path, "the bot has no rules file", "write file: rules.yaml")
		return
	}
	info, err := os.Stat(string(file))
	switch {
	case err != nil:
		v.fault(path, fmt.Sprintf("cannot read the rules file %s: %s", file, reason(err)), "check the path; it is relative to this file's folder")
	case info.IsDir():
		v.fault(path, fmt.Sprintf("%s is a folder", file), "name the rules file in it")
	}
}
