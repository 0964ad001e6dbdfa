package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Start says where a reader begins: at a sequence, or, where the log may have been replaced, at a log time.
type Start struct {
	Sequence uint64    // the first sequence to read; used when Time is zero
	Time     time.Time // the first log time to read
}

// String is for errors.
func (s Start) String() string {
	if s.Time.IsZero() {
		return fmt.Sprintf("sequence %d", max(s.Sequence, 1))
	}
	return "log time " + s.Time.UTC().Format(time.RFC3339Nano)
}

// Received is one log entry as a reader hands it over.
type Received struct {
	Sequence uint64
	LogTime  time.Time       // when the server wrote it
	Entry    *messages.Entry // nil where the payload is no entry
	Payload  []byte          // the payload where Entry is nil
	Err      error           // why Entry is nil
	Pending  uint64          // entries of this partition behind this one, when it was sent
}

// Source hands over one partition's entries in order, each once.
type Source interface {
	// Next waits for the next entry. Its errors are ctx's, and ErrReaderClosed.
	Next(ctx context.Context) (Received, error)
	// CaughtUp tells whether nothing of the partition stood in the log behind last when it was asked.
	CaughtUp(ctx context.Context, last uint64) (bool, error)
	// Close ends the source, from the goroutine that calls Next or after that one has returned.
	Close()
}

// The errors of reading.
var (
	// ErrReaderClosed is Next's error once the reader cannot go on: see whether the log is still the same, and open another
	// one behind the last entry.
	ErrReaderClosed = errors.New("the reader is closed")
	// ErrBeyondEnd is Read's: the log ends before the entry to start behind. A reader there would stay silent until the log had
	// grown past it, and skip what came in between (facts: no error from the server).
	ErrBeyondEnd = errors.New("the log ends before the place to read from")
)

// Decode fills in the entry that stands in a payload, or the payload and why it is no entry.
func Decode(rec Received, payload []byte) Received {
	entry := new(messages.Entry)
	switch err := proto.Unmarshal(payload, entry); {
	case err != nil:
		rec.Payload, rec.Err = payload, fmt.Errorf("decode the log entry at %d: %w", rec.Sequence, err)
	case entry.GetInbound().GetAccount() == "" || len(entry.GetInbound().GetKey()) != messages.KeySize:
		rec.Payload, rec.Err = payload, fmt.Errorf("the log entry at %d has no account or no key", rec.Sequence)
	default:
		rec.Entry = entry
	}
	return rec
}
