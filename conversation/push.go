package conversation

import (
	"fmt"
	"slices"
	"time"

	"hongyan/messages"
	"hongyan/wechat"
)

// Pushed is a message whose answer leaves through WeChat's API. Once this is committed its answer is never offered as a passive reply,
// and every delivery of the message gets `success` (DESIGN §3 rule 14).
type Pushed struct {
	Key      messages.Key `cbor:"1,keyasint" json:"key"`
	AtMS     int64        `cbor:"2,keyasint" json:"at_ms"`
	Answered bool         `cbor:"3,keyasint,omitempty" json:"answered"` // the turn is committed, and Parts are what is left of it
	Parts    []Kept       `cbor:"4,keyasint,omitempty" json:"parts,omitempty"`

	// Of Parts[0] (DESIGN §3 rule 16). Sending says that a call was begun and that nobody wrote down what became of it: whoever finds it
	// so, and did not make that call himself, has an unknown outcome.
	Number   uint32 `cbor:"5,keyasint,omitempty" json:"number"`  // counts the parts, from 1
	Attempt  uint32 `cbor:"6,keyasint,omitempty" json:"attempt"` // calls begun
	Sending  bool   `cbor:"7,keyasint,omitempty" json:"sending"`
	Repeated bool   `cbor:"8,keyasint,omitempty" json:"repeated,omitempty"` // after an unknown outcome (reply.unknown: once)
	// Who announced the call: the tenure's epoch, and the call's own id in it. Only that tenure can know more about it.
	Epoch uint64 `cbor:"9,keyasint,omitempty" json:"-"`
	Call  uint64 `cbor:"10,keyasint,omitempty" json:"-"`
}

// Pushing returns the message's push.
func (s State) Pushing(key messages.Key) (Pushed, bool) {
	if i := s.pushed(key); i >= 0 {
		return s.Pushes[i], true
	}
	return Pushed{}, false
}

func (s State) pushed(key messages.Key) int {
	return slices.IndexFunc(s.Pushes, func(p Pushed) bool { return p.Key == key })
}

// marked tells whether the message's path is push, its turn being still to come.
func (s State) marked(key messages.Key) bool {
	i := s.pushed(key)
	return i >= 0 && !s.Pushes[i].Answered
}

// Mark makes push the path of a message whose turn has not come or is still running. It is recorded by key alone (DESIGN §3 rule 2), and
// must be committed before any delivery of the message is told so.
func (s State) Mark(in *messages.Inbound, a Arrival, now time.Time) State {
	if s.pushed(a.Key) >= 0 {
		return s
	}
	s = s.granted(in.GetKind(), a, now)
	s.Pushes = append(slices.Clip(s.Pushes), Pushed{Key: a.Key, AtMS: now.UnixMilli()})
	return s
}

// unmark forgets the path of a message that ended without an answer.
func (s State) unmark(key messages.Key) State {
	if s.marked(key) {
		s.Pushes = slices.DeleteFunc(slices.Clone(s.Pushes), func(p Pushed) bool { return p.Key == key })
	}
	return s
}

// push makes parts the answer of a message whose path is push.
func (s State) push(key messages.Key, parts []Kept, limits Limits, now time.Time) State {
	s, parts = s.unmark(key).oweHandOver(parts, limits, now)
	s.Counts.Pushed++
	s.Pushes = append(slices.Clip(s.Pushes), Pushed{Key: key, AtMS: now.UnixMilli(), Answered: true, Parts: parts, Number: 1})
	return s
}

// change puts p in place of the push of its key, or takes that one away where nothing is left of it.
func (s State) change(p Pushed) State {
	s.Pushes = slices.Clone(s.Pushes)
	i := s.pushed(p.Key)
	if len(p.Parts) == 0 {
		s.Pushes = slices.Delete(s.Pushes, i, i+1)
	} else {
		s.Pushes[i] = p
	}
	return s
}

// Begin notes that a call for the next part is about to be made, and uses a grant for it. It must be committed before the call. ok is
// false where no grant is open, and the parts must be kept.
func (s State) Begin(key messages.Key, now time.Time) (next State, part *messages.Answer, ok bool, err error) {
	p, found := s.Pushing(key)
	if !found || len(p.Parts) == 0 {
		return s, nil, false, fmt.Errorf("message %s has nothing to be sent", key)
	}
	if part, err = p.Parts[0].Answer.Open(); err != nil {
		return s, nil, false, fmt.Errorf("part %d of the answer to message %s: %w", p.Number, key, err)
	}
	if s, ok = s.useGrant(now); !ok {
		return s, nil, false, nil
	}
	p.Sending, p.Attempt = true, p.Attempt+1
	return s.change(p), part, true, nil
}

// Announce says who is about to make the call that Begin noted.
func (s State) Announce(key messages.Key, epoch, call uint64) State {
	p, ok := s.Pushing(key)
	if !ok {
		return s
	}
	p.Epoch, p.Call = epoch, call
	return s.change(p)
}

// Sent notes that the part under way was taken by WeChat. The next part's Begin may follow in the same commit.
func (s State) Sent(key messages.Key) State {
	p, ok := s.Pushing(key)
	if !ok {
		return s
	}
	return s.change(p.next())
}

// next is what is left behind Parts[0].
func (p Pushed) next() Pushed {
	p.Parts, p.Number = p.Parts[1:], p.Number+1
	p.Attempt, p.Sending, p.Repeated = 0, false, false
	return p
}

// NotSent notes that the part under way did for certain not reach the user, so that it may be tried again.
func (s State) NotSent(key messages.Key, now time.Time) State {
	p, ok := s.Pushing(key)
	if !ok {
		return s
	}
	p.Sending = false
	return s.change(p).refund(now)
}

// Repeat lets the part under way, whose outcome is unknown, be sent once more. ok is false where that was done before.
func (s State) Repeat(key messages.Key) (State, bool) {
	p, found := s.Pushing(key)
	if !found || p.Repeated || p.Parts[0].Repeat {
		return s, false
	}
	p.Sending, p.Repeated = false, true
	return s.change(p), true
}

// Lose makes the part under way a dead letter; the parts behind it go on.
func (s State) Lose(key messages.Key, reason, detail string, now time.Time) State {
	p, ok := s.Pushing(key)
	if !ok {
		return s
	}
	part := p.Parts[0]
	s = s.change(p.next())
	return s.bury(Burial{Key: part.Key, Reason: reason, Detail: detail, Answer: part.Answer, AtMS: now.UnixMilli()})
}

// LoseAll makes all parts that are left dead letters: the user takes no messages at all.
func (s State) LoseAll(key messages.Key, reason, detail string, now time.Time) State {
	for {
		if _, ok := s.Pushing(key); !ok {
			return s
		}
		s = s.Lose(key, reason, detail, now)
	}
}

// Retire keeps the parts that are left for the user's next message. retry is when they may be pushed again meanwhile; zero: not before
// that message. A part whose outcome is unknown must have been dealt with.
func (s State) Retire(key messages.Key, retry time.Time, limits Limits, now time.Time) State {
	p, ok := s.Pushing(key)
	if !ok {
		return s
	}
	parts := slices.Clone(p.Parts)
	parts[0].Repeat = parts[0].Repeat || p.Repeated // an outcome that is unknown once more is not repeated again
	for i := range parts {
		parts[i].PushMS = 0
		if !retry.IsZero() {
			parts[i].PushMS = retry.UnixMilli()
		}
	}
	p.Parts = nil
	s = s.change(p)
	s.Kept = append(parts, s.Kept...) // what else is kept was said later
	s.Counts.Kept++
	return s.boundKept(limits, now)
}

// Closed believes WeChat's word that the user cannot be sent anything before the next message (45015, 45047), and keeps the parts that
// are left.
func (s State) Closed(key messages.Key, limits Limits, now time.Time) State {
	return s.NotSent(key, now).noGrants().Retire(key, time.Time{}, limits, now)
}

// Divert makes push the path of a committed answer that no delivery took: it goes with all that is kept behind it. The answer must be
// known not to have been written anywhere (DESIGN §3 rule 14).
func (s State) Divert(key messages.Key, limits Limits, now time.Time) State {
	r, ok := s.Recorded(key)
	if !ok {
		return s
	}
	s.Answers = without(s.Answers, key)
	first := Kept{Key: key, Answer: withoutHint(r.Answer, limits), AtMS: now.UnixMilli(), Repeat: r.Repeat}
	parts := sized(append([]Kept{first}, s.Kept...), limits)
	s.Kept = nil
	return s.push(key, parts, limits, now)
}

// recall keeps whatever is left of pushes that nobody goes on with: answers leave in order, so those of earlier messages go in front of
// the next one (DESIGN §3 rule 15). The part of which nobody knows whether it was sent becomes a dead letter.
func (s State) recall(limits Limits, now time.Time) State {
	for i := len(s.Pushes) - 1; i >= 0; i-- { // the last one first, since each goes in front of what is kept
		p := s.Pushes[i]
		if !p.Answered {
			continue
		}
		if p.Sending {
			s = s.Lose(p.Key, ReasonUnknown, "nobody wrote down what became of the call that sent it", now)
		}
		s = s.Retire(p.Key, time.Time{}, limits, now)
	}
	return s
}

// Unfinished is a push that somebody began and nobody goes on with: its key, and whether there is one.
func (s State) Unfinished() (messages.Key, bool) {
	for _, p := range s.Pushes {
		if p.Answered {
			return p.Key, true
		}
	}
	return messages.Key{}, false
}

// PushKept takes what is kept onto the push path, if the time of any of it has come and a grant is open: all of it, since answers leave
// in order. The key is that of the first of them. Where no grant is open, nothing may be pushed any more before the user's next message.
func (s State) PushKept(limits Limits, now time.Time) (State, messages.Key, bool) {
	due := func(k Kept) bool { return k.PushMS > 0 && k.PushMS <= now.UnixMilli() }
	if !slices.ContainsFunc(s.Kept, due) {
		return s, messages.Key{}, false
	}
	key := s.Kept[0].Key
	if s.pushed(key) >= 0 || !s.GrantOpen(now) {
		return s.waitForUser(), messages.Key{}, false
	}
	parts := sized(s.Kept, limits)
	s.Kept = nil
	return s.push(key, parts, limits, now), key, true
}

// waitForUser gives up pushing what is kept: it goes out with the user's next message.
func (s State) waitForUser() State {
	s.Kept = slices.Clone(s.Kept)
	for i := range s.Kept {
		s.Kept[i].PushMS = 0
	}
	return s
}

// Due is when something that the record holds must be looked at, whatever the user does (DESIGN §3 rule 18); zero: never.
func (s State) Due(limits Limits) time.Time {
	var due int64
	for _, k := range s.Kept {
		if limits.KeptFor > 0 {
			due = earlier(due, k.AtMS+limits.KeptFor.Milliseconds()+1)
		}
		if k.PushMS > 0 {
			due = earlier(due, k.PushMS)
		}
	}
	if due == 0 {
		return time.Time{}
	}
	return time.UnixMilli(due)
}

func earlier(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// Wake does what is due: answers that were kept for too long become dead letters.
func (s State) Wake(limits Limits, now time.Time) State { return s.expireAnswers(limits, now) }

// Redeliver takes up a dead letter whose message had its turn and whose answer was not delivered: the answer alone goes out, behind
// what is kept, by push or with the user's next message; never as a passive reply of its own (DESIGN §3 rule 19).
func (s State) Redeliver(a Arrival, answer *messages.Answer, limits Limits, now time.Time) (State, Step, error) {
	a.Late = true
	next := s.expireAnswers(limits, now).settleAll().recall(limits, now).apply(a)
	return next.answer(a, []*messages.Answer{answer}, limits, now)
}

// pieces are the answers as WeChat's API takes them: texts cut on rune borders to its byte limit.
func pieces(queue []part, limits Limits) []part {
	var out []part
	for _, p := range queue {
		text := p.answer.GetText().GetContent()
		for p.answer.GetText() != nil && len(text) > limits.TextBytes {
			head, tail := wechat.CutText(text, limits.TextBytes)
			if head == "" || tail == "" {
				break
			}
			piece := p
			piece.answer = textAnswer(head)
			out = append(out, piece)
			p.answer, p.cut, text = textAnswer(tail), true, tail
		}
		out = append(out, p)
	}
	return out
}

// sized is pieces for what is kept. What cannot be opened stays as it is: whoever sends it finds out.
func sized(kept []Kept, limits Limits) []Kept {
	out := make([]Kept, 0, len(kept))
	for _, k := range kept {
		a, err := k.Answer.Open()
		if err != nil || len(a.GetText().GetContent()) <= limits.TextBytes {
			out = append(out, k)
			continue
		}
		cut, err := seal(pieces([]part{{key: k.Key, answer: a, atMS: k.AtMS, repeat: k.Repeat, cut: k.Cut}}, limits))
		if err != nil {
			cut = []Kept{k}
		}
		out = append(out, cut...)
	}
	return out
}
