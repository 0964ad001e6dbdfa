package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"hongyan/state"
)

const (
	maxBatch      = 512     // operations that share a round trip
	maxBatchBytes = 4 << 20 // of their values, but at least one operation
	maxRedirects  = 4       // how often an operation follows a cluster that moves its slot
)

// The life of an operation. Only its caller abandons it, only a lane takes it.
const (
	queued    int32 = iota // waits; whoever gives up now knows that it was not sent
	taken                  // in a batch: who gives up now does not know
	abandoned              // nobody waits for it, and it is not sent
)

// op is one command on its way to a server, and what came back.
type op struct {
	partition int
	args      []any
	write     bool // replicas have to acknowledge it
	bytes     int  // of its value

	state     atomic.Int32
	done      chan struct{} // closed when reply and err are final
	reply     any
	err       error // one of state.Store's
	redirects int
	asking    bool // the next node serves it only behind an ASKING
	sent      bool // it may have reached a server
	cmd       *goredis.Cmd
}

// payload is the argument that tells when its operation is written to a connection: go-redis asks for the bytes only then. Until
// then the operation certainly was not sent.
type payload struct {
	op    *op
	bytes []byte
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (p payload) MarshalBinary() ([]byte, error) {
	p.op.sent = true
	return p.bytes, nil
}

func (o *op) finish(reply any, err error) {
	o.reply, o.err = reply, err
	close(o.done)
}

// wait returns when the operation is done or ctx ends.
func (o *op) wait(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	if o.state.CompareAndSwap(queued, abandoned) {
		return fmt.Errorf("%w: %w", state.ErrUnavailable, ctx.Err())
	}
	select {
	case <-o.done:
		return o.err
	default:
	}
	if o.write {
		return fmt.Errorf("%w: %w", state.ErrUnknown, ctx.Err())
	}
	return fmt.Errorf("%w: %w", state.ErrUnavailable, ctx.Err())
}

// batcher gathers operations for one server. While its lanes are each in a round trip, what arrives waits and then goes out
// together: the busier the server, the larger the batches. There is no waiting for company beyond that.
type batcher struct {
	client   *goredis.Client
	replicas int // that have to acknowledge writes
	timeout  time.Duration
	metrics  *metrics
	redirect func(o *op, addr string) // sends an operation on to another node; nil outside a cluster
	failed   func()                   // told when the server could not be used

	mu      sync.Mutex
	queue   []*op
	closed  bool
	arrived chan struct{} // has an element when a lane should look; never closed, since add may be about to send
	ending  chan struct{} // closed by stop
	lanes   sync.WaitGroup
	busy    atomic.Int32 // lanes in a round trip
}

// start starts the lanes; each ends when stop is called.
func (b *batcher) start(lanes int) {
	b.arrived, b.ending = make(chan struct{}, 1), make(chan struct{})
	for range lanes {
		b.lanes.Go(b.lane)
	}
}

// add queues an operation; after stop it is refused.
func (b *batcher) add(o *op) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		o.finish(nil, fmt.Errorf("%w: %w", state.ErrUnavailable, errClosed))
		return
	}
	b.queue = append(b.queue, o)
	b.mu.Unlock()
	b.wake()
}

func (b *batcher) wake() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// stop refuses what waits and what comes later. The lanes end with the exchange that they are in; lanes.Wait waits for them.
func (b *batcher) stop() {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	b.mu.Unlock()
	b.refuse(errClosed)
	if first {
		close(b.ending)
	}
}

// refuse fails all that waits: it was not sent, and will not be.
func (b *batcher) refuse(why error) {
	b.mu.Lock()
	waiting := b.queue
	b.queue = nil
	b.mu.Unlock()
	for _, o := range waiting {
		if o.state.CompareAndSwap(queued, taken) {
			o.finish(nil, fmt.Errorf("%w: %w", state.ErrUnavailable, why))
		}
	}
}

// lane does one round trip after the other until stop is called.
func (b *batcher) lane() {
	for {
		select {
		case <-b.arrived:
		case <-b.ending:
			return
		}
		for batch := b.take(); len(batch) > 0; batch = b.take() {
			b.run(batch)
		}
	}
}

// take takes the next batch out of the queue.
func (b *batcher) take() []*op {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []*op
	bytes, n := 0, 0
	for _, o := range b.queue {
		if len(batch) > 0 && (len(batch) == maxBatch || bytes+o.bytes > maxBatchBytes) {
			break
		}
		n++
		if o.state.CompareAndSwap(queued, taken) {
			batch, bytes = append(batch, o), bytes+o.bytes
		}
	}
	if n == len(b.queue) {
		b.queue = nil
	} else {
		b.queue = b.queue[n:]
		b.wake() // another lane can begin with the rest
	}
	return batch
}

// run sends a batch and hands out what comes back.
func (b *batcher) run(batch []*op) {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	b.metrics.batch.Observe(float64(len(batch)))
	timer := prometheus.NewTimer(b.metrics.roundTrip)
	err := b.exchange(batch, false)
	if err == nil {
		var forgotten []*op
		for _, o := range batch {
			if code(o.err) == "NOSCRIPT" {
				forgotten = append(forgotten, o)
			}
		}
		if len(forgotten) > 0 {
			err = b.exchange(forgotten, true)
		}
	}
	timer.ObserveDuration()
	for _, o := range batch {
		b.settle(o)
	}
	if err == nil {
		return
	}
	b.failed()
	// Behind a server that is silent or cannot be reached nobody waits for his own time-out: a call fails within two of them.
	// A connection that just broke says nothing about the next one.
	if isTimeout(err) || !slices.ContainsFunc(batch, func(o *op) bool { return o.sent }) {
		b.refuse(errSilent)
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() // context.DeadlineExceeded too
}

// exchange is one round trip. It sets each operation's reply and err as the server or the connection gave them, and returns why
// the connection could not be had or did not last; nil where every operation has the server's reply. load: the server has
// forgotten the script and gets it first.
func (b *batcher) exchange(batch []*op, load bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	pipe := b.client.Pipeline() // its methods only queue
	if load {
		pipe.ScriptLoad(ctx, changeScript)
	}
	writes := false
	for _, o := range batch {
		if o.asking {
			pipe.Do(ctx, "asking")
		}
		o.cmd = goredis.NewCmd(ctx, o.args...)
		_ = pipe.Process(ctx, o.cmd)
		writes = writes || o.write
	}
	var wait *goredis.IntCmd
	if writes && b.replicas > 0 {
		wait = goredis.NewIntCmd(ctx, "wait", b.replicas, (b.timeout / 2).Milliseconds())
		_ = pipe.Process(ctx, wait)
	}
	_, execErr := pipe.Exec(ctx)
	var broken error
	for _, o := range batch {
		o.reply, o.err = o.cmd.Result()
		if o.reply == nil && o.err == nil { // the connection itself was refused, and go-redis tells that to Exec alone
			o.err = errors.Join(errNoReply, execErr)
		}
		var reply goredis.Error
		if o.err != nil && (!o.sent || !errors.As(o.err, &reply)) {
			broken = o.err
		}
	}
	if wait != nil && broken == nil {
		broken = b.acknowledge(batch, wait)
	}
	return broken
}

// acknowledge turns the writes of a batch into unknown ones where too few replicas have them (DESIGN §3 rule 11). It returns why
// the connection did not last until they told.
func (b *batcher) acknowledge(batch []*op, wait *goredis.IntCmd) error {
	n, err := wait.Result()
	if err == nil && n >= int64(b.replicas) {
		return nil
	}
	b.metrics.short.Inc()
	short := fmt.Errorf("%w: %d of %d", errReplicas, n, b.replicas)
	if err != nil {
		short = fmt.Errorf("%w: %w", errReplicas, err)
	}
	for _, o := range batch {
		if _, refused := o.reply.([]any); o.write && o.err == nil && !refused {
			o.err = short
		}
	}
	if code(err) == "" {
		return err
	}
	return nil
}

// settle gives an operation its end, or sends it on to the node that the cluster names.
func (b *batcher) settle(o *op) {
	word := code(o.err)
	if (word == "MOVED" || word == "ASK") && b.redirect != nil && o.redirects < maxRedirects {
		b.metrics.redirects.Inc()
		o.redirects++
		o.asking, o.sent = word == "ASK", false
		addr, _ := goredis.IsMovedError(o.err)
		if o.asking {
			addr, _ = goredis.IsAskError(o.err)
		}
		o.state.Store(queued)
		b.redirect(o, addr)
		return
	}
	switch {
	case o.err == nil || errors.Is(o.err, goredis.Nil):
		o.finish(o.reply, nil)
	case errors.Is(o.err, errReplicas):
		o.finish(nil, fmt.Errorf("%w: %w", state.ErrUnknown, o.err))
	default:
		o.finish(nil, meaning(o.err, o.sent))
	}
}
