package conversation

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/messages"
)

// What waits for a user is bounded in bytes too: the oldest beyond that become dead letters.
func TestKeptAnswersAreBounded(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	in := &messages.Inbound{Kind: messages.Kind_KIND_TEXT, Body: &messages.Inbound_Text{Text: &messages.Text{Content: "hi"}}}
	s := State{}
	const turns = 10
	for i := range turns {
		a := Arrival{Key: keyOf(fmt.Sprint("m", i)), At: messages.Position{Generation: 1, Sequence: uint64(i + 1)}, LogTime: noon, Late: true}
		var err error
		if s, _, err = s.Turn(in, a, Said{Answers: []*messages.Answer{textAnswer(strings.Repeat("x", AnswerBytes))}}, limits, noon); err != nil {
			t.Fatal(err)
		}
	}
	size := 0
	for _, k := range s.Kept {
		size += len(k.Answer)
	}
	if size > KeptBytes || size < KeptBytes-AnswerBytes {
		t.Errorf("%d bytes are kept, of %d that may be", size, KeptBytes)
	}
	if got := len(s.Kept) + len(s.Burials); got != turns {
		t.Errorf("%d kept and %d buried of %d answers", len(s.Kept), len(s.Burials), turns)
	}
}

// Bounded keeps the front of what is said, whole where it fits, and never more than AnswerBytes and a few for the last rune.
func TestBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var answers []*messages.Answer
		for range rapid.IntRange(0, 6).Draw(t, "answers") {
			text := strings.Repeat(rapid.SampledFrom([]string{"x", "鸿", "。", "\n"}).Draw(t, "rune"), rapid.IntRange(1, 20000).Draw(t, "length"))
			answers = append(answers, textAnswer(text))
		}
		got, cut := Bounded(answers)
		var all, some strings.Builder
		for _, a := range answers {
			all.WriteString(a.GetText().GetContent())
		}
		for _, a := range got {
			some.WriteString(a.GetText().GetContent())
		}
		if !strings.HasPrefix(all.String(), some.String()) || some.Len() > AnswerBytes+4 || !cut && some.Len() != all.Len() {
			t.Fatalf("%d of %d bytes, cut %v", some.Len(), all.Len(), cut)
		}
		if cut && some.Len() < AnswerBytes/2 {
			t.Fatalf("only %d bytes are left of %d", some.Len(), all.Len())
		}
	})
}

// Bytes that are no UTF-8 could never be written down: in a text they are replaced, and any other answer with them is left out.
func TestBrokenBytes(t *testing.T) {
	t.Parallel()
	card := &messages.Answer{Content: &messages.Answer_Card{Card: &messages.CardAnswer{CardId: "\xff"}}}
	got, cut := Bounded([]*messages.Answer{textAnswer("a\xffb"), card, textAnswer("c")})
	if !cut || len(got) != 2 || got[0].GetText().GetContent() != "a\uFFFDb" || got[1].GetText().GetContent() != "c" {
		t.Errorf("got %v, cut %v", got, cut)
	}
}
