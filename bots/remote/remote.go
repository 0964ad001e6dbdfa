// Package remote asks bots outside the engine, in any language: NATS micro services, and web hooks that are called over HTTP. Both
// speak one JSON contract, schema/request.schema.json and schema/response.schema.json, which docs/bots.md explains to those who
// write bots. The tools of a model are called the same ways.
//
// A request goes out at least once: what breaks on its way is asked again under the same id, by which a bot can tell.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"hongyan/bots"
	"hongyan/bots/upstream"
)

// DefaultMaxReply is how many bytes a bot's response may have.
const DefaultMaxReply = 1 << 20

// Options describe one remote bot. Name, Upstream and Transports are needed.
type Options struct {
	Name       string
	Upstream   *upstream.Upstream
	Transports []Transport // one for each endpoint of Upstream, in its order
	Media      Media
	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: nothing is counted for others to see
}

// Bot is a remote bot. It implements bots.Bot.
type Bot struct {
	name       string
	upstream   *upstream.Upstream
	transports []Transport
	media      Media
	held       *semaphore.Weighted // bytes of media that turns hold
	log        *slog.Logger
	metrics    *metrics
	noted      sync.Map // unknown fields that were logged, as many as there are names of that form among the first few
	notes      chan struct{}
}

// New checks the options. The bot has nothing to close: connections belong to whoever made the transports.
func New(o Options) (*Bot, error) {
	if o.Name == "" || o.Upstream == nil {
		return nil, errors.New("a remote bot needs a name and an upstream")
	}
	if endpoints := len(o.Upstream.Status().Endpoints); endpoints != len(o.Transports) {
		return nil, fmt.Errorf("remote bot %s: %d transports for %d endpoints", o.Name, len(o.Transports), endpoints)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("remote bot %s: %w", o.Name, err)
	}
	return &Bot{
		name: o.Name, upstream: o.Upstream, transports: o.Transports, media: o.Media, log: o.Logger, metrics: m,
		held: semaphore.NewWeighted(maxHeld), notes: make(chan struct{}, maxNotes),
	}, nil
}

// Name implements bots.Bot.
func (b *Bot) Name() string { return b.name }

// Answer implements bots.Bot. Its errors name what failed, and nothing of what the user or the bot said.
func (b *Bot) Answer(ctx context.Context, req *bots.Request) (bots.Response, error) {
	r := write(req)
	if b.wants(req, r.Message.Media) {
		if err := b.upstream.Ready(); err != nil { // nothing is fetched for a bot that cannot be asked
			return bots.Response{}, fmt.Errorf("remote bot %s: %w", b.name, err)
		}
		defer b.held.Release(b.attach(ctx, req, r.Message.Media))
	}
	var resp bots.Response
	err := b.upstream.Do(ctx, func(ctx context.Context, c upstream.Call) error {
		data, err := b.transports[c.Endpoint].Call(ctx, Exchange{
			ID:    req.ID,
			Body:  func(limit int) ([]byte, error) { return b.body(ctx, r, limit) },
			Alive: c.Alive,
			Again: b.metrics.resent.WithLabelValues(b.name).Inc,
		})
		if err != nil {
			return err
		}
		var unknown string
		resp, unknown, err = read(data, req.Session)
		b.note(ctx, unknown)
		return err
	})
	if err != nil {
		return bots.Response{}, fmt.Errorf("remote bot %s: %w", b.name, err)
	}
	return resp, nil
}

// body writes the request with what is left of ctx's time.
func (b *Bot) body(ctx context.Context, r request, limit int) ([]byte, error) {
	r.DeadlineMS = left(ctx)
	data, out, err := r.body(limit)
	if out.media {
		b.metrics.omitted.WithLabelValues(b.name, "media").Inc()
	}
	if out.history > 0 {
		b.metrics.omitted.WithLabelValues(b.name, "history").Inc()
	}
	return data, err
}

// left is what is left of ctx's time in milliseconds, at least 1; 0 where it has no end.
func left(ctx context.Context) int64 {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, time.Until(end).Milliseconds())
}

// maxNotes bounds how many names of unknown fields a bot can put into the log.
const maxNotes = 16

// fieldName is what a field's name must look like to be logged.
var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

// note counts a field that this version does not know, and logs it once.
func (b *Bot) note(ctx context.Context, field string) {
	if field == "" {
		return
	}
	b.metrics.unknown.WithLabelValues(b.name).Inc()
	if !fieldName.MatchString(field) {
		field = "(not a name)"
	}
	if _, before := b.noted.Load(field); before {
		return
	}
	select {
	case b.notes <- struct{}{}:
	default:
		return
	}
	if _, before := b.noted.LoadOrStore(field, true); !before {
		b.log.WarnContext(ctx, "the bot's responses have a field that this version does not know; it is left out",
			"bot", b.name, "field", field)
	}
}
