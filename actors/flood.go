package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
)

// drop puts a message beyond the queue aside (DESIGN §3 rule 6). endFlood ends it once the mailbox is empty, with all others that came
// in the meantime.
func (u *user) drop(ctx actor.Context, it *item) {
	if len(u.dropped) == 0 {
		ctx.Send(u.pid, &endFlood{})
	}
	it.in = &messages.Inbound{} // a flood is many, and what it says is not needed any more
	u.dropped = append(u.dropped, it)
}

// endFlood records the messages that a flood pushed out, by key alone and in one commit, and ends them: one of them with the
// account's notice, at most once a minute, and all others with `success`. It waits for no turn: a flood must not fill its partition while
// the first message is slow (DESIGN §3 rule 6).
//
// The notice stands in the commit before it is given. So whoever finds the messages again, by a replay or after a takeover, knows that
// they have had their answer and ends them with `success`, and a notice that got lost on its way is not repeated.
func (u *user) endFlood(ctx actor.Context) {
	dropped, before := u.dropped, u.st.NoticedMS
	arrivals := make([]conversation.Arrival, len(dropped))
	for i, it := range dropped {
		arrivals[i] = it.arrival
	}
	now := u.Now()
	next, due := u.st, false
	if u.account.Flooded != "" {
		next, due = next.Notice(now)
	}
	if !u.commit(ctx, next.Drop(arrivals, u.account.Limits, now)) {
		return
	}
	u.dropped = nil
	u.metrics.floodDropped.WithLabelValues(u.name.Account).Add(float64(len(dropped)))

	silent := make(map[string]bool) // ingresses that gave no verdict: their slots end by themselves
	noticed := false
	for _, it := range dropped {
		it.outcome = messages.Outcome_OUTCOME_DROPPED_FLOOD
		for _, d := range it.deliveries {
			ingress := d.slot.GetIngress()
			if silent[ingress] {
				continue
			}
			var answer *messages.Answer
			if due && !noticed {
				answer = &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: u.account.Flooded}}}
			}
			verdict := u.say(d, it.key, answer)
			silent[ingress] = verdict == messages.Verdict_VERDICT_UNKNOWN
			if answer != nil && verdict != messages.Verdict_VERDICT_REFUSED { // an unknown one may have been read
				noticed = true
				u.metrics.floodNoticed.WithLabelValues(u.name.Account).Inc()
			}
		}
		u.finish(ctx, it, "")
	}
	if due && !noticed {
		u.st.NoticedMS = before // all slots were closed: the next message may be told. The next commit writes it down
	}
}
