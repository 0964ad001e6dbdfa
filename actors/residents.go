package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/stream"
)

// resident is the partition's entry for a user, made where there is none.
func (p *partition) resident(user messages.User) *resident {
	r := p.users[user]
	if r == nil {
		r = &resident{active: p.Now()}
		p.users[user] = r
	}
	return r
}

// spawn starts the user's actor and feeds it all unsettled entries in the order of the log: whatever a former activation had in
// hand goes through the new one again, and is recognised by its key (DESIGN §3 rule 1).
func (p *partition) spawn(ctx actor.Context, user messages.User, r *resident) {
	if p.Now().Before(r.respawn) {
		return // respawnDue does it
	}
	// No name: proto.actor logs the ids of actors, and a user's name must not stand in a log.
	r.pid = ctx.Spawn(actor.PropsFromProducer(p.producer(user)))
	p.byPID(r.pid, user)
	for _, rec := range r.entries {
		ctx.Send(r.pid, p.delivery(r, rec))
	}
}

// delivery is an entry as its user's actor gets it.
func (p *partition) delivery(r *resident, rec stream.Received) *deliver {
	again := rec.Sequence <= r.handed
	r.handed = max(r.handed, rec.Sequence)
	return &deliver{rec: rec, dead: p.doomed[rec.Sequence], busy: p.busy(), again: again}
}

// deadlyPanics is how often handling an entry may panic before it becomes a dead letter.
const deadlyPanics = 3

// lost notes that a user's actor ended by itself. If entries wait, another one is started soon.
func (p *partition) lost(who *actor.PID) {
	user, ok := p.forgetPID(who)
	if !ok {
		return
	}
	r := p.users[user]
	if r == nil || r.pid == nil || r.pid.GetId() != who.GetId() {
		return
	}
	r.pid = nil
	r.failures++
	r.respawn = p.Now().Add(min(respawnAfter<<min(r.failures-1, 4), 3*time.Second))
	delete(p.waits, user)
	delete(p.parked, user)
	p.metrics.activationsLost.Inc()
}

// panicked counts an entry over which a user's actor failed.
func (p *partition) panicked(m *panicked) {
	r := p.users[m.user]
	if r == nil {
		return
	}
	if r.panicSeq != m.seq {
		r.panicSeq, r.panics = m.seq, 0
	}
	if r.panics++; r.panics >= deadlyPanics {
		p.doomed[m.seq] = ReasonPanic
	}
}

// unreadableAfter is how often in a row a record may be unreadable, for about a minute, before its user's messages end: a node of
// another version may read it, and an operator may repair it.
const unreadableAfter = 20

// unreadable ends the entries of a user whose record cannot be read as dead letters. They would hold the floor for ever, and in the
// end stop the whole partition (DESIGN §3 rule 6). The record stays as it is.
func (p *partition) unreadable(m *unreadable) {
	r := p.users[m.user]
	if r == nil || r.failures < unreadableAfter || p.stopped {
		return
	}
	p.log.Error("a user's record cannot be read; the user's messages end as dead letters", "user", m.user.Hash(),
		"account", m.user.Account, "messages", len(r.entries), "error", m.err)
	for _, rec := range r.entries {
		p.bury(rec, ReasonUnreadable, m.err.Error())
	}
	r.entries = nil
}

// respawnDue starts the actors of users whose entries wait since theirs was lost.
func (p *partition) respawnDue(ctx actor.Context, now time.Time) {
	if p.live == len(p.users) {
		return // every resident has its actor
	}
	for user, r := range p.users {
		if r.pid == nil && len(r.entries) > 0 && !now.Before(r.respawn) {
			p.spawn(ctx, user, r)
		}
	}
}

// byPID and forgetPID keep the way back from an actor to its user.
func (p *partition) byPID(pid *actor.PID, user messages.User) {
	p.pids[pid.GetId()] = user
	p.live = len(p.pids)
}

func (p *partition) forgetPID(pid *actor.PID) (messages.User, bool) {
	user, ok := p.pids[pid.GetId()]
	delete(p.pids, pid.GetId())
	p.live = len(p.pids)
	return user, ok
}

// buried is the outcome of a dead letter that the partition itself published.
type buried struct {
	rec            stream.Received
	reason, detail string
	err            error
}

// bury publishes an entry that has no user as a dead letter and settles it after that; until then it stays unsettled.
func (p *partition) bury(rec stream.Received, reason, detail string) {
	letter := &messages.DeadLetter{
		Inbound: rec.Entry.GetInbound(), Payload: rec.Payload, Generation: p.generation, Sequence: rec.Sequence,
		Reason: reason, Detail: detail, AtMs: p.Now().UnixMilli(), Attempt: 1,
	}
	account := rec.Entry.GetInbound().GetAccount()
	if account == "" {
		account = "none"
	}
	id := fmt.Sprintf("p%d.%d.%d", p.tenure.Partition, p.generation, rec.Sequence)
	go func() { // ended by the log's answer or opTimeout
		ctx, cancel := context.WithTimeout(p.ctx, opTimeout)
		defer cancel()
		err := p.Graveyard.Bury(ctx, p.tenure.Partition, account, id, letter)
		if err != nil { // try again after a while; the entry holds the floor until then
			select {
			case <-time.After(time.Second):
			case <-p.ctx.Done():
			}
		}
		p.root.Send(p.pid, &buried{rec: rec, reason: reason, detail: detail, err: err})
	}()
}
