package actors

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"hongyan/bots"
	"hongyan/messages"
)

// What all nodes spend is one sum, which each of them knows a second later, and which stands in the record; the record is written once
// a second at most.
func TestBudgetIsOneOverAllNodes(t *testing.T) {
	const limit, nodes, lasts = 100_000_000, 6, 20
	inTreasury(t, limit, func(t *testing.T, y *treasury) {
		var spending sync.WaitGroup
		var mu sync.Mutex
		var sum int64
		var all []*Budgets
		for n := range nodes {
			b, _ := y.node(fmt.Sprint("n", n))
			if left := b.Left(account); left != limit {
				t.Errorf("%d are left before the first answer, want the whole budget", left)
			}
			all = append(all, b)
		}
		for n, b := range all {
			for turn := range 3 {
				spending.Go(func() {
					chance := rand.New(rand.NewPCG(uint64(n), uint64(turn)))
					for until := time.Now().Add(lasts * time.Second); time.Now().Before(until); {
						tokens := chance.Int64N(2000)
						b.Left(account)
						b.Spend(account, tokens)
						mu.Lock()
						sum += tokens
						mu.Unlock()
						time.Sleep(time.Duration(chance.Int64N(int64(300 * time.Millisecond))))
					}
				})
			}
		}
		spending.Wait()
		for _, b := range all {
			b.Left(account)
		}
		time.Sleep(2*reportEvery + spendEvery)
		for n, b := range all {
			if left := b.Left(account); left != limit-sum {
				t.Errorf("node %d knows of %d left, want %d", n, left, limit-sum)
			}
		}
		if y.committed() != sum {
			t.Errorf("the record has %d, want %d", y.committed(), sum)
		}
		y.behave(func(y *treasury) {
			for i := range y.commits[1:] {
				if apart := y.commits[i+1].Sub(y.commits[i]); apart < spendEvery {
					t.Fatalf("two commits are %v apart", apart)
				}
			}
			if n := len(y.commits); n < lasts/2 || n > lasts+5 {
				t.Errorf("%d commits in %d seconds", n, lasts)
			}
			if y.asked > nodes*(lasts+5) {
				t.Errorf("%d questions of %d nodes in %d seconds", y.asked, nodes, lasts)
			}
		})
		gauge := all[0].accounts[account].metrics.tokens
		for what, want := range map[string]int64{"left": limit - sum, "spent": sum, "limit": limit} {
			if got := testutil.ToFloat64(gauge.WithLabelValues(account, what)); got != float64(want) {
				t.Errorf("the gauge %s says %v, want %d", what, got, want)
			}
		}
	})
}

// A node counts on by itself while the account's actor is away, and reports all of it later; what it cannot tell to be counted it
// reports again, and it counts once.
func TestBudgetSurvivesWhateverHappensToReports(t *testing.T) {
	const limit = 1_000_000
	inTreasury(t, limit, func(t *testing.T, y *treasury) {
		y.twice = true
		a, _ := y.node("a")
		b, _ := y.node("b")
		a.Spend(account, 100)
		time.Sleep(3 * time.Second)
		y.behave(func(y *treasury) { y.deaf = true })
		for range 600 { // ten minutes
			a.Spend(account, 10)
			time.Sleep(time.Second)
		}
		if left := a.Left(account); left != limit-6100 {
			t.Errorf("%d left where nobody answers, want the node's own count: %d", left, limit-6100)
		}
		if n := y.questions(); n > 600 {
			t.Errorf("%d questions in ten minutes to nobody", n)
		}
		if n := len(y.lines.with("does not answer")); n != 2 {
			t.Errorf("%d lines of two nodes about an actor that is away", n)
		}
		y.behave(func(y *treasury) { y.deaf, y.lost = false, func(n int) bool { return n%3 != 0 } })
		for range 60 {
			a.Spend(account, 10)
			b.Spend(account, 1)
			time.Sleep(time.Second)
		}
		y.open() // another owner, who has the record alone, hears the reports that nobody is sure of
		for range 60 {
			a.Spend(account, 10)
			b.Spend(account, 1)
			time.Sleep(time.Second)
		}
		y.behave(func(y *treasury) { y.lost = nil })
		time.Sleep(15 * time.Second)
		const sum = 6100 + 120*11
		if y.committed() != sum {
			t.Errorf("the record has %d, want %d", y.committed(), sum)
		}
		for _, n := range []*Budgets{a, b} {
			n.Left(account)
			time.Sleep(2 * time.Second)
			if left := n.Left(account); left != limit-sum {
				t.Errorf("%d left, want %d", left, limit-sum)
			}
		}
	})
}

// An owner that dies takes a second of reports with it at the most.
func TestBudgetLosesASecondAtMost(t *testing.T) {
	inTreasury(t, 1_000_000, func(t *testing.T, y *treasury) {
		a, _ := y.node("a")
		for i := range 20 {
			for range 100 {
				a.Spend(account, 1)
				time.Sleep(10 * time.Millisecond)
			}
			spent := int64(100 * (i + 1))
			if got := y.committed(); got < spent-200 || got > spent { // a second here, and one that is not reported yet
				t.Fatalf("after %d tokens the record has %d", spent, got)
			}
		}
	})
}

// A day ends at midnight in China: the budget is whole again at once, on every node, whoever can be asked, and what was spent before
// is not counted again.
func TestBudgetTurnsAtMidnight(t *testing.T) {
	const limit = 1000
	for name, ahead := range map[string]time.Duration{"same clock": 0, "owner ahead": 3 * time.Second, "owner behind": -3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inTreasury(t, limit, func(t *testing.T, y *treasury) {
				y.ahead = ahead
				a, _ := y.node("a")
				idle, _ := y.node("idle")
				midnight := nextWeChatDay(time.Now())
				time.Sleep(time.Until(midnight) - 10*time.Second)
				a.Spend(account, 5000)
				time.Sleep(2 * time.Second)
				if left := a.Left(account); left != 0 {
					t.Errorf("%d left of a budget that was passed", left)
				}
				for time.Until(midnight) > time.Second { // while it is tomorrow for some, already or not yet
					a.Spend(account, 1)
					if left := a.Left(account); left != 0 {
						t.Fatalf("%d left %v before midnight", left, time.Until(midnight))
					}
					time.Sleep(100 * time.Millisecond)
				}
				y.behave(func(y *treasury) { y.deaf = true })
				a.Spend(account, 300) // nobody hears of them on their day
				time.Sleep(time.Until(midnight) - time.Nanosecond)
				if left := a.Left(account); left != 0 {
					t.Errorf("%d left just before midnight", left)
				}
				time.Sleep(time.Nanosecond)
				if left := a.Left(account); left != limit {
					t.Errorf("%d left at midnight, want all", left)
				}
				time.Sleep(time.Millisecond)
				a.Spend(account, 20)
				y.behave(func(y *treasury) { y.deaf = false })
				for range 100 { // while the clocks differ as well
					time.Sleep(100 * time.Millisecond)
					if left := a.Left(account); left != limit-20 {
						t.Fatalf("%d left %v after midnight, want %d", left, time.Since(midnight), limit-20)
					}
				}
				idle.Left(account)
				time.Sleep(time.Second)
				if left := idle.Left(account); left != limit-20 {
					t.Errorf("%d left on another node, want %d", left, limit-20)
				}
			})
		})
	}
}

// An answer that was on its way over midnight says nothing about the new day, and nothing of the old one is reported again.
func TestAnswerOverMidnight(t *testing.T) {
	const limit = 1000
	inTreasury(t, limit, func(t *testing.T, y *treasury) {
		a, _ := y.node("a")
		midnight := nextWeChatDay(time.Now())
		time.Sleep(time.Until(midnight) - time.Second)
		y.behave(func(y *treasury) { y.slow = 2 * time.Second })
		a.Spend(account, 500) // reported at once
		time.Sleep(time.Second / 2)
		a.Spend(account, 50) // while the answer is on its way
		time.Sleep(time.Second)
		a.Spend(account, 3)
		y.behave(func(y *treasury) { y.slow = 0 })
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if left := a.Left(account); left != limit-3 {
				t.Fatalf("%d left %v after midnight, want %d", left, time.Since(midnight), limit-3)
			}
		}
		if got := y.committed(); got != 3 {
			t.Errorf("the record has %d on the new day, want 3", got)
		}
	})
}

// Nobody is asked about a budget that nobody uses; whoever uses it again has the truth at once.
func TestIdleBudgetAsksNobody(t *testing.T) {
	inTreasury(t, 1000, func(t *testing.T, y *treasury) {
		a, _ := y.node("a")
		b, _ := y.node("b")
		time.Sleep(time.Minute)
		before := y.questions()
		time.Sleep(time.Hour)
		if n := y.questions() - before; n != 0 {
			t.Errorf("%d questions in an hour in which nobody spent anything", n)
		}
		b.Spend(account, 400)
		time.Sleep(time.Hour)
		a.Left(account)
		synctest.Wait()
		if left := a.Left(account); left != 600 {
			t.Errorf("%d left at the second look, want 600", left)
		}
	})
}

// A node that stops says what it has not said yet.
func TestBudgetsLastReport(t *testing.T) {
	inTreasury(t, 1000, func(t *testing.T, y *treasury) {
		a, stop := y.node("a")
		a.Spend(account, 1)
		time.Sleep(10 * time.Millisecond)
		a.Spend(account, 41) // a moment after a report
		stop()
		time.Sleep(spendEvery)
		if got := y.committed(); got != 42 {
			t.Errorf("the record has %d, want 42", got)
		}
		b, stop := y.node("b")
		time.Sleep(2 * time.Second)
		y.behave(func(y *treasury) { y.deaf = true })
		b.Spend(account, 7)
		stop()
		if lines := y.lines.with("were not reported"); len(lines) != 1 || !strings.Contains(lines[0], "tokens=7") {
			t.Errorf("lines about what nobody heard: %q", lines)
		}
	})
}

func TestAccountsWithoutABudget(t *testing.T) {
	inTreasury(t, 0, func(t *testing.T, y *treasury) {
		b, _ := y.node("a")
		for _, id := range []string{account, "free", "unheard-of"} {
			b.Spend(id, 100)
			if left := b.Left(id); left != bots.Unbounded {
				t.Errorf("%s: %d left", id, left)
			}
		}
		time.Sleep(time.Minute)
		if n := y.questions(); n != 0 {
			t.Errorf("%d questions", n)
		}
		r := y.step(&messages.AccountSpend{Node: "b", Serial: 1, Tokens: 5, Day: wechatDay(time.Now())}).(*messages.AccountBudget)
		if r.GetLeft() != bots.Unbounded || r.GetSpent() != 5 {
			t.Errorf("a node that has a budget is told %v by an owner that has none", r)
		}
	})
}

// However reports are repeated, delayed and cut off by changes of the owner, what is counted of a day is what was reported of it, each
// report once.
func TestBudgetCountsEachReportOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 15, 59, 0, 0, time.UTC) // a minute before midnight
		conf := AccountSettings{ID: account, TokensPerDay: 1000}
		s := newAccountState(accountRecord{}, conf, now, 1)
		serials := map[string]uint64{"a": 10, "b": 0, "c": 1 << 62}
		sums := map[int64]int64{} // by day
		var sure []*messages.AccountSpend
		report := func(e *messages.AccountSpend) {
			r, _ := s.step(e, now, 1)
			b := r.(*messages.AccountBudget)
			if day := wechatDay(now); b.GetDay() != day || b.GetSpent() != sums[day] || b.GetLeft() != max(1000-sums[day], 0) {
				t.Fatalf("told %v, want %d spent on day %d", b, sums[day], day)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"new": func(t *rapid.T) {
				node := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node")
				serials[node]++
				e := &messages.AccountSpend{Node: node, Serial: serials[node], Tokens: rapid.Int64Range(0, 50).Draw(t, "tokens"), Day: wechatDay(now)}
				sums[e.GetDay()] += e.GetTokens()
				sure = append(sure, e)
				report(e)
			},
			"again": func(t *rapid.T) {
				if len(sure) > 0 {
					report(rapid.SampledFrom(sure).Draw(t, "report"))
				}
			},
			"late": func(t *rapid.T) { // from a day that is over
				serials["a"]++
				report(&messages.AccountSpend{Node: "a", Serial: serials["a"], Tokens: 7, Day: wechatDay(now) - 1})
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, 5000).Draw(t, "ms")) * time.Millisecond)
			},
			"another owner": func(t *rapid.T) { // after the record has followed
				now = now.Add(spendEvery)
				s.step(spendDue{}, now, 1)
				b, err := s.encode()
				if err != nil {
					t.Fatal(err)
				}
				rec, err := decodeAccount(b)
				if err != nil {
					t.Fatal(err)
				}
				s = newAccountState(rec, conf, now, 1)
			},
			"": func(t *rapid.T) {
				if b, _ := s.encode(); len(b) > 400 {
					t.Fatalf("the record of three nodes has %d bytes", len(b))
				}
			},
		})
	})
}

// Nodes come and go under new names; their reports are not kept for ever.
func TestSpendersAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 1, 0, 0, 0, time.UTC)
	s := newAccountState(accountRecord{}, AccountSettings{ID: account, TokensPerDay: 1000}, now, 1)
	for i := range 3 * mostSpenders {
		now = now.Add(spendEvery)
		s.step(&messages.AccountSpend{Node: fmt.Sprint("node", i), Serial: 1, Tokens: 1, Day: wechatDay(now)}, now, 1)
	}
	last := fmt.Sprint("node", 3*mostSpenders-1)
	s.step(&messages.AccountSpend{Node: last, Serial: 1, Tokens: 1, Day: wechatDay(now)}, now, 1)
	if n := len(s.Spenders); n != mostSpenders || s.Spent.Count != 3*mostSpenders {
		t.Errorf("%d nodes are kept, and %d tokens", n, s.Spent.Count)
	}
	now = now.Add(2 * spenderGone)
	s.step(&messages.AccountSpend{Node: "new", Serial: 1, Tokens: 1, Day: wechatDay(now)}, now, 1)
	if n := len(s.Spenders); n != 1 {
		t.Errorf("%d nodes are kept of which one spoke in the last hours", n)
	}
}

// The actor of an account without app_secret keeps its budget over changes of the owner, fetches no token, and says why there is none.
func TestBudgetOfAnAccountWithoutSecret(t *testing.T) {
	const limit = 10_000
	inOffice(t, func(t *testing.T, o *office) {
		o.settings = AccountSettings{ID: account, TokensPerDay: limit}
		o.start()
		node, _ := startBudgets(t, o.ask, o.lines, "n1", limit, &o.stops)
		node.Spend(account, 100)
		time.Sleep(100 * time.Millisecond)
		node.Spend(account, 11)
		time.Sleep(3 * time.Second)
		if r := o.record(); r.Spent.Count != 111 {
			t.Errorf("the record has %d, want 111", r.Spent.Count)
		}
		r := o.lease(&messages.AccountLease{Node: "n1", Serial: 1, Need: true, Want: 1})
		if r.GetToken() != "" || !strings.Contains(r.GetWhy(), "app_secret") {
			t.Errorf("a lease without a secret: %v", r)
		}
		if o.ips() != 0 {
			t.Error("a list of callers without a secret")
		}
		o.stop()
		o.start()
		if left := node.Left(account); left != limit-111 {
			t.Errorf("%d left, want %d", left, limit-111)
		}
		view := o.view()
		if view.GetSpentTokens() != 111 || view.GetBudgetTokens() != limit || !view.GetNoApi() || view.GetHasToken() {
			t.Errorf("the view: %v", view)
		}
		other, _ := startBudgets(t, o.ask, o.lines, "n2", limit, &o.stops)
		time.Sleep(2 * lineInUse) // who uses a budget after a while reports at once
		node.Spend(account, 1)
		time.Sleep(spendEvery / 2)
		other.Spend(account, 5)
		time.Sleep(spendEvery / 4)
		if r := o.record(); r.Spent.Count != 112 || o.view().GetSpentTokens() != 117 {
			t.Errorf("the record has %d and the actor %d, want 112 and 117", r.Spent.Count, o.view().GetSpentTokens())
		}
		o.release()
		if r := o.record(); r.Spent.Count != 117 {
			t.Errorf("after a stop in good order the record has %d, want 117", r.Spent.Count)
		}
		if n := o.platform.fetches(); n != 0 {
			t.Errorf("%d tokens were fetched", n)
		}
	})
}

// A token of the time when the account had a secret is not handed out any more.
func TestTokenGoesWithTheSecret(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, func(_ *accountRecord, conf *AccountSettings) { conf.AppSecret, conf.API = "", nil })
	r, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1})
	if r.GetToken() != "" || fetch != nil || r.GetWhy() == "" {
		t.Errorf("token %q, fetch %v, why %q", r.GetToken(), fetch, r.GetWhy())
	}
}

// view asks the account's actor for what it shows.
func (o *office) view() *messages.AccountView {
	o.t.Helper()
	reply, err := o.ask(o.t.Context(), messages.AccountActor(account), &messages.Inspect{})
	if err != nil {
		o.t.Fatal(err)
	}
	return reply.(*messages.AccountView)
}

// ips is how many ranges of callers the account's actor knows.
func (o *office) ips() int {
	o.t.Helper()
	reply, err := o.ask(o.t.Context(), messages.AccountActor(account), &messages.CallbackIPs{})
	if err != nil {
		o.t.Fatal(err)
	}
	synctest.Wait()
	return len(reply.(*messages.CallbackIPList).GetRanges())
}

// release ends the owner in good order.
func (o *office) release() {
	o.t.Helper()
	o.system.Root.Send(o.pid, &Release{})
	<-o.gone
	o.system.Shutdown()
	synctest.Wait()
	o.pid = nil
}
