package chaos

import (
	"fmt"
	"strings"
	"sync/atomic"
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

var bothAccounts = []string{"push", "plain"}

// TestSlowBotKills: a bot takes its time, and meanwhile workers and ingresses die: in the middle of a turn, in the very moment in which a
// user sees an answer, and right after a reply was written. Each answer is seen once, or is listed as unknown and was seen once at most.
func TestSlowBotKills(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes are left out with -short")
	}
	t.Parallel()
	// What comes behind the third delivery is slow enough for the short form.
	rounds, kills, slowest := 1, 1, 20
	if *long {
		rounds, kills, slowest = 3, 10, 40
	}
	b := openBranch(t, 2, 2, slowRules(3, 5, 8, 14, 20, 40))
	for round := range rounds {
		b.killDuringTurns(round, []int{3, 8, 14, slowest}, func() { // while the slowest bots think
			for k := range kills {
				b.killAtReply(round*kills + k)
			}
		})
		for k := range kills {
			b.killAtSight(round*kills + k)
		}
	}
	found := b.judge(checker.OneAnswer)
	for round := range rounds {
		for u := range slowUsers {
			name := slowName(slowest, "plain", round, u)
			if a := found.Asked[name]; !a.Thinking || a.Ways() != "with another message" {
				t.Errorf("%s came: %s; it should have been kept for the next message, after the text %q", name, a.Ways(), checker.ThinkingText)
			}
			for _, s := range []int{14, slowest} {
				name := slowName(s, "push", round, u)
				if a := found.Asked[name]; a.Ways() != "custom" && a.Ways() != "" { // "" is unknown, which the checker has judged
					t.Errorf("%s came: %s; it should have come as one customer-service message", name, a.Ways())
				}
			}
		}
	}
	if letters := len(b.unknownAnswers()); letters > rounds*(kills+2*slowUsers) {
		t.Errorf("%d answers are listed as unknown, more than calls can have been under way", letters)
	}
}

const slowUsers = 3 // of each account and slowness

func slowName(s int, account string, round, u int) string {
	return fmt.Sprintf("%ds-%s-%d-%d", s, account, round, u)
}

// killDuringTurns asks bots of every slowness, and kills each worker once while they think. meanwhile runs while only the slowest still do.
func (b *branch) killDuringTurns(round int, slowness []int, meanwhile func()) {
	b.t.Helper()
	user := func(s int, account string, u int) string {
		return fmt.Sprintf("oSlow%s%02d-%d-%d", account, s, round, u)
	}
	for _, account := range bothAccounts {
		for _, s := range slowness {
			for u := range slowUsers {
				b.ask(account, user(s, account, u), slowName(s, account, round, u))
			}
		}
	}
	for i, n := range b.workers {
		pause(b.t.Context(), time.Duration(1500+b.chance.IntN(1500))*time.Millisecond)
		b.t.Logf("round %d: kill -9 %s", round, n.name)
		b.restart(n)
		if i < len(b.workers)-1 {
			b.awaitAll()
			pause(b.t.Context(), 3*time.Second)
		}
	}
	b.awaitAll()
	b.pushes.Wait()
	meanwhile()
	slowest := slowness[len(slowness)-1]
	b.eventually(90*time.Second, "the slowest answers are there", func() bool {
		seen := checker.Deliveries(b.platform.Witness(), checker.OneAnswer, nil).Asked
		unknown := b.unknownAnswers()
		for u := range slowUsers {
			name := slowName(slowest, "push", round, u)
			kept, ok := b.remembered("plain", user(slowest, "plain", u))
			if len(seen[name].Seen) == 0 && !unknown[name] || !ok || kept.Queued > 0 {
				return false
			}
		}
		return true
	})
	// Whoever may not be pushed to, and whose turn began anew too late for the last delivery, writes again.
	for name, a := range checker.Deliveries(b.platform.Witness(), checker.OneAnswer, nil).Asked {
		if a.Thinking && len(a.Seen) == 0 {
			b.ask("plain", a.OpenID, "again-"+name)
		}
	}
	b.pushes.Wait()
}

// killAtReply kills the ingress that wrote a reply, in the moment in which WeChat has read it: an answer, and the success that announces
// a push. The next message must get its own answer alone.
func (b *branch) killAtReply(k int) {
	b.t.Helper()
	for _, c := range []struct{ account, name string }{{"plain", "quick"}, {"push", "5s"}} {
		name := fmt.Sprintf("%s-reply-%s-%d", c.name, c.account, k)
		openID := "oReply" + name
		killed := b.killOn(func(r simulator.Record) *node {
			if r.Kind != simulator.RecordReceived || r.OpenID != openID || r.Status != 200 {
				return nil
			}
			for _, n := range b.ingresses {
				if n.callback == r.Host {
					return n
				}
			}
			return nil
		})
		b.ask(c.account, openID, name)
		b.pushes.Wait()
		b.afterKill(killed, name)
		b.eventually(30*time.Second, "the answer "+name+" is seen", func() bool {
			return len(checker.Deliveries(b.platform.Witness(), checker.OneAnswer, nil).Asked[name].Seen) > 0
		})
		b.ask(c.account, openID, "after-"+name)
		b.pushes.Wait()
	}
}

// killAtSight kills the worker that sent a customer-service message, in the moment in which the user's phone shows it: the call's result
// never comes. The answer must not be sent a second time, and is listed as unknown.
func (b *branch) killAtSight(k int) {
	b.t.Helper()
	name := fmt.Sprintf("5s-sight-%d", k)
	openID := "oSight" + name
	owner := b.ownerOf("push", openID)
	if owner == nil {
		b.t.Fatalf("nobody owns the partition of %s", openID)
	}
	killed := b.killOn(func(r simulator.Record) *node {
		if r.Kind == simulator.RecordCustom && r.OpenID == openID {
			return owner
		}
		return nil
	})
	b.ask("push", openID, name)
	b.pushes.Wait()
	b.eventually(30*time.Second, "the answer "+name+" is seen", func() bool { return killed.Load() != nil })
	b.afterKill(killed, name)
	b.eventually(30*time.Second, "the answer "+name+" is listed as unknown", func() bool { return b.unknownAnswers()[name] })
	b.ask("push", openID, "after-"+name)
	b.pushes.Wait()
}

// killOn kills the node that choose names for a record of the platform, once, before the platform goes on.
func (b *branch) killOn(choose func(simulator.Record) *node) *atomic.Pointer[node] {
	var killed atomic.Pointer[node]
	b.watch(func(r simulator.Record) {
		if killed.Load() != nil {
			return
		}
		if n := choose(r); n != nil && n.killNow() == nil {
			killed.Store(n)
		}
	})
	return &killed
}

// afterKill starts the killed node again.
func (b *branch) afterKill(killed *atomic.Pointer[node], name string) {
	b.t.Helper()
	b.watch(nil)
	b.t.Logf("%s: kill -9 at that moment", name)
	n := killed.Load()
	if n == nil {
		b.t.Fatalf("%s: nobody was killed: this run shows nothing", name)
	}
	b.restart(n)
	b.awaitAll()
	if err := b.awaitSpread(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}
