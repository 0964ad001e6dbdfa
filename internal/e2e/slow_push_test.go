package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// slowRules answer a question after as many seconds as the name's first part says, as a slow model does: `问 8s-…`.
func slowRules(seconds ...int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for _, s := range seconds {
		fmt.Fprintf(&b, "  - {match: regexp, value: '^问 (%ds-\\S+)$', delay: %ds, reply: '《$1》'}\n", s, s)
	}
	b.WriteString("  - {match: regexp, value: '^问 (\\S+)$', reply: '《$1》'}\n")
	return b.String()
}

// slowness are the times of the bots, in seconds: within the first delivery, the second, the third, and behind all of them.
var slowness = []int{3, 8, 14, 40}

// TestSlowBot: a bot takes its time, and each answer reaches its user once on the right way, be the account allowed to push or not.
func TestSlowBot(t *testing.T) {
	realProcess(t)
	d := newDesk(t, slowRules(slowness...), official{id: "push", push: true}, official{id: "plain"})
	d.openAPI()
	d.startReady()
	const users = 3 // for each way
	for _, account := range []string{"push", "plain"} {
		for _, s := range slowness {
			for u := range users {
				d.ask(account, fmt.Sprintf("o%s%02d-%d", account, s, u), fmt.Sprintf("%ds-%s-%d", s, account, u))
			}
		}
	}
	d.wait()
	last := slowness[len(slowness)-1]
	name := func(s int, account string, u int) string { return fmt.Sprintf("%ds-%s-%d", s, account, u) }
	eventually(t, 45*time.Second, "the slowest answers are there", func() bool {
		seen := d.quiet(checker.OneAnswer).Asked
		for u := range users {
			if len(seen[name(last, "push", u)].Seen) == 0 || d.user("plain", fmt.Sprintf("oplain%02d-%d", last, u)).Queued > 0 {
				return false
			}
		}
		return true
	})
	for u := range users { // who may not be pushed to writes again
		d.ask("plain", fmt.Sprintf("oplain%02d-%d", last, u), fmt.Sprintf("again-%d", u))
	}
	d.wait()

	found := d.deliveries(checker.OneAnswer)
	accept(t, found)
	for u := range users {
		wantWay(t, found, name(3, "push", u), "passive 1")
		wantWay(t, found, name(3, "plain", u), "passive 1")
		wantWay(t, found, name(8, "plain", u), "passive 2")
		wantWay(t, found, name(14, "plain", u), "passive 3")
		wantWay(t, found, name(last, "plain", u), "with another message")
		if !found.Asked[name(last, "plain", u)].Thinking {
			t.Errorf("%s: the last delivery did not get the text %q", name(last, "plain", u), checker.ThinkingText)
		}
		for _, s := range slowness[1:] {
			wantPush(t, found, name(s, "push", u), time.Duration(s)*time.Second)
		}
	}
	if letters := d.letters(); len(letters) > 0 {
		t.Errorf("dead letters for which there is no reason here: %+v", letters)
	}
}

// wantWay fails the test where an answer took another way.
func wantWay(t *testing.T, d *checker.Delivery, name, way string) {
	t.Helper()
	if got := d.Asked[name].Ways(); got != way {
		t.Errorf("answer %s came: %s; it should have come: %s", name, got, way)
	}
}

// wantPush: the only delivery ended with success before WeChat hung up, and the answer followed as one customer-service message, soon
// after the bot had it.
func wantPush(t *testing.T, d *checker.Delivery, name string, thought time.Duration) {
	t.Helper()
	a := d.Asked[name]
	first := a.Received[1]
	took := time.Duration(first.ElapsedMS * float64(time.Millisecond))
	t.Logf("%s: %s after %v, the answer after %v", name, first.Outcome, took.Round(time.Millisecond), a.After().Round(time.Millisecond))
	if a.Last != 1 || first.Outcome != simulator.OutcomeSilent || took < 3500*time.Millisecond {
		t.Errorf("%s: %d deliveries, the first one %s after %v; it should be the only one, silent after 4.1 s to 4.6 s", name, a.Last, first.Outcome, took)
	}
	wantWay(t, d, name, "custom")
	if late := a.After() - thought; late < 0 || late > 5*time.Second {
		t.Errorf("%s: the answer was seen %v after the question, the bot took %v", name, a.After(), thought)
	}
}

// TestNineAnswers: a bot says nine things at once. WeChat lets five through for one message of the user; the rest comes with the next
// one, and nothing is lost or out of order.
func TestNineAnswers(t *testing.T) {
	realProcess(t)
	var nine []string
	for i := range 9 {
		nine = append(nine, fmt.Sprintf("nine-%d", i+1))
	}
	rules := "rules:\n  - {match: exact, value: 问 nine, reply: ['《" + strings.Join(nine, "》', '《") + "》']}\n" +
		"  - {match: regexp, value: '^问 (\\S+)$', reply: '《$1》'}\n"
	expect := func(question string) []string {
		if question == "nine" {
			return nine
		}
		return []string{question}
	}
	d := newDesk(t, rules, official{id: "push", push: true})
	d.openAPI()
	d.startReady()
	const user = "oNine0000000000000001"
	d.ask("push", user, "nine")
	d.wait()
	kept := func() int { return len(d.user("push", user).Kept) }
	eventually(t, 30*time.Second, "five answers are sent, four kept", func() bool { return kept() == 4 })
	first := d.quiet(func(question string) []string { return expect(question)[:5] })
	accept(t, first)
	if got := d.calls("push", simulator.CallCustomSend, time.Time{}); got[0] != 5 || len(got) != 1 {
		t.Errorf("calls of the send API by errcode: %v; five should have been made, and none refused", got)
	}
	if left := grantsLeft(d.platform.Witness()); !slices.Equal(left, []int{4, 3, 2, 1, 0}) {
		t.Errorf("what was left of the grant after each message: %v", left)
	}

	d.ask("push", user, "next")
	d.wait()
	eventually(t, 30*time.Second, "all is sent", func() bool { return kept() == 0 && d.user("push", user).Queued == 0 })
	accept(t, d.deliveries(expect))
}

// grantsLeft is what the platform's grants had left after each customer-service message.
func grantsLeft(records []simulator.Record) (left []int) {
	for _, r := range records {
		if r.Kind == simulator.RecordCustom {
			left = append(left, r.GrantLeft)
		}
	}
	return left
}

// TestUnreachableAPI: nobody listens where the account's API should be. The node starts, answers passively, and hands over with
// the next message what it could not push.
func TestUnreachableAPI(t *testing.T) {
	realProcess(t)
	d := newDesk(t, slowRules(7), official{id: "push", push: true})
	d.startReady() // and openAPI is never called
	const user = "oLost000000000000001"
	d.ask("push", user, "quick")
	d.ask("push", "oLost000000000000002", "7s-slow")
	d.wait()
	accept(t, d.quiet(func(q string) []string {
		return slices.DeleteFunc([]string{q}, func(s string) bool { return s == "7s-slow" })
	}))
	eventually(t, 30*time.Second, "the slow answer is there", func() bool { return d.user("push", "oLost000000000000002").Counts.Turns == 1 })
	d.ask("push", "oLost000000000000002", "again")
	d.wait()
	found := d.deliveries(checker.OneAnswer)
	accept(t, found)
	wantWay(t, found, "quick", "passive 1")
	wantWay(t, found, "7s-slow", "with another message")
	wantWay(t, found, "again", "passive 1")
	if status, body, err := d.get("/readyz"); err != nil || status != 200 {
		t.Errorf("/readyz without an API: status %d, %v: %s", status, err, body)
	}
}
