package actors

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
)

// callBook is what one tenure knows of the calls of WeChat's send API that its users' actors made, beyond the life of an activation: so a
// store that was slow for a moment does not make an outcome unknown. A user has one call at a time.
type callBook struct {
	mu    sync.Mutex
	calls map[messages.User]*call
}

// call is one that was made. It is forgotten when its outcome stands in the record.
type call struct {
	id     uint64
	waits  *actor.PID // the activation that gets the outcome
	result *sent      // nil while it is under way
}

// look finds the call that a record announces. found is false where another tenure announced it; nil with found where this one did, and
// then did not make it: the commit that announced it had an unknown outcome.
func (b *callBook) look(user messages.User, p conversation.Pushed, epoch uint64) (c *call, found bool) {
	if p.Epoch != epoch || p.Call == 0 {
		return nil, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.calls[user]; c != nil && c.id == p.Call {
		return c, true
	}
	return nil, true
}

// begin notes a call that is about to be made.
func (b *callBook) begin(user messages.User, id uint64, waits *actor.PID) *call {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls == nil {
		b.calls = make(map[messages.User]*call)
	}
	c := &call{id: id, waits: waits}
	b.calls[user] = c
	return c
}

// end notes what became of a call, and tells who wants to know.
func (b *callBook) end(c *call, result *sent) *actor.PID {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.result = result
	return c.waits
}

// wait makes pid the one that gets the outcome, or returns the outcome where it is there.
func (b *callBook) wait(c *call, pid *actor.PID) *sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.waits = pid
	return c.result
}

// forget drops a call whose outcome stands in the record.
func (b *callBook) forget(user messages.User, id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.calls[user]; c != nil && c.id == id {
		delete(b.calls, user)
	}
}
