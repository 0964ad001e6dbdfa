package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
)

// TestGivingUp: a caller that gives up while its write waits knows that it was not sent, and it never is; one that gives up while
// it is on its way does not know.
func TestGivingUp(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{})
	proxy, err := servers.NewProxy(server.Addr())
	must(t, err)
	t.Cleanup(proxy.Close)
	store := openStore(t, Options{URL: urlOf(proxy.Addr())})
	key := func(n int) state.Key {
		return state.Key{Partition: 1, User: messages.User{Account: "demo", OpenID: fmt.Sprint(n)}}
	}
	mustCommit(t, store, key(0), state.Record{}, 1, 1, "the script is known from here on")
	n, err := store.topology.node(1)
	must(t, err)
	waiting := func() int {
		n.writes.mu.Lock()
		defer n.writes.mu.Unlock()
		return len(n.writes.queue)
	}

	proxy.Cut(servers.Both)
	var results [lanes + 1]chan error
	var cancels [lanes + 1]context.CancelFunc
	for c := range results {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		results[c], cancels[c] = make(chan error, 1), cancel
		var entered atomic.Bool
		go func() { // ends with the commit
			entered.Store(true)
			_, err := store.Commit(ctx, key(c+1), state.Record{}, write(1, uint64(c)+2, "x"))
			results[c] <- err
		}()
		want := 0 // each lane takes one; the last finds none free
		if c == lanes {
			want = 1
		}
		busy := c + 1
		until(t, "the write to be where it should", func() bool {
			return entered.Load() && waiting() == want && (c == lanes || n.writes.busy.Load() == int32(busy))
		})
	}
	for c := len(results) - 1; c >= 0; c-- {
		cancels[c]()
		want := state.ErrUnknown
		if c == lanes {
			want = state.ErrUnavailable
		}
		if err := <-results[c]; !errors.Is(err, want) || !errors.Is(err, context.Canceled) {
			t.Errorf("caller %d: %v, want %v", c, err, want)
		}
	}
	proxy.Heal()
	for c := range lanes { // what was on its way arrives
		until(t, "the write", func() bool {
			_, err := store.Load(t.Context(), key(c+1))
			return err == nil
		})
	}
	mustCommit(t, store, key(99), state.Record{}, 1, 99, "whatever waited has gone out before")
	_, err = store.Load(t.Context(), key(lanes+1))
	wantErr(t, err, state.ErrNotFound)
}

// TestClose: what comes after it was not sent; it takes no longer than what is under way, and leaves nothing behind.
func TestClose(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{})
	registry := prometheus.NewRegistry()
	for range 2 { // the metrics are given back each time
		store, err := Open(t.Context(), Options{URL: urlOf(server.Addr()), OpTimeout: 20 * time.Second, Registerer: registry, Prefix: "p"})
		must(t, err)
		rec, err := store.Load(t.Context(), testKey)
		if err != nil {
			rec = mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
		}
		families, err := registry.Gather()
		must(t, err)
		if len(families) == 0 {
			t.Error("no metrics")
		}
		must(t, store.Close())
		_, err = store.Commit(t.Context(), testKey, rec, write(1, 2, "second"))
		wantErr(t, err, state.ErrUnavailable)
		_, err = store.Load(t.Context(), testKey)
		wantErr(t, err, state.ErrUnavailable)
		must(t, store.Close())
	}
}

// TestCloseUnderLoad: whoever calls while the store closes gets an answer, and success means what it says.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{})
	witness := openStore(t, Options{URL: urlOf(server.Addr())})
	for round := range 20 {
		store := openStore(t, Options{URL: urlOf(server.Addr())})
		var wg sync.WaitGroup
		var done atomic.Int32
		for n := range 32 {
			wg.Go(func() {
				key := state.Key{Partition: n, User: messages.User{Account: "demo", OpenID: fmt.Sprint(round)}}
				var rec state.Record
				for turn := uint64(1); ; turn++ {
					next, err := store.Commit(t.Context(), key, rec, write(1, turn, "x"))
					if err != nil {
						if !errors.Is(err, state.ErrUnavailable) {
							t.Errorf("commit: %v", err)
						}
						break
					}
					rec = next
					done.Add(1)
				}
				if got, err := witness.Load(t.Context(), key); rec.Version != (state.Version{}) && (err != nil || got.Version != rec.Version) {
					t.Errorf("the store has %+v, %v; acknowledged %+v", got.Version, err, rec.Version)
				}
			})
		}
		until(t, "commits", func() bool { return done.Load() > 50 })
		must(t, store.Close())
		wg.Wait()
	}
}

// TestTakenInBatches: what waits goes out together, within bounds of number and bytes.
func TestTakenInBatches(t *testing.T) {
	t.Parallel()
	b := &batcher{arrived: make(chan struct{}, 1)}
	fill := func(count, bytes int) {
		for range count {
			b.add(&op{bytes: bytes, done: make(chan struct{})})
		}
	}
	fill(maxBatch+5, 10)
	if got := len(b.take()); got != maxBatch {
		t.Errorf("the first batch has %d", got)
	}
	if got := len(b.take()); got != 5 {
		t.Errorf("the second batch has %d", got)
	}
	fill(3, maxBatchBytes/2)
	if got := len(b.take()); got != 2 {
		t.Errorf("a batch of large values has %d", got)
	}
	if got := len(b.take()); got != 1 {
		t.Errorf("the rest has %d", got)
	}
	fill(2, 2*maxBatchBytes)
	for range 2 {
		if got := len(b.take()); got != 1 {
			t.Errorf("a batch of a value beyond the bound has %d", got)
		}
	}
	fill(3, 1)
	b.queue[1].state.Store(abandoned)
	if got := len(b.take()); got != 2 {
		t.Errorf("of three with one abandoned %d are taken", got)
	}
	if len(b.take()) != 0 {
		t.Error("something was left")
	}
}
