package conversation

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hongyan/messages"
)

// A user's rate is a token bucket: as many messages as its model admits, at the same moments, however the record is handed on.
func TestAdmitIsATokenBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := DefaultLimits()
		limits.UserEvery = time.Duration(rapid.IntRange(1, 5000).Draw(t, "every")) * time.Millisecond
		limits.UserBurst = rapid.IntRange(1, 8).Draw(t, "burst")
		var s State
		tokens, at := float64(limits.UserBurst), noon
		for seq := range rapid.IntRange(1, 60).Draw(t, "messages") {
			next := at.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Millisecond)
			tokens = min(tokens+float64(next.Sub(at))/float64(limits.UserEvery), float64(limits.UserBurst))
			at = next
			a := Arrival{At: messages.Position{Generation: 1, Sequence: uint64(seq + 1)}, LogTime: at}
			var ok bool
			s, ok = s.Admit(a, limits)
			const rounding = 1e-6
			if tokens > 1-rounding && tokens < 1+rounding { // either is right
				if ok {
					tokens--
				}
				continue
			}
			if ok != (tokens >= 1) {
				t.Fatalf("message %d at +%v: admitted %v with %.3f tokens", seq, at.Sub(noon), ok, tokens)
			}
			if ok {
				tokens--
			}
			if _, again := s.Admit(a, limits); !again {
				t.Fatal("the same message was counted a second time")
			}
		}
	})
}

// The log's clock may be set back a little where its leader changes: nobody gets more for that, and nobody is locked out.
func TestAdmitWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.UserEvery, limits.UserBurst = time.Second, 2
	arrival := func(seq uint64, at time.Time) Arrival {
		return Arrival{At: messages.Position{Generation: 1, Sequence: seq}, LogTime: at}
	}
	s, _ := State{}.Admit(arrival(1, noon), limits)
	s, first := s.Admit(arrival(2, noon.Add(-5*time.Second)), limits)
	s, second := s.Admit(arrival(3, noon.Add(time.Second)), limits)
	if first || !second {
		t.Errorf("admitted %v with the clock set back by 5 s, and %v a second after", first, second)
	}
	if _, ok := s.Admit(Arrival{At: messages.Position{Generation: 2, Sequence: 1}, LogTime: noon.Add(time.Second)}, limits); !ok {
		t.Error("a message of another log was refused with room for it")
	}
}

// What came over a rate was written all the same: it opens its grant, and its key is known.
func TestLimitedMessagesOpenTheirGrant(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	a := Arrival{Key: keyOf("m1"), At: messages.Position{Generation: 1, Sequence: 7}, LogTime: noon, CreateTime: noon.Unix()}
	s := State{}.Limit([]Limited{{Arrival: a, Kind: messages.Kind_KIND_TEXT}}, limits, noon)
	if !s.GrantOpen(noon.Add(time.Hour)) {
		t.Error("no grant is open")
	}
	if class, outcome := s.Classify(a, limits, noon); class != Known || outcome != messages.Outcome_OUTCOME_LIMITED {
		t.Errorf("class %d, outcome %s", class, OutcomeWord(outcome))
	}
	if s.Applied != (messages.Position{}) || s.Counts.Limited != 1 {
		t.Errorf("applied %v, counted %d", s.Applied, s.Counts.Limited)
	}
}

// Budgets are of China's days, and a turn that cost nothing changes nothing.
func TestTokensOfADay(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.UserTokens = 100
	evening := time.Date(2026, 11, 23, 15, 59, 59, 0, time.UTC) // 23:59:59 in China
	s := State{}.spend(60, evening).spend(0, evening.Add(time.Hour)).spend(70, evening)
	if left, bounded := s.TokensLeft(limits, evening); left != 0 || !bounded {
		t.Errorf("left %d, bounded %v after 130 of 100", left, bounded)
	}
	if left, _ := s.TokensLeft(limits, evening.Add(time.Second)); left != 100 {
		t.Errorf("a second later, on the next day: %d left", left)
	}
	if s = s.spend(30, evening.Add(time.Second)); s.Spent.Tokens != 30 {
		t.Errorf("the next day counts %d", s.Spent.Tokens)
	}
	if _, bounded := s.TokensLeft(DefaultLimits(), evening); bounded {
		t.Error("an account without a budget has one")
	}
}

// The log's clock was wrong by an hour and is put right (or the rate was raised in the configuration): the user is not locked out for
// longer than a bucket takes to fill.
func TestAdmitAfterAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.UserEvery, limits.UserBurst = time.Second, 10
	s, _ := State{}.Admit(Arrival{At: messages.Position{Generation: 1, Sequence: 1}, LogTime: noon.Add(time.Hour)}, limits)
	for seq := range 120 { // one every half minute over an hour
		var ok bool
		s, ok = s.Admit(Arrival{At: messages.Position{Generation: 1, Sequence: uint64(seq + 2)}, LogTime: noon.Add(time.Duration(seq) * 30 * time.Second)}, limits)
		if !ok && seq > 1 {
			t.Fatalf("still locked out after %v", time.Duration(seq)*30*time.Second)
		}
	}
}

// The same for the user's breaker.
func TestRestingAfterAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.BreakAfter, limits.RestFor = 1, time.Minute
	s := State{}.fared(UpstreamFailed, limits, noon.Add(time.Hour))
	if s.Resting(limits, noon.Add(30*time.Minute)) {
		t.Error("resting half an hour for a rest of a minute")
	}
}

// One long answer does not wipe the conversation out.
func TestALongAnswerStaysInTheConversation(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	ask := func(text string) *messages.Inbound {
		in := &messages.Inbound{Account: "demo", OpenId: "u", MsgId: text, Kind: messages.Kind_KIND_TEXT,
			Body: &messages.Inbound_Text{Text: &messages.Text{Content: text}}}
		k := messages.DedupeKey(in)
		in.Key = k[:]
		return in
	}
	s := State{}
	for i, length := range []int{100, limits.MaxBytes + 1} {
		in := ask([]string{"first", "write me an essay"}[i])
		var err error
		s, _, err = s.Turn(in, Arrival{Key: messages.KeyOf(in), At: messages.Position{Generation: 1, Sequence: uint64(i + 1)}, LogTime: noon},
			Said{Answers: []*messages.Answer{textAnswer(strings.Repeat("x", length))}}, limits, noon)
		if err != nil {
			t.Fatal(err)
		}
	}
	if h := s.History(limits, noon); len(h) == 0 {
		t.Error("the next question finds no conversation: no question, no answer")
	}
}
