package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
)

// drop puts a message aside that gets no turn: it is beyond the queue (DESIGN §3 rule 6), or over a rate. endFlood ends it once the
// mailbox is empty, with all others that came in the meantime.
func (u *user) drop(ctx actor.Context, it *item) {
	if len(u.dropped) == 0 {
		ctx.Send(u.pid, &endFlood{})
	}
	it.kind = it.in.GetKind()
	it.in = &messages.Inbound{} // a flood is many, and what it says is not needed any more
	u.dropped = append(u.dropped, it)
}

// endFlood records the messages that a flood pushed out, or that came over a rate, by key alone and in one commit, and ends them: one of
// them with the account's notice, at most once a minute, and all others with `success`. It waits for no turn: a flood must not fill its
// partition while the first message is slow (DESIGN §3 rule 6).
//
// The notice stands in the commit before it is given. So whoever finds the messages again, by a replay or after a takeover, knows that
// they have had their answer and ends them with `success`, and a notice that got lost on its way is not repeated.
func (u *user) endFlood(ctx actor.Context) {
	dropped, before := u.dropped, u.st.NoticedMS
	var beyond []conversation.Arrival
	var limited []conversation.Limited
	notice := ""
	for _, it := range dropped {
		if it.limited == "" {
			beyond = append(beyond, it.arrival)
		} else {
			limited = append(limited, conversation.Limited{Arrival: it.arrival, Kind: it.kind})
		}
		if notice == "" {
			notice = u.noticeOf(it)
		}
	}
	now := u.Now()
	next, due := u.st, false
	if notice != "" {
		next, due = next.Notice(now)
	}
	if !u.commit(ctx, next.Drop(beyond, u.account.Limits, now).Limit(limited, u.account.Limits, now)) {
		return
	}
	u.dropped = nil
	if noticed := u.endDropped(ctx, dropped, due); due && !noticed {
		u.st.NoticedMS = before // all slots were closed: the next message may be told. The next commit writes it down
	}
}

// noticeOf is what the user is told about a message that gets no turn; empty: nothing.
func (u *user) noticeOf(it *item) string {
	switch it.limited {
	case limitedByUser:
		return u.account.Limited
	case limitedByAccount:
		return u.account.Busy
	default:
		return u.account.Flooded
	}
}

// endDropped ends the slots of messages whose end is committed, one of them with a notice where one is due, and tells whether it may
// have been read.
func (u *user) endDropped(ctx actor.Context, dropped []*item, due bool) (noticed bool) {
	silent := make(map[string]bool) // ingresses that gave no verdict: their slots end by themselves
	for _, it := range dropped {
		it.outcome = messages.Outcome_OUTCOME_DROPPED_FLOOD
		if it.limited != "" {
			it.outcome = messages.Outcome_OUTCOME_LIMITED
			u.metrics.limited.WithLabelValues(u.name.Account, it.limited).Inc()
		} else {
			u.metrics.floodDropped.WithLabelValues(u.name.Account).Inc()
		}
		for _, d := range it.deliveries {
			ingress := d.slot.GetIngress()
			if silent[ingress] {
				continue
			}
			var answer *messages.Answer
			if text := u.noticeOf(it); due && !noticed && text != "" {
				answer = &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
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
	return noticed
}
