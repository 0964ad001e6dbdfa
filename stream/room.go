package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// roomEvery is how often Run asks how full the streams are.
const roomEvery = 2 * time.Second

// probe is as large as a long message, so that readiness is gone before messages are refused for want of room.
var probe = make([]byte, 8<<10)

// Full tells whether a stream of the log refused its last entry for want of space, as this process's publishes and Run see it.
func (l *Log) Full() bool {
	for _, s := range l.in {
		if s.full.Load() {
			return true
		}
	}
	return false
}

// Ping publishes a probe to every stream of the log, waits until it is as durable as a message, and takes it out again.
func (l *Log) Ping(ctx context.Context) error {
	var g errgroup.Group // not its context: a probe that is given up may stay in its stream
	for _, s := range l.in {
		g.Go(func() error { return l.probe(ctx, s) })
	}
	return g.Wait()
}

// probe writes to one stream and takes out what it wrote, also what an earlier probe had to leave behind.
func (l *Log) probe(ctx context.Context, s *segment) error {
	ack, err := l.publish(ctx, s, &nats.Msg{Subject: s.probe, Data: probe})
	if err != nil {
		if errors.Is(err, ErrUnknown) {
			s.litter.Store(true)
		}
		return err
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	if s.litter.Swap(false) {
		err = s.stream.Purge(ctx, jetstream.WithPurgeSubject(s.probe))
	} else {
		err = s.stream.DeleteMsg(ctx, ack.Sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		s.litter.Store(true)
		return fmt.Errorf("%w: remove the probe %d from %s: %w", ErrUnavailable, ack.Sequence, s.name, err)
	}
	return nil
}

// Run keeps watch over the streams' room until ctx ends, and returns nil: a node that only reads learns from it that the log is
// full and purging is urgent, and the metrics show it before it happens.
func (l *Log) Run(ctx context.Context) error {
	ticker := time.NewTicker(roomEvery)
	defer ticker.Stop()
	for {
		for _, s := range append(l.in[:len(l.in):len(l.in)], l.dead) {
			l.measure(ctx, s)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// measure asks for one stream's size. One that has not even the room for a probe counts as full.
func (l *Log) measure(ctx context.Context, s *segment) {
	before := s.grown.Load()
	info, err := l.info(ctx, s)
	if err != nil {
		return // its users notice by themselves
	}
	s.grown.Add(-before) // what was written while the server counted is in both: a little too much for two seconds
	s.size.Store(int64(info.State.Bytes))
	if s == l.dead {
		l.metrics.deadKept.Set(float64(info.State.Msgs))
	}
	l.metrics.bytes.WithLabelValues(s.name).Set(float64(info.State.Bytes))
	if limit := info.Config.MaxBytes; limit > 0 {
		l.metrics.limit.WithLabelValues(s.name).Set(float64(limit))
		s.full.Store(info.State.Bytes+uint64(len(probe)) > uint64(limit))
	}
}
