package config

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// endpointKeys are the keys of an endpoint that belong to each type of bot.
var endpointKeys = map[BotType][]string{
	BotOpenAI: {"base_url", "api_key", "api_key_file", "model", "weight"},
	BotHTTP:   {"url", "weight"},
}

// maxTools is how many tools an OpenAI-compatible endpoint takes with one question.
const maxTools = 128

var toolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// upstream checks what keeps an upstream from taking more than its part.
func (v *validator) upstream(at string, b Bot) {
	v.duration(at+".timeout", b.Timeout, 10*time.Minute)
	v.count(at+".max_in_flight", b.MaxInFlight, 1, 65536)
	v.count(at+".breaker.failures", b.Breaker.Failures, 1, 1000)
	v.between(at+".breaker.window", b.Breaker.Window, time.Second, 10*time.Minute)
	v.between(at+".breaker.open", b.Breaker.Open, 100*time.Millisecond, time.Hour)
	v.count(at+".breaker.probes", b.Breaker.Probes, 1, 100)
	if s := b.Breaker.Silence; s != nil {
		v.between(at+".breaker.silence", *s, 0, 10*time.Minute)
	}
}

func (v *validator) endpoints(at string, b Bot) {
	if v.failed[at+".endpoints"] {
		return
	}
	if !v.origin.gives(element(at+".endpoints", 0)) { // Complete made one of the bot's own keys
		for _, e := range b.Endpoints {
			v.endpoint(at, b.Type, e)
		}
		return
	}
	for _, own := range []struct {
		key string
		set bool
	}{
		{"base_url", b.BaseURL != ""}, {"url", b.URL != ""}, {"api_key", b.APIKey != ""}, {"api_key_file", b.APIKeyFile != ""},
	} {
		if own.set && slices.Contains(endpointKeys[b.Type], own.key) {
			v.fault(at+"."+own.key, own.key+" stands beside endpoints, and nobody would know which of them it is for", "move it into an endpoint")
		}
	}
	for i, e := range b.Endpoints {
		path := element(at+".endpoints", i)
		v.foreignKeys(path, reflect.TypeFor[Endpoint](), endpointKeys[b.Type], "an endpoint of type "+string(b.Type))
		v.endpoint(path, b.Type, e)
		v.count(path+".weight", e.Weight, 0, 1000)
	}
	if !slices.ContainsFunc(b.Endpoints, func(e Endpoint) bool { return e.Weight != 0 }) {
		v.fault(at+".endpoints", "all endpoints have the weight 0, so that none is asked first", "give at least one a weight from 1 to 1000")
	}
}

func (v *validator) endpoint(at string, t BotType, e Endpoint) {
	if t == BotHTTP {
		v.outside(at+".url", e.URL, "https://bot.example.com/answer")
		return
	}
	v.outside(at+".base_url", e.BaseURL, "https://api.openai.com/v1")
	if root, found := strings.CutSuffix(strings.TrimRight(e.BaseURL, "/"), "/chat/completions"); found && root != "" {
		v.fault(at+".base_url", "this is the address of one call, not the root of the API", "leave /chat/completions out")
	}
	if e.Model == "" {
		v.fault(at+".model", "there is no model", "write the model's name at that endpoint")
	}
	if strings.ContainsFunc(e.APIKey.Reveal(), notInHeader) {
		v.fault(at+".api_key", "the key has characters that an HTTP header cannot carry", "use ASCII without blanks")
	}
	v.keyFile(at+".api_key_file", e.APIKeyFile)
}

// outside checks the address of a program that gets keys and what users write.
func (v *validator) outside(path, address, example string) {
	if address == "" {
		v.fault(path, "there is no address", "write "+example)
		return
	}
	v.url(path, address, example, "https", "http")
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" && u.Host != "" && !IsLoopback(u.Hostname()) {
		v.warn(path, "keys, and what users write, would travel without encryption", "write https, unless the way there is your own")
	}
}

// keyFile checks that a file with a secret, which is read again when it changes, holds one now.
func (v *validator) keyFile(path string, file Path) {
	if file == "" {
		return
	}
	if _, err := readSecret("", string(file)); err != nil {
		v.problem(path, err)
	}
}

func (v *validator) tools(at string, b Bot) {
	if len(b.Tools) > maxTools {
		v.fault(at+".tools", fmt.Sprintf("%d tools are more than %d, which models refuse", len(b.Tools), maxTools), "remove some")
	}
	first := make(map[string]int)
	for i, t := range b.Tools {
		path := element(at+".tools", i)
		switch j, taken := first[t.Name]; {
		case !toolName.MatchString(t.Name):
			v.fault(path+".name", fmt.Sprintf("%q is not a name for a tool", t.Name), "use 1 to 64 letters, digits, _ and -")
		case taken:
			v.fault(path+".name", fmt.Sprintf("the name %q is also that of tools[%d]", t.Name, j), "use another")
		default:
			first[t.Name] = i
		}
		v.tool(path, t)
		if t.Timeout > b.Timeout && v.origin.gives(path+".timeout") {
			v.warn(path+".timeout", fmt.Sprintf("the turn itself ends after %s", brief(b.Timeout)), "write less, or a longer timeout of the bot")
		}
	}
}

func (v *validator) tool(at string, t Tool) {
	if strings.TrimSpace(t.Description) == "" {
		v.fault(at+".description", "the tool has no description, by which a model knows when to call it", "write a sentence that says what it does")
	}
	if kind := t.Parameters["type"]; kind != "object" {
		v.fault(at+".parameters", "the arguments of a tool are an object", "write {type: object, properties: {…}}")
	}
	switch {
	case (t.URL == "") == (t.Subject == ""):
		v.fault(at, "a tool has either a url or a subject", "write one of the two")
	case t.URL != "":
		v.outside(at+".url", t.URL, "https://tools.example.com/weather")
	default:
		v.subject(at+".subject", t.Subject, "hy.tool."+t.Name)
		for _, key := range []string{".secret", ".secret_file"} {
			if v.origin.gives(at + key) {
				v.fault(at+key, "a secret signs what goes to a url, and this tool has a subject", "remove it")
			}
		}
	}
	v.keyFile(at+".secret_file", t.SecretFile)
	v.between(at+".timeout", t.Timeout, 100*time.Millisecond, 5*time.Minute)
}
