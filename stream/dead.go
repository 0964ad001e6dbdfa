package stream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Bury publishes a dead letter. id names it for ever: a letter that is published again within the server's de-duplication
// window (2 min) is stored once (DESIGN §3 rule 19).
func (l *Log) Bury(ctx context.Context, partition int, account, id string, letter *messages.DeadLetter) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", id, err)
	}
	msg := &nats.Msg{
		Subject: deadPrefix + strconv.Itoa(partition) + "." + account,
		Data:    data,
		Header:  nats.Header{jetstream.MsgIDHeader: []string{id}},
	}
	if _, err := l.publish(ctx, msg); err != nil {
		return fmt.Errorf("dead letter %s of partition %d: %w", id, partition, err)
	}
	l.metrics.dead.WithLabelValues(letter.GetReason()).Inc()
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
