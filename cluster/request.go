package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoactor "github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

const (
	// tryTimeout bounds one try, so that a lost message leaves time for another.
	tryTimeout = 700 * time.Millisecond
	// requestTimeout bounds a request whose context has no deadline.
	requestTimeout = 5 * time.Second
	retryFirst     = 10 * time.Millisecond
	retryMost      = 250 * time.Millisecond
	pidCacheSize   = 65536
)

var errIdentity = errors.New("the identity is not of the form account/openid")

// Request sends msg to the actor of a user, or of an account (messages.AccountActor), wherever it is, and returns its reply.
// Until ctx ends (5 s if it has no deadline) a try that finds no owner, no actor or no reply is followed by another, with the
// activation looked up anew; so msg may arrive more than once, and must not be changed by its receiver. The end of ctx is
// noticed between tries, 0.7 s at most.
func (n *Node) Request(ctx context.Context, u messages.User, msg proto.Message) (any, error) {
	reply, err := n.router.request(ctx, u.Identity(), kindOf(u), msg)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", actorName(u), err)
	}
	return reply, nil
}

// actorName is who was asked, as errors may show it.
func actorName(u messages.User) string {
	if account, ok := u.OfAccount(); ok {
		return "the actor of account " + account
	}
	return "user " + u.Hash() + " of account " + u.Account
}

// router is how requests travel, and proto.actor's cluster.Context: the library's own sends each try with the whole timeout,
// counts its back-off in nanoseconds, and logs identities.
type router struct {
	node  *Node
	root  *actor.RootContext
	cache *pidCache
}

var _ protoactor.Context = (*router)(nil)

func (r *router) request(ctx context.Context, identity, kind string, msg any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var last error
	for try := 0; ; try++ {
		if try > 0 {
			r.node.metrics.retries.Inc()
		}
		reply, err := r.try(ctx, identity, kind, msg)
		if err == nil {
			r.node.metrics.requests.WithLabelValues(requestAnswered).Inc()
			return reply, nil
		}
		if errors.Is(err, errIdentity) || errors.Is(err, errKind) {
			return nil, err
		}
		last = err
		select {
		case <-time.After(min(retryFirst<<min(try, 10), retryMost)):
		case <-ctx.Done():
			r.node.metrics.requests.WithLabelValues(requestFailed).Inc()
			return nil, fmt.Errorf("no reply after %d tries: %w", try+1, errors.Join(context.Cause(ctx), last))
		}
	}
}

func (r *router) try(ctx context.Context, identity, kind string, msg any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pid, err := r.pid(ctx, identity, kind)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	reply, err := r.root.RequestFuture(pid, msg, time.Until(deadline)).Result()
	if err != nil { // first: a late reply may come with an error
		r.cache.remove(identity, pid)
		return nil, err
	}
	return reply, nil
}

// pid is the user's actor: the one that the last request found, else the one that the partition's owner names.
func (r *router) pid(ctx context.Context, identity, kind string) (*actor.PID, error) {
	if pid := r.cache.get(identity); pid != nil && (kind == userKind || kind == accountKind) {
		return pid, nil
	}
	pid, err := r.activate(ctx, identity, kind)
	if err != nil {
		return nil, err
	}
	r.cache.put(identity, pid)
	return pid, nil
}

// Request implements proto.actor's cluster.Context; of the options only the timeout counts.
func (r *router) Request(identity, kind string, message any, opts ...protoactor.GrainCallOption) (any, error) {
	call := protoactor.GrainCallConfig{Timeout: requestTimeout}
	for _, o := range opts {
		o(&call)
	}
	ctx, cancel := context.WithTimeout(context.Background(), call.Timeout)
	defer cancel()
	return r.request(ctx, identity, kind, message)
}

// RequestFuture implements proto.actor's cluster.Context: one try.
func (r *router) RequestFuture(identity, kind string, message any, _ ...protoactor.GrainCallOption) (*actor.Future, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
	defer cancel()
	pid, err := r.pid(ctx, identity, kind)
	if err != nil {
		return nil, err
	}
	return r.root.RequestFuture(pid, message, tryTimeout), nil
}

// pidCache remembers which actor answered last for an identity. It is bounded by two generations: when the young one is
// full it becomes the old one, and the former old one is forgotten.
type pidCache struct {
	mu         sync.Mutex
	young, old map[string]*actor.PID
	most       int // of one generation
}

func newPIDCache(most int) *pidCache { return &pidCache{young: map[string]*actor.PID{}, most: most} }

func (c *pidCache) get(identity string) *actor.PID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pid, ok := c.young[identity]; ok {
		return pid
	}
	pid, ok := c.old[identity]
	if ok {
		c.add(identity, pid)
	}
	return pid
}

func (c *pidCache) put(identity string, pid *actor.PID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(identity, pid)
}

func (c *pidCache) add(identity string, pid *actor.PID) {
	if len(c.young) >= c.most {
		c.old, c.young = c.young, make(map[string]*actor.PID, c.most/8)
	}
	c.young[identity] = pid
}

// remove forgets pid, but not an activation that was found since.
func (c *pidCache) remove(identity string, pid *actor.PID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range []map[string]*actor.PID{c.young, c.old} {
		if have, ok := m[identity]; ok && have.Equal(pid) {
			delete(m, identity)
		}
	}
}

// keep forgets all actors at other addresses.
func (c *pidCache) keep(addresses map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range []map[string]*actor.PID{c.young, c.old} {
		for identity, pid := range m {
			if !addresses[pid.Address] {
				delete(m, identity)
			}
		}
	}
}
