package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

const (
	backoffFirst = 100 * time.Millisecond
	// backoffMost is short because what failed is usually the log or the store for all partitions at once, and each waits out its
	// own pause after that has come back.
	backoffMost = time.Second
	// takeBackoffMost is the same for a lease or a checkpoint that could not be read or written: nothing was begun.
	takeBackoffMost = 400 * time.Millisecond
	// movesAtOnce is how many partitions a node that stays hands over at a time. Each is answered for until its turn comes, so the
	// pause of one is not the pause of all.
	movesAtOnce = 8
	// calmAfter is how long a tenure must last for the next fault to count as the first again.
	calmAfter = 10 * time.Second
	// heldPoll is how often a held lease is looked at when nothing else wakes the keeper.
	heldPoll = time.Second
	// checkpointTimeout bounds the read of the checkpoint's epoch.
	checkpointTimeout = 2 * time.Second
	// stopPatience is how long a stopped actor may take to end its current message.
	stopPatience = 2 * time.Second
	// takeoverPause: within it a second unplanned takeover of one partition needs two independent signs (DESIGN rule 20).
	takeoverPause = 2 * time.Second
)

// PartitionActorID is the id of a partition's actor on the node that owns it.
func PartitionActorID(partition int) string { return "partition-" + strconv.Itoa(partition) }

// keeper takes, holds and releases one partition, one step after the other. Only its own goroutine touches its fields,
// except running, which anybody may read.
type keeper struct {
	node      *Node
	partition int
	log       *slog.Logger
	running   atomic.Bool                 // the actor was started and not yet told to end
	takenOver atomic.Pointer[atomic.Bool] // of the tenure that runs: its epoch stands in the checkpoint; nil without one
	epoch     atomic.Uint64               // of the tenure that runs, or ran last
	panicked  atomic.Bool                 // the actor of this tenure panicked; set by its guardian
	guardian  *actor.RootContext
	last      <-chan struct{} // closed when the actor of the last tenure has stopped; nil before the first

	faults      int       // tenures in a row that ended in a fault
	failures    int       // takes in a row that failed
	wantedSince time.Time // since when the partition has been wanted here without a tenure
	blockedBy   string    // mark of the live owner that is waited for
	blocked     time.Time // since when
	moves       bool      // it has one of the node's slots for hand-overs
}

func newKeeper(n *Node, partition int) *keeper {
	k := &keeper{node: n, partition: partition, log: n.log.With("partition", partition)}
	k.guardian = guarded(n.transport.system, func(reason any) {
		k.panicked.Store(true)
		k.log.Error("the partition's actor panicked and is stopped", "panic", describePanic(reason))
	})
	return k
}

// run returns when the node leaves and the partition is handed over.
func (k *keeper) run() {
	for {
		v, changed := k.node.board.load()
		switch {
		case v.leaving:
			k.vacate(v)
			return
		case !v.wants(k.partition):
			k.wantedSince, k.blockedBy = time.Time{}, ""
			_, moved := k.node.leases.seen(k.partition)
			if k.vacate(v) {
				k.wait(changed, moved, 0)
			} else {
				k.wait(changed, moved, heldPoll)
			}
			continue
		}
		if k.wantedSince.IsZero() {
			k.wantedSince = time.Now()
		}
		if !k.gone() {
			k.wait(changed, k.last, 0)
			continue
		}
		_, moved := k.node.leases.seen(k.partition)
		own, err := k.take(v)
		switch {
		case errors.Is(err, errLeaseHeld), errors.Is(err, errLeaseMoved):
			k.wait(changed, moved, heldPoll)
		case err != nil:
			k.log.Warn("the partition could not be taken and is tried again", "error", err)
			k.pause(min(backoff(k.failures), takeBackoffMost))
			k.failures++
		default:
			k.failures = 0
			k.tenure(own)
		}
	}
}

// gone tells whether the actor of the last tenure has stopped. Before that nobody may follow it: all of them have one name, so its
// late end would be told as that of its successor, who then ran unseen and for ever in the way of the next.
func (k *keeper) gone() bool {
	select {
	case <-k.last:
		return true
	default:
		return k.last == nil
	}
}

// wait returns at a change of the view or of the lease, or after the given time if that is not 0.
func (k *keeper) wait(changed, moved <-chan struct{}, most time.Duration) {
	var timeout <-chan time.Time
	if most > 0 {
		timeout = time.After(most)
	}
	select {
	case <-changed:
	case <-moved:
	case <-timeout:
	}
}

// pause waits before another try, less when the node leaves.
func (k *keeper) pause(wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-k.node.board.left:
	}
}

// pauseAfterFault is longer after every fault in a row.
func (k *keeper) pauseAfterFault() {
	k.pause(backoff(k.faults))
	k.faults++
}

// backoff is 100 ms, doubled with every earlier failure, at most 1 s.
func backoff(failures int) time.Duration {
	return min(backoffFirst<<min(failures, 10), backoffMost)
}

// taken is a lease that this node won.
type taken struct {
	Ownership
	lease    Lease
	revision uint64
	since    time.Time // since when nobody served the partition, as far as this node knows
}

// take wins the lease if it is free or its owner is gone. errLeaseHeld and errLeaseMoved mean: look again when something
// changes.
func (k *keeper) take(v *view) (taken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkpointTimeout+2*storeTimeout)
	defer cancel()
	old, revision, err := k.node.leases.read(ctx, k.partition)
	if err != nil {
		return taken{}, err
	}
	if !old.free() && old.Member != v.self {
		if err := k.passOver(v, old); err != nil {
			return taken{}, err
		}
	}
	reading, done := context.WithTimeout(ctx, checkpointTimeout)
	defer done()
	checkpoint, err := k.node.opts.Owner.CheckpointEpoch(reading, k.partition)
	if err != nil {
		return taken{}, fmt.Errorf("read the checkpoint's epoch of partition %d: %w", k.partition, err)
	}
	own := Ownership{
		Partition: k.partition,
		Epoch:     1 + max(old.Epoch, checkpoint),
		Mark:      fmt.Sprintf("%016x", k.node.opts.Random()),
		Planned:   old.Released || (revision == 0 && checkpoint == 0),
	}
	next := Lease{Node: k.node.opts.NodeID, Member: v.self, Epoch: own.Epoch, Mark: own.Mark, Planned: own.Planned, At: time.Now().UTC()}
	written, err := k.node.leases.swap(ctx, k.partition, next, revision)
	if errors.Is(err, errLeaseMoved) {
		k.node.metrics.conflicts.Inc()
	}
	if err != nil {
		return taken{}, err
	}
	k.node.metrics.takeovers.WithLabelValues(strconv.FormatBool(own.Planned)).Inc()
	since := k.wantedSince
	if heard, lost := v.heard[old.Member]; lost && !own.Planned && heard.Before(since) {
		since = heard
	}
	return taken{Ownership: own, lease: next, revision: written, since: since}, nil
}

// passOver tells whether another owner's unreleased lease may be taken: nil if it may, else errLeaseHeld.
func (k *keeper) passOver(v *view, old Lease) error {
	if signs, gone := v.gone[old.Member]; gone {
		seen, _ := k.node.leases.seen(k.partition)
		recent := !seen.moved.IsZero() && time.Since(seen.moved) < takeoverPause
		if recent && signs&(signs-1) == 0 && signs&signGoodbye == 0 { // one sign alone
			return errLeaseHeld
		}
		k.log.Info("the owner is gone, its partition is taken", "owner", old.Node, "epoch", old.Epoch)
		return nil
	}
	owner, live := v.live(old.Member)
	if !live {
		k.node.membership.inquire(old.Member)
		return errLeaseHeld
	}
	if owner.Fenced { // its own word: it has dropped the partition
		return nil
	}
	// A live owner sees the same workers and hands over. One that beats but does not hand over is passed over in the end:
	// the epoch keeps its writes out.
	if k.blockedBy != old.Mark {
		k.blockedBy, k.blocked = old.Mark, time.Now()
		return errLeaseHeld
	}
	if waited := time.Since(k.blocked); waited > 2*k.node.opts.HandOver+stopPatience {
		k.log.Warn("the owner is alive but does not hand over; its partition is taken", "owner", old.Node, "waited", waited)
		return nil
	}
	return errLeaseHeld
}

// serves tells whether the partition's actor runs and has put its epoch into the checkpoint.
func (k *keeper) serves() bool {
	taken := k.takenOver.Load()
	return k.running.Load() && taken != nil && taken.Load()
}

// tenure runs the partition's actor until it ends or has to.
func (k *keeper) tenure(own taken) {
	n := k.node
	root := n.transport.system.Root
	n.holding.Add(1)
	defer n.holding.Add(-1)
	k.panicked.Store(false)
	k.epoch.Store(own.Epoch)
	var taken atomic.Bool // its own for each tenure: a word that comes late counts for nothing
	k.takenOver.Store(&taken)
	defer k.takenOver.Store(nil)
	since := own.since
	props := n.opts.Owner.Props(own.Ownership, func() {
		if !taken.Swap(true) {
			n.metrics.takeoverTime.WithLabelValues(strconv.FormatBool(own.Planned)).Observe(time.Since(since).Seconds())
		}
		n.advanced()
	})
	pid, err := k.guardian.SpawnNamed(props, PartitionActorID(k.partition))
	if err != nil {
		k.log.Error("the partition's actor cannot be started", "epoch", own.Epoch, "error", err)
		k.pauseAfterFault()
		return
	}
	ended := make(chan struct{})
	k.last = ended
	root.Send(n.warden, watch{pid, ended})
	n.metrics.owned.Inc()
	k.running.Store(true)
	n.advanced() // the actor may have been quicker
	k.log.Debug("the partition is owned", "epoch", own.Epoch, "mark", own.Mark, "planned", own.Planned)

	began := time.Now()
	why := k.hold(own, ended)
	k.running.Store(false)
	n.metrics.owned.Dec()
	k.wantedSince, k.blockedBy = time.Time{}, ""
	if time.Since(began) > calmAfter {
		k.faults = 0
	}
	defer k.endMove()
	switch why {
	case endUnwanted:
		began := time.Now()
		k.handOver(own, pid, ended)
		n.metrics.handOverTime.Observe(time.Since(began).Seconds())
	case endFenced, endLost:
		// Not released: what this actor did not finish belongs to a takeover that counts as unplanned.
		k.log.Warn("the partition is dropped", "reason", why, "epoch", own.Epoch)
		root.Stop(pid)
		if !k.awaitEnd(ended, stopPatience) {
			k.log.Warn("the partition's actor has not ended yet; until it has, the partition is not taken here", "epoch", own.Epoch)
		}
	case endFault:
		n.metrics.faults.Inc()
		k.log.Warn("the partition's actor ended by itself; the partition is taken anew", "epoch", own.Epoch, "wait", backoff(k.faults))
		k.pauseAfterFault()
	}
}

// Why a tenure ended.
const (
	endUnwanted = "it belongs elsewhere"
	endFenced   = "this node does not trust itself"
	endLost     = "the lease has another owner"
	endFault    = "its actor ended"
)

// hold returns when the tenure has to end, or its actor did.
func (k *keeper) hold(own taken, ended <-chan struct{}) string {
	var turn chan<- struct{} // nil until the partition waits for its turn to go
	for {
		v, changed := k.node.board.load()
		seen, moved := k.node.leases.seen(k.partition)
		switch {
		case v.fenced:
			return endFenced
		case seen.lease.Mark != own.Mark:
			return endLost
		case !v.wants(k.partition):
			if k.beginMove(v) {
				return endUnwanted
			}
			turn = k.node.moves
		default:
			turn = nil
			k.endMove() // it belongs here again
		}
		select {
		case turn <- struct{}{}:
			k.moves = true
		case <-changed:
		case <-moved:
		case <-ended:
			return endFault
		}
	}
}

// beginMove tells whether the partition may go now: its turn has come, or the whole node goes, and everything with it at once.
func (k *keeper) beginMove(v *view) bool { return v.leaving || k.moves }

// endMove gives the turn to the next.
func (k *keeper) endMove() {
	if k.moves {
		k.moves = false
		<-k.node.moves
	}
}

// handOver lets the actor finish and writes its checkpoint, then releases the lease. An actor that takes too long is
// stopped; its lease is then given back without the word that it was in order.
func (k *keeper) handOver(own taken, pid *actor.PID, ended <-chan struct{}) {
	root := k.node.transport.system.Root
	root.Send(pid, k.node.opts.ReleaseMessage())
	next := own.lease
	next.Released, next.At = true, time.Now().UTC()
	inTime := k.awaitEnd(ended, k.node.opts.HandOver)
	if !inTime {
		k.node.metrics.forcedReleases.Inc()
		k.log.Warn("the partition's actor did not hand over in time and is stopped", "epoch", own.Epoch)
		root.Stop(pid)
		k.awaitEnd(ended, stopPatience)
	}
	if !inTime || k.panicked.Load() {
		next.Released, next.Member = false, ""
	}
	k.free(next, own.revision)
}

// vacate gives back a lease that this process holds without a tenure: after a fault or a fence the partition turned out to
// belong elsewhere. It tells whether nothing is left to give back.
func (k *keeper) vacate(v *view) bool {
	if v.fenced || !v.settled || !k.node.opts.Conn.IsConnected() {
		return true // not now: whoever takes the lease over finds out by itself
	}
	seen, _ := k.node.leases.seen(k.partition)
	if seen.lease.free() || seen.lease.Member != v.self {
		return true
	}
	next := seen.lease
	next.Member, next.At = "", time.Now().UTC()
	return k.free(next, seen.revision)
}

func (k *keeper) free(next Lease, revision uint64) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*storeTimeout)
	defer cancel()
	if _, err := k.node.leases.swap(ctx, k.partition, next, revision); err != nil {
		// Harmless: the next owner takes it once this process is gone.
		k.log.Warn("the lease could not be given back", "epoch", next.Epoch, "error", err)
		return false
	}
	return true
}

// awaitEnd tells whether the actor ended in time.
func (k *keeper) awaitEnd(ended <-chan struct{}, most time.Duration) bool {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-ended:
		return true
	case <-timeout.C:
		return false
	}
}
