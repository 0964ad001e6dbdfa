package conversation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hongyan/messages"
	"hongyan/wechat"
)

// MoreWords are what a user may write to get the rest of a long answer.
var MoreWords = []string{"继续", "more"}

// Reasons of dead letters that the state itself decides.
const (
	ReasonUnknown = "unknown"  // nobody can tell whether it reached the user (DESIGN §3 rules 13 and 16)
	ReasonExpired = "expired"  // an undelivered answer grew too old
	ReasonTooMany = "too_many" // more undelivered answers than are kept
	ReasonNoPush  = "no_push"  // only a push could deliver it, and the account may not push any more
)

// AsksForMore tells whether the message only asks for the answers that are kept. No bot is asked then.
func (s State) AsksForMore(in *messages.Inbound) bool {
	if len(s.Kept) == 0 {
		return false
	}
	return slices.Contains(MoreWords, strings.ToLower(strings.TrimSpace(in.GetText().GetContent())))
}

// compose decides how the kept answers and the new ones leave, in that order (DESIGN §5): by one passive reply, whose rest is kept; by
// push, where the path is push already, or where one reply cannot hold them and the account may push; or not now, where no exchange
// waits and nothing may be pushed. repeat says that the reply carries an answer whose first delivery is unknown.
func (s State) compose(a Arrival, answers []*messages.Answer, limits Limits, now time.Time) (
	next State, reply *messages.Answer, repeat bool, err error,
) {
	if !limits.Push {
		s = s.buryAPIOnly(now)
	}
	var rest []part
	queue, err := s.queue(a.Key, answers, now)
	if err != nil {
		return s, nil, false, err
	}
	if len(queue) == 0 {
		return s.unmark(a.Key), nil, false, nil
	}
	open := limits.Push && s.GrantOpen(now)
	several := len(answers) > 1 || slices.ContainsFunc(queue, apiOnly)
	if !several {
		reply, repeat, rest = take(queue, limits)
	}
	switch {
	case s.marked(a.Key), open && (a.Late || several || len(rest) > 0):
		parts, err := seal(pieces(queue, limits))
		if err != nil {
			return s, nil, false, err
		}
		s.Kept = nil
		return s.push(a.Key, parts, limits, now), nil, false, nil
	case a.Late:
		reply, repeat, rest = nil, false, queue
	case several: // up to the first one that no passive reply takes
		n := slices.IndexFunc(queue, apiOnly)
		if n < 0 {
			n = len(queue)
		}
		if n > 0 {
			reply, repeat, rest = take(queue[:n], limits)
		}
		rest = append(rest, queue[n:]...)
	}
	if s.Kept, err = seal(rest); err != nil {
		return s, nil, false, err
	}
	return s.boundKept(limits, now), reply, repeat, nil
}

// apiOnly tells whether the answer can only be sent as a customer-service message.
func apiOnly(p part) bool { return !wechat.Passive(p.answer) }

// buryAPIOnly ends kept answers that only a push could deliver, for an account that may not push any more: all behind them would wait.
func (s State) buryAPIOnly(now time.Time) State {
	for i := 0; i < len(s.Kept); {
		if a, err := s.Kept[i].Answer.Open(); err == nil && !wechat.Passive(a) {
			s = s.buryKept(i, ReasonNoPush, "only a customer-service message can carry it, and the account may not send any", now)
		} else {
			i++
		}
	}
	return s
}

// queue is what is to be said: the kept answers, then the new ones.
func (s State) queue(key messages.Key, answers []*messages.Answer, now time.Time) ([]part, error) {
	queue := make([]part, 0, len(s.Kept)+len(answers))
	for _, k := range s.Kept {
		a, err := k.Answer.Open()
		if err != nil {
			return nil, fmt.Errorf("kept answer of message %s: %w", k.Key, err)
		}
		queue = append(queue, part{key: k.Key, answer: a, atMS: k.AtMS, repeat: k.Repeat, cut: k.Cut})
	}
	for _, a := range answers {
		queue = append(queue, part{key: key, answer: a, atMS: now.UnixMilli()})
	}
	return queue, nil
}

// seal makes parts fit for the record; none are nil.
func seal(parts []part) ([]Kept, error) {
	var out []Kept
	for _, p := range parts {
		blob, err := Seal(p.answer)
		if err != nil {
			return nil, err
		}
		out = append(out, Kept{Key: p.key, Answer: blob, AtMS: p.atMS, Repeat: p.repeat, Cut: p.cut})
	}
	return out, nil
}

// part is one answer on its way into a reply.
type part struct {
	key    messages.Key
	answer *messages.Answer
	atMS   int64
	repeat bool
	cut    bool // goes on where the one before it was cut
}

// take builds one reply from the front of the queue. Texts in a row are joined up to the byte limit, anything else travels
// alone, and a text that does not fit is cut on a rune border with its tail left in the queue.
func take(queue []part, limits Limits) (reply *messages.Answer, repeat bool, rest []part) {
	first := queue[0]
	if first.answer.GetText() == nil {
		return first.answer, first.repeat, queue[1:]
	}
	var text string
	n := 0
	for n < len(queue) && queue[n].answer.GetText() != nil {
		joined := queue[n].answer.GetText().GetContent()
		if n > 0 {
			joined = text + queue[n].gap() + joined
		}
		if n > 0 && len(joined) > limits.TextBytes {
			break
		}
		text = joined
		repeat = repeat || queue[n].repeat
		n++
		if len(text) > limits.TextBytes {
			break
		}
	}
	rest = queue[n:]
	if len(text) <= limits.TextBytes && len(rest) == 0 {
		return textAnswer(text), repeat, nil
	}
	hint := limits.hint() // something stays behind
	head, tail := wechat.CutText(text, limits.TextBytes-len(hint))
	if tail != "" {
		last := queue[n-1]
		last.answer, last.cut = textAnswer(tail), true
		rest = append([]part{last}, rest...)
	}
	return textAnswer(head + hint), repeat, rest
}

// gap stands before a text behind another one in the same reply: nothing where it goes on with that one.
func (p part) gap() string {
	if p.cut {
		return ""
	}
	return "\n\n"
}

// hint stands under a reply that has a rest.
func (l Limits) hint() string {
	if l.More == "" || len(l.More)+1 >= l.TextBytes/2 {
		return ""
	}
	return "\n" + l.More
}

// withoutHint takes the hint off a reply that is not given now: its rest will follow in the same breath.
func withoutHint(b Blob, limits Limits) Blob {
	a, err := b.Open()
	if err != nil || limits.hint() == "" || !strings.HasSuffix(a.GetText().GetContent(), limits.hint()) {
		return b
	}
	bare, err := Seal(textAnswer(strings.TrimSuffix(a.GetText().GetContent(), limits.hint())))
	if err != nil {
		return b
	}
	return bare
}

func textAnswer(s string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: s}}}
}

// expireAnswers turns kept answers that are too old into dead letters.
func (s State) expireAnswers(limits Limits, now time.Time) State {
	if limits.KeptFor <= 0 {
		return s
	}
	oldest := now.Add(-limits.KeptFor).UnixMilli()
	for i := 0; i < len(s.Kept); {
		if s.Kept[i].AtMS < oldest {
			s = s.buryKept(i, ReasonExpired, "the user did not write again in time", now)
		} else {
			i++
		}
	}
	return s
}

// boundKept turns the oldest kept answers beyond MaxKept and KeptBytes into dead letters.
func (s State) boundKept(limits Limits, now time.Time) State {
	size := 0
	for _, k := range s.Kept {
		size += len(k.Answer)
	}
	for limits.MaxKept > 0 && len(s.Kept) > limits.MaxKept || size > KeptBytes {
		size -= len(s.Kept[0].Answer)
		s = s.buryKept(0, ReasonTooMany, "more answers wait for this user than are kept", now)
	}
	return s
}

// buryKept turns the i-th kept answer into a dead letter.
func (s State) buryKept(i int, reason, detail string, now time.Time) State {
	k := s.Kept[i]
	s.Kept = slices.Delete(slices.Clone(s.Kept), i, i+1)
	return s.bury(Burial{Key: k.Key, Reason: reason, Detail: detail, Answer: k.Answer, AtMS: now.UnixMilli()})
}
