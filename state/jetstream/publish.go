package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/state"
)

// maxPending is how many writes may wait for their acknowledgement at once; the next ones are held back, then fail as
// unavailable. It is far above the number of users that have a turn in flight.
const maxPending = 1 << 16

// anySequence publishes without a comparison.
const anySequence = ^uint64(0)

// The server's error codes for a publish that we tell apart (nats-server's errors.json, "error_code").
const (
	codeWrongLastSequence           natsjs.ErrorCode = 10071 // the comparison failed
	codeWrongLastSequenceReplicated natsjs.ErrorCode = 10164 // the same on a replicated stream
	codeSequenceUnavailable         natsjs.ErrorCode = 10163 // another write to the subject is being replicated: nothing was stored
	codeStoreFailed                 natsjs.ErrorCode = 10077 // the byte cap is reached, or the disk failed: the description tells
	codeAccountLimits               natsjs.ErrorCode = 10002
	codeInsufficientResources       natsjs.ErrorCode = 10023
	codeInsufficientMemory          natsjs.ErrorCode = 10028
	codeInsufficientStorage         natsjs.ErrorCode = 10047
	codeMessageTooLarge             natsjs.ErrorCode = 10054
	codeHeaderTooLarge              natsjs.ErrorCode = 10097
	codeTooManyRequests             natsjs.ErrorCode = 10167
)

// errMoved: the subject's last sequence is not the expected one. The store finds out what that means.
var errMoved = errors.New("another message is the last one of the subject")

// publish writes an envelope to the subject if the subject's last sequence is the expected one (0: it has none), and returns
// the new sequence once the server has acknowledged it. Errors: errMoved, and those of state.Store.
//
// Every caller waits on its own future, so that the writes of many callers travel together.
func (s *Store) publish(ctx context.Context, subject string, expected uint64, header nats.Header, envelope []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	if !s.conn.IsConnected() {
		return 0, fmt.Errorf("%w: not connected to NATS", state.ErrUnavailable)
	}
	if expected != anySequence {
		if header == nil {
			header = make(nats.Header, 1)
		}
		header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(expected, 10)}
	}
	// The library keeps the message until the future is resolved, so it is not used again.
	future, err := s.send(&nats.Msg{Subject: subject, Header: header, Data: envelope})
	if err != nil {
		return 0, sendError(err)
	}
	select {
	case ack := <-future.Ok():
		return ack.Sequence, nil
	case err := <-future.Err():
		return 0, ackError(err)
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", state.ErrUnknown, ctx.Err())
	}
}

// sendError says what a failed send means for the write. What it does not know may have been sent.
func sendError(err error) error {
	meaning := state.ErrUnknown
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrInvalidConnection),
		errors.Is(err, natsjs.ErrTooManyStalledMsgs):
		meaning = state.ErrUnavailable
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		meaning = state.ErrInvalid
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// ackError says what the server's refusal, or its silence, means for the write. What it does not know may be in the store.
func ackError(err error) error {
	if errors.Is(err, natsjs.ErrNoStreamResponse) {
		return fmt.Errorf("%w: no NATS server has the stream", state.ErrUnavailable)
	}
	var refusal *natsjs.APIError
	if !errors.As(err, &refusal) {
		return fmt.Errorf("%w: %w", state.ErrUnknown, err)
	}
	meaning := state.ErrUnknown
	switch refusal.ErrorCode {
	case codeWrongLastSequence, codeWrongLastSequenceReplicated:
		return errMoved
	case codeAccountLimits, codeInsufficientResources, codeInsufficientMemory, codeInsufficientStorage:
		meaning = state.ErrFull
	case codeStoreFailed:
		if d := refusal.Description; d == "maximum bytes exceeded" || d == "maximum messages exceeded" {
			meaning = state.ErrFull // refused before it was written; any other failure is the disk's, half way through
		}
	case codeSequenceUnavailable, codeTooManyRequests:
		meaning = state.ErrUnavailable
	case codeMessageTooLarge, codeHeaderTooLarge:
		meaning = state.ErrInvalid
	default: // nobody can tell
	}
	return fmt.Errorf("%w: NATS says %q (err_code %d)", meaning, refusal.Description, refusal.ErrorCode)
}
