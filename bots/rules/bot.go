package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
	"hongyan/bots/watch"
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
	log     *slog.Logger
	metrics *metrics
	rules   atomic.Pointer[Set]
	fault   atomic.Pointer[string] // why the rules in force are not what the file holds; nil: they are
	file    watch.File
}

// Open reads the rules file once and builds the bot. A file that is missing or broken at the start is an error, of type *Error
// where the content is at fault: only a running bot has old rules to keep.
func Open(opts Options) (*Bot, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	r := watch.Read(opts.File, MaxFileSize)
	if r.Err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, r.Err)
	}
	set, err := Parse(opts.File, r.Data)
	if err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, err)
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("rules of bot %s: %w", opts.Name, err)
	}
	b := &Bot{name: opts.Name, log: opts.Logger.With("bot", opts.Name), metrics: m}
	b.file = watch.File{Path: opts.File, Limit: MaxFileSize, Seen: r, Take: b.apply, Logger: b.log}
	b.rules.Store(set)
	b.metrics.valid.WithLabelValues(b.name).Set(1)
	return b, nil
}

// Name implements bots.Bot.
func (b *Bot) Name() string { return b.name }

// Rules are the rules in force.
func (b *Bot) Rules() *Set { return b.rules.Load() }

// File is the path of the rules file.
func (b *Bot) File() string { return b.file.Path }

// Fault is why the rules in force are not what the file holds now; empty where they are.
func (b *Bot) Fault() string {
	if f := b.fault.Load(); f != nil {
		return *f
	}
	return ""
}

// Run takes up changes of the rules file until ctx ends; it then returns nil. One Run at a time.
func (b *Bot) Run(ctx context.Context) error { return b.file.Run(ctx) }

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

// apply takes up what the file holds now. Content without a fault replaces the rules in one step; anything else leaves them as
// they are. It is called once per content, so a broken file is logged once.
func (b *Bot) apply(now watch.Reading) {
	if now.Err != nil {
		b.keep(resultUnreadable, now.Err)
		b.log.Error("rules file cannot be read, the old rules stay", "file", b.file.Path, "error", now.Err)
		return
	}
	set, err := Parse(b.file.Path, now.Data)
	var faulty *Error
	if errors.As(err, &faulty) {
		first := faulty.Faults[0]
		b.keep(resultBroken, err)
		b.log.Error("rules file is broken, the old rules stay", "file", b.file.Path,
			"line", first.Line, "column", first.Column, "fault", first.Message, "faults", len(faulty.Faults))
		return
	}
	b.rules.Store(set)
	b.fault.Store(nil)
	b.metrics.reload(b.name, resultOK)
	b.log.Info("rules loaded", "file", b.file.Path, "rules", set.Len())
}

// keep notes why the old rules stay in force.
func (b *Bot) keep(result string, why error) {
	text := why.Error()
	b.fault.Store(&text)
	b.metrics.reload(b.name, result)
}
