package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// codeWrongLastSequence: the subject has a message already.
const codeWrongLastSequence = 10071

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
	var refusal *jetstream.APIError
	switch _, err := l.publish(ctx, msg); {
	case errors.As(err, &refusal) && refusal.ErrorCode == codeWrongLastSequence:
		return l.durable(ctx, id) // the call that wrote it may have ended before its barrier
	case err != nil:
		return fmt.Errorf("dead letter %s of partition %d: %w", id, partition, err)
	}
	l.metrics.dead.WithLabelValues(letter.GetReason()).Inc()
	return nil
}

// durable waits for the barrier behind what is in the log already.
func (l *Log) durable(ctx context.Context, id string) error {
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
	info, err := l.dead.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: state of %s: %w", ErrUnavailable, DeadStream, err)
	}
	return info.State.Msgs, nil
}
