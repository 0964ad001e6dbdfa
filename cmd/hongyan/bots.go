package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"hongyan/bots"
	"hongyan/bots/guard"
	"hongyan/bots/model"
	"hongyan/bots/remote"
	"hongyan/bots/rules"
	"hongyan/bots/upstream"
	"hongyan/config"
)

// assembly is what the configuration's bots are made of.
type assembly struct {
	rules     map[string]*rules.Bot
	upstreams map[string]*upstream.Upstream
	nats      *remote.NATS                  // nil: nothing listens on a subject
	running   []func(context.Context) error // what lives as long as the node
}

// rulesTimeout bounds a rules bot: the longest delay that a rule may have, and a little.
const rulesTimeout = rules.MaxDelay + time.Second

// openBots makes a link of every bot of the configuration, all faults at once.
func (e *engine) openBots() (map[string]bots.Link, error) {
	e.bots = assembly{rules: make(map[string]*rules.Bot), upstreams: make(map[string]*upstream.Upstream)}
	links := make(map[string]bots.Link)
	var errs []error
	for name, b := range e.cfg.Bots {
		link, err := e.openBot(name, b)
		if err != nil {
			errs = append(errs, fmt.Errorf("bot %s: %w", name, err))
		}
		links[name] = link
	}
	return links, errors.Join(errs...)
}

func (e *engine) openBot(name string, b config.Bot) (bots.Link, error) {
	if b.Type == config.BotRules {
		bot, err := rules.Open(rules.Options{Name: name, File: string(b.File), Logger: e.log, Registerer: e.reg})
		if err != nil {
			return bots.Link{}, err
		}
		e.bots.rules[name] = bot
		e.bots.running = append(e.bots.running, bot.Run)
		return bots.Link{Bot: bot, Timeout: rulesTimeout}, nil
	}
	up, err := e.openUpstream(name, b)
	if err != nil {
		return bots.Link{}, err
	}
	wire := upstream.NewTransport(b.MaxInFlight)
	e.closing = append(e.closing, func() error { wire.CloseIdleConnections(); return nil })
	var bot bots.Bot
	switch b.Type {
	case config.BotOpenAI:
		bot, err = e.openModel(name, b, up, wire)
	case config.BotHTTP, config.BotNATS:
		bot, err = e.openRemote(name, b, up, wire)
	default:
		err = fmt.Errorf("the type %s is not built in this version", b.Type)
	}
	return bots.Link{Bot: bot, Timeout: b.Timeout, Remote: true}, err
}

// openUpstream is what stands in front of a remote bot.
func (e *engine) openUpstream(name string, b config.Bot) (*upstream.Upstream, error) {
	opts := upstream.Options{
		Name: name, MaxInFlight: b.MaxInFlight, Rate: b.Rate.PerSecond(), Share: func() float64 { return e.workers.Share() },
		Breaker: upstream.Settings{Failures: b.Breaker.Failures, Window: b.Breaker.Window, Open: b.Breaker.Open, Probes: b.Breaker.Probes},
		Now:     time.Now, Logger: e.log, Registerer: e.reg,
	}
	if b.Breaker.Silence != nil {
		opts.Breaker.Silence = *b.Breaker.Silence
	}
	for _, at := range b.Endpoints {
		opts.Endpoints = append(opts.Endpoints, upstream.Endpoint{Name: hostOf(at.BaseURL + at.URL), Weight: at.Weight})
	}
	if b.Type == config.BotNATS {
		opts.Endpoints = []upstream.Endpoint{{Name: b.Subject, Weight: 1}}
	}
	up, err := upstream.New(opts)
	if err != nil {
		return nil, err
	}
	e.bots.upstreams[name] = up
	e.bots.running = append(e.bots.running, up.Run)
	return up, nil
}

// hostOf names an endpoint in labels and logs: a URL may hold a password.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "endpoint"
	}
	return u.Host
}

// openModel makes a bot that asks a language model.
func (e *engine) openModel(name string, b config.Bot, up *upstream.Upstream, wire *http.Transport) (bots.Bot, error) {
	images := map[config.Images]model.ImageMode{config.ImagesURL: model.ImagesURL, config.ImagesBytes: model.ImagesBytes}
	opts := model.Options{
		Name: name, Upstream: up, System: b.System, Temperature: b.Temperature, MaxTokens: b.MaxTokens, ContextTokens: b.ContextTokens,
		Images: images[b.Images], NewWords: b.NewWords, NewReply: b.NewReply, Exhausted: b.Exhausted, HTTP: &http.Client{Transport: wire},
		Logger: e.log, Registerer: e.reg, Now: time.Now,
	}
	for i, at := range b.Endpoints {
		key, err := e.openKey(at.APIKey, at.APIKeyFile)
		if err != nil {
			return nil, fmt.Errorf("endpoint %d: %w", i+1, err)
		}
		opts.Endpoints = append(opts.Endpoints, model.Endpoint{BaseURL: at.BaseURL, Key: key, Model: at.Model})
	}
	for _, t := range b.Tools {
		tool, err := e.openTool(t, wire)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		opts.Tools = append(opts.Tools, tool)
	}
	return model.New(opts)
}

// openTool makes something that a model may call.
func (e *engine) openTool(t config.Tool, wire *http.Transport) (model.Tool, error) {
	var transport remote.Transport
	var err error
	if t.Subject != "" {
		transport, err = e.openSubject(t.Subject)
	} else {
		transport, err = e.openHook(t.URL, t.Secret, t.SecretFile, wire, true)
	}
	if err != nil {
		return model.Tool{}, err
	}
	tool := remote.NewTool(transport)
	return model.Tool{
		Name: t.Name, Description: t.Description, Parameters: t.Parameters, Timeout: t.Timeout,
		Call: func(ctx context.Context, c model.ToolCall) (string, error) {
			return tool(ctx, remote.ToolCall{ID: c.ID, Tool: c.Tool, Arguments: c.Arguments, Account: c.Account, User: c.User})
		},
	}, nil
}

// openRemote makes a bot that runs elsewhere.
func (e *engine) openRemote(name string, b config.Bot, up *upstream.Upstream, wire *http.Transport) (bots.Bot, error) {
	media := map[config.MediaMode]remote.Media{config.MediaBytes: remote.MediaBytes}
	opts := remote.Options{Name: name, Upstream: up, Media: media[b.Media], Logger: e.log, Registerer: e.reg}
	if b.Type == config.BotNATS {
		transport, err := e.openSubject(b.Subject)
		if err != nil {
			return nil, err
		}
		opts.Transports = append(opts.Transports, transport)
	}
	for i, at := range b.Endpoints {
		transport, err := e.openHook(at.URL, b.Secret, b.SecretFile, wire, len(b.Endpoints) == 1)
		if err != nil {
			return nil, fmt.Errorf("endpoint %d: %w", i+1, err)
		}
		opts.Transports = append(opts.Transports, transport)
	}
	return remote.New(opts)
}

// openHook is the way to a web hook. alone: there is no other one to go to.
func (e *engine) openHook(address string, secret config.Secret, file config.Path, wire *http.Transport, alone bool) (remote.Transport, error) {
	key, err := e.openKey(secret, file)
	if err != nil {
		return nil, err
	}
	return remote.NewHTTP(remote.HTTPOptions{URL: address, Secret: key, Client: wire, Alone: alone})
}

// openSubject is the way to those that listen on a NATS subject. All of a node's share one connection.
func (e *engine) openSubject(subject string) (remote.Transport, error) {
	if e.bots.nats == nil {
		conn, err := e.server.Connect("hongyan bots")
		if err != nil {
			return nil, err
		}
		e.closing = append(e.closing, func() error { conn.Close(); return nil })
		if e.bots.nats, err = remote.NewNATS(conn); err != nil {
			return nil, err
		}
		e.closing = append(e.closing, e.bots.nats.Close)
	}
	return e.bots.nats.Subject(subject)
}

// openKey is a key that may be rotated while the node runs; nil where none is configured.
func (e *engine) openKey(value config.Secret, file config.Path) (*upstream.Key, error) {
	if value == "" && file == "" {
		return nil, nil //nolint:nilnil // no key is a choice: some endpoints want none
	}
	key, err := upstream.OpenKey(value.Reveal(), string(file))
	if err != nil {
		return nil, err
	}
	key.LogTo(e.log)
	return key, nil
}

// openFilter is what the account's answers go through; a nil interface where nothing is configured.
func (e *engine) openFilter(a config.Account) (bots.Filter, error) {
	if a.Safety.BlockFile == "" && a.Safety.MaxLength == 0 {
		return nil, nil //nolint:nilnil // an account without a filter
	}
	filter, err := guard.New(guard.Options{
		BlockFile: string(a.Safety.BlockFile), Replacement: a.Safety.Replacement, Refusal: a.Safety.Refusal, MaxLength: a.Safety.MaxLength,
		Logger: e.log, Registerer: e.reg,
	})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", a.ID, err)
	}
	e.bots.running = append(e.bots.running, filter.Run)
	return filter, nil
}

// media is where the account's bots get pictures and voices from; a nil interface where it cannot call WeChat's API.
func (e *engine) media(a config.Account) bots.MediaSource {
	if !mayCall(a) {
		return nil
	}
	return e.sender
}
