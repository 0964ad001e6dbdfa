package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"hongyan/messages"
	"hongyan/state"
)

// Capability is what a store does beyond the contract's least.
type Capability string

// FencesByCheckpoint says that a commit or delete of any record is refused when the partition's checkpoint has a higher epoch, not only
// when the record itself has (DESIGN §3 rule 8). A store that compares one record at a time cannot.
const FencesByCheckpoint Capability = "a partition's checkpoint fences its users"

// Run checks what the contract promises of a store whose way to the disk is sound, and what it declares to do beyond it. open
// returns a fresh, empty store and closes it in t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) state.Store, capabilities ...Capability) {
	tests := []struct {
		name string
		test func(*bench)
	}{
		{"create, replace, delete", createReplaceDelete},
		{"numbers rise without gaps", numbersWithoutGaps},
		{"create over an existing record", createOverExisting},
		{"old base", oldBase},
		{"base of another incarnation", otherIncarnation},
		{"base with the right revision and a wrong version", rightRevisionWrongVersion},
		{"base with the right version and a wrong revision", wrongRevision},
		{"base of a record that is gone", baseOfDeleted},
		{"stale epoch", staleEpoch},
		{"a later owner takes over", laterOwner},
		{"own write found", ownWriteFound},
		{"repair of a record that lost writes", repairBehind},
		{"repair of a record that is gone", repairGone},
		{"delete is compared", deleteCompared},
		{"delete twice", deleteTwice},
		{"create after delete", createAfterDelete},
		{"checkpoint and user are apart", checkpointApart},
		{"keys with odd OpenIDs", oddOpenIDs},
		{"values of all sizes", values},
		{"values are copied", valuesCopied},
		{"wrong calls", wrongCalls},
		{"ended context", endedContext},
		{"concurrent writers", concurrentWriters},
		{"concurrent creators", concurrentCreators},
		{"many users at once", manyUsers},
		{"many users of many partitions, some refused", manyPartitions},
		{"large values at once", largeValues},
		{"contexts that end under way", contextsEnd},
		{"ping", ping},
	}
	if slices.Contains(capabilities, FencesByCheckpoint) {
		tests = append(tests, []struct {
			name string
			test func(*bench)
		}{
			{"a checkpoint's epoch fences users", checkpointFences},
			{"a checkpoint's epoch fences its own partition only", checkpointFencesItsOwn},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(newBench(t, open(t)))
		})
	}
}

func createReplaceDelete(b *bench) {
	b.absent()
	first := b.commit(state.Record{}, write(1, "first"))
	b.holds(first)
	second := b.commit(first, write(1, "second"))
	b.holds(second)
	b.delete(b.load(), 1)
	b.absent()
}

func numbersWithoutGaps(b *bench) {
	var rec state.Record
	for n := uint64(1); n <= 50; n++ {
		rec = b.commit(rec, write(1, fmt.Sprint(n)))
		if rec.Version.Number != n {
			b.Fatalf("write %d has number %d", n, rec.Version.Number)
		}
		if n%10 == 0 {
			b.refused(state.Record{}, write(1, "late"), state.ErrConflict) // a refused write takes no number
			rec = b.load()
		}
	}
}

func createOverExisting(b *bench) {
	b.commit(state.Record{}, write(1, "first"))
	b.refused(state.Record{}, write(1, "again"), state.ErrConflict)
	b.refused(state.Record{}, write(2, "again, by a later owner"), state.ErrConflict)
}

func oldBase(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	second := b.commit(first, write(1, "second"))
	b.refused(first, write(1, "over the first"), state.ErrConflict)
	b.commit(second, write(1, "third"))
}

func otherIncarnation(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	b.delete(first, 1)
	b.commit(state.Record{}, write(1, "second life"))
	b.refused(first, write(1, "over the first life"), state.ErrConflict)
}

// rightRevisionWrongVersion is what a caller holds after the store lost its latest writes and used their revisions anew.
func rightRevisionWrongVersion(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	base := first
	base.Version.Incarnation++
	b.refused(base, write(1, "other incarnation"), state.ErrConflict)
	base = first
	base.Version.Number++
	b.refused(base, write(1, "other number"), state.ErrConflict)
	base = first
	base.Version.WriteID = write(1, "").WriteID
	b.refused(base, write(1, "other write of this number"), state.ErrConflict)
	base = b.load()
	base.Version.Incarnation++
	b.refused(base, write(1, "other incarnation, loaded"), state.ErrConflict)
	b.deleteRefused(base, 1, state.ErrConflict)
	b.commit(first, write(1, "second"))
}

func wrongRevision(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	if first.Revision == 0 {
		return // this store has no revisions
	}
	base := first
	base.Revision++
	b.refused(base, write(1, "other revision"), state.ErrConflict)
	b.commit(first, write(1, "second"))
}

func baseOfDeleted(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	second := b.commit(first, write(1, "second"))
	b.delete(second, 1)
	b.refused(second, write(1, "third"), state.ErrConflict)
	b.refused(first, write(1, "third"), state.ErrConflict)
}

func staleEpoch(b *bench) {
	first := b.commit(state.Record{}, write(4, "by epoch 4"))
	second := b.commit(first, write(5, "by epoch 5"))
	b.refused(first, write(4, "stale, old base"), state.ErrStaleEpoch)
	b.refused(second, write(4, "stale, right base"), state.ErrStaleEpoch)
	b.refused(state.Record{}, write(4, "stale, no base"), state.ErrStaleEpoch)
	forged := second
	forged.Version.Epoch = 4
	b.refused(forged, write(4, "stale, the base says otherwise"), state.ErrStaleEpoch)
	b.deleteRefused(first, 4, state.ErrStaleEpoch)
	b.deleteRefused(second, 4, state.ErrStaleEpoch)
	b.commit(second, write(5, "still the owner"))
}

func laterOwner(b *bench) {
	old := b.commit(state.Record{}, write(1, "by epoch 1"))
	b.commit(b.load(), write(9, "by epoch 9"))
	b.refused(old, write(1, "by epoch 1 again"), state.ErrStaleEpoch)
}

func ownWriteFound(b *bench) {
	create := write(1, "first")
	first := b.commit(state.Record{}, create)
	b.commit(state.Record{}, create) // sent again: found, with the same version
	replace := write(1, "second")
	second := b.commit(first, replace)
	again := b.commit(first, replace)
	b.holds(second)
	b.commit(again, write(1, "third")) // what it returned is a base
	b.refused(first, replace, state.ErrConflict)
}

// repairBehind: the store has version 2 of what its writer knows as version 9; the next write is version 10 (DESIGN §3 rule 9).
func repairBehind(b *bench) {
	first := b.commit(state.Record{}, write(3, "first"))
	second := b.commit(first, write(3, "second"))
	repair := write(4, "tenth")
	repair.Number = 10
	b.refused(first, repair, state.ErrConflict) // compared like any other write
	stale := write(2, "tenth")
	stale.Number = 10
	b.refused(second, stale, state.ErrStaleEpoch)
	rec := b.commit(second, repair)
	if rec.Version.Number != 10 || rec.Version.Incarnation != first.Version.Incarnation {
		b.Fatalf("the repair is version %+v", rec.Version)
	}
	b.holds(rec)
	b.commit(second, repair) // sent again: found
	backwards := write(4, "backwards")
	backwards.Number = 10
	b.refused(rec, backwards, state.ErrInvalid)
	if rec = b.commit(rec, write(4, "eleventh")); rec.Version.Number != 11 {
		b.Fatalf("after the repair comes version %d", rec.Version.Number)
	}
}

func repairGone(b *bench) {
	repair := write(3, "tenth")
	repair.Number = 10
	rec := b.commit(state.Record{}, repair)
	if rec.Version.Number != 10 || rec.Version.Incarnation != repair.Incarnation {
		b.Fatalf("the repair is version %+v", rec.Version)
	}
	b.holds(rec)
	again := write(3, "over a record that is there")
	again.Number = 20
	b.refused(state.Record{}, again, state.ErrConflict)
	b.delete(b.commit(rec, write(3, "eleventh")), 3)
	late := write(2, "by who owned it before it was deleted")
	late.Number = 12
	b.refused(state.Record{}, late, state.ErrStaleEpoch)
}

func deleteCompared(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	second := b.commit(first, write(1, "second"))
	b.deleteRefused(first, 1, state.ErrConflict)
	b.delete(second, 2)
	b.absent()
}

func deleteTwice(b *bench) {
	first := b.commit(state.Record{}, write(1, "first"))
	b.delete(first, 1)
	b.delete(first, 1) // it is gone, as asked: an answer that got lost is no conflict
	b.absent()
	next := b.commit(state.Record{}, write(1, "second life"))
	b.deleteRefused(first, 1, state.ErrConflict)
	b.delete(next, 1)
}

func createAfterDelete(b *bench) {
	seen := map[uint64]bool{}
	for range 5 {
		rec := b.commit(state.Record{}, write(1, "one more life"))
		if rec.Version.Number != 1 || seen[rec.Version.Incarnation] {
			b.Fatalf("a new life starts with %+v", rec.Version)
		}
		seen[rec.Version.Incarnation] = true
		rec = b.commit(rec, write(1, "grown"))
		b.delete(rec, 1)
		b.absent()
	}
}

func checkpointApart(b *bench) {
	user := b.commit(state.Record{}, write(1, "user"))
	userKey := b.key
	b.key = state.Checkpoint(userKey.Partition)
	b.absent()
	b.commit(b.commit(state.Record{}, write(1, "checkpoint")), write(1, "later checkpoint"))
	b.key = state.Checkpoint(userKey.Partition + 1)
	b.absent()
	b.key = state.Key{Partition: userKey.Partition, User: messages.User{Account: "demo2", OpenID: userKey.User.OpenID}}
	b.absent()
	b.key = userKey
	b.holds(user)
}

func oddOpenIDs(b *bench) {
	odd := []string{
		"a", "A", "a.b", "a..b", ".", "a/b", "a b", "*", ">", "a.>", "用户一", "\x00", "\xff\xfe", "a\r\nb", "$KV", "checkpoint",
		"{p07}", "a:b", "p07.checkpoint", strings.Repeat("x", 128), strings.Repeat("文", 42), strings.Repeat(".", state.MaxOpenIDBytes),
	}
	recs := map[string]state.Record{}
	for _, id := range odd {
		b.key.User.OpenID = id
		b.absent()
		recs[id] = b.commit(state.Record{}, write(1, "of "+id))
	}
	for _, id := range odd {
		b.key.User.OpenID = id
		b.holds(recs[id])
		b.holds(b.commit(recs[id], write(1, "second of "+id)))
	}
}

func values(b *bench) {
	var rec state.Record
	for _, size := range []int{0, 1, 300, 4 << 10, 64 << 10, 256 << 10, 0} {
		value := bytes.Repeat([]byte{0, 'x', 0xff, '\n'}, size/4+1)[:size]
		rec = b.commit(rec, write(1, string(value)))
		b.holds(rec)
	}
}

func valuesCopied(b *bench) {
	w := write(1, "as written")
	rec := b.commit(state.Record{}, w)
	copy(w.Value, "CHANGED!!!")
	if got := b.load(); string(got.Value) != "as written" {
		b.Fatalf("the store has %q: it kept the caller's bytes", got.Value)
	}
	rec.Value = nil
	b.commit(rec, write(1, "a base needs no value"))
}

func wrongCalls(b *bench) {
	noID := write(1, "x")
	noID.WriteID = 0
	b.refused(state.Record{}, noID, state.ErrInvalid)
	noIncarnation := write(1, "x")
	noIncarnation.Incarnation = 0
	b.refused(state.Record{}, noIncarnation, state.ErrInvalid)
	if err := b.store.Delete(b.ctx, b.key, state.Record{}, 1); !errors.Is(err, state.ErrInvalid) {
		b.Fatalf("delete without a base: got %v, want %v", err, state.ErrInvalid)
	}
	for _, key := range []state.Key{
		{Partition: -1},
		{User: messages.User{Account: "demo"}},
		{User: messages.User{OpenID: "u1"}},
		{User: messages.User{Account: "De.mo", OpenID: "u1"}},
		{User: messages.User{Account: "demo", OpenID: strings.Repeat("x", state.MaxOpenIDBytes+1)}},
	} {
		if _, err := b.store.Load(b.ctx, key); !errors.Is(err, state.ErrInvalid) {
			b.Errorf("load %s: got %v, want %v", key, err, state.ErrInvalid)
		}
		if _, err := b.store.Commit(b.ctx, key, state.Record{}, write(1, "x")); !errors.Is(err, state.ErrInvalid) {
			b.Errorf("commit %s: got %v, want %v", key, err, state.ErrInvalid)
		}
	}
}

// endedContext: nothing is sent for a caller who is gone already.
func endedContext(b *bench) {
	rec := b.commit(state.Record{}, write(1, "first"))
	ended, cancel := context.WithCancel(b.ctx)
	cancel()
	_, commitErr := b.store.Commit(ended, b.key, rec, write(1, "second"))
	_, loadErr := b.store.Load(ended, b.key)
	for what, err := range map[string]error{
		"commit": commitErr, "load": loadErr,
		"delete": b.store.Delete(ended, b.key, rec, 1), "ping": b.store.Ping(ended),
	} {
		if !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			b.Errorf("%s: got %v, want %v and %v", what, err, state.ErrUnavailable, context.Canceled)
		}
	}
	b.holds(rec)
}

// concurrentWriters: of all writers over one base exactly one wins, and every version is somebody's.
func concurrentWriters(b *bench) {
	const writers, versions = 16, 20
	rec := b.commit(state.Record{}, write(1, "start"))
	for range versions {
		var wg sync.WaitGroup
		won := make(chan state.Record, writers)
		for n := range writers {
			wg.Go(func() {
				got, err := b.store.Commit(b.ctx, b.key, rec, write(1, fmt.Sprint("writer ", n)))
				switch {
				case err == nil:
					won <- got
				case !errors.Is(err, state.ErrConflict):
					b.Errorf("writer %d: %v", n, err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			b.Fatalf("%d writers won version %d", len(won), rec.Version.Number+1)
		}
		winner := <-won
		if winner.Version.Number != rec.Version.Number+1 {
			b.Fatalf("version %d follows %d", winner.Version.Number, rec.Version.Number)
		}
		b.holds(winner)
		rec = winner
	}
}

func concurrentCreators(b *bench) {
	for range 10 {
		var wg sync.WaitGroup
		won := make(chan state.Record, 8)
		for range cap(won) {
			wg.Go(func() {
				rec, err := b.store.Commit(b.ctx, b.key, state.Record{}, write(1, "mine"))
				if err == nil {
					won <- rec
				} else if !errors.Is(err, state.ErrConflict) {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			b.Fatalf("%d creators won", len(won))
		}
		rec := <-won
		b.holds(rec)
		b.delete(rec, 1)
	}
}

// manyUsers: writers of different records do not disturb each other, and none gets another's answer.
func manyUsers(b *bench) {
	const users, turns = 64, 20
	var wg sync.WaitGroup
	for n := range users {
		wg.Go(func() {
			key := b.key
			key.User.OpenID = fmt.Sprint("user-", n)
			var rec state.Record
			for turn := range turns {
				w := write(1, fmt.Sprint(n, ":", turn))
				got, err := b.store.Commit(b.ctx, key, rec, w)
				if err != nil {
					b.Errorf("user %d turn %d: %v", n, turn, err)
					return
				}
				loaded, err := b.store.Load(b.ctx, key)
				if err != nil || loaded.Version != got.Version || string(loaded.Value) != string(w.Value) {
					b.Errorf("user %d turn %d: loaded %+v %q, %v; committed %+v", n, turn, loaded.Version, loaded.Value, err, got.Version)
					return
				}
				rec = got
			}
		})
	}
	wg.Wait()
}

func ping(b *bench) {
	for range 3 {
		if err := b.store.Ping(b.ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.absent() // a probe is nobody's record
}
