package actors

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
)

// callBook is what one tenure knows of the calls of WeChat's send API that its users' actors made, beyond the life of an activation: so a
// store that was slow for a moment does not make an outcome unknown. A user has one call at a time.
type callBook struct{ calls sync.Map } // messages.User → *call

// call is one that was made. It is forgotten when its outcome stands in the record.
type call struct {
	id     uint64
	waits  atomic.Pointer[actor.PID] // the activation that gets the outcome
	result atomic.Pointer[sent]      // nil while it is under way
}

// look finds the call that a record announces. found is false where another tenure announced it; nil with found where this one did, and
// then did not make it: the commit that announced it had an unknown outcome.
func (b *callBook) look(user messages.User, p conversation.Pushed, epoch uint64) (c *call, found bool) {
	if p.Epoch != epoch || p.Call == 0 {
		return nil, false
	}
	if c := b.of(user); c != nil && c.id == p.Call {
		return c, true
	}
	return nil, true
}

func (b *callBook) of(user messages.User) *call {
	v, ok := b.calls.Load(user)
	if !ok {
		return nil
	}
	c, _ := v.(*call)
	return c
}

// begin notes a call that is about to be made.
func (b *callBook) begin(user messages.User, id uint64, waits *actor.PID) *call {
	c := &call{id: id}
	c.waits.Store(waits)
	b.calls.Store(user, c)
	return c
}

// forget drops a call whose outcome stands in the record.
func (b *callBook) forget(user messages.User, id uint64) {
	if c := b.of(user); c != nil && c.id == id {
		b.calls.CompareAndDelete(user, c)
	}
}

// end notes what became of the call, and returns who wants to know.
func (c *call) end(result *sent) *actor.PID {
	c.result.Store(result)
	return c.waits.Load()
}

// wait makes pid the one that gets the outcome, and returns the outcome where it is there. Should it come at this very moment, pid gets
// it twice, and knows the second by its call.
func (c *call) wait(pid *actor.PID) *sent {
	c.waits.Store(pid)
	return c.result.Load()
}
