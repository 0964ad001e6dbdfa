package ingress

import (
	"context"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// How long and how many verdicts are kept (DESIGN §3 rule 12): 60 s, and up to 1 Mi of them, about 64 MiB.
const (
	keptGenerations = 4
	keptSpan        = 20 * time.Second
	keptLimit       = 1 << 18
)

// ruling is the end of one slot as it is kept.
type ruling struct {
	key       messages.Key
	answer    uint64 // digest of the answer that the verdict is about
	verdict   messages.Verdict
	elapsedMS int32
}

// slot is one open HTTP exchange. Its states are open → claimed → ruled, or open → ruled where no offer came in time.
//
//	open      waits; the first offer claims it
//	claimed   an offer brought its answer; the serving goroutine takes it, judges and writes
//	ruled     the verdict stands for good; a slot ruled refused is never written for an offer
type slot struct {
	id    uint64
	key   messages.Key
	start time.Time // when the request arrived, on the monotonic clock

	claim chan struct{} // closed by the offer that claims it
	ruled chan struct{} // closed when ruling stands

	claimed bool             // guarded by slots.mu, as is answer
	answer  *messages.Answer // what the claim brought
	ruling  ruling           // written once, before ruled is closed
}

// slots holds the open ones by id, and the rulings of those that ended. All its methods may be called at once.
type slots struct {
	mu   sync.Mutex
	last uint64 // id of the newest slot
	open map[uint64]*slot
	kept *recent[uint64, ruling]
}

func newSlots() *slots {
	return &slots{
		open: make(map[uint64]*slot),
		kept: newRecent[uint64, ruling](keptGenerations, keptSpan, keptLimit),
	}
}

// begin opens a slot for a push with that key, whose request arrived at start.
func (t *slots) begin(key messages.Key, start time.Time) *slot {
	s := &slot{key: key, start: start, claim: make(chan struct{}), ruled: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	s.id = t.last
	t.open[s.id] = s
	return s
}

// count is the number of open slots.
func (t *slots) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// close is the serving goroutine's word that it waits no longer. If an offer was quicker its answer comes back, and a rule must
// follow; otherwise the slot is refused from here on.
func (t *slots) close(s *slot) (*messages.Answer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.claimed {
		return s.answer, true
	}
	t.ruleLocked(s, ruling{verdict: messages.Verdict_VERDICT_REFUSED}, time.Now())
	return nil, false
}

// rule lets the verdict stand. Only the serving goroutine calls it; a second call changes nothing.
func (t *slots) rule(s *slot, r ruling) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ruleLocked(s, r, now)
}

func (t *slots) ruleLocked(s *slot, r ruling, now time.Time) {
	if _, open := t.open[s.id]; !open {
		return
	}
	delete(t.open, s.id)
	r.key, r.elapsedMS = s.key, milliseconds(now.Sub(s.start))
	s.ruling = r
	t.kept.put(s.id, r, now)
	close(s.ruled)
}

// offer is the other side: it claims an open slot and waits for the ruling, or finds the ruling that is kept. When ctx ends
// before the ruling, the reply is unknown, and the ruling can be asked for later.
func (t *slots) offer(ctx context.Context, o *messages.Offer) *messages.OfferReply {
	t.mu.Lock()
	s := t.open[o.GetSlot()]
	if s == nil {
		r, found := t.kept.get(o.GetSlot(), time.Now())
		issued := o.GetSlot() != 0 && o.GetSlot() <= t.last
		t.mu.Unlock()
		switch {
		case found:
			return r.reply(o)
		case o.GetAsk() && issued:
			return replyWith(messages.Verdict_VERDICT_UNKNOWN, 0) // ruled, but too long ago to be remembered
		default:
			return replyWith(messages.Verdict_VERDICT_REFUSED, 0)
		}
	}
	switch {
	case string(s.key[:]) != string(o.GetKey()):
		t.mu.Unlock()
		return replyWith(messages.Verdict_VERDICT_REFUSED, time.Since(s.start))
	case o.GetAsk() && !s.claimed:
		t.mu.Unlock()
		return replyWith(messages.Verdict_VERDICT_OPEN, time.Since(s.start))
	case !s.claimed:
		s.claimed, s.answer = true, o.GetAnswer()
		close(s.claim)
	}
	t.mu.Unlock()

	select {
	case <-s.ruled:
		return s.ruling.reply(o)
	default:
	}
	select {
	case <-s.ruled:
		return s.ruling.reply(o)
	case <-ctx.Done():
		return replyWith(messages.Verdict_VERDICT_UNKNOWN, time.Since(s.start))
	}
}

// reply is what the ruling means for o. A slot that was, or may have been, written with another message's answer or with
// another answer was not and never will be written with this one.
func (r *ruling) reply(o *messages.Offer) *messages.OfferReply {
	verdict := r.verdict
	switch {
	case string(r.key[:]) != string(o.GetKey()):
		verdict = messages.Verdict_VERDICT_REFUSED
	case o.GetAsk() && o.GetAnswer() == nil: // the verdict about whatever was offered for this message
	case r.answer != digest(o.GetAnswer()):
		verdict = messages.Verdict_VERDICT_REFUSED
	}
	return &messages.OfferReply{Verdict: verdict, ElapsedMs: r.elapsedMS}
}

func replyWith(v messages.Verdict, elapsed time.Duration) *messages.OfferReply {
	return &messages.OfferReply{Verdict: v, ElapsedMs: milliseconds(elapsed)}
}

func milliseconds(d time.Duration) int32 { return int32(d / time.Millisecond) }

// digest tells answers apart. Bare success, the nil answer, is 0.
func digest(a *messages.Answer) uint64 {
	if a == nil {
		return 0
	}
	var d xxhash.Digest
	d.Reset()
	if text, ok := a.GetContent().(*messages.Answer_Text); ok { // most answers, without encoding them once more
		_, _ = d.WriteString("text:")
		_, _ = d.WriteString(text.Text.GetContent())
		return d.Sum64()
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil { // text that is not UTF-8: no two of them are taken for one
		_, _ = d.WriteString(a.String())
	}
	_, _ = d.Write(encoded)
	return d.Sum64()
}
