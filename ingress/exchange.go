package ingress

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"hongyan/messages"
	"hongyan/wechat"
)

// The times of one exchange, counted from the request's arrival on the monotonic clock.
const (
	// acceptLimit is how long the log may take, so that its failure is answered within 4 s (promise P6).
	acceptLimit = 3800 * time.Millisecond
	// writeCutOff is the latest start of a write: what starts later may not arrive before WeChat hangs up.
	writeCutOff = 4800 * time.Millisecond
	// hangUpAfter is WeChat's patience (wechat-protocol §3). A write that ended later may have come to nobody.
	hangUpAfter = 5 * time.Second
	// holdLimit ends an exchange that WeChat forgot to hang up.
	holdLimit = 5500 * time.Millisecond
	// minWrite is what a response that comes late (after the log failed, say) may take at least.
	minWrite = 200 * time.Millisecond
)

// exchange is one HTTP request on its way, owned by the goroutine that serves it.
type exchange struct {
	g        *Ingress
	w        http.ResponseWriter
	r        *http.Request
	start    time.Time
	endpoint endpoint
	status   int // statusAborted until a response is written

	account *account
	push    push
	last    bool // WeChat delivers this message no more
	slot    *slot
	writing bool // bytes of the response may have gone out

	traced time.Time // when the last trace event was made; only kept while somebody watches
}

// serveGenuine hands the push to the log, and answers it.
func (x *exchange) serveGenuine() {
	in := x.push.in
	entry := &messages.Entry{Inbound: in, Source: messages.Source_SOURCE_CALLBACK}
	if in.ForUser() && in.GetKind().Repliable() {
		key := messages.KeyOf(in)
		count, seenFor := x.g.deliveries.note(key, x.start)
		x.last = isLast(x.account.Deliveries, count, seenFor, x.g.now().Sub(time.Unix(in.GetCreateTime(), 0)))
		// The slot opens before the log has the entry: the answer may be there before the log's word is.
		x.slot = x.g.slots.begin(key, x.start)
		defer x.abandon()
		entry.Slot = &messages.Slot{Ingress: x.g.id, Id: x.slot.id}
	}
	if !in.ForUser() {
		defer x.queueUp()()
	}
	entry.WaitedMs = milliseconds(time.Since(x.start))
	position, err := x.accept(entry)
	if err != nil {
		x.notAccepted(err)
		return
	}
	// The message is accepted (promise P1). From here on every end is one that the log's entry outlives.
	x.account.accepted.inc(in.GetKind())
	x.traceStage(messages.StageAccepted, func(e *messages.TraceEvent) { e.Sequence = position.Sequence })
	if x.slot == nil {
		_ = x.respond(http.StatusOK, typePlain, wechat.Success)
		return
	}
	accepted := time.Now()
	if !x.last { // a later delivery may ask
		x.g.deliveries.accept(x.slot.key, accepted)
	}
	x.await()
	x.g.metrics.answer.Observe(time.Since(accepted).Seconds())
}

// Events without a user come in crowds: WeChat reports a broadcast's results one by one, as fast as they are taken.
const (
	bulkPerCore = 8           // of them on their way into the log at once
	bulkWait    = time.Second // after which one goes on all the same: a crowd shall wait, and nobody shall be refused
)

// queueUp lets an event without a user wait until few others are on their way, so that people's messages find room. The caller calls
// what it returns when the event is in the log.
func (x *exchange) queueUp() (done func()) {
	timer := time.NewTimer(bulkWait)
	defer timer.Stop()
	select {
	case x.g.bulk <- struct{}{}:
		return func() { <-x.g.bulk }
	case <-timer.C:
		return func() {}
	}
}

// accept waits for the log's word until acceptLimit, also when WeChat hangs up meanwhile: its next delivery then meets a
// message that is already at work.
func (x *exchange) accept(entry *messages.Entry) (messages.Position, error) {
	ctx, cancel := context.WithDeadline(x.background(), x.start.Add(acceptLimit))
	defer cancel()
	began := time.Now()
	position, err := x.g.log.Accept(ctx, entry)
	x.g.metrics.accept.Observe(time.Since(began).Seconds())
	return position, err
}

// notAccepted ends an exchange whose push the log could not accept: 503, so that WeChat delivers again, or on the last
// delivery the account's text (promise P6): that the message was not received, or, where an earlier delivery was, that its answer
// takes longer. An offer that came all the same (the entry may be in the log) is refused.
func (x *exchange) notAccepted(cause error) {
	if ok, leftOut := x.g.quiet.next(); ok {
		x.g.logger.LogAttrs(x.background(), slog.LevelError, "the log did not accept a push",
			slog.String("account", x.account.ID), slog.String("user", x.user().Hash()), slog.Bool("last_delivery", x.last),
			slog.Any("error", cause), slog.Int64("left_out", leftOut))
	}
	x.traceStage(messages.StageRefused, func(e *messages.TraceEvent) { e.Detail = "not_accepted" })
	if x.slot != nil {
		x.refuseSlot()
	}
	if x.last && x.slot != nil && x.g.deliveries.accepted(x.slot.key, time.Now()) {
		x.think() // an earlier delivery is in the log and will be answered: "send again" would be wrong
		return
	}
	if x.last && x.account.NotReceived != "" {
		if body, contentType, err := x.encode(textAnswer(x.account.NotReceived)); err == nil {
			x.g.metrics.notReceived.WithLabelValues(x.account.ID).Inc()
			_ = x.respond(http.StatusOK, contentType, body)
			return
		}
	}
	_ = x.respond(http.StatusServiceUnavailable, nil, nil)
}

// await holds the exchange until an offer comes, WeChat hangs up, or the time is over, and ends it.
func (x *exchange) await() {
	limit := holdLimit
	if x.last {
		limit = x.account.Deadline
	}
	timer := time.NewTimer(limit - time.Since(x.start))
	defer timer.Stop()
	parting := false
	select {
	case <-x.slot.claim:
	case <-x.r.Context().Done():
	case <-timer.C:
	case <-x.g.parting:
		parting = true
	}
	answer, claimed := x.g.slots.close(x.slot)
	if claimed && x.deliver(answer) != messages.Verdict_VERDICT_REFUSED {
		return
	}
	// The slot is refused to all offers now. What follows is the ingress's own end of the exchange (DESIGN §3 rule 17).
	switch {
	case x.r.Context().Err() != nil:
		x.end(endGone)
	case x.last || parting:
		x.think()
	default:
		x.hold()
	}
}

// deliver writes a claimed answer and rules about it: refused before a byte went out, written where all of it went out in
// time, unknown otherwise.
func (x *exchange) deliver(answer *messages.Answer) messages.Verdict {
	verdict := x.write(answer)
	x.g.slots.rule(x.slot, ruling{verdict: verdict, answer: digest(answer)})
	x.traceStage(messages.StageOffered, func(e *messages.TraceEvent) { e.Detail = verdictLabels[verdict] })
	return verdict
}

// write is the commit point of an exchange: all that can fail without a trace fails before respond.
func (x *exchange) write(answer *messages.Answer) messages.Verdict {
	body, contentType, err := x.encode(answer)
	if err != nil {
		x.g.logger.LogAttrs(x.background(), slog.LevelError, "an answer cannot be written as a passive reply; its bot must change it",
			slog.String("account", x.account.ID), slog.String("user", x.user().Hash()),
			slog.String("key", hex.EncodeToString(x.slot.key[:])), slog.Any("error", err))
		return messages.Verdict_VERDICT_REFUSED
	}
	if x.r.Context().Err() != nil || time.Since(x.start) > writeCutOff {
		return messages.Verdict_VERDICT_REFUSED
	}
	x.writing = true
	if err := x.respond(http.StatusOK, contentType, body); err != nil || time.Since(x.start) > hangUpAfter {
		return messages.Verdict_VERDICT_UNKNOWN
	}
	return messages.Verdict_VERDICT_WRITTEN
}

// think ends an accepted last delivery that has no answer yet with the account's text, or with success where there is none.
func (x *exchange) think() {
	x.g.metrics.unanswered.WithLabelValues(endThinking).Inc()
	x.traceStage(messages.StageOffered, func(e *messages.TraceEvent) { e.Detail = endThinking })
	if x.account.Thinking != "" {
		if body, contentType, err := x.encode(textAnswer(x.account.Thinking)); err == nil {
			_ = x.respond(http.StatusOK, contentType, body)
			return
		}
	}
	_ = x.respond(http.StatusOK, typePlain, wechat.Success)
}

// hold waits for WeChat to hang up, so that it delivers again after its own five seconds.
func (x *exchange) hold() {
	timer := time.NewTimer(holdLimit - time.Since(x.start))
	defer timer.Stop()
	select {
	case <-x.r.Context().Done():
		x.end(endGone)
	case <-timer.C:
		x.end(endCut)
	}
}

// end aborts the connection: returning instead would let net/http write an empty 200, which WeChat takes for an answer.
func (x *exchange) end(how string) {
	x.g.metrics.unanswered.WithLabelValues(how).Inc()
	panic(http.ErrAbortHandler)
}

// refuseSlot rules the slot refused, whether an offer was quicker or not.
func (x *exchange) refuseSlot() {
	if answer, claimed := x.g.slots.close(x.slot); claimed {
		x.g.slots.rule(x.slot, ruling{verdict: messages.Verdict_VERDICT_REFUSED, answer: digest(answer)})
	}
}

// abandon rules a slot that a panic left behind; in all other cases it has its ruling.
func (x *exchange) abandon() {
	verdict := messages.Verdict_VERDICT_REFUSED
	if x.writing {
		verdict = messages.Verdict_VERDICT_UNKNOWN
	}
	x.g.slots.rule(x.slot, ruling{verdict: verdict})
}

// errUnsendable is an answer that WeChat would show as a fault: empty, without its media id, or of an unknown type.
var errUnsendable = errors.New("the answer has nothing that WeChat would show")

// encode makes the body of the response and its type: a bare success for a nil answer, else WeChat's passive reply in the
// push's own format, sealed where the push was. An answer that would become a bare success is an error: nobody shall believe
// that it was written.
func (x *exchange) encode(answer *messages.Answer) ([]byte, []string, error) {
	if answer == nil {
		return wechat.Success, typePlain, nil
	}
	in, now := x.push.in, x.g.now().Unix()
	body, err := wechat.EncodeReply(in, answer, now)
	if err != nil {
		return nil, nil, err
	}
	if bytes.Equal(body, wechat.Success) {
		return nil, nil, errUnsendable
	}
	contentType := typeXML
	if x.push.format == messages.Format_FORMAT_JSON {
		contentType = typeJSON
	}
	if x.push.seal == nil {
		return body, contentType, nil
	}
	var random [16]byte
	if _, err := io.ReadFull(x.g.random, random[:]); err != nil {
		return nil, nil, fmt.Errorf("ingress: reading random bytes: %w", err)
	}
	body, err = wechat.SealReply(x.push.seal, x.push.format, body, now, in.GetNonce(), random)
	return body, contentType, err
}

func textAnswer(text string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
}

func (x *exchange) user() messages.User {
	return messages.User{Account: x.push.in.GetAccount(), OpenID: x.push.in.GetOpenId()}
}

// traceStage tells whoever watches about one station; more adds what only that station knows.
func (x *exchange) traceStage(stage messages.Stage, more func(*messages.TraceEvent)) {
	if x.g.trace == nil {
		return
	}
	in, now, before := x.push.in, time.Now(), x.start
	if !x.traced.IsZero() {
		before = x.traced
	}
	x.traced = now
	e := messages.TraceEvent{
		At: x.g.now(), Stage: stage, Account: in.GetAccount(), OpenID: in.GetOpenId(), MsgID: in.GetMsgId(),
		Key: messages.KeyOf(in).String(), Partition: -1, Elapsed: now.Sub(before),
	}
	if x.g.partitions > 0 && in.GetOpenId() != "" {
		e.Partition = x.user().Partition(x.g.partitions)
	}
	if x.slot != nil {
		e.Slot = x.slot.id
	}
	if more != nil {
		more(&e)
	}
	x.g.trace(e)
}
