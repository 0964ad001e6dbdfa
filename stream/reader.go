package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Start says where a reader begins: at a sequence, or, where the log may have been replaced, at a log time.
type Start struct {
	Sequence uint64    // the first sequence to read; used when Time is zero
	Time     time.Time // the first log time to read
}

// Received is one log entry as a reader hands it over.
type Received struct {
	Sequence uint64
	LogTime  time.Time       // when the server wrote it
	Entry    *messages.Entry // nil where the payload is no entry
	Payload  []byte          // the payload where Entry is nil
	Err      error           // why Entry is nil
	Pending  uint64          // entries of this partition behind this one, when it was sent
}

// Source hands over one partition's entries in order.
type Source interface {
	// Next waits for the next entry. Its errors are ctx's, and ErrReaderClosed.
	Next(ctx context.Context) (Received, error)
	// CaughtUp tells whether nothing of the partition stood in the log behind last when it was asked.
	CaughtUp(ctx context.Context, last uint64) (bool, error)
	// Close ends the source, from the goroutine that calls Next or after that one has returned.
	Close()
}

// reader acknowledges nothing and is redelivered nothing: nats.go's ordered consumer, made anew
// by the library after a gap, so that every entry comes exactly once per reader and in the order of the log (DESIGN §3).
type reader struct {
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
}

// Read opens a source on one partition.
func (l *Log) Read(ctx context.Context, partition int, from Start) (Source, error) {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{partitionFilter(partition)},
		InactiveThreshold: 30 * time.Second,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(from.Sequence, 1),
	}
	if !from.Time.IsZero() {
		cfg.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		cfg.OptStartTime = &from.Time
		cfg.OptStartSeq = 0
	}
	consumer, err := l.js.OrderedConsumer(ctx, InStream, cfg)
	if err != nil {
		return nil, fmt.Errorf("read partition %d from %+v: %w", partition, from, err)
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("read partition %d from %+v: %w", partition, from, err)
	}
	return &reader{consumer: consumer, messages: it}, nil
}

// ErrReaderClosed is Next's error once the reader cannot go on: open another one behind the last entry.
var ErrReaderClosed = errors.New("the reader is closed")

func (r *reader) Next(ctx context.Context) (Received, error) {
	msg, err := r.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return Received{}, ctx.Err()
		}
		return Received{}, fmt.Errorf("%w: %w", ErrReaderClosed, err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return Received{}, fmt.Errorf("%w: a message on %s without metadata: %w", ErrReaderClosed, msg.Subject(), err)
	}
	rec := Received{Sequence: meta.Sequence.Stream, LogTime: meta.Timestamp, Pending: meta.NumPending}
	return Decode(rec, msg.Data()), nil
}

// Decode fills in the entry that stands in a payload, or the payload and why it is no entry.
func Decode(rec Received, payload []byte) Received {
	entry := new(messages.Entry)
	switch err := proto.Unmarshal(payload, entry); {
	case err != nil:
		rec.Payload, rec.Err = payload, fmt.Errorf("decode the log entry at %d: %w", rec.Sequence, err)
	case entry.GetInbound().GetAccount() == "" || len(entry.GetInbound().GetKey()) != messages.KeySize:
		rec.Payload, rec.Err = payload, fmt.Errorf("the log entry at %d has no account or no key", rec.Sequence)
	default:
		rec.Entry = entry
	}
	return rec
}

func (r *reader) CaughtUp(ctx context.Context, last uint64) (bool, error) {
	info, err := r.consumer.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: state of a reader: %w", ErrUnavailable, err)
	}
	return info.NumPending == 0 && info.Delivered.Stream <= last, nil
}

func (r *reader) Close() { r.messages.Stop() }

// Mark is a place in the log that can be recognised again: a log that was replaced, or lost its tail and wrote on, has another
// message there, or none (DESIGN §3 rule 4).
type Mark struct {
	Sequence uint64
	LogTime  time.Time
}

// Holds tells whether the stream of the partition still has the marked entry. An error says that nobody can tell now.
func (l *Log) Holds(ctx context.Context, partition int, m Mark) (bool, error) {
	msg, err := l.in.GetMsg(ctx, m.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w: read back entry %d: %w", ErrUnavailable, m.Sequence, err)
	}
	return msg.Time.Equal(m.LogTime), nil
}

// End is the sequence of the newest message in the stream of the partition, of whatever partition it is; 0 when there never was one.
func (l *Log) End(ctx context.Context, partition int) (uint64, error) {
	info, err := l.in.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: state of %s: %w", ErrUnavailable, InStream, err)
	}
	return info.State.LastSeq, nil
}

// HasEntries tells whether the log holds any entry of the partition.
func (l *Log) HasEntries(ctx context.Context, partition int) (bool, error) {
	info, err := l.in.Info(ctx, jetstream.WithSubjectFilter(partitionFilter(partition)))
	if err != nil {
		return false, fmt.Errorf("%w: state of %s: %w", ErrUnavailable, InStream, err)
	}
	return len(info.State.Subjects) > 0, nil
}

// Purge removes the partition's entries strictly below the sequence (DESIGN §3 rule 7). The caller never names one above its
// checkpoint's floor, so that the newest settled entry stays to be recognised.
func (l *Log) Purge(ctx context.Context, partition int, below uint64) error {
	if below <= 1 {
		return nil
	}
	if err := l.in.Purge(ctx, jetstream.WithPurgeSubject(partitionFilter(partition)), jetstream.WithPurgeSequence(below)); err != nil {
		return fmt.Errorf("purge partition %d below %d: %w", partition, below, err)
	}
	return nil
}
