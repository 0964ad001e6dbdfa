// Package memory is the stores' twin in memory, for simulation and tests: the same comparisons and errors as the stores on
// disk, and faults on demand. It has no goroutine and no clock, so it works inside a testing/synctest bubble.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync"

	"hongyan/state"
)

// Op is a method of the store.
type Op string

// The store's methods.
const (
	Load   Op = "load"
	Commit Op = "commit"
	Delete Op = "delete"
	Ping   Op = "ping"
)

// Call is what Options.Before sees of a call.
type Call struct {
	Op  Op
	Key state.Key // zero for a ping
}

// Fault is what goes wrong with one call.
type Fault uint8

// The faults. Load and Ping know one only: any fault makes them fail with ErrUnavailable.
const (
	None        Fault = iota
	Unreached         // nothing was sent: ErrUnavailable
	LostRequest       // it got lost on its way: not in the store, ErrUnknown
	LostAnswer        // it is in the store, or refused, and the answer got lost: ErrUnknown
	Late              // ErrUnknown now; it reaches the store when Land is called, and is compared only then
)

// Options for New.
type Options struct {
	// Before is asked before each call and decides what goes wrong with it. It may block, to delay the call, and is called
	// from the caller's goroutine, without a lock. Nil: nothing goes wrong.
	Before func(ctx context.Context, call Call) Fault
	// Committed is told of every commit that reached the store, under its lock: what stood there before (the zero record for
	// nothing), and what does now. Simulations watch from here what really happened. Nil: nobody watches.
	Committed func(key state.Key, before, after state.Record)
	// MaxBytes caps the sum of the values' bytes; beyond it writes that need more fail with ErrFull. 0: no cap.
	MaxBytes int64
}

// Store keeps records in memory. It is safe for many goroutines.
type Store struct {
	opts Options

	mu       sync.Mutex
	records  map[state.Key]entry
	revision uint64 // of the latest write to any record
	bytes    int64
	late     []func()
}

// entry is a record, or what a deleted one leaves behind: its last writer's epoch still refuses older writers.
type entry struct {
	record  state.Record
	deleted bool
}

var _ state.Store = (*Store)(nil)

// New makes an empty store.
func New(opts Options) *Store {
	return &Store{opts: opts, records: map[state.Key]entry{}}
}

// Load implements state.Store.
func (s *Store) Load(ctx context.Context, key state.Key) (state.Record, error) {
	if err := key.Check(); err != nil {
		return state.Record{}, err
	}
	if err := s.reach(ctx, Call{Load, key}); err != nil {
		return state.Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.records[key]
	if !ok || e.deleted {
		return state.Record{}, fmt.Errorf("load %s: %w", key, state.ErrNotFound)
	}
	e.record.Value = bytes.Clone(e.record.Value)
	return e.record, nil
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (state.Record, error) {
	if err := state.CheckCommit(key, base, w); err != nil {
		return state.Record{}, err
	}
	stored := w
	stored.Value = bytes.Clone(w.Value)
	var rec state.Record
	err := s.write(ctx, Call{Commit, key}, func() (err error) {
		rec, err = s.commit(key, base, stored)
		return err
	})
	if err != nil {
		return state.Record{}, err
	}
	rec.Value = w.Value
	return rec, nil
}

// Delete implements state.Store.
func (s *Store) Delete(ctx context.Context, key state.Key, base state.Record, epoch uint64) error {
	if err := state.CheckDelete(key, base, epoch); err != nil {
		return err
	}
	return s.write(ctx, Call{Delete, key}, func() error { return s.delete(key, base, epoch) })
}

// Ping implements state.Store.
func (s *Store) Ping(ctx context.Context) error { return s.reach(ctx, Call{Op: Ping}) }

// reach is a read's way to the store.
func (s *Store) reach(ctx context.Context, call Call) error {
	fault := s.before(ctx, call)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w: %w", call.Op, state.ErrUnavailable, err)
	}
	if fault != None {
		return fmt.Errorf("%s: %w", call.Op, state.ErrUnavailable)
	}
	return nil
}

// write is a change's way to the store and back; apply runs under the lock.
func (s *Store) write(ctx context.Context, call Call, apply func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w: %w", call.Op, state.ErrUnavailable, err)
	}
	fault := s.before(ctx, call)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch fault {
	case Unreached:
		return fmt.Errorf("%s %s: %w", call.Op, call.Key, state.ErrUnavailable)
	case LostRequest:
		return fmt.Errorf("%s %s: %w", call.Op, call.Key, state.ErrUnknown)
	case Late:
		s.late = append(s.late, func() { _ = apply() }) // nobody is left to hear of it
		return fmt.Errorf("%s %s: %w", call.Op, call.Key, state.ErrUnknown)
	case None, LostAnswer: // it reaches the store
	}
	err := apply()
	if ctxErr := ctx.Err(); ctxErr != nil { // it ended while Before held the call
		return fmt.Errorf("%s %s: %w: %w", call.Op, call.Key, state.ErrUnknown, ctxErr)
	}
	if fault == LostAnswer {
		return fmt.Errorf("%s %s: %w", call.Op, call.Key, state.ErrUnknown)
	}
	return err
}

func (s *Store) before(ctx context.Context, call Call) Fault {
	if s.opts.Before == nil {
		return None
	}
	return s.opts.Before(ctx, call)
}

// commit compares and sets. The lock must be held.
func (s *Store) commit(key state.Key, base state.Record, w state.Write) (state.Record, error) {
	current, exists := s.records[key]
	if exists && !current.deleted && current.record.Version.WriteID == w.WriteID {
		return current.record, nil
	}
	if err := compare(key, current, exists, base, w.Epoch); err != nil {
		return state.Record{}, fmt.Errorf("commit: %w", err)
	}
	grows := int64(len(w.Value) - len(current.record.Value))
	if s.opts.MaxBytes > 0 && grows > 0 && s.bytes+grows > s.opts.MaxBytes {
		return state.Record{}, fmt.Errorf("commit %s: %w", key, state.ErrFull)
	}
	s.revision++
	s.bytes += grows
	rec := state.Record{Version: state.Next(base, w), Revision: s.revision, Value: w.Value}
	s.records[key] = entry{record: rec}
	if s.opts.Committed != nil {
		if current.deleted {
			current = entry{}
		}
		s.opts.Committed(key, current.record, rec)
	}
	return rec, nil
}

// delete compares and leaves a mark with the epoch. The lock must be held.
func (s *Store) delete(key state.Key, base state.Record, epoch uint64) error {
	current, exists := s.records[key]
	if current.deleted && state.SameWrite(current.record.Version, base.Version) {
		return nil // this very record was deleted already, by a call whose answer got lost
	}
	if err := compare(key, current, exists, base, epoch); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	s.revision++
	s.bytes -= int64(len(current.record.Value))
	mark := state.Record{Version: base.Version, Revision: s.revision}
	mark.Version.Epoch = epoch
	s.records[key] = entry{record: mark, deleted: true}
	return nil
}

// compare says whether base is what the store has, and if not why.
func compare(key state.Key, current entry, exists bool, base state.Record, epoch uint64) error {
	have := current.record
	if exists && have.Version.Epoch > epoch {
		return state.Refuse(key, have.Version, epoch)
	}
	if current.deleted {
		have = state.Record{}
	}
	if !state.SameWrite(have.Version, base.Version) || have.Revision != base.Revision {
		return state.Refuse(key, have.Version, epoch)
	}
	return nil
}

// Land lets the writes that were Late reach the store, in the order of their calls, and returns how many there were.
func (s *Store) Land() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := s.late
	s.late = nil
	for _, apply := range late {
		apply()
	}
	return len(late)
}

// Image is all that a store held at one moment.
type Image struct {
	records  map[state.Key]entry
	revision uint64
	bytes    int64
}

// Snapshot keeps the present contents for Restore.
func (s *Store) Snapshot() Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Image{records: maps.Clone(s.records), revision: s.revision, bytes: s.bytes}
}

// Restore puts the store back to an image, as a power cut or a fail-over does that loses the latest writes.
func (s *Store) Restore(img Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.revision, s.bytes = maps.Clone(img.records), img.revision, img.bytes
}

// Records returns a copy of every record there is, for checkers.
func (s *Store) Records() map[state.Key]state.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[state.Key]state.Record, len(s.records))
	for key, e := range s.records {
		if !e.deleted {
			e.record.Value = bytes.Clone(e.record.Value)
			all[key] = e.record
		}
	}
	return all
}
