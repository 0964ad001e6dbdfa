package memory_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
	"hongyan/state/memory"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(*testing.T) state.Store { return memory.New(memory.Options{}) })
}

func TestConformanceFaults(t *testing.T) {
	t.Parallel()
	faults := map[conformance.Fault]memory.Fault{
		conformance.Unreached:   memory.Unreached,
		conformance.LostRequest: memory.LostRequest,
		conformance.LostAnswer:  memory.LostAnswer,
	}
	conformance.RunFaults(t, func(*testing.T) (state.Store, func(conformance.Fault)) {
		var next atomic.Uint32
		store := memory.New(memory.Options{Before: func(_ context.Context, call memory.Call) memory.Fault {
			if call.Op == memory.Load {
				return memory.None
			}
			return memory.Fault(next.Swap(uint32(memory.None)))
		}})
		return store, func(f conformance.Fault) { next.Store(uint32(faults[f])) }
	})
}

var key = state.Key{Partition: 3, User: messages.User{Account: "demo", OpenID: "u1"}}

func write(id uint64, value string) state.Write {
	return state.Write{Epoch: 1, WriteID: id, Incarnation: id, Value: []byte(value)}
}

func commit(t *testing.T, s *memory.Store, base state.Record, w state.Write) state.Record {
	t.Helper()
	rec, err := s.Commit(t.Context(), key, base, w)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// failing breaks the next write with the given fault.
func failing(next *memory.Fault) memory.Options {
	return memory.Options{Before: func(context.Context, memory.Call) memory.Fault {
		fault := *next
		*next = memory.None
		return fault
	}}
}

// A late write is compared when it lands: it wins if nobody came first, and else it is nowhere.
func TestLateWrite(t *testing.T) {
	t.Parallel()
	for name, overtaken := range map[string]bool{"wins": false, "loses": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var next memory.Fault
			s := memory.New(failing(&next))
			first := commit(t, s, state.Record{}, write(1, "first"))
			next = memory.Late
			late := write(2, "late")
			if _, err := s.Commit(t.Context(), key, first, late); !errors.Is(err, state.ErrUnknown) {
				t.Fatalf("got %v, want %v", err, state.ErrUnknown)
			}
			copy(late.Value, "XXXX") // the caller's own again
			want := "late"
			if overtaken {
				commit(t, s, first, write(3, "other"))
				want = "other"
			} else if got := s.Records()[key]; string(got.Value) != "first" {
				t.Fatalf("before it lands the store has %q", got.Value)
			}
			if n := s.Land(); n != 1 {
				t.Fatalf("%d writes landed", n)
			}
			if got := s.Records()[key]; string(got.Value) != want || got.Version.Number != 2 {
				t.Errorf("the store has %q at %+v, want %q", got.Value, got.Version, want)
			}
			if s.Land() != 0 {
				t.Error("a late write landed twice")
			}
		})
	}
}

// A restored store gives revisions out again; a base from before is refused all the same.
func TestRestoreLosesWrites(t *testing.T) {
	t.Parallel()
	s := memory.New(memory.Options{})
	first := commit(t, s, state.Record{}, write(1, "first"))
	image := s.Snapshot()
	lost := commit(t, s, first, write(2, "lost"))
	s.Restore(image)
	kept := commit(t, s, first, write(3, "kept"))
	if kept.Revision != lost.Revision {
		t.Fatalf("revision %d, want %d again", kept.Revision, lost.Revision)
	}
	if _, err := s.Commit(t.Context(), key, lost, write(4, "over what is lost")); !errors.Is(err, state.ErrConflict) {
		t.Errorf("got %v, want %v", err, state.ErrConflict)
	}
	s.Restore(image) // an image serves more than once
	if got := s.Records()[key]; string(got.Value) != "first" {
		t.Errorf("the image holds %q", got.Value)
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	s := memory.New(memory.Options{MaxBytes: 10})
	rec := commit(t, s, state.Record{}, write(1, "12345678"))
	if _, err := s.Commit(t.Context(), key, rec, write(2, "12345678901")); !errors.Is(err, state.ErrFull) {
		t.Fatalf("got %v, want %v", err, state.ErrFull)
	}
	rec = commit(t, s, rec, write(3, "1234567890"))
	rec = commit(t, s, rec, write(4, "1"))
	if err := s.Delete(t.Context(), key, rec, 1); err != nil {
		t.Fatal(err)
	}
	commit(t, s, state.Record{}, write(5, "1234567890"))
}

// A deleted record still refuses who owned it before the one that deleted it.
func TestDeletedRecordRefusesOlderOwners(t *testing.T) {
	t.Parallel()
	s := memory.New(memory.Options{})
	rec := commit(t, s, state.Record{}, write(1, "by epoch 1"))
	if err := s.Delete(t.Context(), key, rec, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), key, state.Record{}, write(2, "by epoch 1")); !errors.Is(err, state.ErrStaleEpoch) {
		t.Errorf("got %v, want %v", err, state.ErrStaleEpoch)
	}
}

// A delayed call ends as unknown when its context does, on the bubble's clock.
func TestDelayInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{Before: func(_ context.Context, call memory.Call) memory.Fault {
			if call.Op == memory.Commit {
				time.Sleep(time.Minute)
			}
			return memory.None
		}})
		start := time.Now()
		rec := commit(t, s, state.Record{}, write(1, "first"))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the commit took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Commit(ctx, key, rec, write(2, "second")); !errors.Is(err, state.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
