package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"hongyan/bots/model/example"
	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// seenBy counts what users' phones showed in place of an answer or as one, by text; silence counts as "".
func seenBy(p *simulator.Platform, from int) map[string]int {
	seen := make(map[string]int)
	for _, r := range p.Witness()[from:] {
		switch {
		case r.Kind == simulator.RecordEnd && r.Banner:
			seen["banner"]++
		case r.Kind == simulator.RecordReceived && r.Outcome == simulator.OutcomeSilent:
			seen[""]++
		case r.Kind == simulator.RecordReceived && r.Outcome == simulator.OutcomeAnswered:
			seen[r.Answer.Content]++
		}
	}
	return seen
}

// TestUserRate: a user who writes faster than allowed gets as many answers as there is room for, one notice, and then silence; the next user
// notices nothing, a restart forgets nothing, and every message stands in a counter.
func TestUserRate(t *testing.T) {
	realProcess(t)
	const burst, sent, notice = 3, 10, "慢一点。"
	n := newNode(t, settings{
		durability: "os", rules: checker.Rules(0), limits: fmt.Sprintf("{user_rate: 1/m, user_burst: %d}", burst),
		account: fmt.Sprintf("    reply: {limited: %s}\n", notice),
	})
	p := n.platform()
	n.startReady()
	say := func(openID, name string) {
		if _, err := p.Push(t.Context(), "demo", openID, simulator.Message{Type: "text", Content: checker.Question(name)}); err != nil {
			t.Error(err)
		}
	}
	for i := range sent {
		say("oHasty0000000000000001", fmt.Sprintf("hasty-%d", i))
	}
	say("oCalm00000000000000001", "calm")
	seen := seenBy(p, 0)
	if seen["《hasty-0》"] != 1 || seen["《hasty-1》"] != 1 || seen["《hasty-2》"] != 1 || seen[notice] != 1 || seen[""] != sent-burst-1 || seen["《calm》"] != 1 {
		t.Errorf("%d messages of one user and one of another: %v", sent, seen)
	}
	m := n.metrics()
	for series, want := range map[string]float64{
		`hongyan_limited_total{account="demo",by="user"}`:           sent - burst,
		`hongyan_messages_total{account="demo",outcome="limited"}`:  sent - burst,
		`hongyan_messages_total{account="demo",outcome="answered"}`: burst + 1,
		`hongyan_flood_notices_total{account="demo"}`:               1,
		`hongyan_flood_dropped_total{account="demo"}`:               0,
	} {
		if m[series] != want {
			t.Errorf("%s is %v, want %v", series, m[series], want)
		}
	}
	if u := n.show("oHasty0000000000000001"); u.Counts.Turns != burst || u.Queued != 0 {
		t.Errorf("the hasty user's record: %+v", u)
	}

	n.kill()
	from := len(p.Witness())
	n.startReady()
	say("oHasty0000000000000001", "after")
	if seen := seenBy(p, from); seen[""] != 1 || len(seen) != 1 {
		t.Errorf("one more message after a kill and a start: %v", seen)
	}
}

// TestAddressRate: one address sends more than it may. What is too much gets 503, so that WeChat delivers it again, and in the end everybody has
// an answer.
func TestAddressRate(t *testing.T) {
	realProcess(t)
	const users = 20
	n := newNode(t, settings{durability: "os", rules: checker.Rules(0), limits: "{user_rate: 0, account_rate: 0, ip_rate: 4/s}"})
	p := n.platform()
	n.startReady()
	var asking sync.WaitGroup
	for u := range users {
		asking.Go(func() { // ends after three deliveries at the latest
			r, err := p.Push(t.Context(), "demo", fmt.Sprintf("oAddress-%02d", u), simulator.Message{Type: "text", Content: checker.Question(fmt.Sprint(u))})
			if err != nil || !r.Answered {
				t.Errorf("user %d: %v, no answer: %+v", u, err, r.Deliveries)
			}
		})
	}
	asking.Wait()
	refused := 0
	for _, r := range p.Witness() {
		if r.Kind == simulator.RecordReceived && r.Status == 503 {
			refused++
		}
	}
	if counted := n.metrics()["hongyan_ingress_limited_total"]; refused == 0 || counted != float64(refused) {
		t.Errorf("%d deliveries got 503, %v were counted", refused, counted)
	}
}

// TestTokenBudget: the day's tokens of a user, then of the account, are used up. The model is not asked any more, users are told so, and neither
// a kill nor an orderly restart gives the tokens back.
func TestTokenBudget(t *testing.T) {
	realProcess(t)
	const exhausted = "今天的额度用完了。"
	m := openModel(t, example.Knobs{})
	// One answer of the example costs far more than 20 tokens: the second question of a user finds nothing left.
	d := newDeskWith(t, settings{
		durability: "os", rules: modelRules, bots: m.bot(", exhausted: " + exhausted),
	},
		official{id: "plain", chain: "rules, model", more: "    budget: {user_tokens: 20}\n"},
		official{id: "whole", chain: "rules, model", more: "    budget: {account_tokens: 60}\n"})
	d.openAPI()
	d.startReady()
	says := func(account, openID, text string) string {
		t.Helper()
		r, err := d.platform.Push(t.Context(), account, openID, simulator.Message{Type: "text", Content: text})
		if err != nil || r.Answer == nil {
			t.Errorf("%s %s: %v, no answer: %+v", openID, text, err, r.Deliveries)
			return ""
		}
		return r.Answer.Content
	}
	if got := says("plain", "oBudget-1", "你好"); got == exhausted {
		t.Error("a user's first question: the budget is used up")
	}
	if got := says("plain", "oBudget-1", "再问一句"); got != exhausted {
		t.Errorf("a user's second question with 20 tokens a day: %q", got)
	}
	if got := says("plain", "oBudget-2", "你好"); got == exhausted {
		t.Error("another user's first question: the budget is used up")
	}
	if got := says("plain", "oBudget-1", "问 rule-free"); got != "《rule-free》" {
		t.Errorf("the rules cost nothing: %q", got)
	}
	serial := 0
	spendAll := func() (answered int) {
		eventually(t, 15*time.Second, "the account's budget is used up", func() bool {
			serial++
			if says("whole", fmt.Sprintf("oWhole-%03d", serial), "你好") == exhausted {
				return true
			}
			answered++
			return false
		})
		return answered
	}
	first := spendAll()
	if first == 0 {
		t.Error("the account's first question: the budget is used up")
	}
	pause(t, 3*time.Second) // what was spent is reported about once a second
	asked := len(m.prompts())
	told, counted := d.metrics(), 0.0
	for _, account := range []string{"plain", "whole"} {
		for _, direction := range []string{"prompt", "completion"} {
			counted += told[fmt.Sprintf(`hongyan_model_tokens_total{account=%q,bot="model",direction=%q}`, account, direction)]
		}
	}
	if tokens := m.Stats().PromptTokens + m.Stats().CompletionTokens; counted != float64(tokens) || tokens == 0 {
		t.Errorf("the model counts %d tokens, the engine %v", tokens, counted)
	}
	restarts := map[string]func(){"killed": d.kill, "stopped": func() { d.stop() }}
	for how, end := range restarts {
		end()
		d.startReady()
		if got := says("plain", "oBudget-1", how); got != exhausted {
			t.Errorf("the user's budget after the node was %s: %q", how, got)
		}
		eventually(t, 10*time.Second, "the account's budget is known again", func() bool {
			serial++
			return says("whole", fmt.Sprintf("oWhole-%03d", serial), how) == exhausted
		})
	}
	more := len(m.prompts()) - asked
	t.Logf("the account's budget: %d answers, and %d more while a new owner learnt of it", first, more)
	if more > 2*len(restarts) {
		t.Errorf("after %d restarts the model was asked %d times more", len(restarts), more)
	}
}
