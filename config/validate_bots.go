package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
)

// upstreamKeys are the keys of every bot that asks a program outside the engine.
var upstreamKeys = []string{"timeout", "max_in_flight", "rate", "breaker"}

// leastQuestion is how many tokens the context must have beside the answer, for the question and the system prompt.
const leastQuestion = 128

// botKeys are the keys that belong to each type, besides type itself.
var botKeys = map[BotType][]string{
	BotRules: {"file"},
	BotFAQ:   {},
	BotOpenAI: slices.Concat([]string{"endpoints", "base_url", "api_key", "api_key_file", "model", "system", "temperature", "max_tokens",
		"context_tokens", "images", "new_words", "new_reply", "exhausted", "tools"}, upstreamKeys),
	BotHTTP: slices.Concat([]string{"endpoints", "url", "secret", "secret_file", "media"}, upstreamKeys),
	BotNATS: slices.Concat([]string{"subject", "media"}, upstreamKeys),
}

// fallbackLink is the name of the chain's own last link, in counters and traces.
const fallbackLink = "fallback"

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
		if name == fallbackLink {
			v.fault(at, fmt.Sprintf("%q is the name under which reply.fallback answers", name), "use another")
		}
		if b.Type == "" {
			v.fault(at+".type", "the bot has no type", "write type: rules")
			continue
		}
		v.foreignKeys(at, reflect.TypeFor[Bot](), botKeys[b.Type], "a bot of type "+string(b.Type))
		v.bot(at, name, b)
		if !used[name] {
			v.warn(at, "no account uses this bot", fmt.Sprintf("add it to an account: bot: [%s]", name))
		}
	}
}

// foreignKeys reports keys of the structure t at path that belong to others than what: own are its keys, besides type.
func (v *validator) foreignKeys(at string, t reflect.Type, own []string, what string) {
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		path := at + "." + key
		if key == "type" || slices.Contains(own, key) || !v.origin.has(path) {
			continue
		}
		fix := "remove it; the type has no keys of its own"
		if len(own) > 0 {
			fix = "remove it; the type has " + strings.Join(own, ", ")
		}
		v.fault(path, fmt.Sprintf("%s does not belong to %s", key, what), fix)
	}
}

func (v *validator) bot(at, name string, b Bot) {
	switch b.Type {
	case BotRules:
		v.rulesFile(at+".file", b.File)
	case BotFAQ:
	case BotOpenAI:
		v.model(at, b)
		v.endpoints(at, b)
		v.tools(at, b)
		v.fetching(at+".images", name, b.Images == ImagesBytes)
	case BotHTTP:
		v.endpoints(at, b)
		v.keyFile(at+".secret_file", b.SecretFile)
		v.fetching(at+".media", name, b.Media == MediaBytes)
	case BotNATS:
		v.subject(at+".subject", b.Subject, "hy.bot."+name)
		v.fetching(at+".media", name, b.Media == MediaBytes)
	}
	if b.Type.Remote() {
		v.upstream(at, b)
	}
}

// model checks what belongs to type openai alone.
func (v *validator) model(at string, b Bot) {
	if t := b.Temperature; t != nil && (*t < 0 || *t > 2) {
		v.fault(at+".temperature", fmt.Sprintf("%v is out of range", *t), "write a number from 0 to 2, or remove the key for the endpoint's own")
	}
	v.count(at+".max_tokens", b.MaxTokens, 1, 32768)
	if b.MaxTokens > 0 && b.ContextTokens >= 256 && b.ContextTokens-b.MaxTokens < leastQuestion {
		v.fault(at+".context_tokens", fmt.Sprintf("%d tokens leave no room for a question beside max_tokens %d", b.ContextTokens, b.MaxTokens),
			fmt.Sprintf("raise it to %d or more, or lower max_tokens", b.MaxTokens+leastQuestion))
	}
	v.count(at+".context_tokens", b.ContextTokens, 256, 1<<20)
	for i, word := range b.NewWords {
		if strings.TrimSpace(word) == "" {
			v.fault(element(at+".new_words", i), "the word is empty", "write a word, or an empty list for none")
		}
	}
	v.neededText(at+".new_reply", b.NewReply)
	v.neededText(at+".exhausted", b.Exhausted)
}

// fetching warns where a bot wants the bytes of what users send, and one of its accounts cannot fetch them from WeChat.
func (v *validator) fetching(path, name string, wanted bool) {
	var without []string
	for _, a := range v.cfg.Accounts {
		if slices.Contains(a.Bot, name) && a.AppSecret == "" {
			without = append(without, a.ID)
		}
	}
	if wanted && len(without) > 0 {
		v.warn(path, "what users send cannot be fetched from WeChat without the app_secret of account "+strings.Join(without, ", ")+
			": this bot gets nothing of it there", "set app_secret, or write off")
	}
}

// subject checks a NATS subject that something is sent to.
func (v *validator) subject(path, subject, example string) {
	if subject == "" || strings.ContainsAny(subject, " *>\t\r\n") || strings.Contains("."+subject+".", "..") {
		v.fault(path, fmt.Sprintf("%q is not a subject to send to", subject), "write "+example)
	}
}

func (v *validator) rulesFile(path string, file Path) {
	if file == "" {
		v.fault(path, "the bot has no rules file", "write file: rules.yaml")
		return
	}
	v.file(path, file, "the rules file")
}

// file checks that a file which is read again while the engine runs is there now.
func (v *validator) file(path string, file Path, what string) {
	info, err := os.Stat(string(file))
	switch {
	case err != nil:
		v.fault(path, fmt.Sprintf("cannot read %s %s: %s", what, file, reason(err)), "check the path; it is relative to this file's folder")
	case info.IsDir():
		v.fault(path, fmt.Sprintf("%s is a folder", file), "name "+what+" in it")
	}
}
