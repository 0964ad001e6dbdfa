package actors

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/stream"
)

// Bounds of pushing.
const (
	sendTimeout = 10 * time.Second // one call of WeChat's API, with all that it waits for
	longWait    = time.Minute      // a longer one is a row in the due index (DESIGN §3 rule 18)
	againAfter  = 15 * time.Second // and up to twice that: when what waited too long is tried again
	typingAfter = 2 * time.Second  // a quicker answer needs no sign that it is being written
	typingEvery = 8 * time.Second
	lagBelieved = 2 * time.Second // how much of an entry's age is believed: the log's clock may be another one than ours
)

// mayPush tells whether the user can be sent a message now, as far as the record knows.
func (u *user) mayPush(now time.Time) bool {
	return u.account.Limits.Push && u.Outlet != nil && u.st.GrantOpen(now)
}

// goPush makes the item bring a push forward. Its path stands in the record, so every delivery gets `success` (DESIGN §3 rule 14).
func (u *user) goPush(it *item, key messages.Key) {
	it.phase, it.push, it.pushKey = phasePushing, true, key
	u.endSlots(it)
}

// drives tells whether an item brings this push forward already.
func (u *user) drives(key messages.Key) bool {
	for _, it := range u.queue {
		if it.phase == phasePushing && it.pushKey == key {
			return true
		}
	}
	return false
}

// expectPush notes when a message's path becomes push, should its answer not be committed by then: the account may push, and somebody
// waits. A former activation may have made it push already.
func (u *user) expectPush(ctx actor.Context, it *item, rec stream.Received) {
	if p, ok := u.st.Pushing(it.key); ok && !p.Answered {
		if u.durable(ctx) {
			it.push = true
			u.endSlots(it)
		}
		return
	}
	if !u.account.Limits.Push || u.Outlet == nil || it.deliveries[0].slot == nil || it.dead != "" {
		return
	}
	open := time.Duration(rec.Entry.GetWaitedMs())*time.Millisecond + min(max(it.began.Sub(rec.LogTime), 0), lagBelieved)
	it.late = it.began.Add(u.account.PushAfter - open)
}

// markLate makes push the path of all messages whose answer is not there at their deadline, the queued ones too, in one commit; then
// their exchanges end with `success` (DESIGN §3 rule 14).
func (u *user) markLate(ctx actor.Context, now time.Time) {
	next := u.st
	var late []*item
	for _, it := range u.queue {
		if it.late.IsZero() || it.late.After(now) {
			continue
		}
		it.late = time.Time{}
		if it.push || it.phase > phaseAsking || it.dead != "" || !next.OpensOrHasGrant(it.in, it.arrival, now) {
			continue // without a grant the exchange is held, and the last one ends with the text for that
		}
		next = next.Mark(it.in, it.arrival, now)
		late = append(late, it)
	}
	if len(late) == 0 || !u.commit(ctx, next) {
		return
	}
	for _, it := range late {
		it.push = true
		u.metrics.pushMarks.WithLabelValues(u.name.Account).Inc()
		u.trace(messages.StagePush, it, it.deliveries[0], "the answer follows as a message of its own")
		u.endSlots(it)
	}
}

// divert makes push the path of an answer that no delivery took.
func (u *user) divert(ctx actor.Context, it *item) bool {
	if !u.commit(ctx, u.st.Divert(it.key, u.account.Limits, u.Now())) {
		return false
	}
	u.goPush(it, it.key)
	return u.push(ctx, it)
}

// push brings the item's push as far as it goes without waiting. True: nothing is left of it.
func (u *user) push(ctx actor.Context, it *item) bool {
	if u.call != 0 || u.Now().Before(u.retry) && !u.mustMakeRoom(it) {
		return false
	}
	done := u.pushFrom(ctx, it, u.st, false)
	if done {
		u.pushed(ctx)
	}
	return done
}

// pushFrom goes on from next, which is the record, or, where changed says so, what is to be written with the next step: the result of a
// call and the mark of the next one are one commit (DESIGN §3 rule 16).
func (u *user) pushFrom(ctx actor.Context, it *item, next conversation.State, changed bool) bool {
	limits := u.account.Limits
	for {
		now := u.Now()
		p, ok := next.Pushing(it.pushKey)
		switch {
		case !ok:
			return !changed || u.commit(ctx, next)
		case p.Sending: // of a former activation, whose call may have been made
			known, found := u.book.look(u.name, p, u.tenure.Epoch)
			switch {
			case !found:
				next = u.unknown(next, it.pushKey, "the node that sent it did not come to write down what became of it")
			case known == nil: // this tenure announced it, and then did not make it
				next = next.NotSent(it.pushKey, now)
			default:
				return u.takeOver(ctx, known)
			}
			changed = true
			continue
		case u.Outlet == nil || !limits.Push:
			next, changed = next.Retire(it.pushKey, time.Time{}, limits, now), true
			continue
		}
		if u.leaving.Load() { // the next owner goes on
			if !changed || u.commit(ctx, next) {
				u.park(ctx, true)
			}
			return false
		}
		if ready, retry, why := u.Outlet.Ready(u.name.Account); !ready {
			if u.wait(ctx, it, retry, now) {
				if changed {
					u.commit(ctx, next)
				}
				return false
			}
			u.trace(messages.StageKept, it, it.deliveries[0], why)
			next, changed = u.retire(next, it, retry, now), true
			continue
		}
		marked, part, open, err := next.Begin(it.pushKey, now)
		switch {
		case err != nil:
			u.fail(ctx, "send a part of an answer", err)
			return false
		case !open:
			u.trace(messages.StageKept, it, it.deliveries[0], "no grant is open")
			next, changed = u.retire(next, it, time.Time{}, now), true
			continue
		}
		id := u.nonzero()
		if u.commit(ctx, marked.Announce(it.pushKey, u.tenure.Epoch, id)) {
			u.park(ctx, false)
			u.send(it, part, id)
		}
		return false
	}
}

// wait lets the push wait until retry. False: that takes too long, or somebody waits behind it, and it must be kept.
func (u *user) wait(ctx actor.Context, it *item, retry, now time.Time) bool {
	if u.waiting.IsZero() {
		u.waiting = now
	}
	if retry.Sub(now) > longWait || now.Sub(u.waiting) > longWait || u.mustMakeRoom(it) {
		return false
	}
	u.retry = retry
	u.park(ctx, true)
	return true
}

// retire keeps what is left of a push. retry is when it may be tried again; zero: not before the user writes.
func (u *user) retire(s conversation.State, it *item, retry, now time.Time) conversation.State {
	if !retry.IsZero() && now.Sub(u.waiting) > longWait { // nobody knows when it will work again: not all at the same moment
		retry = maxTime(retry, now.Add(againAfter+time.Duration(u.Random()%uint64(againAfter))))
	}
	u.metrics.kept.Inc()
	return s.Retire(it.pushKey, retry, u.account.Limits, now)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// park tells the partition that the user's first message waits for WeChat's API, or does no more: nothing is under way then that an
// orderly release had to wait for.
func (u *user) park(ctx actor.Context, on bool) {
	if u.parked != on {
		u.parked = on
		ctx.Send(u.shared.pid, &parked{user: u.name, on: on})
	}
}

// mustMakeRoom: somebody waits behind an answer that cannot be sent now. It is kept, and goes in front of that reply.
func (u *user) mustMakeRoom(it *item) bool {
	for _, other := range u.queue {
		if other != it && other.phase == phaseQueued && !other.push && other.source == messages.Source_SOURCE_CALLBACK {
			return true
		}
	}
	return false
}

// send makes the call that the record announces, beside the mailbox.
func (u *user) send(it *item, part *messages.Answer, id uint64) {
	u.call = id
	call := u.book.begin(u.name, id, u.pid)
	root := u.root
	u.sending.Add(1)
	u.trace(messages.StagePush, it, it.deliveries[0], "sending")
	go func() { // ended by the outlet, within sendTimeout
		// Not the partition's context: a call that was begun shall come to its end, so that its outcome is known.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), sendTimeout)
		defer cancel()
		result := &sent{call: id, sent: u.Outlet.Send(ctx, u.name, part)}
		root.Send(call.end(result), result)
	}()
}

// takeOver goes on with a call that a former activation of this tenure made: it is under way still, or its outcome is there.
func (u *user) takeOver(ctx actor.Context, c *call) bool {
	u.call = c.id
	u.sending.Add(1)
	u.park(ctx, false)
	if result := c.wait(u.pid); result != nil {
		ctx.Send(u.pid, result)
	}
	return false
}

// dropCall gives up waiting for a call's outcome: this activation ends.
func (u *user) dropCall() {
	if u.call != 0 {
		u.call = 0
		u.sending.Add(-1)
	}
}

// called takes up what became of a call.
func (u *user) called(ctx actor.Context, m *sent) {
	if m.call != u.call {
		return
	}
	defer u.sending.Add(-1) // its outcome is written down, and the next call counts by itself
	u.call = 0
	if len(u.queue) == 0 || u.queue[0].phase != phasePushing {
		return
	}
	it, r, now := u.queue[0], m.sent, u.Now()
	u.trace(messages.StagePush, it, it.deliveries[0], r.Fate.String())
	next, limits, key := u.st, u.account.Limits, it.pushKey
	switch r.Fate {
	case FateDelivered:
		u.waiting = time.Time{}
		next = next.Sent(key)
	case FateNotMade:
		next = next.NotSent(key, now)
		if retry := maxTime(r.Retry, now.Add(time.Second)); u.wait(ctx, it, retry, now) {
			if u.commit(ctx, next) {
				u.book.forget(u.name, m.call)
			}
			return
		} else { //nolint:revive // the two ends of one decision
			next = u.retire(next, it, retry, now)
		}
	case FateNoWindow:
		next = next.Closed(key, limits, now)
	case FateNoRight:
		next = u.retire(next.NotSent(key, now), it, time.Time{}, now)
	case FateNoUser:
		next = next.LoseAll(key, ReasonNoUser, r.Detail, now)
	case FateBadMessage:
		next = next.Lose(key, ReasonRefused, r.Detail, now)
	default:
		next = u.unknown(next, key, r.Detail)
	}
	if r.Fate != FateDelivered {
		u.Logger.Info("a customer-service message was not delivered", "account", u.name.Account, "user", u.name.Hash(),
			"key", key.String(), "fate", r.Fate.String(), "errcode", r.Code, "detail", r.Detail)
	}
	done := u.pushFrom(ctx, it, next, true)
	if u.stopped {
		return // the next activation finds the outcome in the book
	}
	u.book.forget(u.name, m.call)
	if done {
		u.pushed(ctx)
		u.queue = u.queue[1:]
		u.finish(ctx, it, "")
	}
}

// pushed forgets what a push waited for, once nothing is left of it.
func (u *user) pushed(ctx actor.Context) {
	u.retry, u.waiting = time.Time{}, time.Time{}
	u.park(ctx, false)
}

// unknown decides about the part under way, of which nobody can tell whether it reached the user.
func (u *user) unknown(s conversation.State, key messages.Key, detail string) conversation.State {
	if u.account.Unknown == UnknownOnce {
		if next, ok := s.Repeat(key); ok {
			return next
		}
	}
	return s.Lose(key, ReasonUnknown, detail, u.Now())
}

// wake does what is due: answers that were kept too long end, and those that may be pushed by now are.
func (u *user) wake(ctx actor.Context, it *item) {
	now := u.Now()
	if key, ok := u.st.Unfinished(); ok { // a former activation had begun
		it.phase, it.outcome = phaseCommitted, messages.Outcome_OUTCOME_SILENT
		u.goPush(it, key)
		return
	}
	next := u.st.Wake(u.account.Limits, now)
	key, pushing := messages.Key{}, false
	if u.account.Limits.Push && u.Outlet != nil {
		next, key, pushing = next.PushKept(u.account.Limits, now)
	}
	it.outcome = messages.Outcome_OUTCOME_SILENT
	if !u.commit(ctx, next) {
		return
	}
	it.phase = phaseCommitted
	if pushing {
		u.goPush(it, key)
	}
}

// wakeKey names the entry of a wake-up: by its place, for it is no message.
func wakeKey(at messages.Position) messages.Key {
	var k messages.Key
	binary.BigEndian.PutUint64(k[:8], at.Generation)
	binary.BigEndian.PutUint64(k[8:], at.Sequence)
	return k
}

// redrive takes up the dead letter that the entry names. Only the entry that wins it runs, and it wins it again in every replay: so a
// second re-drive has no effect, however they race (DESIGN §3 rule 19).
func (u *user) redrive(ctx actor.Context, it *item) {
	if u.Letters == nil {
		u.refuse(it, "this node cannot read dead letters")
		return
	}
	within, cancel := context.WithTimeout(u.ctx, opTimeout)
	defer cancel()
	at := it.arrival.At
	taken, err := u.Letters.TakeUp(within, it.letter, &messages.Redriven{
		Generation: at.Generation, Sequence: at.Sequence, AtMs: u.Now().UnixMilli(), Entry: it.entry,
	})
	if err != nil {
		u.fail(ctx, "take a dead letter up", err)
		return
	}
	if !taken {
		u.refuse(it, "another entry took it up, or it was dropped")
		return
	}
	letter, _, err := u.Letters.Letter(within, it.letter)
	if err != nil {
		u.fail(ctx, "read a dead letter", err)
		return
	}
	it.taken = true
	u.metrics.redriven.WithLabelValues(u.name.Account, "run").Inc()
	if letter.GetAnswer().GetContent() == nil { // its turn never was, or came to nothing
		u.start(ctx, it)
		return
	}
	next, step, err := u.st.Redeliver(it.arrival, letter.GetAnswer(), u.account.Limits, u.Now())
	if err != nil {
		u.fail(ctx, "take up the answer of a dead letter", err)
		return
	}
	u.committed(ctx, it, next, step)
}

// refuse ends an entry that does not run its dead letter. The letter stays as it is.
func (u *user) refuse(it *item, why string) {
	u.Logger.Warn("a dead letter is not re-driven", "account", u.name.Account, "user", u.name.Hash(), "letter", it.letter, "reason", why)
	u.metrics.redriven.WithLabelValues(u.name.Account, "refused").Inc()
	it.outcome, it.phase = messages.Outcome_OUTCOME_SILENT, phaseCommitted
}
