package actors

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/state"
)

// checkpointResult is what became of a checkpoint's commit.
type checkpointResult struct {
	cp   checkpoint
	rec  state.Record
	ours []uint64 // write ids of commits whose outcome is still open
	err  error

	repaired bool // the store had lost the record
}

// flush writes the ledger's view, unless a commit is under way: then the next tick does. At the end of a release that is left to ended.
func (p *partition) flush() {
	if p.committing || p.stopped || p.led == nil {
		return
	}
	p.dirty, p.stats.dirtySince = 0, time.Time{}
	next := p.packed()
	if next.Crashes > 0 && p.led.passed(next.CrashEnd, p.readUpTo) && len(p.held) == 0 {
		next.Crashes, next.CrashEnd, next.Named, next.NamedLast, next.NamedCount, next.NamedBy = 0, 0, 0, 0, 0, ""
	}
	p.commitCheckpoint(next)
}

// packed is the checkpoint as it would be written now.
func (p *partition) packed() checkpoint {
	next := p.cp.pack(p.led)
	next.Due = p.due.bits
	next.Gaps = nil
	for _, m := range slices.Concat(p.looked, p.gaps) {
		next.Gaps = append(next.Gaps, gap{Sequence: m.Sequence, NS: nanos(m.LogTime)})
	}
	if m := p.missing; m.Sequence > 0 {
		next.Gaps = []gap{{Sequence: m.Sequence, NS: nanos(m.LogTime)}}
	}
	return next
}

// commitCheckpoint writes next beside the mailbox; checkpointed brings the outcome.
//
// This is after the commit point of every turn that next covers. If it fails, those turns are read again and found committed.
func (p *partition) commitCheckpoint(next checkpoint) {
	p.committing = true
	base, id, ours := p.cpRec, p.Random(), slices.Clone(p.cpWrites)
	go func() { // ended by the store's answer or opTimeout
		p.root.Send(p.pid, &checkpointed{result: p.writeCheckpoint(p.ctx, next, base, id, ours)})
	}()
}

// writeCheckpoint commits next over base. An outcome that is unknown is resolved by the next compare-and-set: a refusal is
// looked into, and if the record carries one of our own write ids, the write was ours and becomes the base (DESIGN §3 rule 8).
func (p *partition) writeCheckpoint(ctx context.Context, next checkpoint, base state.Record, id uint64, ours []uint64) checkpointResult {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	result := checkpointResult{cp: next, rec: base, ours: ours}
	value, err := next.encode()
	if err != nil {
		result.err = err
		return result
	}
	key := state.Checkpoint(p.tenure.Partition)
	write := state.Write{Epoch: p.tenure.Epoch, WriteID: id, Incarnation: id, Value: value}
	rec, repaired, err := p.commit(ctx, key, base, write)
	if errors.Is(err, state.ErrConflict) && len(ours) > 0 {
		var now state.Record
		if now, err = p.Store.Load(ctx, key); err == nil {
			if !slices.Contains(ours, now.Version.WriteID) {
				result.err = state.ErrConflict
				return result
			}
			rec, repaired, err = p.commit(ctx, key, now, write)
		}
	}
	switch {
	case err == nil:
		result.rec, result.ours, result.repaired = rec, nil, repaired
	case errors.Is(err, state.ErrUnknown):
		result.ours = append(result.ours, id)
	}
	result.err = err
	return result
}

// checkpointed takes up the outcome of a commit.
func (p *partition) checkpointed(ctx actor.Context, r checkpointResult) {
	p.committing = false
	p.cpWrites = r.ours
	switch {
	case r.err == nil:
		p.cp, p.cpRec = r.cp, r.rec
		p.metrics.checkpoints.Inc()
		if p.missing.Sequence > 0 && len(r.cp.Gaps) == 1 && r.cp.Gaps[0].Sequence == p.missing.Sequence {
			p.stepDown(ctx, "the log is another one", errReplaced)
			return
		}
		if r.repaired {
			p.compareUsers(ctx)
		}
		p.handHeld(ctx)
		p.tryRelease(ctx)
	case errors.Is(r.err, state.ErrStaleEpoch), errors.Is(r.err, state.ErrConflict):
		p.stepDown(ctx, "its checkpoint belongs to a later owner", r.err)
	default:
		p.soil() // the next tick tries again
		p.metrics.checkpointErrors.Inc()
		p.log.Warn("the checkpoint was not written and is tried again", "error", r.err)
	}
}

// soil notes that the checkpoint in the store is behind the ledger.
func (p *partition) soil() {
	p.dirty++
	if p.stats.dirtySince.IsZero() {
		p.stats.dirtySince = p.Now()
	}
}

// checkpointAge is how long the oldest settlement waits for its checkpoint.
func (p *partition) checkpointAge(now time.Time) time.Duration {
	if p.stats.dirtySince.IsZero() {
		return 0
	}
	return now.Sub(p.stats.dirtySince)
}
