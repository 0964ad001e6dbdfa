package bots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
)

// FallbackLink is the name under which the account's fallback text answers; no link may have it.
const FallbackLink = "fallback"

// Link is one bot in a chain.
type Link struct {
	Bot Bot
	// Timeout bounds one answer of this link; 0 leaves it to the turn's own context.
	Timeout time.Duration
}

// Options describe one account's chain.
type Options struct {
	Account    string                // our account id, a label of the counters
	Links      []Link                // asked in this order; may be empty
	Fallback   string                // what a message gets that no link handled; empty means silence
	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: nothing is counted for others to see; chains may share one
}

// Chain asks one account's links in order until one has handled the turn. It is a Bot itself.
//
// Each link has session values of its own: a link sees and sets them under plain keys, while the chain keeps them as
// "<link>.<key>", so that no link reads or overwrites another's. Only the link that answered changes the session.
type Chain struct {
	account  string
	links    []Link
	fallback *messages.Answer // nil: silence
	log      *slog.Logger
	metrics  *metrics
}

// New checks the links' names and builds the chain. Names must be unique, and free of the dot that ends the session's prefix.
func New(opts Options) (*Chain, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	seen := map[string]bool{FallbackLink: true}
	for _, l := range opts.Links {
		name := l.Bot.Name()
		switch {
		case name == "" || strings.Contains(name, "."):
			return nil, fmt.Errorf("account %s: %q cannot name a bot: a name is not empty and has no dot", opts.Account, name)
		case seen[name]:
			return nil, fmt.Errorf("account %s: the bot name %q is taken; name each bot once, and none %q",
				opts.Account, name, FallbackLink)
		}
		seen[name] = true
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", opts.Account, err)
	}
	c := &Chain{account: opts.Account, links: opts.Links, log: opts.Logger, metrics: m}
	if strings.TrimSpace(opts.Fallback) != "" {
		c.fallback = Text(opts.Fallback)
	}
	return c, nil
}

// Text is an answer of one text.
func Text(content string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: content}}}
}

// Name implements Bot.
func (c *Chain) Name() string { return "chain" }

// Answer asks the links in order. The response is always handled: by the first link that handled the turn, else by the
// fallback text (messages that a user wrote), else by silence (events). A link that fails, panics or is late is logged,
// counted and passed over.
//
// The only error is that of ctx, when it ended before anybody had answered: the turn itself is over then, and nothing may be
// said in its name.
func (c *Chain) Answer(ctx context.Context, req *Request) (Response, error) {
	for _, l := range c.links {
		if err := ctx.Err(); err != nil {
			return Response{}, fmt.Errorf("bots of account %s: %w", c.account, err)
		}
		name := l.Bot.Name()
		resp, err := c.ask(ctx, l, req)
		if err != nil && ctx.Err() != nil {
			return Response{}, fmt.Errorf("bot %s of account %s: %w", name, c.account, ctx.Err())
		}
		if err != nil {
			user := messages.User{Account: c.account, OpenID: req.Message.GetOpenId()}
			c.log.WarnContext(ctx, "bot failed, asking the next one", "account", c.account, "bot", name,
				"user", user.Hash(), "key", messages.KeyOf(req.Message).String(), "error", err)
			continue
		}
		if resp.Handled {
			return resp, nil
		}
	}
	return c.nobody(req), nil
}

// nobody is the response to a turn that no link handled.
func (c *Chain) nobody(req *Request) Response {
	resp := Response{Handled: true, Link: FallbackLink}
	if kind := req.Message.GetKind(); kind != messages.Kind_KIND_UNKNOWN && !kind.IsEvent() {
		if c.fallback != nil {
			resp.Answers = []*messages.Answer{c.fallback}
		}
	}
	c.metrics.count(c.account, FallbackLink, resultOf(resp, nil))
	return resp
}

// ask gives one link its turn: with its own time, its own session values, and its panics and senseless answers made errors.
func (c *Chain) ask(ctx context.Context, l Link, req *Request) (resp Response, err error) {
	name := l.Bot.Name()
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Timeout)
		defer cancel()
	}
	start := time.Now()
	defer func() {
		c.metrics.count(c.account, name, resultOf(resp, err))
		c.metrics.seconds.WithLabelValues(name).Observe(time.Since(start).Seconds())
	}()

	own := *req
	own.Session = sessionOf(req.Session, name)
	resp, err = safely(ctx, l.Bot, &own)
	if err != nil {
		return Response{}, err
	}
	if err := check(resp); err != nil {
		return Response{}, err
	}
	resp.Link = name
	resp.Session = prefixed(resp.Session, name)
	return resp, nil
}

// errPanic marks a link's panic.
var errPanic = errors.New("the bot panicked")

// safely asks the bot and turns its panic into an error. A panic's value may quote what the user wrote, so only a runtime
// error is shown in full; the stack says where it was in any case.
func safely(ctx context.Context, bot Bot, req *Request) (resp Response, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("%w: %w\n%s", errPanic, r, debug.Stack())
		default:
			err = fmt.Errorf("%w with a %T\n%s", errPanic, r, debug.Stack())
		}
	}()
	return bot.Answer(ctx, req)
}

// check refuses an answer that WeChat would show as its fault banner (wechat-protocol §3: an empty Content).
func check(resp Response) error {
	if !resp.Handled {
		return nil
	}
	for _, answer := range resp.Answers {
		switch content := answer.GetContent().(type) {
		case nil:
			return errors.New("the answer has no content; silence is a handled response without an answer")
		case *messages.Answer_Text:
			if strings.TrimSpace(content.Text.GetContent()) == "" {
				return errors.New("the answer's text is blank; silence is a handled response without an answer")
			}
		}
	}
	return nil
}

// sessionOf is the part of the session that belongs to the link, under the link's own plain keys.
func sessionOf(session map[string]string, link string) map[string]string {
	own := make(map[string]string)
	for key, value := range session {
		if plain, ok := strings.CutPrefix(key, link+"."); ok {
			own[plain] = value
		}
	}
	return own
}

// prefixed is the link's patch under the keys that the session has.
func prefixed(patch map[string]string, link string) map[string]string {
	if len(patch) == 0 {
		return nil
	}
	kept := make(map[string]string, len(patch))
	for key, value := range patch {
		kept[link+"."+key] = value
	}
	return kept
}
