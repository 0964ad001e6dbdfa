package stream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// deadReserve is which part of HY_DEAD's cap burials leave free. A new version of a letter needs room beside the old one until
// that is gone, and is a little larger: a stream that is full of letters must still let operators re-drive them.
const deadReserve = 8

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
	if l.deadFull(msg) {
		return fmt.Errorf("%w: %s keeps the last %d-th of its room for letters that are re-driven; re-drive or drop some (hongyan dead), "+
			"or raise nats.max_bytes", ErrFull, DeadStream, deadReserve)
	}
	switch _, err := l.publish(ctx, l.dead, msg); {
	case held(err):
		return l.buried(ctx, msg.Subject, id)
	case err != nil:
		return fmt.Errorf("dead letter %s of partition %d: %w", id, partition, err)
	}
	l.dead.grown.Add(int64(recordSize(msg)))
	l.metrics.dead.WithLabelValues(letter.GetReason()).Inc()
	return nil
}

// deadFull tells whether a letter would take room that is kept for re-drives: by the size that Run last saw, and what this process
// wrote since. Other nodes' letters since then are not counted; the reserve is much larger than what they write in two seconds.
func (l *Log) deadFull(msg *nats.Msg) bool {
	limit := l.opts.DeadMaxBytes
	return limit > 0 && l.dead.size.Load()+l.dead.grown.Load()+int64(recordSize(msg)) > limit-limit/deadReserve
}

// recordSize is what a letter takes in the server's file store.
func recordSize(msg *nats.Msg) int {
	const (
		frame  = 34                                       // lengths, sequence, time, checksum
		header = len("NATS/1.0\r\n") + len(": 0\r\n\r\n") // around the one header's name
	)
	return frame + header + len(nats.ExpectedLastSubjSeqHdr) + len(msg.Subject) + len(msg.Data)
}

// buried makes sure of a dead letter that another call wrote: that call may have ended before its barrier, and with replicas
// what stood in its way may have been lost with the stream's leader.
func (l *Log) buried(ctx context.Context, subject, id string) error {
	within, cancel := l.bound(ctx)
	defer cancel()
	if _, err := l.dead.stream.GetLastMsgForSubject(within, subject); err != nil {
		return fmt.Errorf("%w: look for dead letter %s: %w", ErrUnavailable, id, err)
	}
	return l.deadDurable(ctx, id)
}

// deadDurable waits for the barrier behind a version of a letter that another call wrote.
func (l *Log) deadDurable(ctx context.Context, id string) error {
	if l.opts.Barrier == nil {
		return nil
	}
	if err := l.opts.Barrier.Sync(ctx); err != nil {
		return fmt.Errorf("%w: dead letter %s is written but not known to be on disk: %w", ErrUnknown, id, err)
	}
	return nil
}

// DeadCount is the number of dead letters that are kept, whether they were re-driven or not.
func (l *Log) DeadCount(ctx context.Context) (uint64, error) {
	info, err := l.info(ctx, l.dead)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}
