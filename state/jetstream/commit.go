package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"hongyan/state"
)

// maxTries bounds how often one change follows a record that moves without having changed for it. Between two tries it waits, each time
// four times longer: a replicated server refuses a write beside one that it has not applied yet, and until then a read does not find that.
const (
	maxTries  = 5
	firstWait = 5 * time.Millisecond
)

// change is a commit or a delete.
type change struct {
	key     state.Key
	base    state.Record
	epoch   uint64
	version state.Version // what will be written
	value   []byte
	deleted bool
}

func (c change) creates() bool { return c.base.Version == state.Version{} }

// done recognises the change in what the store has: the write by its id, the deletion by the record that is gone.
func (c change) done(f found) bool {
	if c.deleted {
		return f.deleted && state.SameWrite(f.record.Version, c.base.Version)
	}
	return f.alive() && f.record.Version.WriteID == c.version.WriteID
}

// apply writes the change over its base and returns the version and revision that the store has then.
//
// The commit point is the server's acknowledgement inside publish. Every return after it is harmless: an error then is
// ErrUnknown, and the caller, or the next owner, reads what came of it.
func (s *Store) apply(ctx context.Context, c change) (state.Version, uint64, error) {
	subject := s.subjectOf(c.key)
	session := s.session()
	expected, known := s.sequence(c.base, session)
	if !known {
		f, settled, err := s.compare(ctx, subject, c)
		if err != nil || settled {
			return f.record.Version, f.record.Revision, err
		}
		expected = f.sequence
	}
	for try := range maxTries {
		if try > 0 {
			pause(ctx, firstWait<<(2*(try-1)))
		}
		sequence, err := s.publish(ctx, subject, expected, c.header(s.opts), state.EncodeEnvelope(c.deleted, c.version, c.value))
		if err == nil {
			return c.version, revision(sequence, session, c.version), nil
		}
		if !errors.Is(err, errMoved) {
			return state.Version{}, 0, err
		}
		f, settled, err := s.compare(ctx, subject, c)
		if errors.Is(err, state.ErrUnavailable) {
			// What moved the record may be an earlier sending of this very write, and we cannot look.
			err = fmt.Errorf("%w: refused, and then a read failed: %v", state.ErrUnknown, err) //nolint:errorlint // it is unknown, not unavailable
		}
		if err != nil || settled {
			return f.record.Version, f.record.Revision, err
		}
		expected = f.sequence
	}
	return state.Version{}, 0, fmt.Errorf("%w: other writers came first %d times", state.ErrConflict, maxTries)
}

// pause waits, at most until ctx ends, which the call behind it finds out.
func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// compare reads what the store has and compares all of it with the change's base. It returns what the store has, settled
// where that is the change itself, or why the change is refused; with neither, the change may go over f's sequence.
func (s *Store) compare(ctx context.Context, subject string, c change) (f found, settled bool, err error) {
	if f, err = s.find(ctx, subject); err != nil {
		return found{}, false, err
	}
	if c.done(f) {
		return f, true, nil
	}
	have := f.record.Version
	switch {
	case have.Epoch > c.epoch:
	case c.creates() && !f.alive():
		return f, false, nil // over nothing, or over what a deleted record left behind
	case !c.creates() && f.alive() && state.SameWrite(have, c.base.Version) && f.sequence == c.base.Revision&maxSequence:
		return f, false, nil
	}
	return found{}, false, state.Refuse(c.key, have, c.epoch)
}

// header marks a deletion for NATS's own tools, and for the server to remove it when its time is over.
func (c change) header(opts Options) nats.Header {
	if !c.deleted {
		return nil
	}
	return nats.Header{"KV-Operation": {"DEL"}, "Nats-TTL": {opts.TombstoneTTL.String()}}
}

// A revision is the message's sequence in the stream (48 bits: enough for three centuries at 25,000 writes a second), and
// above it a tag over the version and the session in which it was seen. The server compares sequences alone, but a stream
// that lost its tail in a power cut uses sequences again (DESIGN §3 rule 4): the same sequence may then be another
// version. Such a server was restarted, so our connection was cut: a base whose tag is of this session is compared by
// the server, any other is read and compared whole first.
const maxSequence = 1<<48 - 1

func revision(sequence, session uint64, v state.Version) uint64 {
	return sequence&maxSequence | tag(session, v)<<48
}

// sequence returns what base's subject must hold, and whether base's tag proves it.
func (s *Store) sequence(base state.Record, session uint64) (uint64, bool) {
	if base.Version == (state.Version{}) {
		return 0, true // nothing is compared by sequence 0 but emptiness
	}
	sequence := base.Revision & maxSequence
	return sequence, sequence != 0 && base.Revision == revision(sequence, session, base.Version)
}

// session counts the connection's cuts.
func (s *Store) session() uint64 { return s.conn.Stats().Reconnects }

// tag mixes its arguments to 16 bits; the constants are odd and random.
func tag(session uint64, v state.Version) uint64 {
	h := session + 0x9e3779b97f4a7c15
	for _, n := range [...]uint64{v.Incarnation, v.Number, v.Epoch, v.WriteID} {
		h = (h ^ n) * 0xff51afd7ed558ccd
		h ^= h >> 32
	}
	return h * 0xc4ceb9fe1a85ec53 >> 48
}
