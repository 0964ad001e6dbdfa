package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Mark is a place in the log that can be recognised again: a log that was replaced, or lost its tail and wrote on, has another
// message there, or none (DESIGN §3 rule 4).
type Mark struct {
	Sequence uint64
	LogTime  time.Time
}

// Holds tells whether the stream of the partition still has the marked entry. An error says that nobody can tell now.
//
// With replicas a "no" must be the cluster's, not that of a leader which was replaced without knowing it yet: it counts only
// where the stream takes a write at that moment and still says so behind it.
func (l *Log) Holds(ctx context.Context, partition int, m Mark) (bool, error) {
	s := l.of(partition)
	holds, err := l.holds(ctx, s, m)
	if err != nil || holds || s.stream.CachedInfo().Config.Replicas <= 1 {
		return holds, err
	}
	if err := l.probe(ctx, s); err != nil && !errors.Is(err, ErrFull) { // full is the leader's word as well
		return false, fmt.Errorf("%w: entry %d seems to be gone, and the stream does not prove itself: %w", ErrUnavailable, m.Sequence, err)
	}
	return l.holds(ctx, s, m)
}

func (l *Log) holds(ctx context.Context, s *segment, m Mark) (bool, error) {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	msg, err := s.stream.GetMsg(ctx, m.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w: read back entry %d of %s: %w", ErrUnavailable, m.Sequence, s.name, err)
	}
	return msg.Time.Equal(m.LogTime), nil
}

// End is the sequence of the newest message in the stream of the partition, of whatever partition it is; 0 when there never was one.
func (l *Log) End(ctx context.Context, partition int) (uint64, error) {
	info, err := l.info(ctx, l.of(partition))
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// HasEntries tells whether the log holds any entry of the partition.
func (l *Log) HasEntries(ctx context.Context, partition int) (bool, error) {
	info, err := l.info(ctx, l.of(partition), jetstream.WithSubjectFilter(partitionFilter(partition)))
	if err != nil {
		return false, err
	}
	return len(info.State.Subjects) > 0, nil
}

// newest is the sequence and the log time of the partition's newest entry, 0 where it has none.
func (l *Log) newest(ctx context.Context, partition int) (uint64, time.Time, error) {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	s := l.of(partition)
	msg, err := s.stream.GetLastMsgForSubject(ctx, partitionFilter(partition))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, time.Time{}, nil
	case err != nil:
		return 0, time.Time{}, fmt.Errorf("%w: newest entry of partition %d in %s: %w", ErrUnavailable, partition, s.name, err)
	}
	return msg.Sequence, msg.Time, nil
}

// purgeTimeout bounds a purge, which looks at all of a long stream.
const purgeTimeout = 10 * time.Second

// Purge removes the partition's entries strictly below the sequence (DESIGN §3 rule 7). The caller never names one above its
// checkpoint's floor, so that the newest settled entry stays to be recognised.
func (l *Log) Purge(ctx context.Context, partition int, below uint64) error {
	if below <= 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	s := l.of(partition)
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(partitionFilter(partition)), jetstream.WithPurgeSequence(below)); err != nil {
		return fmt.Errorf("purge partition %d in %s below %d: %w", partition, s.name, below, err)
	}
	return nil
}

// bound gives one API call its time. A request whose connection is lost never hears of that, and the library's own default
// counts only where the caller has no deadline at all.
func (l *Log) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, l.opts.OpTimeout)
}

func (l *Log) info(ctx context.Context, s *segment, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	info, err := s.stream.Info(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: state of %s: %w", ErrUnavailable, s.name, err)
	}
	return info, nil
}
