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

// Accept writes the entry to its user's partition and returns once the log has it: after PubAck, and with durability disk after
// the fsync barrier behind it (DESIGN §3 rule 11). An error means that the entry must not count as accepted; after ErrUnknown
// it may be in the log all the same, where its key deduplicates it.
//
// The position's generation is 0: only the partition's owner knows it.
func (l *Log) Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error) {
	in := entry.GetInbound()
	user := messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}
	data, err := proto.Marshal(entry)
	if err != nil {
		return messages.Position{}, fmt.Errorf("encode a log entry of account %s: %w", user.Account, err)
	}
	subject := inPrefix + strconv.Itoa(l.Partition(user)) + "." + user.Account
	ack, err := l.publish(ctx, &nats.Msg{Subject: subject, Data: data})
	if err != nil {
		return messages.Position{}, err
	}
	return messages.Position{Sequence: ack.Sequence}, nil
}

// publish sends one message, waits for its acknowledgement and for the barrier.
func (l *Log) publish(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	began := time.Now()
	future, err := l.js.PublishMsgAsync(msg)
	if err != nil {
		l.metrics.published("error", began)
		return nil, fmt.Errorf("%w: publish to %s: %w", ErrUnavailable, msg.Subject, err)
	}
	var ack *jetstream.PubAck
	select {
	case ack = <-future.Ok():
	case err := <-future.Err():
		l.metrics.published("error", began)
		err = classify(err, msg.Subject)
		l.full.Store(errors.Is(err, ErrFull))
		return nil, err
	case <-ctx.Done():
		l.metrics.published("unknown", began)
		return nil, fmt.Errorf("%w: publish to %s: %w", ErrUnknown, msg.Subject, ctx.Err())
	}
	l.metrics.published("ok", began)
	l.full.Store(false)
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

// Error codes of JetStream (facts/nats.md): a stream at its cap, and a server at its own.
const (
	codeMaxBytes        = 10077
	codeResources       = 10023
	codeStorageExceeded = 10047
)

func classify(err error, subject string) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		switch api.ErrorCode {
		case codeMaxBytes, codeResources, codeStorageExceeded:
			return fmt.Errorf("%w: publish to %s: %w", ErrFull, subject, err)
		default: // an overloaded stream (10167) among them: the server says no, the entry is not there
			return fmt.Errorf("%w: publish to %s: %w", ErrUnavailable, subject, err)
		}
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: publish to %s: %w", ErrUnavailable, subject, err)
	default:
		return fmt.Errorf("%w: publish to %s: %w", ErrUnknown, subject, err)
	}
}
