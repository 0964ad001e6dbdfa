package config

import "time"

// Defaults of bots that ask a program outside the engine.
const (
	defaultBotTimeout  = 60 * time.Second
	defaultMaxInFlight = 512

	defaultMaxTokens     = 1024
	defaultContextTokens = 8192

	defaultBreakerFailures = 5
	defaultBreakerWindow   = 10 * time.Second
	defaultBreakerOpen     = 10 * time.Second
	defaultBreakerProbes   = 1
	defaultBreakerSilence  = 4 * time.Second

	defaultToolTimeout = 10 * time.Second

	defaultNewReply  = "好的，我们重新开始。"
	defaultExhausted = "今天的对话额度已经用完，明天再来吧。"
)

func defaultNewWords() []string { return []string{"/new", "新对话"} }

// DefaultEndpoint is an endpoint of the file before its own keys are read.
func DefaultEndpoint() Endpoint { return Endpoint{Weight: 1} }

// Remote tells whether the bot asks a program outside the engine, so that it has a time limit, places and a breaker.
func (t BotType) Remote() bool { return t == BotOpenAI || t == BotHTTP || t == BotNATS }

// complete fills the defaults of b, which is called name and stands at path. A key that was given as 0 stays 0, for the
// validation to judge.
func (b *Bot) complete(o *origin, path, name string) {
	if !b.Type.Remote() {
		return
	}
	orElse(o, path+".timeout", &b.Timeout, defaultBotTimeout)
	orElse(o, path+".max_in_flight", &b.MaxInFlight, defaultMaxInFlight)
	b.Breaker.complete(o, path+".breaker")
	switch b.Type {
	case BotOpenAI:
		orElse(o, path+".max_tokens", &b.MaxTokens, defaultMaxTokens)
		orElse(o, path+".context_tokens", &b.ContextTokens, defaultContextTokens)
		orElse(o, path+".images", &b.Images, ImagesOff)
		orElse(o, path+".new_reply", &b.NewReply, defaultNewReply)
		orElse(o, path+".exhausted", &b.Exhausted, defaultExhausted)
		if b.NewWords == nil {
			b.NewWords = defaultNewWords()
		}
		if len(b.Endpoints) == 0 {
			b.Endpoints = []Endpoint{{BaseURL: b.BaseURL, APIKey: b.APIKey, APIKeyFile: b.APIKeyFile, Weight: 1}}
			b.BaseURL, b.APIKey, b.APIKeyFile = "", "", ""
		}
		for i := range b.Endpoints {
			if e := &b.Endpoints[i]; e.Model == "" {
				e.Model = b.Model
			}
		}
	case BotHTTP:
		orElse(o, path+".media", &b.Media, MediaOff)
		if len(b.Endpoints) == 0 {
			b.Endpoints = []Endpoint{{URL: b.URL, Weight: 1}}
			b.URL = ""
		}
	case BotNATS:
		orElse(o, path+".media", &b.Media, MediaOff)
		if b.Subject == "" {
			b.Subject = "hy.bot." + name
		}
	case BotRules, BotFAQ:
	}
	for i := range b.Tools {
		b.Tools[i].complete(o, element(path+".tools", i))
	}
}

func (b *Breaker) complete(o *origin, path string) {
	orElse(o, path+".failures", &b.Failures, defaultBreakerFailures)
	orElse(o, path+".window", &b.Window, defaultBreakerWindow)
	orElse(o, path+".open", &b.Open, defaultBreakerOpen)
	orElse(o, path+".probes", &b.Probes, defaultBreakerProbes)
	if b.Silence == nil {
		silence := defaultBreakerSilence
		b.Silence = &silence
	}
}

func (t *Tool) complete(o *origin, path string) {
	orElse(o, path+".timeout", &t.Timeout, defaultToolTimeout)
	if len(t.Parameters) == 0 {
		t.Parameters = Schema{"type": "object", "properties": map[string]any{}}
	}
}

// orElse sets value, which stands at path, to otherwise where nobody gave one.
func orElse[T comparable](o *origin, path string, value *T, otherwise T) {
	var zero T
	if *value == zero && !o.gives(path) {
		*value = otherwise
	}
}
