package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"time"

	"hongyan/actors"
	"hongyan/bots"
	"hongyan/config"
	"hongyan/conversation"
	"hongyan/ingress"
)

// ingressAccounts is the part of the configuration that the callback endpoint needs.
func ingressAccounts(cfg *config.Config) []ingress.Account {
	modes := map[config.Mode]ingress.Mode{
		config.ModePlain: ingress.ModePlain, config.ModeCompat: ingress.ModeCompat, config.ModeSafe: ingress.ModeSafe,
	}
	addresses := map[config.CallbackIPs]ingress.AddressPolicy{
		config.CallbackIPsOff: ingress.AddressOff, config.CallbackIPsReport: ingress.AddressReport, config.CallbackIPsEnforce: ingress.AddressEnforce,
	}
	var out []ingress.Account
	for _, a := range cfg.Accounts {
		out = append(out, ingress.Account{
			ID: a.ID, AppID: a.AppID, Mode: modes[a.Mode], Token: a.Token.Reveal(), PreviousToken: a.PreviousToken.Reveal(),
			AESKey: a.EncodingAESKey.Reveal(), PreviousAESKey: a.PreviousAESKey.Reveal(), MaxClockSkew: a.MaxClockSkew,
			Deadline: a.Reply.Deadline, Deliveries: a.Reply.Deliveries, Thinking: a.Reply.Thinking, NotReceived: a.Reply.NotReceived,
			CallbackIPs: addresses[a.CallbackIPs],
		})
	}
	return out
}

// actorAccounts is what the actors need of every account: its chain of bots first of all.
func (e *engine) actorAccounts() (map[string]actors.Account, error) {
	links, err := e.openBots()
	if err != nil {
		return nil, err
	}
	out := make(map[string]actors.Account, len(e.cfg.Accounts))
	for _, a := range e.cfg.Accounts {
		filter, err := e.openFilter(a)
		if err != nil {
			return nil, err
		}
		chain := bots.Options{
			Account: a.ID, Fallback: a.Reply.Fallback, Apology: a.Reply.Unavailable, Filter: filter, Media: e.media(a),
			Logger: e.log, Registerer: e.reg,
		}
		for _, name := range a.Bot {
			chain.Links = append(chain.Links, links[name])
		}
		bot, err := bots.New(chain)
		if err != nil {
			return nil, err
		}
		unknown := actors.UnknownNever
		if a.Reply.Unknown == config.UnknownOnce {
			unknown = actors.UnknownOnce
		}
		out[a.ID] = actors.Account{
			ID: a.ID, Bot: bot, Limits: userLimits(a, e.cfg.Limits), Deliveries: a.Reply.Deliveries, Unknown: unknown, Flooded: a.Reply.Flooded,
			PushAfter: a.Reply.Deadline - pushEarly, Typing: a.Reply.Typing,
			Limited: a.Reply.Limited, Busy: a.Reply.Busy, Rate: e.cfg.Limits.AccountRate.PerSecond(),
		}
	}
	return out, nil
}

// userLimits bound each of an account's users.
func userLimits(a config.Account, in config.Limits) conversation.Limits {
	limits := conversation.DefaultLimits()
	limits.MaxTurns, limits.MaxBytes, limits.Idle = a.Conversation.MaxTurns, int(a.Conversation.MaxBytes), a.Conversation.Idle
	limits.KeptFor, limits.More, limits.Push = a.Reply.KeepFor, a.Reply.More, a.CustomerService
	limits.KeyRetention = conversation.RetentionFor(a.MaxClockSkew)
	limits.BreakAfter, limits.RestFor = a.Breaker.Failures, a.Breaker.Open
	limits.UserTokens, limits.HandOver = a.Budget.UserTokens, a.Reply.HandOver
	if rate := in.UserRate.PerSecond(); rate > 0 {
		limits.UserEvery, limits.UserBurst = time.Duration(float64(time.Second)/rate), in.UserBurst
	}
	return limits
}

var notNodeName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// nodeName is node.id, or the host's name in the same alphabet.
func nodeName(cfg *config.Config) string {
	if cfg.Node.ID != "" {
		return cfg.Node.ID
	}
	host, err := os.Hostname()
	host = strings.Trim(notNodeName.ReplaceAllString(host, "-"), "-")
	if err != nil || host == "" {
		return "node"
	}
	return host
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return binary.LittleEndian.Uint64(b[:])
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return hex.EncodeToString(b[:])
}
