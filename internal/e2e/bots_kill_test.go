package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/bots/model/example"
	"hongyan/internal/checker"
)

// talkers are the users of each account who talk with the model in these tests.
const talkers = 6

// talk is a conversation of many users with the model, over nodes that die.
type talk struct {
	*desk
	model *model
	asked map[string][]string // names of the questions, by user, in order
}

// slowly is a model that needs a second for its first word, and some more for the others.
var slowly = example.Knobs{Delay: time.Second, PerToken: 20 * time.Millisecond}

// openTalk opens the model and writes the configuration. No node runs yet.
func openTalk(t *testing.T, s settings) *talk {
	t.Helper()
	m := openModel(t, example.Knobs{})
	const chain, more = "rules, model", "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n"
	s.rules, s.bots = modelRules, m.bot(", context_tokens: 100000, breaker: {silence: 0s}") // slow or quick, as the test turns it
	d := newDeskWith(t, s, official{id: "push", push: true, chain: chain, more: more}, official{id: "plain", chain: chain, more: more})
	d.openAPI()
	return &talk{desk: d, model: m, asked: make(map[string][]string)}
}

func (c *talk) accounts() []string { return []string{"push", "plain"} }

func (c *talk) talker(account string, u int) string { return fmt.Sprintf("o%sTalker-%02d", account, u) }

// all lets every user ask one question, with what happens meanwhile, and returns when each has its answer, or would get it with the next
// message: the last delivery of one whose account may not push came too early for a model that was asked anew.
func (c *talk) all(part string, meanwhile func()) {
	c.t.Helper()
	for _, account := range c.accounts() {
		for u := range talkers {
			openID := c.talker(account, u)
			name := fmt.Sprintf("%s-%s-%02d", part, account, u)
			c.asked[openID] = append(c.asked[openID], name)
			c.ask(account, openID, name)
		}
	}
	meanwhile()
	c.wait()
	var without []string
	if !poll(c.t.Context(), 30*time.Second, func() bool { without = c.without(); return len(without) == 0 }) {
		c.t.Fatalf("not within 30 s: answers to %v", without)
	}
}

// without are the last questions of users who have no answer yet, and none kept for them.
func (c *talk) without() (names []string) {
	c.t.Helper()
	_, named := c.named()
	for _, account := range c.accounts() {
		for u := range talkers {
			openID := c.talker(account, u)
			name := c.asked[openID][len(c.asked[openID])-1]
			if named.Model[name] == "" && len(c.user(account, openID).Kept) == 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

// thinking returns when the model has every question of this moment at once.
func (c *talk) thinking() {
	c.t.Helper()
	eventually(c.t, 20*time.Second, "the model has all questions", func() bool {
		return c.model.Stats().InFlight == int64(talkers*len(c.accounts()))
	})
}

// judge: each question has one answer, and each request showed the model the whole conversation before it: every question and every answer
// once, in order, the answers as the user saw them. It returns how many requests there were for each question.
func (c *talk) judge() (requests map[string]int) {
	c.t.Helper()
	if letters := c.letters(); len(letters) > 0 {
		c.t.Errorf("dead letters for which there is no reason here: %+v", letters)
	}
	found, named := c.named()
	accept(c.t, found)
	if len(named.Sorry) > 0 {
		c.t.Errorf("%d users got the apology: %v", len(named.Sorry), named.Sorry)
	}
	owner := make(map[string]string)
	for openID, names := range c.asked {
		for _, name := range names {
			owner[name] = openID
		}
	}
	requests = make(map[string]int)
	for _, p := range c.model.prompts() {
		name := checker.Name(p.question())
		requests[name]++
		names := c.asked[owner[name]]
		var want []said
		for _, before := range names[:max(slices.Index(names, name), 0)] {
			want = append(want, said{"user", checker.Question(before)}, said{"assistant", named.Model[before]})
		}
		want = append(want, said{"user", checker.Question(name)})
		if !slices.Equal(p.Said, want) {
			c.t.Errorf("for %s the model saw:\n%s\ninstead of:\n%s", name, lines(p.Said), lines(want))
		}
	}
	return requests
}

func lines(all []said) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "  %s: %.60s\n", s.Role, s.Content)
	}
	return b.String()
}

// TestModelSurvivesKill kills the node while the model answers many users at once, before its first word and in the middle of them. After each
// kill the model is asked again, every question gets one answer, and the conversation has no hole and nothing twice.
func TestModelSurvivesKill(t *testing.T) {
	realProcess(t)
	rounds := 3
	if *long {
		rounds = 20
	}
	chance := seeded(t)
	c := openTalk(t, settings{durability: "disk"})
	c.startReady()
	for k := range rounds {
		c.model.turn(example.Knobs{})
		c.all(fmt.Sprintf("calm%d", k), func() {})
		c.model.turn(slowly)
		c.all(fmt.Sprintf("kill%d", k), func() {
			c.thinking()
			pause(t, time.Duration(chance.Int64N(int64(1200*time.Millisecond))))
			c.kill()
			c.startReady()
		})
	}
	again := 0
	for name, n := range c.judge() {
		killed := strings.HasPrefix(name, "kill")
		if n > 2 || n > 1 && !killed {
			t.Errorf("the model was asked %d times for %s", n, name)
		}
		if n == 2 {
			again++
		}
	}
	t.Logf("%d kills: the model was asked again for %d of %d questions", rounds, again, rounds*talkers*2)
	if again < rounds*talkers*2*3/4 {
		t.Errorf("%d kills in mid-answer, and the model was asked again only for %d questions: the kills show too little", rounds, again)
	}
}

// TestModelSurvivesMove stops a worker in order while the model answers many users at once: their partitions move to the other worker, which
// asks it again. Each question gets one answer, and the conversation has no hole and nothing twice.
func TestModelSurvivesMove(t *testing.T) {
	realProcess(t)
	rounds := 1
	if *long {
		rounds = 10
	}
	nats := startNATS(t)
	c := openTalk(t, settings{durability: "os", nats: nats.URL(), twin: true})
	c.start()
	c.awaitReady()
	for k := range rounds {
		c.twin.start()
		eventually(t, startLimit, "the second worker is ready", func() bool {
			status, _, err := c.twin.get("/readyz")
			return err == nil && status == http.StatusOK
		})
		c.model.turn(example.Knobs{})
		c.all(fmt.Sprintf("calm%d", k), func() {})
		c.model.turn(example.Knobs{Delay: 8 * time.Second}) // longer than a worker waits that stops
		c.all(fmt.Sprintf("move%d", k), func() {
			c.thinking()
			t.Logf("move %d: the worker took %v to stop", k, c.twin.stop().Round(10*time.Millisecond))
		})
	}
	c.model.turn(example.Knobs{})
	c.all("last", func() {})
	again := 0
	for name, n := range c.judge() {
		if again += n - 1; n > 2 {
			t.Errorf("the model was asked %d times for %s", n, name)
		}
	}
	t.Logf("%d moves: the model was asked again for %d of %d questions", rounds, again, rounds*talkers*2)
	if again == 0 {
		t.Error("the model was never asked again: no partition moved while it thought")
	}
}
