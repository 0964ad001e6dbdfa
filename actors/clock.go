package actors

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
)

// clock is the one timer of a user's actor: it rings for whatever is due first.
type clock struct {
	timer *time.Timer
	at    time.Time
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer, c.at = nil, time.Time{}
}

// setAlarm lets the clock ring for what is due first: a message's deadline, the sign that an answer is being written, the next try of a
// push. Accounts that may not push have nothing of the kind.
func (u *user) setAlarm() {
	if !u.account.Limits.Push || u.Outlet == nil {
		return
	}
	if u.stopped {
		u.clock.stop()
		return
	}
	next := u.nextAlarm()
	if next.Equal(u.clock.at) {
		return
	}
	u.clock.stop()
	if next.IsZero() {
		return
	}
	self, root := u.pid, u.root
	u.clock.at = next
	u.clock.timer = time.AfterFunc(max(next.Sub(u.Now()), time.Millisecond), func() { root.Send(self, &alarm{}) })
}

func (u *user) nextAlarm() time.Time {
	var next time.Time
	note := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for i, it := range u.queue {
		note(it.late)
		if i == 0 && it.phase == phaseAsking {
			note(u.nextTyping(it))
		}
		if i == 0 && it.phase == phasePushing && u.call == 0 {
			note(u.retry)
		}
	}
	return next
}

// alarm does what is due.
func (u *user) alarm(ctx actor.Context) {
	u.clock.stop()
	now := u.Now()
	u.markLate(ctx, now)
	if u.stopped || len(u.queue) == 0 {
		return
	}
	if it := u.queue[0]; it.phase == phaseAsking {
		if at := u.nextTyping(it); !at.IsZero() && !at.After(now) {
			it.typed = now
			u.showTyping()
		}
	}
}

// nextTyping is when the user is next shown that an answer is being written; zero: never.
func (u *user) nextTyping(it *item) time.Time {
	switch {
	case !u.account.Typing || it.in.GetKind().IsEvent() || it.source != messages.Source_SOURCE_CALLBACK:
		return time.Time{}
	case it.typed.IsZero():
		return it.asked.Add(typingAfter)
	default:
		return it.typed.Add(typingEvery)
	}
}

func (u *user) showTyping() {
	go func() { // ended by the outlet, within sendTimeout
		ctx, cancel := context.WithTimeout(u.ctx, sendTimeout)
		defer cancel()
		u.Outlet.Typing(ctx, u.name, true)
	}()
}
