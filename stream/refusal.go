package stream

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of JetStream that are told apart (nats-server's errors.json, "error_code").
const (
	codeAccountLimits       jetstream.ErrorCode = 10002
	codeNoPeers             jetstream.ErrorCode = 10005 // too few servers that could host the replicas
	codeNoLeader            jetstream.ErrorCode = 10008 // the cluster has no leader
	codeNotLeader           jetstream.ErrorCode = 10009
	codeResources           jetstream.ErrorCode = 10023
	codeMemory              jetstream.ErrorCode = 10028
	codeNotEnabled          jetstream.ErrorCode = 10039 // JetStream is off in this account
	codeStorageExceeded     jetstream.ErrorCode = 10047
	codeTooLarge            jetstream.ErrorCode = 10054
	codeStreamNotFound      jetstream.ErrorCode = 10059
	codeSubjectsOverlap     jetstream.ErrorCode = 10065
	codeWrongLastSequence   jetstream.ErrorCode = 10071
	codeServerNotEnabled    jetstream.ErrorCode = 10076 // JetStream is off in this server
	codeStoreFailed         jetstream.ErrorCode = 10077 // the cap is reached, or the disk failed: the description tells
	codeHeaderTooLarge      jetstream.ErrorCode = 10097
	codeSequenceUnavailable jetstream.ErrorCode = 10163 // another write to the subject is being replicated
	codeWrongLastReplicated jetstream.ErrorCode = 10164 // 10071 on a stream with replicas
	codeTooManyRequests     jetstream.ErrorCode = 10167 // the stream's queue is full
)

// classify says what the server's refusal, or its silence, means for an entry. Only what the server says before it writes
// counts as a refusal; all else may be in the log.
func classify(err error, subject string) error {
	return fmt.Errorf("%w: publish to %s: %w", meaning(err), subject, err)
}

func meaning(err error) error {
	var refusal *jetstream.APIError
	if !errors.As(err, &refusal) {
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
			return ErrUnavailable // no server has the stream, or it has no leader: nobody got the entry
		}
		return ErrUnknown
	}
	switch refusal.ErrorCode { //nolint:exhaustive // those that say something about room or state
	case codeStoreFailed:
		if d := refusal.Description; d == "maximum bytes exceeded" || d == "maximum messages exceeded" {
			return ErrFull
		}
		return ErrUnknown // the disk failed half way; with replicas the others may have written it
	case codeAccountLimits, codeResources, codeMemory, codeStorageExceeded:
		return ErrFull
	case codeNoPeers, codeNoLeader, codeNotLeader, codeNotEnabled, codeServerNotEnabled, codeStreamNotFound, codeTooLarge,
		codeHeaderTooLarge, codeSequenceUnavailable, codeWrongLastSequence, codeWrongLastReplicated, codeTooManyRequests:
		return ErrUnavailable
	}
	return ErrUnknown
}

// unsent says what a failed send means: what it does not know may have left this machine in part or whole.
func unsent(err error) error {
	for _, known := range []error{
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded, nats.ErrInvalidConnection,
		nats.ErrMaxPayload, nats.ErrBadSubject, nats.ErrHeadersNotSupported, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, known) {
			return ErrUnavailable
		}
	}
	return ErrUnknown
}

// held tells that a subject which may have one message has it already.
func held(err error) bool {
	var refusal *jetstream.APIError
	return errors.As(err, &refusal) &&
		(refusal.ErrorCode == codeWrongLastSequence || refusal.ErrorCode == codeWrongLastReplicated)
}
