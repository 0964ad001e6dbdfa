package groupsync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDisk stands for the disk: what was written before a Sync began is durable when it ends.
type fakeDisk struct {
	took    func() time.Duration
	fail    atomic.Pointer[error]
	written atomic.Int64 // number of the latest write
	durable atomic.Int64 // all writes up to this one are durable
	running atomic.Int32
	rounds  atomic.Int32
	closed  atomic.Bool
}

func (d *fakeDisk) Sync() error {
	if d.running.Add(1) != 1 {
		return errors.New("two rounds at once")
	}
	defer d.running.Add(-1)
	d.rounds.Add(1)
	upTo := d.written.Load()
	time.Sleep(d.took())
	if err := d.fail.Load(); err != nil {
		return *err
	}
	d.durable.Store(upTo)
	return nil
}

func (d *fakeDisk) Mode() string { return "fake" }

func (d *fakeDisk) Close() error { d.closed.Store(true); return nil }

func fakeBarrier(tb testing.TB, d *fakeDisk) *Barrier {
	tb.Helper()
	b, err := newBarrier(d, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// No caller is released by a round that began before its call: what it wrote is durable then, whatever the others do.
func TestNobodyIsReleasedTooEarly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		durations := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 20).Draw(rt, "rounds take (ms)")
		type caller struct{ starts, pause, turns, patience int }
		callers := make([]caller, rapid.IntRange(1, 30).Draw(rt, "callers"))
		for i := range callers {
			callers[i] = caller{
				starts:   rapid.IntRange(0, 100).Draw(rt, "starts (ms)"),
				pause:    rapid.IntRange(0, 30).Draw(rt, "pauses (ms)"),
				turns:    rapid.IntRange(1, 5).Draw(rt, "turns"),
				patience: rapid.SampledFrom([]int{1, 10, 1000, 1000, 1000}).Draw(rt, "patience (ms)"),
			}
		}
		var wrong atomic.Pointer[string]
		synctest.Test(t, func(t *testing.T) {
			disk := &fakeDisk{}
			disk.took = func() time.Duration {
				return time.Duration(durations[int(disk.rounds.Load())%len(durations)]) * time.Millisecond
			}
			b := fakeBarrier(t, disk)
			var wg sync.WaitGroup
			for _, c := range callers {
				wg.Go(func() {
					time.Sleep(time.Duration(c.starts) * time.Millisecond)
					for range c.turns {
						mine := disk.written.Add(1)
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.patience)*time.Millisecond)
						err := b.Sync(ctx)
						cancel()
						if durable := disk.durable.Load(); err == nil && durable < mine {
							wrong.Store(new(fmt.Sprintf("write %d was called durable; the disk has %d", mine, durable)))
						}
						if err != nil && !errors.Is(err, context.DeadlineExceeded) {
							wrong.Store(new(err.Error()))
						}
						time.Sleep(time.Duration(c.pause) * time.Millisecond)
					}
				})
			}
			wg.Wait()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		if w := wrong.Load(); w != nil {
			rt.Fatal(*w)
		}
	})
}

func TestCallersShareRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{took: func() time.Duration { return 10 * time.Millisecond }}
		b := fakeBarrier(t, disk)
		registry := prometheus.NewRegistry()
		if err := b.metrics.register(registry); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				if n > 0 {
					time.Sleep(time.Millisecond) // while the first one's round runs
				}
				if err := b.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		if got := disk.rounds.Load(); got != 2 || time.Since(start) != 20*time.Millisecond {
			t.Errorf("100 callers took %d rounds and %v, want 2 and 20ms", got, time.Since(start))
		}
		if n, err := testutil.GatherAndCount(registry, "hongyan_fsync_waiters", "hongyan_fsync_seconds"); n != 2 || err != nil {
			t.Errorf("%d metrics, %v", n, err)
		}
		if err := b.Close(); err != nil || !disk.closed.Load() {
			t.Errorf("close: %v, closed %v", err, disk.closed.Load())
		}
		if n, _ := testutil.GatherAndCount(registry); n != 0 {
			t.Errorf("%d metrics are left after Close", n)
		}
	})
}

// A failed fsync is never followed by a success: the kernel may have dropped what it could not write.
func TestFailureIsFinal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{took: func() time.Duration { return 10 * time.Millisecond }}
		b := fakeBarrier(t, disk)
		broken := errors.New("input/output error")
		disk.fail.Store(&broken)
		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(n) * 2 * time.Millisecond) // some in this round, some in the next
				if err := b.Sync(t.Context()); !errors.Is(err, ErrSyncFailed) || !errors.Is(err, broken) {
					t.Errorf("caller %d got %v", n, err)
				}
			})
		}
		wg.Wait()
		disk.fail.Store(nil)
		if err := b.Sync(t.Context()); !errors.Is(err, ErrSyncFailed) {
			t.Errorf("after the failure: %v", err)
		}
		if !errors.Is(b.Err(), ErrSyncFailed) || disk.rounds.Load() != 1 {
			t.Errorf("Err is %v after %d rounds", b.Err(), disk.rounds.Load())
		}
		_ = b.Close()
		if !errors.Is(b.Err(), ErrSyncFailed) {
			t.Errorf("Close forgot the failure: %v", b.Err())
		}
	})
}

// A hanging disk holds nobody beyond its deadline, not even who came first.
func TestDeadlineOnAHangingDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{took: func() time.Duration { return time.Hour }}
		b := fakeBarrier(t, disk)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 4*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if err := b.Close(); err != nil { // waits for the round
			t.Error(err)
		}
		if time.Since(start) != time.Hour {
			t.Errorf("Close returned after %v, while the round ran", time.Since(start))
		}
		if err := b.Sync(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestNoBarrier(t *testing.T) {
	t.Parallel()
	var none *Barrier
	if err := errors.Join(none.Sync(t.Context()), none.Err(), none.Close()); err != nil || none.Mode() == "" {
		t.Errorf("the nil barrier: %v, %q", err, none.Mode())
	}
}

func TestMissingFolder(t *testing.T) {
	t.Parallel()
	if _, err := New(t.TempDir()+"/missing", Options{}); err == nil {
		t.Error("a barrier over a folder that does not exist")
	}
}
