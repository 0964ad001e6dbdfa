package stream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Bury publishes a dead letter. id names it for ever, in the form of subject tokens: a letter whose id is in the stream is there
// already, and is not stored again however late it comes (DESIGN §3 rule 19).
func (l *Log) Bury(ctx context.Context, partition int, account, id string, letter *messages.DeadLetter) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", id, err)
	}
	msg := &nats.Msg{
		Subject: deadPrefix + strconv.Itoa(partition) + "." + account + "." + id,
		Data:    data,
		Header:  nats.Header{nats.ExpectedLastSubjSeqHdr: []string{"0"}}, // nothing has this subject yet
	}
	switch _, err := l.publish(ctx, l.dead, msg); {
	case held(err):
		return l.buried(ctx, msg.Subject, id)
	case err != nil:
		return fmt.Errorf("dead letter %s of partition %d: %w", id, partition, err)
	}
	l.metrics.dead.WithLabelValues(letter.GetReason()).Inc()
	return nil
}

// buried makes sure of a dead letter that another call wrote: that call may have ended before its barrier, and with replicas
// what stood in its way may have been lost with the stream's leader.
func (l *Log) buried(ctx context.Context, subject, id string) error {
	within, cancel := l.bound(ctx)
	defer cancel()
	if _, err := l.dead.stream.GetLastMsgForSubject(within, subject); err != nil {
		return fmt.Errorf("%w: look for dead letter %s: %w", ErrUnavailable, id, err)
	}
	if l.opts.Barrier == nil {
		return nil
	}
	if err := l.opts.Barrier.Sync(ctx); err != nil {
		return fmt.Errorf("%w: dead letter %s is written but not known to be on disk: %w", ErrUnknown, id, err)
	}
	return nil
}

// DeadCount is the number of dead letters that are kept.
func (l *Log) DeadCount(ctx context.Context) (uint64, error) {
	info, err := l.info(ctx, l.dead)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}
