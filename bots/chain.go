package bots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/conversation"
	"hongyan/messages"
)

// FallbackLink is the name under which the account's fallback text answers; no link may have it.
const FallbackLink = "fallback"

// Link is one bot in a chain.
type Link struct {
	Bot Bot
	// Timeout bounds one answer of this link; 0 leaves it to the turn's own context.
	Timeout time.Duration
	// Remote says that the link asks an upstream, which may be slow or down. It is passed over in a hurry and while the user's breaker
	// is open, and its errors count for that breaker; but for what it answers by itself, see AtHand.
	Remote bool
}

// Filter changes an answer before it leaves, or leaves it as it is; it must not change what it was given. guard.Filter implements it.
type Filter interface {
	Clean(account string, a *messages.Answer) *messages.Answer
}

// Options describe one account's chain.
type Options struct {
	Account    string                // our account id, a label of the counters
	Links      []Link                // asked in this order; may be empty
	Fallback   string                // what a message gets that no link handled; empty means silence
	Apology    string                // the same where a remote link could not be asked, or failed; empty: Fallback
	Filter     Filter                // what answers go through; nil: nothing is changed
	Media      MediaSource           // where links get media from; nil: nowhere
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
	apology  *messages.Answer // nil: the fallback
	filter   Filter
	media    MediaSource
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
	c := &Chain{account: opts.Account, links: opts.Links, filter: opts.Filter, media: opts.Media, log: opts.Logger, metrics: m}
	if strings.TrimSpace(opts.Fallback) != "" {
		c.fallback = Text(opts.Fallback)
	}
	if c.apology = c.fallback; strings.TrimSpace(opts.Apology) != "" {
		c.apology = Text(opts.Apology)
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
// counted and passed over; where a remote one was, the apology stands in for the fallback.
//
// The only error is that of ctx, when it ended before anybody had answered: the turn itself is over then, and nothing may be
// said in its name. Response.Tokens counts all the same.
func (c *Chain) Answer(ctx context.Context, req *Request) (Response, error) {
	t := turn{Chain: c, req: req}
	for _, l := range c.links {
		if err := ctx.Err(); err != nil {
			return Response{Tokens: t.tokens}, fmt.Errorf("bots of account %s: %w", c.account, err)
		}
		resp, err := t.ask(ctx, l)
		if err != nil && ctx.Err() != nil {
			return Response{Tokens: t.tokens}, fmt.Errorf("bot %s of account %s: %w", l.Bot.Name(), c.account, ctx.Err())
		}
		if err == nil && resp.Handled {
			return t.done(resp), nil
		}
	}
	return t.done(t.nobody()), nil
}

// turn is one walk along the chain.
type turn struct {
	*Chain
	req      *Request
	tried    []Tried
	tokens   int64
	upstream conversation.Upstream
	wanting  bool // a remote link was not asked, or failed
}

// done completes the chain's response.
func (t *turn) done(resp Response) Response {
	resp.Tried, resp.Tokens, resp.Upstream = t.tried, t.tokens, t.upstream
	if h := resp.HandOver; h != nil {
		transfer := &messages.TransferAnswer{KfAccount: h.Account}
		resp.Answers = []*messages.Answer{{Content: &messages.Answer_Transfer{Transfer: transfer}}}
	}
	if t.filter != nil {
		resp.Answers = slices.Clone(resp.Answers)
		for i, a := range resp.Answers {
			resp.Answers[i] = t.filter.Clean(t.account, a)
		}
	}
	return resp
}

// nobody is the response to a turn that no link handled.
func (t *turn) nobody() Response {
	resp := Response{Handled: true, Link: FallbackLink}
	answer := t.fallback
	if t.wanting {
		answer = t.apology
	}
	if kind := t.req.Message.GetKind(); answer != nil && kind != messages.Kind_KIND_UNKNOWN && !kind.IsEvent() {
		resp.Answers = []*messages.Answer{answer}
	}
	t.note(FallbackLink, resultOf(resp, nil), 0)
	return resp
}

// ask gives one link its turn: with its own time, its own session values, and its panics and senseless answers made errors.
func (t *turn) ask(ctx context.Context, l Link) (resp Response, err error) {
	name := l.Bot.Name()
	own := *t.req
	own.Session, own.Media = sessionOf(t.req.Session, name), t.media
	asks := l.Remote && !atHand(l.Bot, &own)
	if asks && (t.req.Hurry || t.req.Resting) {
		t.wanting = true
		t.note(name, resultSkipped, 0)
		return Response{}, nil
	}
	within := ctx
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, l.Timeout)
		defer cancel()
	}
	start := time.Now()
	resp, err = safely(within, l.Bot, &own)
	if err == nil {
		err = check(resp)
	}
	took := time.Since(start)
	t.metrics.seconds.WithLabelValues(name).Observe(took.Seconds())
	t.note(name, resultOf(resp, err), took)
	t.tokens += resp.Tokens
	if asks {
		t.fared(resp, err)
	}
	if err != nil {
		if ctx.Err() == nil {
			user := messages.User{Account: t.account, OpenID: t.req.Message.GetOpenId()}
			level := slog.LevelWarn
			if errors.Is(err, ErrUnavailable) { // the upstream itself says so once
				level = slog.LevelDebug
			}
			t.log.Log(ctx, level, "bot failed, asking the next one", "account", t.account, "bot", name,
				"user", user.Hash(), "key", messages.KeyOf(t.req.Message).String(), "error", err)
		}
		return Response{}, err
	}
	resp.Link = name
	resp.Session = prefixed(resp.Session, name)
	return resp, nil
}

// fared notes how a remote link did.
func (t *turn) fared(resp Response, err error) {
	switch {
	case errors.Is(err, ErrUnavailable):
		t.wanting = true
	case err != nil:
		t.wanting, t.upstream = true, conversation.UpstreamFailed
	case resp.Handled && t.upstream == conversation.UpstreamNotAsked:
		t.upstream = conversation.UpstreamOK
	}
}

// note counts what came of one link.
func (t *turn) note(link, result string, took time.Duration) {
	t.metrics.count(t.account, link, result)
	t.tried = append(t.tried, Tried{Link: link, Result: result, Took: took})
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

// atHand tells whether the bot answers by itself, see AtHand. One that panics over it does not.
func atHand(bot Bot, req *Request) (yes bool) {
	handy, ok := bot.(AtHand)
	if !ok {
		return false
	}
	defer func() {
		if recover() != nil {
			yes = false
		}
	}()
	return handy.AtHand(req)
}

// check refuses an answer that WeChat would show as its fault banner (wechat-protocol §3: an empty Content).
func check(resp Response) error {
	if !resp.Handled {
		return nil
	}
	if resp.HandOver != nil && len(resp.Answers) > 0 {
		return errors.New("the bot answers and hands the user over in one turn; WeChat can do one of both")
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
