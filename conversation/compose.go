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
	ReasonExpired = "expired"  // an undelivered answer grew too old
	ReasonTooMany = "too_many" // more undelivered answers than are kept
)

// AsksForMore tells whether the message only asks for the answers that are kept. No bot is asked then.
func (s State) AsksForMore(in *messages.Inbound) bool {
	if len(s.Kept) == 0 {
		return false
	}
	return slices.Contains(MoreWords, strings.ToLower(strings.TrimSpace(in.GetText().GetContent())))
}

// compose makes the one reply of this occasion out of the kept answers and the new one, in that order, and keeps the rest.
// repeat says that the reply carries an answer whose first delivery is unknown.
func (s State) compose(key messages.Key, answer *messages.Answer, limits Limits, now time.Time) (State, *messages.Answer, bool, error) {
	if len(s.Kept) == 0 && answer == nil {
		return s, nil, false, nil
	}
	queue := make([]part, 0, len(s.Kept)+1)
	for _, k := range s.Kept {
		a, err := k.Answer.Open()
		if err != nil {
			return s, nil, false, fmt.Errorf("kept answer of message %s: %w", k.Key, err)
		}
		queue = append(queue, part{key: k.Key, answer: a, atMS: k.AtMS, repeat: k.Repeat})
	}
	if answer != nil {
		queue = append(queue, part{key: key, answer: answer, atMS: now.UnixMilli()})
	}

	reply, repeat, rest := take(queue, limits)
	s.Kept = nil
	for _, p := range rest {
		blob, err := Seal(p.answer)
		if err != nil {
			return s, nil, false, err
		}
		s.Kept = append(s.Kept, Kept{Key: p.key, Answer: blob, AtMS: p.atMS, Repeat: p.repeat})
	}
	return s.boundKept(limits, now), reply, repeat, nil
}

// part is one answer on its way into a reply.
type part struct {
	key    messages.Key
	answer *messages.Answer
	atMS   int64
	repeat bool
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
			joined = text + between(queue[n-1], queue[n]) + joined
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
		last.answer = textAnswer(tail)
		rest = append([]part{last}, rest...)
	}
	return textAnswer(head + hint), repeat, rest
}

// between stands between two texts in one reply: nothing where they are the pieces of one answer.
func between(a, b part) string {
	if a.key == b.key {
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
	for len(s.Kept) > 0 && s.Kept[0].AtMS < oldest {
		s = s.buryKept(ReasonExpired, "the user did not write again in time", now)
	}
	return s
}

// boundKept turns the oldest kept answers beyond MaxKept into dead letters.
func (s State) boundKept(limits Limits, now time.Time) State {
	for limits.MaxKept > 0 && len(s.Kept) > limits.MaxKept {
		s = s.buryKept(ReasonTooMany, "more answers wait for this user than are kept", now)
	}
	return s
}

// buryKept turns the oldest kept answer into a dead letter.
func (s State) buryKept(reason, detail string, now time.Time) State {
	k := s.Kept[0]
	s.Kept = slices.Clone(s.Kept[1:])
	return s.bury(Burial{Key: k.Key, Reason: reason, Detail: detail, Answer: k.Answer, AtMS: now.UnixMilli()})
}
