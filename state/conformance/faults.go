package conformance

import (
	"errors"
	"testing"

	"hongyan/state"
)

// Fault is how the next write breaks. Each step can break in two ways that look alike from here: it failed, or it failed
// but persisted.
type Fault uint8

// The faults that RunFaults asks for.
const (
	Unreached   Fault = iota + 1 // the store is not reached, nothing is sent
	LostRequest                  // the write is sent and gets lost: it failed
	LostAnswer                   // the write is done and the answer gets lost: it failed but persisted
)

// RunFaults checks what a store says when its way to the disk breaks, and that the caller can go on from there. open
// returns a fresh, empty store, and a function after which the next write, and only that one, breaks as told.
func RunFaults(t *testing.T, open func(t *testing.T) (state.Store, func(Fault))) {
	tests := []struct {
		name string
		test func(*faulty)
	}{
		{"create", faultyCreate},
		{"replace", faultyReplace},
		{"delete", faultyDelete},
		{"superseded", superseded},
	}
	faults := []struct {
		name      string
		fault     Fault
		err       error
		persisted bool
	}{
		{"unreached", Unreached, state.ErrUnavailable, false},
		{"lost request", LostRequest, state.ErrUnknown, false},
		{"lost answer", LostAnswer, state.ErrUnknown, true},
	}
	for _, f := range faults {
		for _, tt := range tests {
			t.Run(f.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				store, fail := open(t)
				b := newBench(t, store)
				tt.test(&faulty{bench: b, fail: func() { fail(f.fault) }, want: f.err, persisted: f.persisted})
			})
		}
	}
}

type faulty struct {
	*bench
	fail      func()
	want      error
	persisted bool
}

func (f *faulty) breaks(err error) {
	f.Helper()
	if !errors.Is(err, f.want) {
		f.Fatalf("got %v, want %v", err, f.want)
	}
}

// faultyCreate: the same write sent again succeeds either way, once, with its own version.
func faultyCreate(f *faulty) {
	w := write(1, "first")
	f.fail()
	_, err := f.store.Commit(f.ctx, f.key, state.Record{}, w)
	f.breaks(err)
	if f.persisted {
		f.holds(state.Record{Version: state.Next(state.Record{}, w), Value: w.Value})
	} else {
		f.absent()
	}
	rec := f.commit(state.Record{}, w)
	f.holds(rec)
	f.commit(rec, write(1, "second"))
}

func faultyReplace(f *faulty) {
	first := f.commit(state.Record{}, write(1, "first"))
	w := write(1, "second")
	f.fail()
	_, err := f.store.Commit(f.ctx, f.key, first, w)
	f.breaks(err)
	if f.persisted {
		f.holds(state.Record{Version: state.Next(first, w), Value: w.Value})
	} else {
		f.holds(first)
	}
	second := f.commit(first, w)
	f.holds(second)
	f.commit(f.load(), write(1, "third"))
}

func faultyDelete(f *faulty) {
	first := f.commit(state.Record{}, write(1, "first"))
	f.fail()
	f.breaks(f.store.Delete(f.ctx, f.key, first, 1))
	if f.persisted {
		f.absent()
	} else {
		f.holds(first)
	}
	f.delete(first, 1)
	f.absent()
	f.commit(state.Record{}, write(1, "second life"))
}

// superseded: who wins a later comparison knows what became of the unknown write; the writer learns that it lost.
func superseded(f *faulty) {
	first := f.commit(state.Record{}, write(1, "first"))
	w := write(1, "unknown")
	f.fail()
	_, err := f.store.Commit(f.ctx, f.key, first, w)
	f.breaks(err)
	later := f.commit(f.load(), write(2, "by a later owner"))
	f.refused(first, w, state.ErrStaleEpoch)
	f.holds(later)
}
