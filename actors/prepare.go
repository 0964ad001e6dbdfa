package actors

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"hongyan/state"
)

// prepareTries bounds how often one partition is looked at again when the outcome of its write is not known.
const prepareTries = 3

// Prepare makes the first checkpoint of every partition that has none, at most parallel at a time: clean and under epoch 0, so
// that the first takeover is epoch 1. A worker calls it before the layout is recorded, and so before an ingress writes anything: from
// then on a missing checkpoint means that the store lost it. A partition whose log has entries already gets none, but the error
// ErrNoCheckpoint (DESIGN §3 rule 3). Workers that prepare at the same time do not disturb each other, and calling it again is
// harmless. The other errors are those of the log and the store.
func Prepare(ctx context.Context, log Log, store state.Store, partitions int, random func() uint64, parallel int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(parallel, 1))
	for partition := range partitions {
		g.Go(func() error {
			var err error
			for range prepareTries {
				if err = prepare(ctx, log, store, partition, random); !errors.Is(err, state.ErrUnknown) {
					break
				}
			}
			if err != nil {
				return fmt.Errorf("first checkpoint of partition %d: %w", partition, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// prepare makes one partition's first checkpoint where there is none.
func prepare(ctx context.Context, log Log, store state.Store, partition int, random func() uint64) error {
	key := state.Checkpoint(partition)
	if _, err := store.Load(ctx, key); !errors.Is(err, state.ErrNotFound) {
		return err // nil: it is there
	}
	full, err := log.HasEntries(ctx, partition)
	if err != nil {
		return err
	}
	if full { // also where another worker prepared it, and messages came, since the look above
		if _, err := store.Load(ctx, key); !errors.Is(err, state.ErrNotFound) {
			return err
		}
		return missingCheckpoint(partition)
	}
	value, err := checkpoint{Generation: 1, Clean: true}.encode()
	if err != nil {
		return err
	}
	_, err = store.Commit(ctx, key, state.Record{}, state.Write{WriteID: random() | 1, Incarnation: random() | 1, Value: value})
	if errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrStaleEpoch) {
		return nil // another worker was quicker, or has taken it over already
	}
	return err
}

// missingCheckpoint names the partition whose log has entries without a checkpoint, and what to do.
func missingCheckpoint(partition int) error {
	return fmt.Errorf("%w: partition %d; restore the store that belongs to this log, or remove both", ErrNoCheckpoint, partition)
}
