package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Accept writes the entry to its user's partition and returns once the log has it: after PubAck, and with a barrier after the
// fsync behind it (DESIGN §3 rule 11). An error means that the entry must not count as accepted; after ErrUnknown it may be in
// the log all the same, where its key deduplicates it.
//
// The position's generation is 0: only the partition's owner knows it.
func (l *Log) Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error) {
	in := entry.GetInbound()
	user := messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}
	data, err := proto.Marshal(entry)
	if err != nil {
		return messages.Position{}, fmt.Errorf("encode a log entry of account %s: %w", user.Account, err)
	}
	partition := l.Partition(user)
	subject := inPrefix + strconv.Itoa(partition) + "." + user.Account
	ack, err := l.publish(ctx, l.of(partition), &nats.Msg{Subject: subject, Data: data})
	if err != nil {
		return messages.Position{}, err
	}
	return messages.Position{Sequence: ack.Sequence}, nil
}

// publish sends one message to a stream, waits for its acknowledgement and for the barrier.
func (l *Log) publish(ctx context.Context, s *segment, msg *nats.Msg) (*jetstream.PubAck, error) {
	began := time.Now()
	future, err := l.js.PublishMsgAsync(msg)
	if err != nil {
		l.metrics.published("error", began)
		return nil, fmt.Errorf("%w: publish to %s: %w", unsent(err), msg.Subject, err)
	}
	var ack *jetstream.PubAck
	select {
	case ack = <-future.Ok():
	case err := <-future.Err():
		err = classify(err, msg.Subject)
		if errors.Is(err, ErrUnknown) {
			l.metrics.published("unknown", began)
			return nil, err // nothing is known of the stream's room either
		}
		l.metrics.published("error", began)
		s.full.Store(errors.Is(err, ErrFull))
		return nil, err
	case <-ctx.Done():
		l.metrics.published("unknown", began)
		return nil, fmt.Errorf("%w: publish to %s: %w", ErrUnknown, msg.Subject, ctx.Err())
	}
	l.metrics.published("ok", began)
	s.full.Store(false)
	if l.opts.Barrier == nil {
		return ack, nil
	}
	began = time.Now()
	if err := l.opts.Barrier.Sync(ctx); err != nil {
		return nil, fmt.Errorf("%w: %s at %d is written but not known to be on disk: %w", ErrUnknown, msg.Subject, ack.Sequence, err)
	}
	l.metrics.barrier.Observe(time.Since(began).Seconds())
	return ack, nil
}
