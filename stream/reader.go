package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Times of a reader. Without a heartbeat for two of them the consumer counts as gone; whoever heard nothing for quiet compares
// the log's end with his own, and gives what stands there the time grace to arrive.
const (
	readHeartbeat = time.Second
	readQuiet     = 2500 * time.Millisecond
	readGrace     = 500 * time.Millisecond
	readExpiry    = 30 * time.Second // of one pull request; the library asks again long before
	readAtOnce    = 500              // messages under way
	readIdle      = 30 * time.Second // after which the server forgets a consumer without a reader
	readOpen      = 3 * time.Second  // for making the consumer: with a cluster its leaders agree on it first
)

// reader is one consumer that acknowledges nothing and is redelivered nothing, lives in the server's memory and counts what it
// delivers. Whatever disturbs it ends it: a gap in the count, a connection that was lost, a missing heartbeat, silence while
// the log has more. Its user then makes sure that the log is the same and opens the next one behind his last entry, so that
// every entry comes once and in the order of the log (DESIGN §3; docs/decisions/0010-outside-nats.md says why it is not the
// library's ordered consumer).
type reader struct {
	log       *Log
	partition int
	from      Start
	consumer  jetstream.Consumer
	messages  jetstream.MessagesContext
	status    chan nats.Status
	close     sync.Once

	delivered uint64 // by the consumer's own count
	last      uint64 // sequence of the last entry, or the one before the first to come
	behind    uint64 // the log's end as the last look saw it, where that is an entry still to come
}

// Read opens a source on one partition. Errors: ErrUnavailable, ErrBeyondEnd.
func (l *Log) Read(ctx context.Context, partition int, from Start) (Source, error) {
	r, err := l.read(ctx, partition, from)
	if err != nil {
		l.metrics.readers.WithLabelValues("refused").Inc()
		return nil, fmt.Errorf("read partition %d from %s: %w", partition, from, err)
	}
	l.metrics.readers.WithLabelValues("opened").Inc()
	return r, nil
}

func (l *Log) read(ctx context.Context, partition int, from Start) (*reader, error) {
	ctx, cancel := context.WithTimeout(ctx, readOpen)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		FilterSubject:     partitionFilter(partition),
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(from.Sequence, 1),
		InactiveThreshold: readIdle,
		MemoryStorage:     true,
		Replicas:          1,
	}
	if !from.Time.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime, cfg.OptStartSeq = jetstream.DeliverByStartTimePolicy, &from.Time, 0
	}
	r := &reader{log: l, partition: partition, from: from, status: l.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)}
	if cfg.OptStartSeq > 1 {
		r.last = cfg.OptStartSeq - 1
		end, err := l.End(ctx, partition)
		if err != nil {
			l.conn.RemoveStatusListener(r.status)
			return nil, err
		}
		if end < r.last {
			l.conn.RemoveStatusListener(r.status)
			return nil, fmt.Errorf("%w: its newest message is %d", ErrBeyondEnd, end)
		}
	}
	var err error
	if r.consumer, err = l.of(partition).stream.CreateConsumer(ctx, cfg); err == nil {
		r.messages, err = r.consumer.Messages(jetstream.PullMaxMessages(readAtOnce), jetstream.PullExpiry(readExpiry),
			jetstream.PullHeartbeat(readHeartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	}
	if err != nil {
		l.conn.RemoveStatusListener(r.status)
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	go r.watch() // ended by Close, which closes status
	return r, nil
}

// watch ends the reader when its connection is lost: what was under way then is gone.
func (r *reader) watch() {
	for range r.status {
		r.messages.Stop()
	}
}

// Next implements Source.
func (r *reader) Next(ctx context.Context) (Received, error) {
	wait := readQuiet
	for {
		rec, err := r.next(ctx, wait)
		switch {
		case err == nil:
			return rec, nil
		case ctx.Err() != nil:
			return Received{}, ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return Received{}, r.broken(err)
		}
		if wait, err = r.look(ctx); err != nil {
			return Received{}, r.broken(err)
		}
	}
}

// broken is ErrReaderClosed, counted, with what happened.
func (r *reader) broken(cause error) error {
	r.log.metrics.readers.WithLabelValues("broken").Inc()
	return fmt.Errorf("%w: partition %d behind %d: %w", ErrReaderClosed, r.partition, r.last, cause)
}

// next waits up to a time for one message of the consumer.
func (r *reader) next(ctx context.Context, wait time.Duration) (Received, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := r.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return Received{}, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return Received{}, fmt.Errorf("a message on %s without metadata: %w", msg.Subject(), err)
	}
	if meta.Sequence.Consumer != r.delivered+1 {
		return Received{}, fmt.Errorf("the consumer's message %d came after its message %d", meta.Sequence.Consumer, r.delivered)
	}
	if meta.Sequence.Stream <= r.last {
		return Received{}, fmt.Errorf("entry %d came again", meta.Sequence.Stream)
	}
	r.delivered, r.last, r.behind = meta.Sequence.Consumer, meta.Sequence.Stream, 0
	rec := Received{Sequence: r.last, LogTime: meta.Timestamp, Pending: meta.NumPending}
	return Decode(rec, msg.Data()), nil
}

// look is the watchdog: after silence it compares the partition's newest entry with the last one that came. What stands there
// at two looks and did not come is an error; otherwise look says how long to wait for the next entry.
func (r *reader) look(ctx context.Context) (time.Duration, error) {
	end, at, err := r.log.newest(ctx, r.partition)
	switch {
	case err != nil: // the connection or the stream is away: its own signs end the reader
		return readQuiet, nil //nolint:nilerr // see above
	case end <= r.last || at.Before(r.from.Time):
		r.behind = 0
		return readQuiet, nil
	case r.behind == 0:
		r.behind = end
		return readGrace, nil
	}
	return 0, fmt.Errorf("entry %d is in the log and did not come", r.behind)
}

// CaughtUp implements Source. It asks the stream, not the consumer, which may live on a server that lags behind.
func (r *reader) CaughtUp(ctx context.Context, last uint64) (bool, error) {
	end, _, err := r.log.newest(ctx, r.partition)
	if err != nil {
		return false, err
	}
	return end <= last, nil
}

// Close implements Source. The server is told to forget the consumer; where it does not hear that, it forgets it by itself.
func (r *reader) Close() {
	r.close.Do(func() {
		r.log.conn.RemoveStatusListener(r.status)
		r.messages.Stop()
		info := r.consumer.CachedInfo()
		_ = r.log.conn.Publish("$JS.API.CONSUMER.DELETE."+info.Stream+"."+info.Name, nil)
	})
}
