package actors

import "github.com/asynkron/protoactor-go/actor"

// depart makes the first message fit for the next owner, at a planned release. A turn whose bot is still at work is left to it: it asks
// again. So is an answer of which nobody can tell whether it was written: WeChat's next delivery, which tells, stands in a part of the log
// that only the next owner reads. But an answer that every delivery refused is kept now, or pushed: only this owner knows of the refusals,
// and the next one would take WeChat's silence for a delivery (DESIGN §3 rules 12 and 13).
func (u *user) depart(ctx actor.Context) {
	if len(u.queue) == 0 || u.queue[0].phase == phasePushing {
		return
	}
	it := u.queue[0]
	if it.phase == phaseCommitted && it.reply != nil && !it.former && !it.unknown() {
		if u.giveUp(ctx, it) && !u.stopped {
			u.queue = u.queue[1:]
			u.finish(ctx, it, "")
		}
		return
	}
	u.park(ctx, true)
}
