package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoactor "github.com/asynkron/protoactor-go/cluster"

	"hongyan/messages"
)

// The kinds of actors that requests find: one per user of an account, and one per account. Both are found alike: their identities
// say which is which.
const (
	userKind    = "user"
	accountKind = "account"
)

// kindOf is the kind of the actor of that name.
func kindOf(u messages.User) string {
	if _, ok := u.OfAccount(); ok {
		return accountKind
	}
	return userKind
}

// lookup is proto.actor's IdentityLookup: identity → partition → lease → node → child of that node's partition actor. It
// keeps no table of activations: the partition's actor is the only one that knows its children, so a stop costs nothing
// here and an activation cannot be recorded wrongly.
type lookup struct{ router *router }

var _ protoactor.IdentityLookup = (*lookup)(nil)

// Get returns nil where the user's actor was not found within one try.
func (l *lookup) Get(ci *protoactor.ClusterIdentity) *actor.PID {
	ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
	defer cancel()
	pid, err := l.router.pid(ctx, ci.GetIdentity(), ci.GetKind())
	if err != nil {
		return nil
	}
	return pid
}

// RemovePid forgets an activation.
func (l *lookup) RemovePid(ci *protoactor.ClusterIdentity, pid *actor.PID) {
	l.router.cache.remove(ci.GetIdentity(), pid)
}

// Setup has nothing to prepare.
func (l *lookup) Setup(*protoactor.Cluster, []string, bool) {}

// Shutdown has nothing to end.
func (l *lookup) Shutdown() {}

var (
	errKind    = errors.New("there is no such kind of actor")
	errNoOwner = errors.New("nobody owns the partition at the moment")
)

// activate asks the owner of the user's partition for the user's actor.
func (r *router) activate(ctx context.Context, identity, kind string) (*actor.PID, error) {
	if kind != userKind && kind != accountKind {
		return nil, errKind
	}
	u, err := messages.ParseIdentity(identity)
	if err != nil {
		return nil, errIdentity // the identity itself stays out of errors
	}
	if kindOf(u) != kind {
		return nil, errKind
	}
	partition := u.Partition(r.node.opts.Partitions)
	owner, err := r.owner(ctx, partition)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	ask := &messages.Activate{Account: u.Account, OpenId: u.OpenID}
	reply, err := r.root.RequestFuture(owner, ask, time.Until(deadline)).Result()
	if err != nil {
		r.refresh(ctx, partition)
		return nil, fmt.Errorf("ask the owner of partition %d: %w", partition, err)
	}
	activated, ok := reply.(*messages.Activated)
	switch {
	case !ok:
		return nil, fmt.Errorf("the owner of partition %d answered with %T", partition, reply)
	case activated.GetError() != "":
		r.refresh(ctx, partition)
		return nil, fmt.Errorf("the owner of partition %d: %s", partition, activated.GetError())
	}
	return actor.NewPID(owner.Address, activated.GetActorId()), nil
}

// owner is the partition's actor according to the lease as last seen.
func (r *router) owner(ctx context.Context, partition int) (*actor.PID, error) {
	table := r.node.leaseTable.Load()
	if table == nil {
		return nil, errNoOwner // Run has not come so far
	}
	seen, _ := table.seen(partition)
	if seen.lease.free() {
		r.refresh(ctx, partition)
		seen, _ = table.seen(partition)
	}
	v, _ := r.node.board.load()
	member, live := v.live(seen.lease.Member)
	if seen.lease.free() || !live {
		return nil, fmt.Errorf("partition %d: %w", partition, errNoOwner)
	}
	if member.ID == v.self && !r.node.keepers[partition].running.Load() {
		return nil, fmt.Errorf("partition %d: %w", partition, errNoOwner)
	}
	return actor.NewPID(member.Address, PartitionActorID(partition)), nil
}

// refresh reads a lease that may have moved; a failure leaves what was known.
func (r *router) refresh(ctx context.Context, partition int) {
	if table := r.node.leaseTable.Load(); table != nil {
		_, _, _ = table.read(ctx, partition)
	}
}
