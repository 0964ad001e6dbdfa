package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
	"hongyan/messages"
)

// Options describe a rules bot.
type Options struct {
	Name       string                // the bot's name in the configuration, a label of its metrics
	File       string                // path of the rules file
	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: nothing is counted for others to see; bots may share one
}

// Bot answers from the rules that its file last held without a fault. Answer may be called whether Run runs or not; Run keeps
// the rules fresh.
type Bot struct {
	name    string
	path    string
	log     *slog.Logger
	metrics *metrics
	rules   atomic.Pointer[Set]

	// What Run last looked at; its own, and Open's before it.
	seen reading
}

// Open reads the rules file once and builds the bot. A file that is missing or broken at the start is an error, of type *Error
// where the content is at fault: only a running bot has old rules to keep.
func Open(opts Options) (*Bot, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	r := read(opts.File)
	if r.err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, r.err)
	}
	set, err := Parse(opts.File, r.data)
	if err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, err)
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, err)
	}
	b := &Bot{name: opts.Name, path: opts.File, log: opts.Logger, metrics: m, seen: r}
	b.rules.Store(set)
	b.metrics.valid.WithLabelValues(b.name).Set(1)
	return b, nil
}

// Name implements bots.Bot.
func (b *Bot) Name() string { return b.name }

// Rules are the rules in force.
func (b *Bot) Rules() *Set { return b.rules.Load() }

// Answer implements bots.Bot: the reply of the first rule that matches, after the rule's delay; in a hurry at once, since the
// reply is at hand and the partition must not wait for it (DESIGN §3 rule 6). Its only error is ctx's, where ctx ends within
// the delay.
func (b *Bot) Answer(ctx context.Context, req *bots.Request) (bots.Response, error) {
	reply, ok := b.rules.Load().Match(req.Message)
	if !ok {
		return bots.Response{}, nil
	}
	if reply.Delay > 0 && !req.Hurry {
		timer := time.NewTimer(reply.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return bots.Response{}, fmt.Errorf("the rule's delay of %v: %w", reply.Delay, ctx.Err())
		}
	}
	resp := bots.Response{Handled: true, Link: b.name}
	if reply.Text != "" {
		resp.Answers = []*messages.Answer{bots.Text(reply.Text)}
	}
	for _, text := range reply.More {
		resp.Answers = append(resp.Answers, bots.Text(text))
	}
	return resp, nil
}

// reading is what one look at the file found: its content, or why there is none.
type reading struct {
	data []byte
	err  error
}

func (r reading) equal(s reading) bool {
	if r.err != nil || s.err != nil {
		return r.err != nil && s.err != nil && r.err.Error() == s.err.Error()
	}
	return bytes.Equal(r.data, s.data)
}

// read reads the file, but never more than tells that it is too large.
func read(path string) (r reading) {
	f, err := os.Open(path)
	if err != nil {
		return reading{err: err}
	}
	defer func() { r.err = errors.Join(r.err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	return reading{data: data, err: err}
}

// apply takes up what the file holds now. Content without a fault replaces the rules in one step; anything else leaves them as
// they are. It is called once per content, so a broken file is logged once.
func (b *Bot) apply(now reading) {
	b.seen = now
	if now.err != nil {
		b.metrics.reload(b.name, resultUnreadable)
		b.log.Error("rules file cannot be read, the old rules stay", "bot", b.name, "file", b.path, "error", now.err)
		return
	}
	set, err := Parse(b.path, now.data)
	var faulty *Error
	if errors.As(err, &faulty) {
		first := faulty.Faults[0]
		b.metrics.reload(b.name, resultBroken)
		b.log.Error("rules file is broken, the old rules stay", "bot", b.name, "file", b.path,
			"line", first.Line, "column", first.Column, "fault", first.Message, "faults", len(faulty.Faults))
		return
	}
	b.rules.Store(set)
	b.metrics.reload(b.name, resultOK)
	b.log.Info("rules loaded", "bot", b.name, "file", b.path, "rules", set.Len())
}
