// Package state is the contract of the stores that keep users and checkpoints: one record per user and one per partition,
// changed only by compare-and-set (DESIGN §3 rules 8–9, promise P4). The implementations live in state/redis, state/jetstream and
// state/memory; every one of them passes the suite in state/conformance.
package state

import (
	"context"
	"errors"
	"fmt"

	"hongyan/messages"
)

// The store's errors. Implementations wrap them with what happened and where; callers compare with errors.Is.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("no such record")
	// ErrConflict: another write came first. This write is not, and never will be, in the store.
	ErrConflict = errors.New("the record was changed by another writer")
	// ErrStaleEpoch: the record was written under a higher epoch, so the caller no longer owns its partition.
	ErrStaleEpoch = errors.New("the record belongs to a later owner")
	// ErrUnknown: the write was sent and nobody said what became of it. It may be in the store, now or later.
	ErrUnknown = errors.New("the outcome of the write is unknown")
	// ErrUnavailable: the store was not reached; nothing was sent, or a read failed.
	ErrUnavailable = errors.New("the store cannot be reached")
	// ErrFull: the store's own cap is reached. Nothing was written.
	ErrFull = errors.New("the store is full")
)

// Key names a record: a user's, or, with an empty User, the partition's checkpoint.
type Key struct {
	Partition int
	User      messages.User
}

// Checkpoint is the key of a partition's checkpoint.
func Checkpoint(partition int) Key { return Key{Partition: partition} }

// IsCheckpoint tells a checkpoint's key from a user's.
func (k Key) IsCheckpoint() bool { return k.User == messages.User{} }

// String is safe to log: a user is shown by hash.
func (k Key) String() string {
	if k.IsCheckpoint() {
		return fmt.Sprintf("checkpoint of partition %d", k.Partition)
	}
	return fmt.Sprintf("user %s of account %s in partition %d", k.User.Hash(), k.User.Account, k.Partition)
}

// Version identifies one committed write of a record.
type Version struct {
	Incarnation uint64 // random, chosen by the write that created the record; never 0
	Number      uint64 // 1 for that write, one more with each later one, without gaps
	Epoch       uint64 // epoch of the partition's owner that wrote
	WriteID     uint64 // random; names the write, so that a writer recognises its own
}

// Record is a committed value. Value must not be changed by the caller.
type Record struct {
	Version  Version
	Revision uint64 // the store's own revision, opaque; 0 where the store has none
	Value    []byte
}

// Write is a new value for a record.
type Write struct {
	Epoch       uint64 // the writer's epoch
	WriteID     uint64 // fresh and random for every write, never 0
	Incarnation uint64 // fresh and random; used only when the record is created, never 0
	Value       []byte // the store keeps its own copy or is done with it on return

	// Number is the version number that the write gets; 0 is one more than base's. A higher one repairs a store that lost
	// writes (DESIGN §3 rule 9): base is then the older record that the store still has, or the zero record together with the
	// Incarnation of the record that is gone.
	Number uint64
}

// Store keeps records. All methods may be called from any goroutine. A call's context bounds it, and so does the store itself: a
// server that is silent makes a call fail within seconds.
type Store interface {
	// Load reads a record as last committed: no cache, no stale replica. ErrNotFound, ErrUnavailable.
	Load(ctx context.Context, key Key) (Record, error)

	// Commit replaces base by w, and returns the new record (its Value is w.Value). The zero base creates the record and
	// conflicts with an existing one. The comparison covers the incarnation, the version number, the write id and the revision
	// of base (not its Value).
	// A record whose epoch is higher than w.Epoch is never replaced, whatever base says.
	//
	// Errors: ErrConflict, ErrStaleEpoch and ErrFull say that w is not in the store and will not be; ErrUnavailable says that
	// it was not sent; ErrUnknown everything else, a context that ended while the write was under way included. A write that
	// is refused because it is there already (same WriteID) is a success.
	Commit(ctx context.Context, key Key, base Record, w Write) (Record, error)

	// Delete removes the record if it is still base, under the same rules and with the same errors. A later Commit with the
	// zero base creates it anew, under another incarnation.
	Delete(ctx context.Context, key Key, base Record, epoch uint64) error

	// Ping writes and reads a small probe, so that readiness is what it says.
	Ping(ctx context.Context) error
}
