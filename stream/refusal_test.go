package stream

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Only what the server says before it writes is a refusal; silence and what failed half way is unknown (promise P6).
func TestMeaning(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ err, want error }{
		{&jetstream.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}, ErrFull},
		{&jetstream.APIError{ErrorCode: 10077, Description: "write 1.blk: no space left on device"}, ErrUnknown},
		{&jetstream.APIError{ErrorCode: 10023}, ErrFull},
		{&jetstream.APIError{ErrorCode: 10047}, ErrFull},
		{&jetstream.APIError{ErrorCode: 10002}, ErrFull},
		{&jetstream.APIError{Code: 429, ErrorCode: 10167}, ErrUnavailable},
		{&jetstream.APIError{Code: 503, ErrorCode: 10008}, ErrUnavailable},
		{&jetstream.APIError{ErrorCode: 10009}, ErrUnavailable},
		{&jetstream.APIError{ErrorCode: 10054}, ErrUnavailable},
		{&jetstream.APIError{ErrorCode: 1}, ErrUnknown},
		{nats.ErrNoResponders, ErrUnavailable},
		{jetstream.ErrNoStreamResponse, ErrUnavailable},
		{jetstream.ErrAsyncPublishTimeout, ErrUnknown},
		{jetstream.ErrInvalidJSAck, ErrUnknown},
		{nats.ErrDisconnected, ErrUnknown},
	} {
		if got := classify(tt.err, "s"); !errors.Is(got, tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("%v means %v, want %v", tt.err, got, tt.want)
		}
	}
	for err, want := range map[error]error{
		nats.ErrReconnectBufExceeded: ErrUnavailable, nats.ErrConnectionClosed: ErrUnavailable,
		jetstream.ErrTooManyStalledMsgs: ErrUnavailable, nats.ErrMaxPayload: ErrUnavailable, errors.New("broken pipe"): ErrUnknown,
	} {
		if got := unsent(err); !errors.Is(got, want) {
			t.Errorf("%v means %v, want %v", err, got, want)
		}
	}
	for err, want := range map[error]bool{
		&jetstream.APIError{ErrorCode: 10071}: true, &jetstream.APIError{ErrorCode: 10164}: true,
		&jetstream.APIError{ErrorCode: 10163}: false, nats.ErrTimeout: false,
	} {
		if held(classify(err, "s")) != want {
			t.Errorf("%v: held is %v", err, !want)
		}
	}
}
