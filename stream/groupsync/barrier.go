// Package groupsync is the group commit of durability "disk" (DESIGN §3 rule 11): many callers that each need "what I wrote
// is on the disk" share one fsync of the file system. A JetStream server with one replica acknowledges after write(2), so a
// Sync after its acknowledgement makes the message survive a power cut (docs/decisions/0005-durability.md).
package groupsync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrSyncFailed: the disk refused to make writes durable. After a failed fsync the kernel may have dropped the pages and
	// would call the next one a success, so the barrier says so for the rest of its life: stop accepting, check the disk,
	// start again.
	ErrSyncFailed = errors.New("writes could not be made durable")
	// ErrClosed: the barrier was closed.
	ErrClosed = errors.New("the fsync barrier is closed")
)

// Options for New.
type Options struct {
	// Registerer takes the barrier's metrics; nil keeps them to itself.
	Registerer prometheus.Registerer
}

// syncer makes everything durable that was written below its folder before Sync was called.
type syncer interface {
	Sync() error
	Mode() string
	Close() error
}

// Barrier lets callers wait for an fsync that began after they asked. The nil *Barrier is the barrier of durability "os":
// its Sync returns at once. A Barrier owns no goroutine while nobody waits.
type Barrier struct {
	disk    syncer
	metrics metrics

	mu       sync.Mutex
	next     *round // collects callers until the leader starts it; nil when nobody waits for a round to begin
	leading  bool   // a leader goroutine lives
	idle     *sync.Cond
	refused  error // sticky: ErrSyncFailed or ErrClosed
	released bool  // disk is closed

	closing   chan struct{} // closed by Close: nobody gathers any more
	closeOnce sync.Once
}

// round is one fsync and those who wait for it.
type round struct {
	done    chan struct{} // closed when err is final
	err     error
	waiters int
}

// New opens a barrier for the file system that holds the folder dir, which must exist.
func New(dir string, opts Options) (*Barrier, error) {
	disk, err := openSyncer(dir)
	if err != nil {
		return nil, fmt.Errorf("fsync barrier: %w; the folder must exist and be readable", err)
	}
	b, err := newBarrier(disk, opts)
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return b, nil
}

func newBarrier(disk syncer, opts Options) (*Barrier, error) {
	b := &Barrier{disk: disk, metrics: newMetrics(), closing: make(chan struct{})}
	b.idle = sync.NewCond(&b.mu)
	if err := b.metrics.register(opts.Registerer); err != nil {
		return nil, fmt.Errorf("fsync barrier: %w", err)
	}
	return b, nil
}

// Sync returns nil when an fsync that began after this call has finished, so all that the caller wrote before it is durable.
// It returns ctx's error when ctx ends first (the fsync goes on for the others), ErrSyncFailed from the first failed fsync on,
// and ErrClosed after Close.
func (b *Barrier) Sync(ctx context.Context) error {
	if b == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := b.join()
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join enters the caller into the next round, and wakes a leader where none lives.
func (b *Barrier) join() (*round, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused != nil {
		return nil, b.refused
	}
	if b.next == nil {
		b.next = &round{done: make(chan struct{})}
	}
	b.next.waiters++
	if !b.leading {
		b.leading = true
		// An fsync cannot be interrupted, and a caller's deadline must hold on a hanging disk: so not the caller leads but
		// this goroutine. It ends by itself with the first round that nobody waits for; Close waits for it.
		go b.lead()
	}
	return b.next, nil
}

// lead runs rounds until none is waiting.
func (b *Barrier) lead() {
	for {
		b.mu.Lock()
		r := b.next
		if r == nil {
			b.leading = false
			b.idle.Broadcast()
			b.mu.Unlock()
			return
		}
		b.next = nil // from here on callers join the round after this one
		err := b.refused
		b.mu.Unlock()

		var took time.Duration
		if err == nil {
			took, err = b.fsync(r.waiters)
		}
		r.err = err
		close(r.done)
		b.gather(r.waiters, took)
	}
}

// An fsync costs the processor much the same however many wait for it. When many do, the next round lets more of them come
// together, so that fsyncs take a fifth of the time at the most; a caller who is alone on a quiet disk never waits for company.
const (
	crowd      = 4                    // waiters in a round that make the next one gather
	gatherFor  = 4                    // times the last fsync's duration
	gatherMost = 4 * time.Millisecond // at the most
)

// gather waits before the next round where the last one was crowded.
func (b *Barrier) gather(waiters int, took time.Duration) {
	if waiters < crowd {
		return
	}
	t := time.NewTimer(min(gatherFor*took, gatherMost))
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.closing:
	}
}

// fsync runs one round. Its error is final for the barrier.
func (b *Barrier) fsync(waiters int) (time.Duration, error) {
	started := time.Now()
	err := b.disk.Sync()
	took := time.Since(started)
	b.metrics.observe(waiters, took)
	if err == nil {
		return took, nil
	}
	err = fmt.Errorf("%w: fsync (%s): %w; accept nothing more, check the disk, then start again", ErrSyncFailed, b.disk.Mode(), err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = err
	}
	return took, err
}

// Err is ErrSyncFailed once an fsync has failed, ErrClosed after Close, else nil. Readiness asks it.
func (b *Barrier) Err() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// Mode says in plain words how writes are made durable here.
func (b *Barrier) Mode() string {
	if b == nil {
		return "none: writes survive the end of the process, not a power cut"
	}
	return b.disk.Mode()
}

// Close waits for the round that runs, refuses later calls with ErrClosed, and gives the metrics back.
func (b *Barrier) Close() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = ErrClosed
	}
	b.closeOnce.Do(func() { close(b.closing) })
	for b.leading {
		b.idle.Wait()
	}
	if b.released {
		return nil
	}
	b.released = true
	b.metrics.unregister()
	return b.disk.Close()
}
