package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/stream"
)

// botPanic is a bot's panic as an error.
type botPanic struct{ value any }

func (e *botPanic) Error() string { return fmt.Sprintf("the bot panicked: %v", e.value) }

// burialID names a dead letter for ever: the message's key, the record's incarnation and the letter's number in it.
func burialID(b conversation.Burial, incarnation uint64) string {
	return fmt.Sprintf("%s.%x.%d", b.Key, incarnation, b.Number)
}

func commitError(err error) string {
	switch {
	case errors.Is(err, state.ErrStaleEpoch):
		return "stale_epoch"
	case errors.Is(err, state.ErrConflict):
		return "conflict"
	case errors.Is(err, state.ErrFull):
		return "full"
	case errors.Is(err, state.ErrUnavailable):
		return "unavailable"
	default:
		return "unknown"
	}
}

// say offers an answer (nil: `success`) to one delivery and returns the verdict. It is called only after the commit.
//
// An owner's own first offer that finds no ingress is refused: nobody but this actor could have sent the answer there. For a
// former owner's commit the same silence is unknown, since that owner may have been heard (DESIGN §3 rule 12).
func (u *user) say(d delivery, key messages.Key, answer *messages.Answer) messages.Verdict {
	if d.slot == nil {
		return messages.Verdict_VERDICT_REFUSED
	}
	reply, err := u.Offers.Offer(u.ctx, d.slot.GetIngress(), &messages.Offer{Slot: d.slot.GetId(), Key: key[:], Answer: answer})
	switch {
	case errors.Is(err, stream.ErrNoIngress):
		return messages.Verdict_VERDICT_REFUSED
	case err != nil:
		u.Logger.Debug("no verdict about an offer", "user", u.name.Hash(), "key", key.String(), "error", err)
		return messages.Verdict_VERDICT_UNKNOWN
	default:
		return reply.GetVerdict()
	}
}

// verdictKept is how long an ingress remembers its verdicts, less a margin (DESIGN §3 rule 12).
const verdictKept = 55 * time.Second

// offer says the answer of a committed message to one delivery.
func (u *user) offer(it *item, d *delivery) messages.Verdict {
	d.tried = true
	began := u.Now()
	v := u.say(*d, it.key, it.reply)
	if v == messages.Verdict_VERDICT_OPEN {
		v = messages.Verdict_VERDICT_UNKNOWN // not a verdict about an offer
	}
	if it.former && v == messages.Verdict_VERDICT_REFUSED && d.slot != nil {
		// It may only mean that the ingress of a former owner's slot is gone or remembers no more.
		if u.Now().Sub(d.logTime) > verdictKept || u.askFor(*d, it) == messages.Verdict_VERDICT_UNKNOWN {
			v = messages.Verdict_VERDICT_UNKNOWN
		}
	}
	d.unknown = v == messages.Verdict_VERDICT_UNKNOWN
	u.metrics.offer.Observe(u.Now().Sub(began).Seconds())
	u.metrics.verdict(v)
	u.trace(messages.StageOffered, it, *d, verdictWord(v))
	return v
}

// askFor asks for the verdict that the ingress keeps about an answer. Unknown also where it is gone, or remembers no more.
func (u *user) askFor(d delivery, it *item) messages.Verdict {
	if d.slot == nil {
		return messages.Verdict_VERDICT_REFUSED
	}
	reply, err := u.Offers.Offer(u.ctx, d.slot.GetIngress(), &messages.Offer{Slot: d.slot.GetId(), Key: it.key[:], Answer: it.reply, Ask: true})
	if err != nil || reply.GetVerdict() == messages.Verdict_VERDICT_OPEN {
		return messages.Verdict_VERDICT_UNKNOWN
	}
	return reply.GetVerdict()
}

func verdictWord(v messages.Verdict) string {
	switch v {
	case messages.Verdict_VERDICT_WRITTEN:
		return "written"
	case messages.Verdict_VERDICT_REFUSED:
		return "refused"
	default:
		return "unknown"
	}
}

// answer brings a committed message to its end, if it can be now. False: it waits for a redelivery, and the messages behind it
// wait with it, so that answers keep their order (DESIGN §3 rules 13 and 15).
func (u *user) answer(ctx actor.Context, it *item) bool {
	untried := func(d delivery) bool { return !d.tried }
	if it.reply != nil && slices.ContainsFunc(it.deliveries, untried) && !u.fence(ctx) {
		return false
	}
	for i := range it.deliveries {
		d := &it.deliveries[i]
		if d.tried {
			continue
		}
		switch u.offer(it, d) {
		case messages.Verdict_VERDICT_WRITTEN:
			u.endSlots(it)
			if it.reply != nil {
				u.st = u.st.Delivered(it.key)
			}
			return true
		default: // refused or unknown: the next one
		}
	}
	if it.reply == nil {
		return true // nothing was to be said; a later delivery gets `success`
	}
	until, _, over := u.waits(it)
	if over {
		return u.giveUp(ctx, it)
	}
	ctx.Send(u.shared.pid, &waiting{user: u.name, until: until})
	return false
}

// waits tells up to when the log must be read before an answer that nobody took is given up, and whether its end without one more
// delivery proves anything (see nextDelivery). over: nothing is to be waited for.
//
// An answer that a former owner committed may have been offered by it to a delivery that is still to be read, whatever the number of
// those before it. So the log is read up to the moment at which this owner came upon it.
func (u *user) waits(it *item) (until time.Time, expected, over bool) {
	last := it.deliveries[len(it.deliveries)-1]
	switch {
	case last.slot == nil: // nobody delivers this entry again
	case u.isLast(it, last) && !it.unknown():
	default:
		until, expected = u.nextDelivery(it, last)
		return until, expected, false
	}
	return it.readFrom, false, it.readFrom.IsZero()
}

// endSlots ends the deliveries that are still open once one of them carried the answer: the message has been answered.
func (u *user) endSlots(it *item) {
	for i := range it.deliveries {
		if d := &it.deliveries[i]; !d.tried {
			d.tried = true
			u.say(*d, it.key, nil)
		}
	}
}

// isLast judges by count or by age whether WeChat delivers the message again (DESIGN §3 rule 17).
func (u *user) isLast(it *item, d delivery) bool {
	if len(it.deliveries) >= u.account.Deliveries {
		return true
	}
	age := d.logTime.Sub(time.Unix(it.in.GetCreateTime(), 0))
	return age >= time.Duration(u.account.Deliveries-1)*platformRetryEvery+platformRetryEvery/2
}

// nextDelivery is until when WeChat's next delivery of the message is in the log, if there is one. expected tells whether its
// absence proves anything: one of WeChat's times to deliver again lies in this owner's tenure. What WeChat delivered before may
// have met a node that was down, and nobody knows of it (DESIGN §3 rule 13).
func (u *user) nextDelivery(it *item, last delivery) (until time.Time, expected bool) {
	open := u.since.Add(retryMargin) // callbacks are served a little after the takeover
	left := u.deliveriesLeft(it, last)
	for n := 1; n <= left; n++ {
		if at := last.logTime.Add(time.Duration(n) * platformRetryEvery); at.After(open) {
			return at.Add(retryMargin), true
		}
	}
	return last.logTime.Add(time.Duration(max(left, 1))*platformRetryEvery + retryMargin), false
}

// repeat gives the recorded answer of a settled message to a delivery that comes behind its end: WeChat asks again, so it did not get
// what was written. Where nobody knew whether it was, and this delivery is too late to carry it as well, it is kept (DESIGN §3 rule 13).
func (u *user) repeat(ctx actor.Context, it *item, recorded conversation.Recorded) {
	d := it.deliveries[0]
	u.trace(messages.StageJoined, it, d, "recorded answer")
	verdict := u.say(d, it.key, it.reply)
	if u.isRedelivery(it, d, recorded) {
		next := u.st
		switch verdict {
		case messages.Verdict_VERDICT_REFUSED:
			next = next.Keep(it.key, false, u.account.Limits, u.Now())
		case messages.Verdict_VERDICT_WRITTEN:
			next = next.Certain(it.key)
		default:
			next = next.Assume(it.key, d.logTime)
		}
		if !u.commit(ctx, next) {
			return
		}
		if verdict == messages.Verdict_VERDICT_REFUSED {
			u.metrics.kept.Inc()
			u.trace(messages.StageKept, it, d, "for the user's next message")
		}
	}
	u.finish(ctx, it, "repeated")
}

// isRedelivery tells whether a delivery is one that was not expected any more when the answer was taken for delivered: one of WeChat's
// later ones, by age, and no replay.
func (u *user) isRedelivery(it *item, d delivery, recorded conversation.Recorded) bool {
	age := d.logTime.Sub(time.Unix(it.in.GetCreateTime(), 0))
	return recorded.AssumedMS > 0 && d.logTime.UnixMilli() > recorded.AssumedMS && age >= platformRetryEvery-platformRetryEvery/10 &&
		age < time.Duration(u.account.Deliveries)*platformRetryEvery+platformRetryEvery/2
}

// deliveriesLeft is how often WeChat delivers the message again at most, by count and by age (DESIGN §3 rule 17).
func (u *user) deliveriesLeft(it *item, last delivery) int {
	age := last.logTime.Sub(time.Unix(it.in.GetCreateTime(), 0))
	// CreateTime has whole seconds: a delivery that looks almost a whole round late may still be on time.
	rounds := int((age + platformRetryEvery/10) / platformRetryEvery)
	return max(u.account.Deliveries-max(len(it.deliveries), rounds+1), 0)
}

// windowOver: everything of the log up to a time was read, which may be all that WeChat could have delivered in the meantime.
func (u *user) windowOver(ctx actor.Context, m *windowOver) {
	if len(u.queue) == 0 || u.queue[0].phase != phaseCommitted {
		return
	}
	it := u.queue[0]
	for _, d := range it.deliveries {
		if !d.tried {
			return // a redelivery came; advance offers to it
		}
	}
	until, expected, _ := u.waits(it)
	if !m.readUpTo.After(until) {
		return // the word was about the message before; this one has asked for its own
	}
	// What nobody can tell would have been delivered again if it had not been written (DESIGN §3 rule 13), and that would stand in
	// the log, unless the log took nothing at the time.
	last := it.deliveries[len(it.deliveries)-1].logTime
	expected = expected && !m.troubled.After(last)
	done := true
	switch {
	case u.wasWritten(it):
		u.st = u.st.Delivered(it.key)
	case it.unknown() && expected:
		done = u.commit(ctx, u.st.Assume(it.key, last))
	default:
		done = u.giveUp(ctx, it)
	}
	if done && !u.stopped {
		u.queue = u.queue[1:]
		u.finish(ctx, it, "")
	}
}

// wasWritten asks once more for the verdicts that did not come back, and tells whether one of them is that the answer was written.
func (u *user) wasWritten(it *item) bool {
	for i := range it.deliveries {
		d := &it.deliveries[i]
		if !d.unknown {
			continue
		}
		v := u.askFor(*d, it)
		if v == messages.Verdict_VERDICT_WRITTEN {
			return true
		}
		d.unknown = v == messages.Verdict_VERDICT_UNKNOWN
	}
	return false
}

// unknown tells whether nobody can tell if one of the deliveries carried the answer. A delivery that WeChat sent after its patience
// with the one before had ended proves that the one before carried nothing (DESIGN §3 rule 13).
func (it *item) unknown() bool {
	for i, d := range it.deliveries {
		gaveUp := func(later delivery) bool { return later.logTime.Sub(d.logTime) >= platformRetryEvery-retryMargin }
		if d.unknown && !slices.ContainsFunc(it.deliveries[i+1:], gaveUp) {
			return true
		}
	}
	return false
}

// giveUp ends a message whose answer found no open exchange: the answer is kept for the user's next message, or, where its
// delivery is unknown and must not be repeated, buried (DESIGN §3 rules 13 and 18). Both are commits of their own.
func (u *user) giveUp(ctx actor.Context, it *item) bool {
	now := u.Now()
	recorded, _ := u.st.Recorded(it.key)
	if it.unknown() && (u.account.Unknown == UnknownNever || recorded.Repeat) {
		next := u.st.Abandon(it.key, ReasonUnknown, "nobody can tell whether the last delivery reached the user", now)
		if !u.commit(ctx, next) {
			return false
		}
		u.trace(messages.StageDead, it, it.deliveries[0], ReasonUnknown)
		return true
	}
	if !it.unknown() && !recorded.Repeat && u.mayPush(now) {
		return u.divert(ctx, it)
	}
	if !u.commit(ctx, u.st.Keep(it.key, it.unknown(), u.account.Limits, now)) {
		return false
	}
	u.metrics.kept.Inc()
	u.trace(messages.StageKept, it, it.deliveries[0], "for the user's next message")
	return true
}
