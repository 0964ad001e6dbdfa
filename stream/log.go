// Package stream is the NATS side of a message's way: the durable log and its readers, the offers that carry an answer to the
// HTTP exchange which waits for it, dead letters and purging. stream/embedded holds the server for a single machine,
// stream/groupsync the fsync barrier.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
)

// Names of the streams and subjects (DESIGN §8). A subject has no OpenID in it: the server keeps an index entry per subject.
const (
	InStream   = "HY_IN"   // hy.in.<partition>.<account>: everything that users sent
	DeadStream = "HY_DEAD" // hy.dead.<partition>.<account>.<id>: what could not be brought to its end
	inPrefix   = "hy.in."
	deadPrefix = "hy.dead."
	slotPrefix = "hy.slot." // core subjects: one per ingress process
)

// The log's errors; compare with errors.Is.
var (
	// ErrFull: the log's byte cap is reached. The entry is not in the log.
	ErrFull = errors.New("the log is full")
	// ErrUnavailable: the log could not be reached, or refused. The entry is not in the log, as far as anybody can tell.
	ErrUnavailable = errors.New("the log cannot be reached")
	// ErrUnknown: the entry was sent and no acknowledgement came. It may be in the log.
	ErrUnknown = errors.New("the log did not acknowledge in time")
)

// Barrier makes what was written before a call durable (DESIGN §3 rule 11). groupsync.Barrier implements it; a nil one is
// durability os.
type Barrier interface {
	Sync(ctx context.Context) error
}

// Options of a Log.
type Options struct {
	Partitions   int
	MaxBytes     int64 // cap of HY_IN
	DeadMaxBytes int64 // cap of HY_DEAD; 0 is 1/8 of MaxBytes
	Replicas     int   // 1 with one server
	Node         string
	Barrier      Barrier       // nil with durability os
	OpTimeout    time.Duration // of one API call; 1 s when 0
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Log is the durable log of one deployment. Its methods may be called from any goroutine.
type Log struct {
	opts    Options
	js      jetstream.JetStream
	in      jetstream.Stream
	dead    jetstream.Stream
	metrics *metrics
	full    atomic.Bool // the last entry was refused for want of space
}

// Open finds or makes the streams on conn's server.
func Open(ctx context.Context, conn *nats.Conn, opts Options) (*Log, error) {
	if opts.OpTimeout == 0 {
		opts.OpTimeout = time.Second
	}
	if opts.DeadMaxBytes == 0 {
		opts.DeadMaxBytes = opts.MaxBytes / 8
	}
	js, err := jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(64<<10),
		jetstream.WithPublishAsyncTimeout(5*time.Second), // a lost ack never resolves otherwise (nats.go#1819)
		jetstream.WithDefaultTimeout(opts.OpTimeout))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l := &Log{opts: opts, js: js, metrics: newMetrics(opts.Registerer)}
	if l.in, err = l.ensure(ctx, InStream, inPrefix, opts.MaxBytes); err != nil {
		return nil, err
	}
	if l.dead, err = l.ensure(ctx, DeadStream, deadPrefix, opts.DeadMaxBytes); err != nil {
		return nil, err
	}
	return l, nil
}

// ensure makes a stream, or takes the one that is there. Limits retention with discard-new: a full stream refuses, and nothing
// that was accepted is ever pushed out (facts: a full disk wedges the server, a full stream fails cleanly).
func (l *Log) ensure(ctx context.Context, name, prefix string, maxBytes int64) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        name,
		Description: "Hongyan: " + strings.TrimSuffix(prefix, "."),
		Subjects:    []string{prefix + ">"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    maxBytes,
		MaxMsgSize:  1 << 20,
		Storage:     jetstream.FileStorage,
		Replicas:    max(l.opts.Replicas, 1),
		AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s with a cap of %d bytes: %w", name, maxBytes, err)
	}
	return s, nil
}

// InSubject is the subject of a user's entries.
func InSubject(partition int, account string) string {
	return fmt.Sprintf("%s%d.%s", inPrefix, partition, account)
}

// partitionFilter matches every entry of one partition.
func partitionFilter(partition int) string { return fmt.Sprintf("%s%d.>", inPrefix, partition) }

// Partition is the partition of a user in this log.
func (l *Log) Partition(u messages.User) int { return u.Partition(l.opts.Partitions) }

// probe is as large as a long message, so that readiness is gone before messages are refused for want of room.
var probe = make([]byte, 8<<10)

// Full tells whether the log refused the last entry that this process published for want of space.
func (l *Log) Full() bool { return l.full.Load() }

// Ping publishes a probe, waits until it is as durable as a message, and takes it out again.
func (l *Log) Ping(ctx context.Context) error {
	ack, err := l.publish(ctx, &nats.Msg{Subject: inPrefix + "probe." + l.opts.Node, Data: probe})
	if err != nil {
		return err
	}
	if err := l.in.DeleteMsg(ctx, ack.Sequence); err != nil {
		return fmt.Errorf("remove the probe %d from %s: %w", ack.Sequence, InStream, err)
	}
	return nil
}
