package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// twoParts answer each question with a text that is longer than one message may be: its halves go out as customer-service messages,
// one after the other, at once. So the rate of questions decides the rate of sends.
func twoParts() string {
	return "rules:\n  - {match: regexp, value: '^问 (\\S+)$', reply: '《$1-1》" + strings.Repeat("长", 690) + "《$1-2》'}\n"
}

func bothParts(question string) []string { return []string{question + "-1", question + "-2"} }

// outage is one way in which WeChat's API is away for an account.
type outage struct {
	account string
	fault   simulator.Fault
	certain bool // no call can have had an effect that nobody heard of, but for those under way at the beginning
}

// plan is how long things last and how much is sent.
type plan struct {
	before, down, after time.Duration
	every               time.Duration // between questions, each of which is two sends
}

// atOnceUnknown are the sends that may be under way when the API goes away, or go out before a node gives it up.
const atOnceUnknown = 40

// TestAPIOutage: WeChat's API is away for a while, in three ways, under a steady load of pushes. All answers arrive within a minute of
// its return, in each user's order and once; those of which nobody can tell are listed, and were seen once at most.
func TestAPIOutage(t *testing.T) {
	realProcess(t)
	p := plan{before: 2 * time.Second, down: 6 * time.Second, after: 3 * time.Second, every: 100 * time.Millisecond}
	if *long {
		p = plan{before: 10 * time.Second, down: 2 * time.Minute, after: 10 * time.Second, every: 40 * time.Millisecond}
	}
	d := newDesk(t, twoParts(), official{id: "down", push: true}, official{id: "busy", push: true}, official{id: "mute", push: true})
	d.openAPI()
	d.startReady()
	d.outage(p, outage{"down", simulator.Fault{Kind: simulator.FaultRefuse}, true})
	d.outage(p, outage{"busy", simulator.Fault{Kind: simulator.FaultDown, Account: "busy"}, false},
		outage{"mute", simulator.Fault{Kind: simulator.FaultLost, Account: "mute"}, false})
}

// outage lets some accounts lose WeChat's API at the same time, and returns when all is well again.
func (d *desk) outage(p plan, all ...outage) {
	d.t.Helper()
	total := int((p.before + p.down + p.after) / p.every)
	var ids []string
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	began := time.Now()
	var back time.Time
	for i := range total {
		for _, o := range all {
			user := i % max(total/2, 1) // everybody writes twice
			d.ask(o.account, fmt.Sprintf("o%s-%05d", o.account, user), fmt.Sprintf("%s-%05d", o.account, i))
		}
		<-tick.C
		since := time.Since(began)
		if len(ids) == 0 && since >= p.before && back.IsZero() {
			for _, o := range all {
				ids = append(ids, d.inject(o.fault))
			}
		}
		if back.IsZero() && since >= p.before+p.down {
			for _, id := range ids {
				d.platform.Clear(id)
			}
			back = time.Now()
		}
	}
	if back.IsZero() {
		d.t.Fatalf("the load of %d questions ended before the API came back", total)
	}
	d.wait()
	for _, o := range all {
		d.recovered(o, total, back)
	}
}

// recovered waits for the answers of one account and judges them.
func (d *desk) recovered(o outage, questions int, back time.Time) {
	d.t.Helper()
	var found *checker.Delivery
	look := func() bool {
		found = d.deliveriesOf(o.account, bothParts)
		return found.Answers+found.Unknown >= 2*questions
	}
	for !look() && time.Since(back) < time.Minute+20*time.Second && d.t.Context().Err() == nil {
		pause(d.t, 500*time.Millisecond)
	}
	var last time.Time
	for _, a := range found.Asked {
		for _, s := range a.Seen {
			if s.At.After(last) {
				last = s.At
			}
		}
	}
	during := 0
	for _, a := range found.Asked {
		if a.Pushed.Before(back) {
			during++
		}
	}
	d.t.Logf("%s (%s): %d of %d questions before the API came back; the last answer %v after that",
		o.account, o.fault.Kind, during, questions, last.Sub(back).Round(10*time.Millisecond))
	if found.Unknown > 0 {
		why := make(map[string]int)
		for _, l := range d.letters() {
			if l.Account == o.account {
				why[l.Reason+": "+l.Detail]++
			}
		}
		d.t.Logf("%s: %d dead letters: %v", o.account, len(why), why)
	}
	accept(d.t, found)
	if last.Sub(back) > time.Minute {
		d.t.Errorf("%s: the last answer came %v after the API was back, more than a minute", o.account, last.Sub(back))
	}
	if o.certain && found.Unknown > atOnceUnknown {
		d.t.Errorf("%s: %d answers are listed as unknown, though nearly all calls failed for certain", o.account, found.Unknown)
	}
}

// deliveriesOf is the checker's word on one account.
func (d *desk) deliveriesOf(account string, expect checker.Expect) *checker.Delivery {
	d.t.Helper()
	var records []simulator.Record
	for _, r := range d.platform.Witness() {
		if r.Account == account {
			records = append(records, r)
		}
	}
	found := checker.Deliveries(records, expect, nil)
	if len(found.Violations) == 0 {
		return found
	}
	return checker.Deliveries(records, expect, unknownAnswers(d.letters()))
}
