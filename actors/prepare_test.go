package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/memory"
	memlog "hongyan/stream/memory"
)

// counter stands for a source of random ids: distinct, from any goroutine.
func counter() func() uint64 {
	var n atomic.Uint64
	return func() uint64 { return n.Add(1) << 1 }
}

// Rule 3: workers that start together make every missing checkpoint once, under epoch 0, so that the first takeover is epoch 1.
func TestPrepare(t *testing.T) {
	t.Parallel()
	log, store, random := memlog.New(16, time.Now), memory.New(memory.Options{}), counter()
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			if err := Prepare(t.Context(), log, store, 16, random, 4); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	before := store.Records()
	if len(before) != 16 {
		t.Fatalf("%d checkpoints", len(before))
	}
	for key, rec := range before {
		c, err := decodeCheckpoint(rec.Value)
		if err != nil || !c.Clean || c.Generation != 1 || rec.Version.Epoch != 0 || rec.Version.Number != 1 {
			t.Errorf("%s: %+v %+v %v", key, c, rec.Version, err)
		}
	}
	if epoch, err := CheckpointEpoch(t.Context(), store, 3); err != nil || epoch != 0 {
		t.Errorf("epoch %d, %v", epoch, err)
	}
	s, err := takeover(t.Context(), &Options{Log: log, Store: store, Random: random}, Tenure{Partition: 3, Epoch: 1, Mark: "m"})
	if err != nil || s.crashed || s.from.Sequence != 1 {
		t.Errorf("the first takeover: %+v, %v", s, err)
	}
	if err := Prepare(t.Context(), log, store, 16, random, 4); err != nil {
		t.Errorf("prepared again: %v", err)
	}
	if rec := store.Records()[state.Checkpoint(3)]; rec.Version.Epoch != 1 {
		t.Errorf("a checkpoint that was there was written over: %+v", rec.Version)
	}
}

// Rule 3: a log with entries and no checkpoint is an error that names the partition. A checkpoint that another worker makes at
// the same time is one.
func TestPrepareOverEntries(t *testing.T) {
	t.Parallel()
	log, random := memlog.New(4, time.Now), counter()
	user := messages.User{Account: account, OpenID: "u1"}
	in := &messages.Inbound{Account: user.Account, OpenId: user.OpenID, Key: make([]byte, messages.KeySize)}
	if _, err := log.Accept(t.Context(), &messages.Entry{Inbound: in}); err != nil {
		t.Fatal(err)
	}
	partition := user.Partition(4)
	err := Prepare(t.Context(), log, memory.New(memory.Options{}), 4, random, 2)
	if !errors.Is(err, ErrNoCheckpoint) || !strings.Contains(err.Error(), fmt.Sprint("partition ", partition)) {
		t.Errorf("over entries without a checkpoint: %v", err)
	}

	store := memory.New(memory.Options{})
	raced := &racedLog{Log: log, before: func() {
		if _, err := store.Commit(t.Context(), state.Checkpoint(partition), state.Record{}, state.Write{WriteID: 1, Incarnation: 1}); err != nil {
			t.Error(err)
		}
	}}
	if err := Prepare(t.Context(), raced, store, 4, random, 1); err != nil {
		t.Errorf("a checkpoint that another worker made meanwhile: %v", err)
	}
}

// racedLog lets something happen right before the first look at its entries.
type racedLog struct {
	*memlog.Log
	once   sync.Once
	before func()
}

func (l *racedLog) HasEntries(ctx context.Context, partition int) (bool, error) {
	full, err := l.Log.HasEntries(ctx, partition)
	if full {
		l.once.Do(l.before)
	}
	return full, err
}

// A write whose outcome is unknown is looked into; a store that stays silent is an error.
func TestPrepareUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault memory.Fault
		times int32
		fails bool
	}{
		"stored":      {fault: memory.LostAnswer, times: 1},
		"lost":        {fault: memory.LostRequest, times: 1},
		"always lost": {fault: memory.LostRequest, times: 100, fails: true},
		"unreached":   {fault: memory.Unreached, times: 100, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			store := memory.New(memory.Options{Before: func(_ context.Context, call memory.Call) memory.Fault {
				if call.Op == memory.Commit && calls.Add(1) <= c.times {
					return c.fault
				}
				return memory.None
			}})
			err := Prepare(t.Context(), memlog.New(1, time.Now), store, 1, counter(), 1)
			if (err != nil) != c.fails || (err == nil) != (len(store.Records()) == 1) {
				t.Errorf("%v, %d checkpoints", err, len(store.Records()))
			}
		})
	}
}
