package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/stream"
)

// chance decides what happens by the seed, the place and the virtual moment alone, and not by which goroutine asks first: a seed
// that fails, fails again.
type chance uint64

// roll is a number below n.
func (c chance) roll(n int, place string) int {
	return int(xxhash.Sum64String(fmt.Sprint(uint64(c), place, time.Now().UnixNano())) % uint64(n))
}

// fixed is a number below n that does not depend on the moment.
func (c chance) fixed(n int, place string) int {
	return int(xxhash.Sum64String(fmt.Sprint(uint64(c), place)) % uint64(n))
}

func (c chance) upTo(d time.Duration, place string) time.Duration {
	return time.Duration(c.roll(int(d/time.Millisecond)+1, place)) * time.Millisecond
}

// weather is what goes wrong at the moment: percentages of the calls that it befalls.
type weather struct {
	store, storeSlow         int // a commit or load fails in one of four ways; takes up to 4 s
	log, logSlow             int // a call of the log fails; an entry is read late
	offer, offerSlow         int // an offer or its verdict gets lost; takes up to 2 s
	accept, acceptSlow       int // the log refuses, or its word gets lost; takes up to 6 s
	full                     bool
	brokenWrite, diesOnWrite int // of an ingress
	send, sendSlow           int // a call of WeChat's send API comes to anything but success; takes up to 12 s
}

// node is one process: an engine whose every call goes through a gate that can be shut for a while (SIGSTOP), or for good (SIGKILL).
type node struct {
	sim    *sim
	id     string
	skew   time.Duration
	system *actor.ActorSystem
	engine *Engine
	bot    *simBot

	mu    sync.Mutex
	dead  bool
	awake chan struct{} // closed at the end of a stop; nil while the process runs
}

var errDead = errors.New("this process is dead")

// pass holds the calls of a stopped process, and ends those of a dead one.
func (n *node) pass() error {
	for {
		n.mu.Lock()
		dead, awake := n.dead, n.awake
		n.mu.Unlock()
		if dead {
			return errDead
		}
		if awake == nil {
			return nil
		}
		<-awake
	}
}

func (n *node) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.awake == nil {
		n.awake = make(chan struct{})
	}
}

func (n *node) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.awake != nil {
		close(n.awake)
		n.awake = nil
	}
}

func (n *node) die() {
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
	n.wake()
}

// up tells whether the others see the process: neither dead nor stopped.
func (n *node) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead && n.awake == nil
}

// boot starts the process.
func (s *sim) boot(id string) *node {
	n := &node{sim: s, id: id, skew: time.Duration(s.chance.fixed(2000, "skew"+id)-1000) * time.Millisecond}
	n.bot = &simBot{node: n}
	n.system = actor.NewActorSystemWithConfig(actor.Configure(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })))
	o := Options{
		Node: id, Log: nodeLog{n}, Graveyard: nodeLog{n}, Store: nodeStore{n}, Offers: nodeOffers{n}, Random: s.random, Logger: s.logger(id),
		Now:        func() time.Time { return time.Now().Add(n.skew) },
		Registerer: prometheus.NewRegistry(), PassivateAfter: s.passivateAfter,
		LogFull: func() bool { return s.weather.Load().full },
		Outlet:  nodeOutlet{n}, Wakes: nodeLog{n}, Letters: nodeLog{n},
		Accounts: map[string]Account{
			account: {ID: account, Bot: n.bot, Limits: s.limits(account), Deliveries: 3, Unknown: s.unknown, Flooded: tooFast, Limited: tooFast},
			desk: {ID: desk, Bot: n.bot, Limits: s.limits(desk), Deliveries: 3, Unknown: s.unknown, Flooded: tooFast, Limited: tooFast,
				PushAfter: pushAfter, Typing: true},
		},
	}
	if s.barrier {
		o.Barrier = barrierFunc(func(context.Context) error { return n.pass() })
	}
	n.engine = New(o)
	return n
}

// burst is how much a user may write at once in runs with a rate.
const burst = 3

// limits are an account's.
func (s *sim) limits(account string) conversation.Limits {
	l := conversation.DefaultLimits()
	l.MaxTurns, l.MaxBytes = 1<<20, 1<<30 // so that the checker sees all of them
	l.KeptFor, l.Push = s.keptFor, account == desk
	if s.rated {
		l.UserEvery, l.UserBurst = 2*time.Second, burst
	}
	return l
}

// travel runs f as a request that takes its time on the way. It arrives also when its sender is dead or has given it up; then, or
// when it takes longer than within, travel returns false.
func travel[T any](ctx context.Context, n *node, delay, within time.Duration, f func() T) (T, bool) {
	var none T
	if delay == 0 {
		result := f()
		return result, n.pass() == nil
	}
	done := make(chan T, 1)
	go func() { // ended by the delay
		time.Sleep(delay)
		done <- f()
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case result := <-done:
		return result, n.pass() == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = n.pass()
	return none, false
}

// loaded is the store's answer.
type loaded struct {
	rec state.Record
	err error
}

func (n *node) delay(percent int, most time.Duration, place string) time.Duration {
	if n.sim.chance.roll(100, "slow?"+place) >= percent {
		return 0
	}
	return time.Millisecond + n.sim.chance.upTo(most, "slow"+place)
}

// nodeStore is the store as a node reaches it.
type nodeStore struct{ n *node }

func (s nodeStore) place(op string, key state.Key) string {
	return s.n.id + op + key.User.OpenID + fmt.Sprint(key.Partition)
}

func (s nodeStore) Load(ctx context.Context, key state.Key) (state.Record, error) {
	w, place := s.n.sim.weather.Load(), s.place("load", key)
	if err := s.n.pass(); err != nil || ctx.Err() != nil || s.n.sim.chance.roll(100, place) < w.store {
		return state.Record{}, fmt.Errorf("load: %w", state.ErrUnavailable)
	}
	got, ok := travel(ctx, s.n, s.n.delay(w.storeSlow, 4*time.Second, place), 2*time.Second, func() loaded {
		rec, err := s.n.sim.store.Load(context.WithoutCancel(ctx), key)
		return loaded{rec, err}
	})
	if !ok {
		return state.Record{}, fmt.Errorf("load: %w", state.ErrUnavailable)
	}
	return got.rec, got.err
}

func (s nodeStore) Commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (state.Record, error) {
	air, place := s.n.sim.weather.Load(), s.place("commit", key)
	if err := s.n.pass(); err != nil || ctx.Err() != nil {
		return state.Record{}, fmt.Errorf("commit: %w", state.ErrUnavailable)
	}
	fate := -1
	if s.n.sim.chance.roll(100, place) < air.store {
		fate = s.n.sim.chance.roll(3, "fate"+place)
	}
	switch fate {
	case 0:
		return state.Record{}, fmt.Errorf("commit: %w", state.ErrUnavailable)
	case 1:
		return state.Record{}, fmt.Errorf("commit: the request got lost: %w", state.ErrUnknown)
	}
	got, ok := travel(ctx, s.n, s.n.delay(air.storeSlow, 4*time.Second, place), 2*time.Second, func() loaded {
		rec, err := s.n.sim.store.Commit(context.WithoutCancel(ctx), key, base, w)
		return loaded{rec, err}
	})
	if !ok || fate == 2 {
		return state.Record{}, fmt.Errorf("commit: no answer: %w", state.ErrUnknown)
	}
	return got.rec, got.err
}

func (s nodeStore) Delete(context.Context, state.Key, state.Record, uint64) error {
	return errors.New("nobody deletes here")
}

func (s nodeStore) Ping(context.Context) error { return s.n.pass() }

// nodeLog is the log as a node reaches it.
type nodeLog struct{ n *node }

func (l nodeLog) reach(ctx context.Context, op string) error {
	if err := l.n.pass(); err != nil {
		return err
	}
	w, place := l.n.sim.weather.Load(), l.n.id+op
	if l.n.sim.chance.roll(100, place) < w.log {
		return fmt.Errorf("%s: %w", op, stream.ErrUnavailable)
	}
	if d := l.n.delay(w.logSlow, time.Second, place); d > 0 {
		time.Sleep(d)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	return l.n.pass()
}

func (l nodeLog) Read(ctx context.Context, partition int, from stream.Start) (stream.Source, error) {
	if err := l.reach(ctx, fmt.Sprint("read", partition)); err != nil {
		return nil, err
	}
	src, err := l.n.sim.log.Read(ctx, partition, from)
	return &nodeSource{Source: src, l: l, partition: partition}, err
}

func (l nodeLog) Holds(ctx context.Context, partition int, m stream.Mark) (bool, error) {
	if err := l.reach(ctx, fmt.Sprint("holds", partition)); err != nil {
		return false, err
	}
	return l.n.sim.log.Holds(ctx, partition, m)
}

func (l nodeLog) End(ctx context.Context, partition int) (uint64, error) {
	if err := l.reach(ctx, fmt.Sprint("end", partition)); err != nil {
		return 0, err
	}
	return l.n.sim.log.End(ctx, partition)
}

func (l nodeLog) HasEntries(ctx context.Context, partition int) (bool, error) {
	if err := l.reach(ctx, fmt.Sprint("has", partition)); err != nil {
		return false, err
	}
	return l.n.sim.log.HasEntries(ctx, partition)
}

func (l nodeLog) Purge(ctx context.Context, partition int, below uint64) error {
	if err := l.reach(ctx, fmt.Sprint("purge", partition)); err != nil {
		return err
	}
	return l.n.sim.log.Purge(ctx, partition, below)
}

func (l nodeLog) Bury(ctx context.Context, partition int, acc, id string, letter *messages.DeadLetter) error {
	if err := l.reach(ctx, "bury"+id); err != nil {
		return err
	}
	err := l.n.sim.log.Bury(ctx, partition, acc, id, letter)
	if l.n.sim.chance.roll(100, l.n.id+"buried"+id) < l.n.sim.weather.Load().log {
		return fmt.Errorf("bury: %w", stream.ErrUnknown)
	}
	return err
}

type nodeSource struct {
	stream.Source
	l         nodeLog
	partition int
}

func (s *nodeSource) Next(ctx context.Context) (stream.Received, error) {
	rec, err := s.Source.Next(ctx)
	if err != nil {
		return rec, err
	}
	if err := s.l.reach(ctx, fmt.Sprint("next", s.partition, rec.Sequence)); err != nil {
		return stream.Received{}, fmt.Errorf("%w: %w", stream.ErrReaderClosed, err)
	}
	return rec, nil
}

func (s *nodeSource) CaughtUp(ctx context.Context, last uint64) (bool, error) {
	if err := s.l.reach(ctx, fmt.Sprint("caughtup", s.partition)); err != nil {
		return false, err
	}
	return s.Source.CaughtUp(ctx, last)
}

// nodeOffers is the way from a node to the ingresses.
type nodeOffers struct{ n *node }

func (o nodeOffers) Offer(ctx context.Context, ingress string, offer *messages.Offer) (*messages.OfferReply, error) {
	if err := o.n.pass(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, place := o.n.sim.weather.Load(), fmt.Sprint(o.n.id, "offer", ingress, offer.GetSlot())
	lost := o.n.sim.chance.roll(100, place) < w.offer
	if lost && o.n.sim.chance.roll(2, "request"+place) == 0 {
		time.Sleep(time.Second)
		return nil, errors.New("no verdict: the request got lost")
	}
	door := o.n.sim.doors.get(ingress)
	if door == nil {
		return nil, stream.ErrNoIngress
	}
	delay := time.Millisecond + o.n.delay(w.offerSlow, 2*time.Second, place)
	reply, ok := travel(ctx, o.n, delay, time.Second, func() *messages.OfferReply {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return door.offer(within, offer)
	})
	if reply == nil || !ok || lost {
		return nil, errors.New("no verdict")
	}
	return reply, nil
}
