package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// answerTimeout is WeChat's own patience with one delivery (protocol §3).
	answerTimeout = 5 * time.Second
	// enoughFaults ends a round: the run has failed, more of the same tells nothing.
	enoughFaults = 100
	// keptFaults is how many faults of a round are told in words.
	keptFaults = 5
	// renderedLimit bounds the bytes of all requests that are rendered ahead.
	renderedLimit = 256 << 20
)

// generator drives one target at a time with the run's users.
type generator struct {
	feeds []*feed
	check *checker
}

// newGenerator prepares one feed per connection. seed decides who says what; MsgIds begin at firstID.
func newGenerator(account Account, connections, users int, spread string, firstID, seed uint64) (*generator, error) {
	g := &generator{}
	for number := range connections {
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], seed)
		binary.LittleEndian.PutUint64(key[8:], uint64(number))
		render, err := newRenderer(account, key)
		if err != nil {
			return nil, err
		}
		g.feeds = append(g.feeds, newFeed(render, number, connections, users, spread, firstID, seed))
	}
	render := g.feeds[0].render
	g.check = &checker{account: account, codec: render.codec, rules: render.rules}
	return g, nil
}

// round is one measurement to make.
type round struct {
	address   string
	duration  time.Duration
	expected  float64 // msg/s that the requests are rendered ahead for
	rate      float64 // open loop at this many msg/s; 0 is the closed loop
	everybody bool    // goes on until each user was visited once

	// Called, where not nil, by the goroutine that runs the round: right before the clock starts, now and then, and right
	// after it stopped.
	begin func()
	tick  func(elapsed time.Duration)
	end   func()
}

// outcome is what one round gave.
type outcome struct {
	messages       int // sent
	missing, wrong int
	late           int // rendered while the clock ran
	elapsed        time.Duration
	latencies      []time.Duration // of right answers, sorted
	faults         []error         // the first few
}

// run makes one measurement. Requests are rendered and connections made before the clock starts. The error is ctx's;
// what servers do wrong is in the outcome.
func (g *generator) run(ctx context.Context, r round) (outcome, error) {
	workers := make([]*worker, len(g.feeds))
	g.prepare(workers, r)
	defer func() {
		for _, w := range workers {
			w.conn.close()
		}
	}()
	runtime.GC() // the last round's garbage is not this target's
	if r.begin != nil {
		r.begin()
	}
	start := time.Now()
	var group sync.WaitGroup // its goroutines end with the round
	var faults atomic.Int64
	for _, w := range workers {
		w.faultsOfAll = &faults
		group.Go(func() {
			if r.rate > 0 {
				w.open(ctx, start, start.Add(r.duration), time.Duration(float64(len(workers))/r.rate*float64(time.Second)))
				return
			}
			atLeast := 0
			if r.everybody {
				atLeast = w.feed.everybody()
			}
			w.closed(ctx, start.Add(r.duration), atLeast)
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }() // ends with the workers
	r.wait(start, done)
	elapsed := time.Since(start)
	if r.end != nil {
		r.end()
	}
	return collect(workers, elapsed), ctx.Err()
}

// prepare renders each feed's share of the round and connects.
func (g *generator) prepare(workers []*worker, r round) {
	connections := len(g.feeds)
	start := time.Now()
	var group sync.WaitGroup
	for i, f := range g.feeds {
		w := &worker{conn: newConn(r.address), feed: f, check: g.check}
		workers[i] = w
		group.Go(func() {
			share := r.expected / float64(connections)
			n := int(1.25*share*r.duration.Seconds()) + 16
			if r.everybody {
				n = max(n, f.everybody())
			}
			gap := r.duration / time.Duration(n)
			f.fill(n, start, gap, renderedLimit/connections)
			w.latencies = make([]time.Duration, 0, n)
			// A connection that cannot be made shows as a missing answer when the worker tries again.
			_ = w.conn.dial(answerTimeout)
		})
	}
	group.Wait()
}

// wait returns when the workers are done.
func (r round) wait(start time.Time, done <-chan struct{}) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if r.tick != nil {
				r.tick(time.Since(start))
			}
		}
	}
}

// worker is one connection with the users that are its own.
type worker struct {
	conn        *conn
	feed        *feed
	check       *checker
	faultsOfAll *atomic.Int64

	messages       int
	missing, wrong int
	latencies      []time.Duration
	faults         []error
}

// closed sends the next message as soon as the last is answered, until end and at least that many.
func (w *worker) closed(ctx context.Context, end time.Time, atLeast int) {
	for w.goOn(ctx) {
		now := time.Now()
		if !now.Before(end) && w.messages >= atLeast {
			return
		}
		w.send(now, now)
	}
}

// open sends at planned instants, whatever the server does: a Poisson process with the given mean gap. A message that had
// to wait for the connection counts its waiting; where the worker was idle the clock starts at the real sending, so that
// the generator's own timer is not charged to the server.
func (w *worker) open(ctx context.Context, start, end time.Time, gap time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	planned := start
	for w.goOn(ctx) {
		planned = planned.Add(time.Duration(w.feed.random.ExpFloat64() * float64(gap)))
		if !planned.Before(end) {
			return
		}
		since, now := planned, time.Now()
		if wait := planned.Sub(now); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			now = time.Now()
			since = now
		}
		w.send(now, since)
	}
}

func (w *worker) goOn(ctx context.Context) bool {
	return ctx.Err() == nil && w.faultsOfAll.Load() < enoughFaults
}

// send makes one exchange and judges its answer; the latency counts from since.
func (w *worker) send(now, since time.Time) {
	request, want := w.feed.take(now)
	status, body, err := w.conn.exchange(request, now.Add(answerTimeout))
	latency := time.Since(since)
	w.messages++
	if err != nil {
		err = fmt.Errorf("%w: %w", errMissing, err)
	} else {
		err = w.check.check(status, body, want)
	}
	if err == nil {
		w.latencies = append(w.latencies, latency)
		return
	}
	w.faultsOfAll.Add(1)
	if errors.Is(err, errWrong) {
		w.wrong++
	} else {
		w.missing++
	}
	if len(w.faults) < keptFaults {
		w.faults = append(w.faults, err)
	}
}

func collect(workers []*worker, elapsed time.Duration) outcome {
	o := outcome{elapsed: elapsed}
	for _, w := range workers {
		o.messages += w.messages
		o.missing += w.missing
		o.wrong += w.wrong
		o.late += w.feed.late
		o.latencies = append(o.latencies, w.latencies...)
		o.faults = append(o.faults, w.faults[:min(len(w.faults), keptFaults-len(o.faults))]...)
	}
	slices.Sort(o.latencies)
	return o
}

// perSecond is the rate of right answers.
func (o outcome) perSecond() float64 {
	return float64(len(o.latencies)) / o.elapsed.Seconds()
}
