package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// line is one account on one node. Its loop alone changes state; everybody else looks at snapshot and sends events.
type line struct {
	opts    *SenderOptions
	account string
	name    messages.User // of the account's actor
	api     SendAPI       // nil: the account may not send
	media   MediaAPI      // nil: nothing is fetched for the account
	metrics *senderMetrics
	log     *slog.Logger

	events chan any      // to the loop
	kick   chan struct{} // wakes the loop
	ended  chan struct{} // closed when the loop has ended
	typing chan struct{} // a place for each call
	used   atomic.Int64  // when the line was last of use, Unix milliseconds

	fetching chan struct{} // a place for each fetch

	promised promises // by Ready

	snapshot atomic.Pointer[lineState]
	state    lineState // the loop's own
	waiters  []nextToken
}

// Events of a line.
type (
	// admitEvent asks for the right to make one call.
	admitEvent struct{ reply chan admitted }
	admitted   struct {
		admission
		ok    bool
		retry time.Time
		why   string
	}
	// learnEvent brings a call's outcome; done is closed once the line knows it.
	learnEvent struct {
		admission
		err  error
		more bool // the same admission makes another call
		done chan struct{}
	}
	// refusedEvent says that a call on the side was refused its token.
	refusedEvent struct{ generation uint64 }
	// nextToken waits for a token after that of a generation.
	nextToken struct {
		ctx   context.Context //nolint:containedctx // of the call that waits; only its end is looked at
		after uint64
		reply chan admission // has room for one
	}
	// leasedEvent is the outcome of a question to the account's actor.
	leasedEvent struct {
		ask   *messages.AccountLease
		reply *messages.AccountLeased
		began time.Time
		err   error
	}
	// probedEvent is the outcome of the breaker's harmless call.
	probedEvent struct {
		generation uint64
		err        error
	}
)

// touch notes that somebody wants to send, and wakes the loop where it has something to do for that.
func (l *line) touch(now time.Time, wake bool) {
	before := l.used.Swap(now.UnixMilli())
	if !wake && now.UnixMilli()-before < leaseEvery.Milliseconds()/2 {
		return
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// post hands the loop an event; false where the loop has ended.
func (l *line) post(event any) bool {
	select {
	case l.events <- event:
		return true
	case <-l.ended:
		return false
	}
}

// send makes one call, and a second one where the first one was refused its token.
func (l *line) send(ctx context.Context, openID string, part *messages.Answer) Sent {
	ask := admitEvent{reply: make(chan admitted, 1)}
	select {
	case l.events <- ask:
	case <-l.ended:
		return Sent{Fate: FateNotMade, Retry: l.opts.Now().Add(time.Second), Detail: "the node is stopping"}
	case <-ctx.Done():
		return Sent{Fate: FateNotMade, Retry: l.opts.Now().Add(leaseSoon), Detail: "the time for the call was over before it was made"}
	}
	a := <-ask.reply
	if !a.ok {
		return Sent{Fate: FateNotMade, Retry: a.retry, Detail: a.why}
	}
	err := l.api.SendCustom(ctx, a.token, openID, part, "")
	if classOf(err) != api.TokenInvalid {
		l.learn(a.admission, err, false)
		return sentOf(err, l.opts.Now(), l.opts.Random())
	}
	l.learn(a.admission, err, true)
	next, ok := l.after(ctx, a.generation)
	if !ok {
		l.post(learnEvent{admission: a.admission, err: errNoCall, done: make(chan struct{})})
		return sentOf(err, l.opts.Now(), l.opts.Random())
	}
	next.probe = a.probe
	err = l.api.SendCustom(ctx, next.token, openID, part, "")
	l.learn(next, err, false)
	return sentOf(err, l.opts.Now(), l.opts.Random())
}

// errNoCall ends an admission without a call.
var errNoCall = errors.New("no call was made")

// learn tells the line what became of a call, and waits until it knows: whoever asks Ready after that finds it there.
func (l *line) learn(a admission, err error, more bool) {
	e := learnEvent{admission: a, err: err, more: more, done: make(chan struct{})}
	if l.post(e) {
		<-e.done
	}
}

// after waits for a usable token that is newer than a generation.
func (l *line) after(ctx context.Context, generation uint64) (admission, bool) {
	ctx, cancel := context.WithTimeout(ctx, refreshPatient)
	defer cancel()
	w := nextToken{ctx: ctx, after: generation, reply: make(chan admission, 1)}
	if !l.post(w) {
		return admission{}, false
	}
	select {
	case a := <-w.reply:
		return a, true
	case <-l.ended:
	case <-ctx.Done():
	}
	return admission{}, false
}

// run is the line's loop.
func (l *line) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	defer close(l.ended)
	timer := time.NewTimer(leaseEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-l.events:
			l.take(e)
		case <-l.kick:
		case <-timer.C:
		}
		now := l.opts.Now()
		l.start(ctx, &work, now)
		l.tellWaiters(now)
		l.publish()
		timer.Reset(l.sleep(now))
	}
}

// take changes the state by one event. The snapshot is published before the sender of the event goes on.
func (l *line) take(event any) {
	now := l.opts.Now()
	switch e := event.(type) {
	case admitEvent:
		var r admitted
		r.admission, r.ok, r.retry, r.why = l.state.admit(now)
		l.used.Store(now.UnixMilli())
		l.publish()
		e.reply <- r
	case learnEvent:
		if errors.Is(e.err, errNoCall) {
			l.state.inFlight--
		} else {
			l.state.learn(e.admission, e.err, e.more, now, l.opts.Random())
		}
		l.publish()
		close(e.done)
	case refusedEvent:
		l.state.refusal(e.generation, now)
	case nextToken:
		l.waiters = append(l.waiters, e)
	case leasedEvent:
		l.leased(e, now)
	case probedEvent:
		l.state.breaker.probed(classOf(e.err), now, l.opts.Random())
		if classOf(e.err) == api.TokenInvalid {
			l.state.refusal(e.generation, now)
		}
		if !l.state.breaker.open {
			l.log.Info("WeChat's API answers again; messages go out one at a time until one got through")
		}
	}
}

func (l *line) leased(e leasedEvent, now time.Time) {
	if e.err != nil {
		l.metrics.leases.WithLabelValues(l.account, "error").Inc()
		if l.state.failingSince.IsZero() {
			l.log.Warn("the account's actor does not answer; it is asked again", "error", e.err)
		}
		l.state.unanswered(e.ask, e.began, now)
		return
	}
	l.metrics.leases.WithLabelValues(l.account, "ok").Inc()
	l.state.leased(e.ask, e.reply, e.began, now)
}

// start begins what is due: each thing once at a time, beside the loop.
func (l *line) start(ctx context.Context, work *sync.WaitGroup, now time.Time) {
	used := time.UnixMilli(l.used.Load())
	if l.state.leaseDue(now, used) {
		ask := l.state.leaseRequest(l.opts.Node, now, used)
		work.Go(func() { l.post(l.askLease(ctx, ask, now)) }) // ended by leaseTimeout and ctx
	}
	if ok, _, _ := l.state.tokenReady(now); ok && now.Sub(used) < lineInUse && l.state.breaker.probeDue(now) {
		l.state.breaker.probing = true
		token, generation := l.state.token, l.state.generation
		work.Go(func() { // ended by probeTimeout and ctx
			within, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			_, err := l.api.APIDomainIPs(within, token)
			l.post(probedEvent{generation: generation, err: err})
		})
	}
}

// askLease asks the account's actor.
func (l *line) askLease(ctx context.Context, ask *messages.AccountLease, began time.Time) leasedEvent {
	within, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	e := leasedEvent{ask: ask, began: began}
	reply, err := l.opts.Ask(within, l.name, ask)
	if err != nil {
		e.err = err
		return e
	}
	r, ok := reply.(*messages.AccountLeased)
	if !ok {
		e.err = fmt.Errorf("the account's actor answered with %T; do all nodes run the same version?", reply)
	}
	e.reply = r
	return e
}

// tellWaiters gives the next token to those who wait for it, and forgets those who do not any more.
func (l *line) tellWaiters(now time.Time) {
	if len(l.waiters) == 0 {
		return
	}
	l.used.Store(now.UnixMilli())
	usable, _, _ := l.state.tokenReady(now)
	l.waiters = slices.DeleteFunc(l.waiters, func(w nextToken) bool {
		if w.ctx.Err() != nil {
			return true
		}
		if !usable || l.state.generation == w.after {
			return false
		}
		w.reply <- admission{token: l.state.token, generation: l.state.generation}
		return true
	})
}

// publish lets everybody see the state.
func (l *line) publish() {
	s := l.state
	l.snapshot.Store(&s)
	open := 0.0
	if s.breaker.open {
		open = 1
	}
	l.metrics.breaker.WithLabelValues(l.account).Set(open)
	l.metrics.inFlight.WithLabelValues(l.account).Set(float64(s.inFlight))
}

// sleep is how long the loop may sleep, unless something happens. What is past was either started a moment ago or waits for
// somebody to need the line, who wakes the loop.
func (l *line) sleep(now time.Time) time.Duration {
	next := now.Add(leaseEvery)
	for _, due := range []time.Time{l.state.nextLease, l.state.breaker.until} {
		if due.After(now) {
			next = earliest(next, due)
		}
	}
	return next.Sub(now)
}
