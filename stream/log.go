// Package stream is the NATS side of a message's way: the durable log and its readers, the offers that carry an answer to the
// HTTP exchange which waits for it, dead letters and purging. stream/embedded holds the server for a single machine,
// stream/outside the connection to servers of one's own, stream/groupsync the fsync barrier.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
)

// Names of the streams and subjects (DESIGN §8). A subject has no OpenID in it: the server keeps an index entry per subject.
const (
	InStream   = "HY_IN"   // hy.in.<partition>.<account>: everything that users sent; HY_IN_<i> where there are several
	DeadStream = "HY_DEAD" // hy.dead.<partition>.<account>.<id>: what could not be brought to its end
	inPrefix   = "hy.in."
	deadPrefix = "hy.dead."
	slotPrefix = "hy.slot." // core subjects: one per ingress process
)

// The log's errors; compare with errors.Is.
var (
	// ErrFull: the log's byte cap is reached, or the server's own. The entry is not in the log.
	ErrFull = errors.New("the log is full")
	// ErrUnavailable: the log could not be reached, or refused. The entry is not in the log.
	ErrUnavailable = errors.New("the log cannot be reached")
	// ErrUnknown: the entry was sent and nobody said what became of it. It may be in the log.
	ErrUnknown = errors.New("the log did not acknowledge in time")
	// ErrMissing: Attach found no stream. A worker makes them.
	ErrMissing = errors.New("the log is not there yet")
	// ErrLayout: the streams that are there were made for another number of streams or partitions.
	ErrLayout = errors.New("the log has another layout")
)

// Barrier makes what was written before a call durable (DESIGN §3 rule 11). groupsync.Barrier implements it; a nil one is
// durability os, or a server whose own fsync and replicas carry the promise.
type Barrier interface {
	Sync(ctx context.Context) error
}

// Options of a Log.
type Options struct {
	Partitions   int
	Streams      int   // over how many streams the partitions spread: partition p is in stream p mod Streams; 1 when 0
	Attach       bool  // look the streams up and never make or change them, as a node does that owns no partition
	MaxBytes     int64 // cap of the log, all its streams together
	DeadMaxBytes int64 // cap of HY_DEAD; 0 is 1/8 of MaxBytes
	Replicas     int   // 1 with one server
	Node         string
	Barrier      Barrier       // nil with durability os, and with an outside server
	OpTimeout    time.Duration // of one API call; 1 s when 0
	// PublishTimeout is how long an entry may wait for its acknowledgement; 2.5 s when 0, so that an ingress has the time to
	// say 503 within WeChat's patience (promise P6).
	PublishTimeout time.Duration
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
}

// Log is the durable log of one deployment. Its methods may be called from any goroutine.
type Log struct {
	opts    Options
	conn    *nats.Conn
	js      jetstream.JetStream
	in      []*segment // by partition mod len
	dead    *segment
	metrics *metrics
}

// Open finds or makes the streams on conn's server, or with Attach looks them up. While a cluster has no leader or too few
// servers have come up yet, it asks again for up to half a minute.
func Open(ctx context.Context, conn *nats.Conn, opts Options) (*Log, error) {
	if opts.OpTimeout == 0 {
		opts.OpTimeout = time.Second
	}
	if opts.PublishTimeout == 0 {
		opts.PublishTimeout = 2500 * time.Millisecond
	}
	if opts.DeadMaxBytes == 0 {
		opts.DeadMaxBytes = opts.MaxBytes / 8
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Streams, opts.Replicas = max(opts.Streams, 1), max(opts.Replicas, 1)
	if opts.Streams > opts.Partitions {
		return nil, fmt.Errorf("open the log: %d streams for %d partitions; set nats.streams to %d at the most",
			opts.Streams, opts.Partitions, opts.Partitions)
	}
	js, err := jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(64<<10),
		jetstream.WithPublishAsyncTimeout(opts.PublishTimeout), // a lost ack never resolves otherwise (nats.go#1819)
		jetstream.WithDefaultTimeout(opts.OpTimeout))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l := &Log{opts: opts, conn: conn, js: js, metrics: newMetrics(opts.Registerer)}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// InSubject is the subject of a user's entries.
func InSubject(partition int, account string) string {
	return fmt.Sprintf("%s%d.%s", inPrefix, partition, account)
}

// partitionFilter matches every entry of one partition.
func partitionFilter(partition int) string { return fmt.Sprintf("%s%d.>", inPrefix, partition) }

// Partition is the partition of a user in this log.
func (l *Log) Partition(u messages.User) int { return u.Partition(l.opts.Partitions) }

// of is the stream of a partition.
func (l *Log) of(partition int) *segment { return l.in[partition%len(l.in)] }
