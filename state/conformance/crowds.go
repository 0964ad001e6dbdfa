package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"hongyan/messages"
	"hongyan/state"
)

// manyPartitions: what travels together is answered apart. Every second write is refused, each for a reason of its own.
func manyPartitions(b *bench) {
	const partitions, users, turns = 8, 4, 4
	var wg sync.WaitGroup
	for n := range partitions * users {
		wg.Go(func() {
			key := state.Key{Partition: n % partitions, User: messages.User{Account: "demo", OpenID: fmt.Sprint("user-", n)}}
			old, err := b.store.Commit(b.ctx, key, state.Record{}, write(5, "first"))
			if err != nil {
				b.Errorf("user %d: %v", n, err)
				return
			}
			rec := old
			for turn := range turns {
				next, err := b.store.Commit(b.ctx, key, rec, write(5, fmt.Sprint(n, ":", turn)))
				if err != nil || next.Version.Number != rec.Version.Number+1 {
					b.Errorf("user %d turn %d: version %+v, %v", n, turn, next.Version, err)
					return
				}
				rec = next
				refused, want := write(5, "over the first"), state.ErrConflict
				if turn%2 == 0 {
					refused, want = write(4, "by the owner before"), state.ErrStaleEpoch
				}
				base := old
				base.Version.Epoch = refused.Epoch // so that only the store can tell
				if _, err := b.store.Commit(b.ctx, key, base, refused); !errors.Is(err, want) {
					b.Errorf("user %d turn %d: got %v, want %v", n, turn, err, want)
					return
				}
			}
			got, err := b.store.Load(b.ctx, key)
			if err != nil || got.Version != rec.Version || string(got.Value) != fmt.Sprint(n, ":", turns-1) {
				b.Errorf("user %d: the store has %+v %q, %v; committed %+v", n, got.Version, got.Value, err, rec.Version)
			}
		})
	}
	wg.Wait()
}

// largeValues: values of 512 KiB, more than any record gets, disturb neither each other nor small ones.
func largeValues(b *bench) {
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			size := 512 << 10
			if n%2 == 0 {
				size = 200
			}
			value := bytes.Repeat([]byte{byte(n), 0xff, '\r', '\n'}, size/4)
			key := state.Key{Partition: n, User: messages.User{Account: "demo", OpenID: "u1"}}
			var rec state.Record
			for turn := range 2 {
				w := write(1, string(value))
				next, err := b.store.Commit(b.ctx, key, rec, w)
				if err != nil {
					b.Errorf("user %d turn %d: %v", n, turn, err)
					return
				}
				rec = next
			}
			got, err := b.store.Load(b.ctx, key)
			if err != nil || got.Version != rec.Version || !bytes.Equal(got.Value, value) {
				b.Errorf("user %d: the store has %+v with %d bytes, %v; committed %+v with %d", n, got.Version, len(got.Value), err,
					rec.Version, len(value))
			}
		})
	}
	wg.Wait()
}

// contextsEnd: callers give up at every moment of a commit. Success is in the store; not sent is not, and never will be; of the
// rest the winner of the next comparison knows.
func contextsEnd(b *bench) {
	const users, turns = 12, 16
	var wg sync.WaitGroup
	for n := range users {
		wg.Go(func() {
			key := state.Key{Partition: n % 4, User: messages.User{Account: "demo", OpenID: fmt.Sprint("user-", n)}}
			var rec state.Record
			for turn := range turns {
				ctx, cancel := context.WithCancel(b.ctx)
				var givingUp sync.WaitGroup
				givingUp.Go(func() {
					for range 20 * n * turn { // a moment, another one each time
						_ = ctx.Err()
					}
					cancel()
				})
				w := write(1, fmt.Sprint(n, ":", turn))
				got, err := b.store.Commit(ctx, key, rec, w)
				givingUp.Wait()
				switch {
				case err == nil:
					rec = got
				case errors.Is(err, state.ErrUnavailable) && errors.Is(err, context.Canceled):
					// The base still is what the store has: the next turn's commit says so.
				case errors.Is(err, state.ErrUnknown) && errors.Is(err, context.Canceled):
					if rec, err = b.store.Commit(b.ctx, key, rec, w); err != nil { // sent again: once in the store either way
						b.Errorf("user %d turn %d: an unknown write sent again: %v", n, turn, err)
						return
					}
				default:
					b.Errorf("user %d turn %d: %v", n, turn, err)
					return
				}
			}
			if rec.Version == (state.Version{}) {
				return // all of them gave up in time
			}
			got, err := b.store.Load(b.ctx, key)
			if err != nil || got.Version != rec.Version {
				b.Errorf("user %d: the store has %+v, %v; the writer %+v", n, got.Version, err, rec.Version)
			}
		})
	}
	wg.Wait()
}

// checkpointFences: from the moment at which a later owner's epoch stands in the partition's checkpoint, an earlier owner writes
// nothing in the partition, also where the later one has written nothing yet.
func checkpointFences(b *bench) {
	user := b.key
	own := write(4, "by epoch 4")
	first := b.commit(state.Record{}, own)
	b.key = state.Checkpoint(user.Partition)
	checkpoint := b.commit(state.Record{}, write(4, "checkpoint of epoch 4"))
	taken := b.commit(checkpoint, write(5, "checkpoint of epoch 5"))
	b.refused(taken, write(4, "the checkpoint itself"), state.ErrStaleEpoch)

	b.key = user
	b.refused(first, write(4, "over its own record"), state.ErrStaleEpoch)
	repair := write(4, "tenth")
	repair.Number = 10
	b.refused(first, repair, state.ErrStaleEpoch)
	b.deleteRefused(first, 4, state.ErrStaleEpoch)
	b.commit(state.Record{}, own) // what is there already is a success all the same
	b.key.User.OpenID = "another"
	b.refused(state.Record{}, write(4, "a new user"), state.ErrStaleEpoch)
	b.commit(state.Record{}, write(5, "a new user, by the owner"))

	b.key = user
	second := b.commit(first, write(5, "by the owner"))
	b.delete(second, 5)
	b.key = state.Checkpoint(user.Partition)
	b.delete(taken, 6)
	b.key = user
	b.refused(state.Record{}, write(5, "the mark of a deleted checkpoint fences too"), state.ErrStaleEpoch)
}

// checkpointFencesItsOwn: epochs of different partitions have nothing to do with each other, nor do users of one partition.
func checkpointFencesItsOwn(b *bench) {
	user := b.key
	rec := b.commit(state.Record{}, write(4, "by epoch 4"))
	b.key = state.Checkpoint(user.Partition + 1)
	b.commit(state.Record{}, write(9, "another partition's checkpoint"))
	b.key = state.Key{Partition: user.Partition, User: messages.User{Account: "demo", OpenID: "another"}}
	b.commit(state.Record{}, write(9, "another user's record"))
	b.key = user
	rec = b.commit(rec, write(4, "still the owner"))
	b.key = state.Checkpoint(user.Partition)
	b.commit(state.Record{}, write(4, "the partition's checkpoint, of this epoch"))
	b.key = user
	b.commit(rec, write(1<<60, "epochs are 64 bits"))
	b.key = state.Checkpoint(user.Partition)
	cp := b.load()
	cp = b.commit(cp, write(1<<60+1, "one higher, beyond what a double holds"))
	b.key = user
	b.refused(b.load(), write(1<<60, "one lower"), state.ErrStaleEpoch)
	b.key = state.Checkpoint(user.Partition)
	b.commit(cp, write(1<<60+256, "higher in the last byte but one"))
}
