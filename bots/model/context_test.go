package model

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "你好": 2, "hello": 2, "hello world": 4, "鸿雁 hi": 3, "2026": 4, "a.b": 2, "😀": 3, "é": 1, "。": 1,
	} {
		if got := estimate(text); got != want {
			t.Errorf("estimate(%q) = %d, want %d", text, got, want)
		}
	}
}

// texts are what people and models write.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-z ]{0,60}`), rapid.StringMatching(`[一-龥，。]{0,80}`), rapid.String(), rapid.Just(strings.Repeat("长", 3000)),
	)
}

// TestEstimateAdds is what the budget relies on: texts put together take at most what they do alone, and a cut one what it may.
func TestEstimateAdds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := texts().Draw(t, "a"), texts().Draw(t, "b")
		if whole, parts := estimate(a+"\n"+b), estimate(a)+estimate(b)+1; whole > parts {
			t.Fatalf("together %d, apart %d", whole, parts)
		}
		limit := rapid.IntRange(0, 100).Draw(t, "limit")
		short := cut(a, limit)
		if estimate(short) > limit || !strings.HasPrefix(a, short) || utf8.ValidString(a) && !utf8.ValidString(short) {
			t.Fatalf("cut to %d: %q", limit, short)
		}
		if next := []rune(strings.TrimPrefix(a, short)); len(next) > 0 && estimate(short+string(next[:1])) <= limit {
			t.Fatalf("cut to %d, but one more rune fits: %q", limit, short)
		}
	})
}

// TestCompose is the property of every request: never above the budget, the newest message in it, and of the history a suffix that
// begins with the user, in its order and as long as it can be.
func TestCompose(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		turn, history := anyTurn(t)
		budget := turn.budget()
		c := turn.compose(budget, leastQuestion)
		if c.tokens > budget {
			t.Fatalf("%d tokens in a budget of %d", c.tokens, budget)
		}
		total := messageTokens(turn.system)
		for _, u := range c.talk {
			total += u.tokens()
		}
		if total != c.tokens {
			t.Fatalf("counted %d tokens, there are %d", c.tokens, total)
		}
		if !c.talk[0].user {
			t.Fatal("the conversation begins with the assistant")
		}
		for i := 1; i < len(c.talk); i++ {
			if c.talk[i].user == c.talk[i-1].user && c.talk[i].picture == nil && c.talk[i-1].picture == nil {
				t.Fatal("two messages of one role in a row")
			}
		}
		checkSuffix(t, turn, history, budget-messageTokens(turn.system))
	})
}

// anyTurn is a turn with any history, question, picture and limits that New allows.
func anyTurn(t *rapid.T) (*turn, []utterance) {
	maxTokens := rapid.IntRange(1, 500).Draw(t, "max tokens")
	b := &Bot{system: cut(texts().Draw(t, "system"), 300), images: ImagesURL}
	b.params = settings{maxTokens: maxTokens}
	b.params.context = messageTokens(b.system) + maxTokens + perReply + leastQuestion + rapid.IntRange(0, 3000).Draw(t, "room")
	req := &bots.Request{Message: &messages.Inbound{Account: "demo"}}
	for range rapid.IntRange(0, 12).Draw(t, "turns") {
		role := rapid.SampledFrom([]conversation.Role{conversation.RoleUser, conversation.RoleBot, conversation.RoleAgent}).Draw(t, "role")
		req.History = append(req.History, conversation.Turn{Role: role, Text: texts().Draw(t, "text")})
	}
	turn := newTurn(b, req, question{text: "问" + texts().Draw(t, "question")})
	if rapid.Bool().Draw(t, "pictured") {
		turn.picture = &picture{turn: rapid.IntRange(-1, len(req.History)-1).Draw(t, "at"), url: "https://x.cn/a.png"}
	}
	return turn, utterances(req.History, turn.picture)
}

// checkSuffix compares what fits, before neighbours are merged, with the history.
func checkSuffix(t *rapid.T, turn *turn, history []utterance, budget int) {
	talk := turn.utterances(budget)
	newest := talk[len(talk)-1]
	if newest.text == "" || !strings.HasPrefix(turn.question.text, newest.text) || !newest.user {
		t.Fatalf("the newest message is %q", newest.text)
	}
	before := talk[:len(talk)-1]
	rest := history[len(history)-len(before):]
	left := budget - newest.tokens()
	for i, u := range before {
		if u != rest[i] {
			t.Fatalf("utterance %d is not the history's", i)
		}
		left -= u.tokens()
	}
	if newest.text != turn.question.text && len(before) > 0 {
		t.Fatal("the newest message was cut for the sake of older ones")
	}
	for i := len(history) - len(before) - 1; i >= 0; i-- { // none that was left out could have been the beginning
		if left -= history[i].tokens(); left < 0 {
			break
		}
		if history[i].user {
			t.Fatalf("utterance %d of the history fits, but was left out", i)
		}
	}
}
