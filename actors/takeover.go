package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hongyan/state"
	"hongyan/stream"
)

// Tenure is one lease on one partition, as the cluster won it.
type Tenure struct {
	Partition int
	Epoch     uint64 // 1 + max(lease, checkpoint) at the time it was won
	Mark      string // random owner mark
	TakenOver func() // called once the epoch stands in the checkpoint; nil: nobody waits for it
}

// replayBefore is how far before the floor's log time a replaced log is read again; keys deduplicate (DESIGN §3 rule 4).
const replayBefore = time.Minute

// ErrNoCheckpoint: the log has entries of a partition whose checkpoint is gone. Reading on from anywhere would lose or repeat
// messages, so nobody may start (DESIGN §3 rule 3).
var ErrNoCheckpoint = errors.New("the log has entries but the store has no checkpoint for them")

// CheckpointEpoch reads the epoch under which a partition's checkpoint was last written; 0 when there is none. The cluster needs
// it to find the next epoch.
func CheckpointEpoch(ctx context.Context, store state.Store, partition int) (uint64, error) {
	rec, err := store.Load(ctx, state.Checkpoint(partition))
	if errors.Is(err, state.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("epoch of the checkpoint of partition %d: %w", partition, err)
	}
	return rec.Version.Epoch, nil
}

// start is where an owner begins.
type start struct {
	cp       checkpoint
	rec      state.Record
	led      *ledger
	from     stream.Start
	crashed  bool // the former owner did not leave in order
	replaced bool // the log is another one than the checkpoint knows
}

// takeover puts the tenure's epoch into the checkpoint and says where to read on (DESIGN §3 rules 3–5). The lease is won already;
// from this compare-and-set on, a former owner's checkpoint is refused.
func takeover(ctx context.Context, o *Options, t Tenure) (start, error) {
	var s start
	rec, err := o.Store.Load(ctx, state.Checkpoint(t.Partition))
	switch {
	case errors.Is(err, state.ErrNotFound):
		full, err := o.Log.HasEntries(ctx, t.Partition)
		if err != nil {
			return s, err
		}
		if full {
			return s, missingCheckpoint(t.Partition)
		}
		s.cp = checkpoint{Generation: 1}
	case err != nil:
		return s, err
	default:
		if s.cp, err = decodeCheckpoint(rec.Value); err != nil {
			return s, fmt.Errorf("partition %d: %w", t.Partition, err)
		}
		s.rec = rec
		s.crashed = !s.cp.Clean
	}

	for _, m := range s.cp.marks() {
		holds, err := o.Log.Holds(ctx, t.Partition, m)
		if err != nil {
			return s, err
		}
		s.replaced = s.replaced || !holds
	}
	if s.replaced {
		s.cp = renewed(s.cp)
	}
	s.from = s.cp.start()
	if s.crashed {
		if s.cp, err = countCrash(ctx, o.Log, t.Partition, s.cp); err != nil {
			return s, err
		}
	}
	s.cp.Mark, s.cp.Clean = t.Mark, false
	if s.led, err = s.cp.ledger(); err != nil {
		return s, fmt.Errorf("partition %d: %w", t.Partition, err)
	}
	value, err := s.cp.encode()
	if err != nil {
		return s, err
	}
	s.rec, err = o.Store.Commit(ctx, state.Checkpoint(t.Partition), s.rec, state.Write{
		Epoch: t.Epoch, WriteID: o.Random(), Incarnation: o.Random(), Value: value,
	})
	if err != nil {
		return s, fmt.Errorf("put epoch %d into the checkpoint of partition %d: %w", t.Epoch, t.Partition, err)
	}
	if t.TakenOver != nil {
		t.TakenOver()
	}
	return s, nil
}

// renewed is the checkpoint for a log that is not the one it was written for: a new generation, without a floor. The log time of
// the old floor stays, so that whoever comes next reads by it too until the floor has moved.
func renewed(c checkpoint) checkpoint {
	return checkpoint{Generation: c.Generation + 1, Crashes: c.Crashes, FloorNS: c.FloorNS, Due: c.Due}
}

// start is where an owner reads on.
func (c checkpoint) start() stream.Start {
	if c.Floor == 0 && c.FloorNS != 0 {
		return stream.Start{Time: instant(c.FloorNS).Add(-replayBefore)}
	}
	return stream.Start{Sequence: c.Floor + 1}
}

// countCrash notes that an owner died (DESIGN §3 rule 5): the counter is cleared once the floor passes today's end of the log.
func countCrash(ctx context.Context, log Log, partition int, c checkpoint) (checkpoint, error) {
	end, err := log.End(ctx, partition)
	if err != nil {
		return c, err
	}
	c.died(end)
	return c, nil
}
