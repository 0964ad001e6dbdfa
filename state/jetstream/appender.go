package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hongyan/state"
)

// The server's error codes for a publish that we tell apart (nats-server's errors.json, "error_code").
const (
	codeWrongLastSequence           = 10071 // the comparison failed
	codeWrongLastSequenceReplicated = 10164 // the same on a replicated stream
	codeSequenceUnavailable         = 10163 // another write to the subject is being replicated: nothing was stored
	codeStoreFailed                 = 10077 // the byte cap is reached, or the disk failed: the description tells
	codeInsufficientResources       = 10023
	codeInsufficientMemory          = 10028
	codeInsufficientStorage         = 10047
	codeAccountLimits               = 10002
	codeMessageTooLarge             = 10054
	codeHeaderTooLarge              = 10097
	codeTooManyRequests             = 10167
)

// errMoved: the subject's last sequence is not the expected one. The store finds out what that means.
var errMoved = errors.New("another message is the last one of the subject")

// appender writes messages to the bucket's stream and gives every caller its own acknowledgement. All callers share one
// reply subscription and one buffer to the server, so that concurrent writes travel together; measured against the
// library's own ways in docs/decisions/0006-state-hot-path.md.
type appender struct {
	conn    *nats.Conn
	publish func(*nats.Msg) error // conn.PublishMsg; a test breaks the way here
	timeout time.Duration
	inbox   string // subject of acknowledgements, up to the waiter's number
	ackHead []byte // how an acknowledgement without error begins
	sub     *nats.Subscription
	idle    sync.Pool // of *waiter

	mu      sync.Mutex
	waiting map[uint64]*waiter // by number
	last    uint64
}

// waiter is one caller's place, used again by the next one.
type waiter struct {
	ack   chan ack // holds at most the one acknowledgement of this use
	timer *time.Timer
	msg   nats.Msg
	value []byte    // the message's data
	want  [1]string // the header's value
}

type ack struct {
	sequence uint64
	err      error
}

func newAppender(conn *nats.Conn, stream string, timeout time.Duration) (*appender, error) {
	a := &appender{
		conn:    conn,
		publish: conn.PublishMsg,
		timeout: timeout,
		inbox:   conn.NewInbox() + ".",
		ackHead: fmt.Appendf(nil, `{"stream":%q,"seq":`, stream),
		waiting: map[uint64]*waiter{},
	}
	a.idle.New = func() any {
		timer := time.NewTimer(time.Hour)
		timer.Stop()
		return &waiter{ack: make(chan ack, 1), timer: timer}
	}
	var err error
	a.sub, err = conn.Subscribe(a.inbox+"*", a.receive)
	return a, err
}

func (a *appender) Close() error { return a.sub.Unsubscribe() }

// anySequence appends without a comparison.
const anySequence = ^uint64(0)

// Append writes an envelope to the subject if the subject's last sequence is expected (0: it has none), and returns the new
// sequence. header may be nil. Errors: errMoved, and those of state.Store.
func (a *appender) Append(ctx context.Context, subject string, expected uint64, header nats.Header, flags byte, v state.Version, value []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	if !a.conn.IsConnected() {
		return 0, fmt.Errorf("%w: not connected to NATS", state.ErrUnavailable)
	}
	w := a.idle.Get().(*waiter)
	w.value = appendEnvelope(w.value[:0], flags, v, value)
	w.msg.Subject, w.msg.Data, w.msg.Header = subject, w.value, header
	if expected != anySequence {
		w.expect(expected)
	}
	number := a.enter(w)
	w.msg.Reply = a.inbox + strconv.FormatUint(number, 36)

	if err := a.publish(&w.msg); err != nil {
		if a.leave(number) {
			a.release(w)
		}
		return 0, publishError(err)
	}
	got, answered := a.wait(ctx, w, number)
	a.release(w)
	if !answered {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("%w: %w", state.ErrUnknown, err)
		}
		return 0, fmt.Errorf("%w: no acknowledgement within %v", state.ErrUnknown, a.timeout)
	}
	return got.sequence, got.err
}

// wait returns the acknowledgement of w, or false when ctx or the time-out ended first.
func (a *appender) wait(ctx context.Context, w *waiter, number uint64) (ack, bool) {
	w.timer.Reset(a.timeout)
	defer w.timer.Stop()
	select {
	case got := <-w.ack:
		return got, true
	case <-ctx.Done():
	case <-w.timer.C:
	}
	if a.leave(number) {
		return ack{}, false
	}
	return <-w.ack, true // receive has taken the waiter already and is about to answer
}

// expect sets the comparison, beside what the header has.
func (w *waiter) expect(sequence uint64) {
	if w.msg.Header == nil {
		w.msg.Header = nats.Header{}
	}
	w.want[0] = strconv.FormatUint(sequence, 10)
	w.msg.Header[nats.ExpectedLastSubjSeqHdr] = w.want[:]
}

func (a *appender) enter(w *waiter) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	a.waiting[a.last] = w
	return a.last
}

// leave takes the waiter out and tells whether it was still there, that is, whether nobody will answer it any more.
func (a *appender) leave(number uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.waiting[number]
	delete(a.waiting, number)
	return ok
}

// maxKept bounds the buffer that an idle waiter holds on to.
const maxKept = 64 << 10

func (a *appender) release(w *waiter) {
	if cap(w.value) > maxKept {
		w.value = nil
	}
	w.msg = nats.Msg{}
	a.idle.Put(w)
}

// receive hands an acknowledgement to its waiter. It runs on the subscription's goroutine.
func (a *appender) receive(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(a.inbox):], 36, 64)
	if err != nil {
		return
	}
	a.mu.Lock()
	w := a.waiting[number]
	delete(a.waiting, number)
	a.mu.Unlock()
	if w != nil {
		w.ack <- a.parse(m)
	}
}

// parse reads an acknowledgement, the usual form without a JSON parser.
func (a *appender) parse(m *nats.Msg) ack {
	if tail, ok := bytes.CutPrefix(m.Data, a.ackHead); ok && len(tail) > 1 && tail[len(tail)-1] == '}' {
		if sequence, ok := parseDigits(tail[:len(tail)-1]); ok {
			return ack{sequence: sequence}
		}
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return ack{err: fmt.Errorf("%w: no NATS server has the stream", state.ErrUnavailable)}
	}
	var answer struct {
		Stream   string `json:"stream"`
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return ack{err: fmt.Errorf("%w: acknowledgement cannot be read: %w", state.ErrUnknown, err)}
	}
	if answer.Error != nil {
		return ack{err: ackError(answer.Error.Code, answer.Error.Description)}
	}
	if answer.Stream == "" || answer.Sequence == 0 {
		return ack{err: fmt.Errorf("%w: acknowledgement without a sequence", state.ErrUnknown)}
	}
	return ack{sequence: answer.Sequence}
}

func parseDigits(digits []byte) (n uint64, ok bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n > 0
}

// ackError says what the server's refusal means for the write. What it does not know is unknown.
func ackError(code int, description string) error {
	sort := state.ErrUnknown
	switch code {
	case codeWrongLastSequence, codeWrongLastSequenceReplicated:
		return errMoved
	case codeInsufficientResources, codeInsufficientMemory, codeInsufficientStorage, codeAccountLimits:
		sort = state.ErrFull
	case codeStoreFailed:
		if description == "maximum bytes exceeded" || description == "maximum messages exceeded" {
			sort = state.ErrFull // refused before it was written; any other failure is the disk's, half way through
		}
	case codeSequenceUnavailable, codeTooManyRequests:
		sort = state.ErrUnavailable
	case codeMessageTooLarge, codeHeaderTooLarge:
		sort = state.ErrInvalid
	}
	return fmt.Errorf("%w: NATS says %q (err_code %d)", sort, description, code)
}

// publishError says what an error of the client library means for the write. These come before anything is sent.
func publishError(err error) error {
	sort := state.ErrUnknown
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrInvalidConnection):
		sort = state.ErrUnavailable
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		sort = state.ErrInvalid
	}
	return fmt.Errorf("%w: %w", sort, err)
}
