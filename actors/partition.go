package actors

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/stream"
)

// Engine makes the actors of a node. Its methods may be called from any goroutine.
type Engine struct {
	*Options
	metrics  *metrics
	reported sync.Map // partition → reported, see Backlog
	rates    rates
	owned    atomic.Int64 // partitions
}

// New registers the actors' metrics.
func New(o Options) *Engine {
	return &Engine{Options: &o, metrics: newMetrics(o.Registerer), rates: newRates(o.Accounts)}
}

// Partition makes the actor of one tenure. The cluster spawns it under the partition's name once it has won the lease, sends
// it *Release before it gives the lease up, and takes the lease anew when the actor ends by itself: it does so when a later
// owner has written, when the log was replaced, and when it cannot start.
func (e *Engine) Partition(t Tenure) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		ctx, cancel := context.WithCancel(context.Background())
		return &partition{
			shared: &shared{Engine: e, tenure: t, ctx: ctx},
			cancel: cancel,
			users:  make(map[messages.User]*resident),
			doomed: make(map[uint64]string),
			pids:   make(map[string]messages.User),
			waits:  make(map[messages.User]time.Time),
			parked: make(map[messages.User]bool),
			gate:   newGate(),
			stats:  newBacklog(t.Partition),
			log:    e.Logger.With("partition", t.Partition, "epoch", t.Epoch),
		}
	}, actor.WithSupervisor(actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })))
}

// shared is what a partition's users know of it. It does not change once the partition has started.
type shared struct {
	*Engine
	tenure     Tenure
	generation uint64
	pid        *actor.PID
	root       *actor.RootContext
	ctx        context.Context // ends with the partition
	since      time.Time       // when this tenure had taken the partition over
	leaving    atomic.Bool     // an orderly release has begun: no new call of WeChat's send API is made
	book       callBook        // of calls of WeChat's send API
	sending    atomic.Int64    // calls of WeChat's send API that are under way, or whose outcome is not written down
}

// partition is the actor of one partition for one tenure. Its fields belong to its turn.
type partition struct {
	*shared
	log    *slog.Logger
	cancel context.CancelFunc

	// Reading. The pump and the ticker end when stopReading is called; pumps waits for them.
	pump        *pump
	gate        *gate
	stopReading context.CancelFunc
	pumps       sync.WaitGroup
	readUpTo    uint64        // newest sequence taken from the pump
	readTime    time.Time     // its log time
	troubled    time.Time     // when the log was last known not to work
	gaps        []stream.Mark // entries before a gap, to be looked at once more
	looked      []stream.Mark // those that are being looked at
	missing     stream.Mark   // an entry that the log has lost
	held        []stream.Received
	batch       batch // of careful hand-over

	// The ledger and the checkpoint that is in the store.
	led        *ledger
	due        *dueIndex
	cp         checkpoint
	cpRec      state.Record
	cpWrites   []uint64 // write ids of commits whose outcome is open
	committing bool
	dirty      int // settlements since the last checkpoint
	purged     uint64
	sinceClean int // settlements since the last purge

	// Users by name; an entry stays while the user's actor lives or has unsettled entries.
	users map[messages.User]*resident
	pids  map[string]messages.User // by actor id, of those that live
	// Entries that end as dead letters, by sequence, with the reason.
	doomed map[uint64]string
	live   int                         // how many live
	waits  map[messages.User]time.Time // until when each needs the log to be read
	parked map[messages.User]bool      // users whose first message waits for WeChat's API
	idle   int                         // entries of users who wait, as of the last tick

	floors []floorAt // with KeepSettled, oldest first

	lastSweep, lastGeneration, lastPurge time.Time
	probing, checking, purging           bool
	releasing                            time.Time // when the release was asked for
	hurried                              bool      // and users were told to wait for the bot no longer
	stopped                              bool
	stats                                backlog
}

// resident is one user of the partition.
type resident struct {
	pid      *actor.PID        // nil while the actor is not there
	entries  []stream.Received // unsettled, in the order of the log (DESIGN §3 rule 1)
	active   time.Time
	respawn  time.Time // not before
	failures int       // ends of the actor in a row without a settled entry
	handed   uint64    // the newest entry that an activation of this tenure was given
	panicSeq uint64    // the entry that the actor panicked over, panics times
	panics   int
}

// Receive is the partition's mailbox.
func (p *partition) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		p.begin(ctx)
	case *received:
		p.gate.taken()
		p.noteGap(m.gap)
		p.take(ctx, m.rec)
	case *settled:
		p.settle(ctx, m)
	case *tick:
		p.tick(ctx)
	case *dueWritten:
		p.dueWritten(ctx, m)
	case *checkpointed:
		p.checkpointed(ctx, m.result)
	case *messages.Activate:
		p.activate(ctx, m)
	case *parked:
		if m.on {
			p.parked[m.user] = true
		} else {
			delete(p.parked, m.user)
		}
		p.tryRelease(ctx)
	case *waiting:
		p.waits[m.user] = m.until
	case *logTrouble:
		p.troubled = p.Now()
	case *caughtUp:
		p.release(ctx, m.at)
	case *buried:
		switch {
		case m.err != nil && p.stopped: // the next owner reads the entry again
		case m.err != nil:
			p.log.Warn("a dead letter was not written and is tried again", "sequence", m.rec.Sequence, "error", m.err)
			p.bury(m.rec, m.reason, m.detail)
		default:
			p.settleOne(ctx, m.rec.Sequence)
		}
	case *actor.Terminated:
		p.lost(m.Who)
	case *panicked:
		p.panicked(m)
	case *unreadable:
		p.unreadable(m)
	case *behind:
		p.soil() // the next checkpoint finds out whether it is lost too
		p.due.compare()
	case *evicted:
		p.stepDown(ctx, "a later owner has written", m.err)
	case *pumpEnded:
		p.stepDown(ctx, "the log is another one", m.err)
	case *replaced:
		p.missing = m.mark
		p.flush() // checkpointed steps down
	case *generationChecked:
		p.checking, p.looked, p.gaps = false, nil, append(m.open, p.gaps...)
	case *purgeDone:
		p.purging = false
	case *Release:
		p.releasing = p.Now()
		p.leaving.Store(true)
		if p.stopReading != nil {
			p.stopReading()
		}
		p.tryRelease(ctx)
	case *actor.Stopping:
		p.stopping()
	case *actor.Stopped:
		p.ended()
	}
}

// begin takes the partition over and starts to read.
func (p *partition) begin(ctx actor.Context) {
	p.pid, p.root = ctx.Self(), ctx.ActorSystem().Root
	p.owned.Add(1)
	within, cancel := context.WithTimeout(p.ctx, 2*opTimeout)
	defer cancel()
	s, err := takeover(within, p.Options, p.tenure)
	if err != nil {
		p.stepDown(ctx, "it cannot be taken over", err)
		return
	}
	p.cp, p.cpRec, p.led, p.generation = s.cp, s.rec, s.led, s.cp.Generation
	p.readUpTo = s.cp.Floor
	if err := p.loadDue(within); err != nil {
		p.stepDown(ctx, "it cannot be taken over", err)
		return
	}
	now := p.Now()
	p.lastSweep, p.lastGeneration = now, now
	p.lastPurge = now.Add(-time.Duration(p.tenure.Partition%64) * purgeEvery / 64) // not all at once
	p.since = now

	level := slog.LevelDebug
	if s.crashed && s.cp.CrashEnd > s.cp.Floor || s.replaced {
		level = slog.LevelInfo
	}
	p.log.Log(p.ctx, level, "partition taken over", "generation", s.cp.Generation, "floor", s.cp.Floor,
		"settled_above", len(s.led.done), "crashes", s.cp.Crashes, "log_replaced", s.replaced)

	var reading context.Context
	reading, p.stopReading = context.WithCancel(p.ctx)
	p.pump = &pump{log: p.Log, partition: p.tenure.Partition, from: s.from, to: p.pid, root: p.root, gate: p.gate,
		before: p.led.newest}
	p.pumps.Go(func() { p.pump.run(reading) }) // ended by stopReading
	p.pumps.Go(func() { p.ticker(p.ctx) })     // ended by cancel
}

// ticker sends ticks until ctx ends.
func (p *partition) ticker(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.root.Send(p.pid, &tick{})
		case <-ctx.Done():
			return
		}
	}
}

// take notes an entry and hands it to its user, or holds it back while entries are handed over with care.
func (p *partition) take(ctx actor.Context, rec stream.Received) {
	if p.stopped || !p.releasing.IsZero() {
		return // it is read again by the next owner
	}
	before, fresh := p.led.add(stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime})
	if !fresh {
		return
	}
	p.readUpTo, p.readTime = rec.Sequence, rec.LogTime
	if before {
		p.soil()
		return
	}
	if (careful(p.cp.Crashes) > 0 || len(p.held) > 0) && !p.joins(rec) {
		p.held = append(p.held, rec)
		p.handHeld(ctx)
	} else {
		p.hand(ctx, rec)
	}
	p.setGate()
}

// setGate applies DESIGN §3 rule 6. Entries of users who only wait for a redelivery do not count: what they wait for stands in the
// log behind them, so a pump that stopped for them would never let them go.
func (p *partition) setGate() {
	p.gate.set(p.led.unsettled-p.idle >= maxUnsettled || len(p.led.entries)-p.idle >= maxAboveFloor)
}

// busy tells whether half of the room is taken, or more.
func (p *partition) busy() bool {
	return p.led.unsettled > maxUnsettled/2 || len(p.led.entries)-p.idle > maxAboveFloor/2
}

// hand gives an entry to its user's actor. Entries that no actor needs end here.
func (p *partition) hand(ctx actor.Context, rec stream.Received) {
	if rec.Entry == nil {
		p.bury(rec, ReasonUndecodable, rec.Err.Error())
		return
	}
	in := rec.Entry.GetInbound()
	_, known := p.Accounts[in.GetAccount()]
	own := rec.Entry.GetSource() != messages.Source_SOURCE_CALLBACK
	if !own && !in.ForUser() || own && !known { // a wake-up or a re-driven letter of an account that is gone: its letter stays as it is
		p.metrics.ignored.Inc()
		p.settleOne(ctx, rec.Sequence)
		return
	}
	if !known {
		p.bury(rec, ReasonNoAccount, "account "+in.GetAccount()+" is not configured")
		return
	}
	user := messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}
	r := p.resident(user)
	r.entries = append(r.entries, rec)
	if r.pid == nil {
		p.spawn(ctx, user, r)
		return // which hands over all of r.entries
	}
	ctx.Send(r.pid, p.delivery(r, rec))
}

// settle notes that a user is done with entries.
func (p *partition) settle(ctx actor.Context, m *settled) {
	if r := p.users[m.user]; r != nil {
		r.entries = slices.DeleteFunc(r.entries, func(rec stream.Received) bool { return slices.Contains(m.seqs, rec.Sequence) })
		if len(r.entries) == 0 {
			r.entries = nil
		}
		r.active, r.failures, r.panics = p.Now(), 0, 0
	}
	p.settleDue(ctx, m.user, m.seqs, m.due)
}

func (p *partition) settleOne(ctx actor.Context, seq uint64) {
	if !p.led.settle(seq) {
		return
	}
	delete(p.doomed, seq)
	p.metrics.settled.Inc()
	p.soil()
	p.sinceClean++
	p.settledInBatch(ctx, seq)
	if p.dirty >= checkpointEvery {
		p.flush()
	}
	p.setGate()
	p.tryRelease(ctx)
}

// stepDown ends the actor; the cluster takes the partition anew under a later epoch, or another node does.
func (p *partition) stepDown(ctx actor.Context, why string, err error) {
	if p.stopped {
		return
	}
	p.stopped = true
	p.metrics.stepDowns.WithLabelValues(stepDownReason(err)).Inc()
	p.log.Warn("partition given up: "+why, "error", err)
	ctx.Stop(ctx.Self())
}

func stepDownReason(err error) string {
	switch {
	case errors.Is(err, state.ErrStaleEpoch), errors.Is(err, state.ErrConflict):
		return "evicted"
	case errors.Is(err, errReplaced):
		return "log_replaced"
	case errors.Is(err, ErrNoCheckpoint):
		return "no_checkpoint"
	default:
		return "error"
	}
}

// tryRelease ends an orderly release once nothing is under way, or the time for it is over: what is unsettled then goes to the
// next owner.
func (p *partition) tryRelease(ctx actor.Context) {
	if p.releasing.IsZero() || p.stopped {
		return
	}
	if patient := p.Now().Sub(p.releasing) < askingWithin; !patient && !p.hurried {
		p.hurried = true
		for _, r := range p.users {
			if r.pid != nil && len(r.entries) > 0 {
				ctx.Send(r.pid, &depart{})
			}
		}
	}
	within := releaseWithin
	if p.sending.Load() > 0 { // a call whose outcome nobody wrote down would be a dead letter
		within = sendTimeout + time.Second
	}
	if p.led != nil && (p.underWay() || p.committing) && p.Now().Sub(p.releasing) < within {
		return
	}
	p.stopped = true
	ctx.Stop(ctx.Self())
}

// underWay tells whether something would be lost, or be done again, if the users' actors stopped now. What waits for WeChat's API does
// so at the next owner as well.
func (p *partition) underWay() bool {
	n := p.led.unsettled
	for user := range p.parked {
		if r := p.users[user]; r != nil {
			n -= len(r.entries)
		}
	}
	return n > 0
}

// stopping runs before the users' actors are stopped.
func (p *partition) stopping() {
	p.stopped = true
	if p.stopReading != nil {
		p.stopReading()
	}
	if p.releasing.IsZero() {
		p.cancel() // nobody may write any more: do not wait for it either
	}
}

// ended runs when all users' actors are gone: the last checkpoint of an orderly release covers all that they committed.
func (p *partition) ended() {
	if !p.releasing.IsZero() && p.led != nil && !p.committing {
		last := p.packed()
		last.Clean = true
		if result := p.writeCheckpoint(p.ctx, last, p.cpRec, p.Random(), p.cpWrites); result.err != nil {
			p.log.Warn("the last checkpoint was not written; the next owner reads some entries again", "error", result.err)
		}
	}
	p.cancel()
	p.pumps.Wait()
	p.metrics.forget(&p.stats)
	p.owned.Add(-1)
	p.dropBacklog()
}
