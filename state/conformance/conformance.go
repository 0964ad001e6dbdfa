// Package conformance is the suite that every backend of the state contract passes: Run for what a store does, RunFaults for
// what it says when its way to the disk breaks. A backend's test calls both.
package conformance

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state"
)

// patience bounds each test. No test waits for it unless the store hangs.
const patience = 30 * time.Second

// ids gives write ids and incarnations that are unique within the test binary.
var ids atomic.Uint64

// bench is one store and one key, with the calls that most tests make.
type bench struct {
	*testing.T
	ctx   context.Context
	store state.Store
	key   state.Key
}

func newBench(t *testing.T, store state.Store) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	user := messages.User{Account: "demo", OpenID: "o6_bmjrPTlm6_2sgVt7hMZOPfL2M"}
	return &bench{T: t, ctx: ctx, store: store, key: state.Key{Partition: 7, User: user}}
}

// write is a new write with fresh ids.
func write(epoch uint64, value string) state.Write {
	return state.Write{Epoch: epoch, WriteID: ids.Add(1), Incarnation: ids.Add(1), Value: []byte(value)}
}

func (b *bench) commit(base state.Record, w state.Write) state.Record {
	b.Helper()
	rec, err := b.store.Commit(b.ctx, b.key, base, w)
	if err != nil {
		b.Fatalf("commit over version %+v: %v", base.Version, err)
	}
	want := state.Next(base, w)
	if rec.Version != want {
		b.Fatalf("commit returned version %+v, want %+v", rec.Version, want)
	}
	if string(rec.Value) != string(w.Value) {
		b.Fatalf("commit returned %d bytes, want the %d written", len(rec.Value), len(w.Value))
	}
	return rec
}

// refused commits and wants the given error, and the record as it was.
func (b *bench) refused(base state.Record, w state.Write, want error) {
	b.Helper()
	before, beforeErr := b.store.Load(b.ctx, b.key)
	if _, err := b.store.Commit(b.ctx, b.key, base, w); !errors.Is(err, want) {
		b.Fatalf("commit over version %+v in epoch %d: got %v, want %v", base.Version, w.Epoch, err, want)
	}
	if beforeErr != nil {
		b.absent()
		return
	}
	b.holds(before)
}

func (b *bench) load() state.Record {
	b.Helper()
	rec, err := b.store.Load(b.ctx, b.key)
	if err != nil {
		b.Fatalf("load: %v", err)
	}
	return rec
}

// holds wants the store to have exactly this record.
func (b *bench) holds(want state.Record) {
	b.Helper()
	got := b.load()
	if got.Version != want.Version || string(got.Value) != string(want.Value) {
		b.Fatalf("the store has %+v with %d bytes, want %+v with %d bytes", got.Version, len(got.Value), want.Version, len(want.Value))
	}
}

func (b *bench) absent() {
	b.Helper()
	if rec, err := b.store.Load(b.ctx, b.key); !errors.Is(err, state.ErrNotFound) {
		b.Fatalf("load: got %+v, %v; want %v", rec.Version, err, state.ErrNotFound)
	}
}

func (b *bench) delete(base state.Record, epoch uint64) {
	b.Helper()
	if err := b.store.Delete(b.ctx, b.key, base, epoch); err != nil {
		b.Fatalf("delete version %+v: %v", base.Version, err)
	}
}

func (b *bench) deleteRefused(base state.Record, epoch uint64, want error) {
	b.Helper()
	before := b.load()
	if err := b.store.Delete(b.ctx, b.key, base, epoch); !errors.Is(err, want) {
		b.Fatalf("delete version %+v in epoch %d: got %v, want %v", base.Version, epoch, err, want)
	}
	b.holds(before)
}
