package actors

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

const (
	reportEvery   = time.Second     // while the budget is in use
	reportTimeout = 3 * time.Second // of one question
	reportBackoff = reportEvery / 4 // doubled with each failure in a row
	reportMost    = 5 * time.Second
	reportLast    = time.Second // of the last one, when the node stops
)

// budget is one account's budget on one node. Its loop alone changes what stands below view.
type budget struct {
	opts    *BudgetOptions
	account string
	name    messages.User // of the account's actor
	limit   int64
	metrics *budgetMetrics
	log     *slog.Logger

	kick  chan struct{} // wakes the loop; has room for one
	used  atomic.Int64  // when somebody last asked or spent, Unix milliseconds
	spent atomic.Int64  // by this node since it started; only ever grows
	view  atomic.Pointer[budgetView]

	serial   uint64
	unsure   *messages.AccountSpend // asked, and nobody knows whether it was counted: it is asked again as it is
	upTo     int64                  // of spent, with that report
	reported int64                  // of spent, by the reports that were counted
	next     time.Time              // no report before
	failures int                    // in a row
	asking   bool
}

// budgetView is what is known of the budget over all nodes. It is never changed in place.
type budgetView struct {
	day      int64 // that it is true for
	left     int64 // by the last answer
	total    int64 // spent over all nodes, by the last answer
	included int64 // of the node's spent, in both
}

// spendAnswered is the outcome of a report.
type spendAnswered struct {
	reply *messages.AccountBudget
	err   error
}

// begin starts a day with the whole budget. What is not reported of the day before concerns no budget any more.
func (k *budget) begin(day int64) {
	spent := k.spent.Load()
	k.reported = spent
	k.view.Store(&budgetView{day: day, left: k.limit, included: spent})
}

// estimate is what is left and what was spent over all nodes: by the last answer, and what this node spent since.
func (k *budget) estimate(now time.Time) (left, total int64) {
	v := k.view.Load()
	since := k.spent.Load() - v.included
	if v.day != wechatDay(now) { // the day has just turned, and the loop is about to notice
		return k.limit, 0
	}
	return max(v.left-since, 0), v.total + since
}

// touch notes that the budget is in use, and wakes the loop where that is news, or where there is something to report.
func (k *budget) touch(now time.Time) {
	before := k.used.Swap(now.UnixMilli())
	if now.UnixMilli()-before < reportEvery.Milliseconds()/2 {
		return
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// run is the budget's loop.
func (k *budget) run(ctx context.Context) {
	answers := make(chan spendAnswered, 1) // one question at a time
	timer := time.NewTimer(0)
	defer timer.Stop()
	k.used.Store(k.opts.Now().UnixMilli()) // the first question is what is left
	for {
		select {
		case <-ctx.Done():
			if k.asking {
				if a := <-answers; a.err == nil { // ended by ctx, else; then it is asked again as it was
					k.take(a, k.opts.Now())
				}
			}
			k.last(ctx)
			return
		case a := <-answers:
			k.take(a, k.opts.Now())
		case <-k.kick:
		case <-timer.C:
		}
		now := k.opts.Now()
		if k.due(now) {
			k.asking = true
			ask := k.question(now)
			go func() { answers <- k.ask(ctx, ask, reportTimeout) }() // ended by reportTimeout and ctx
		}
		k.report(now)
		timer.Reset(k.sleep(now))
	}
}

// due tells whether to ask now, after it has begun a new day where there is one.
func (k *budget) due(now time.Time) bool {
	if day := wechatDay(now); k.view.Load().day != day {
		k.begin(day)
		if k.unsure != nil && !k.asking {
			k.unsure = nil
		}
	}
	return !k.asking && k.wanted(now) && !now.Before(k.next)
}

// wanted tells whether there is something to report or somebody to tell.
func (k *budget) wanted(now time.Time) bool {
	return k.unsure != nil || k.spent.Load() > k.reported || now.Sub(time.UnixMilli(k.used.Load())) < lineInUse
}

// question is the next report. One whose outcome nobody knows is repeated first, as it was.
func (k *budget) question(now time.Time) *messages.AccountSpend {
	k.next = now.Add(reportEvery)
	if k.unsure == nil {
		k.serial++
		k.upTo = k.spent.Load()
		k.unsure = &messages.AccountSpend{
			Node: k.opts.Node, Serial: k.serial, Tokens: k.upTo - k.reported, Day: k.view.Load().day,
		}
	}
	return k.unsure
}

// ask asks the account's actor.
func (k *budget) ask(ctx context.Context, ask *messages.AccountSpend, within time.Duration) spendAnswered {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	reply, err := k.opts.Ask(ctx, k.name, proto.CloneOf(ask))
	if err != nil {
		return spendAnswered{err: err}
	}
	r, ok := reply.(*messages.AccountBudget)
	if !ok {
		return spendAnswered{err: fmt.Errorf("the account's actor answered with %T; do all nodes run the same version?", reply)}
	}
	return spendAnswered{reply: r}
}

// take takes the outcome of the question under way.
func (k *budget) take(a spendAnswered, now time.Time) {
	k.asking = false
	asked, today := k.unsure.GetDay(), k.view.Load()
	if a.err != nil {
		k.metrics.reports.WithLabelValues(k.account, "error").Inc()
		if k.failures == 0 {
			k.log.Warn("the account's actor does not answer; what models cost is kept here and reported later", "error", a.err)
		}
		wait := min(reportBackoff<<min(k.failures, 5), reportMost)
		k.failures++
		k.next = now.Add(wait/2 + spread(wait/2, k.opts.Random()))
		if asked != today.day { // the day turned meanwhile
			k.unsure = nil
		}
		return
	}
	k.metrics.reports.WithLabelValues(k.account, "ok").Inc()
	k.failures, k.unsure = 0, nil
	if asked != today.day {
		return
	}
	k.reported = k.upTo
	v := budgetView{day: today.day, included: k.upTo}
	if r := a.reply; r.GetDay() == today.day {
		v.left, v.total = r.GetLeft(), r.GetSpent()
		if v.left < 0 { // the owner's configuration has no budget, this node's has: until all nodes have the same one
			v.left = max(k.limit-v.total, 0)
		}
	} else { // the clocks differ around midnight: the node's own count stands in for a moment
		more := k.upTo - today.included
		v.left, v.total = max(today.left-more, 0), today.total+more
	}
	k.view.Store(&v)
}

// last reports what is left to report, when the node stops.
func (k *budget) last(ctx context.Context) {
	if k.unsure == nil && k.spent.Load() == k.reported {
		return
	}
	now := k.opts.Now()
	if a := k.ask(context.WithoutCancel(ctx), k.question(now), reportLast); a.err != nil {
		k.log.Warn("the last model tokens of this node were not reported, so the account's budget of today does not count them",
			"tokens", k.spent.Load()-k.reported, "error", a.err)
	}
}

// report brings the gauges up to date.
func (k *budget) report(now time.Time) {
	left, total := k.estimate(now)
	for what, n := range map[string]int64{"left": left, "spent": total, "limit": k.limit} {
		k.metrics.tokens.WithLabelValues(k.account, what).Set(float64(n))
	}
}

// sleep is how long the loop may sleep, unless it is woken: until the next report, and until the day turns.
func (k *budget) sleep(now time.Time) time.Duration {
	next := nextWeChatDay(now)
	if !k.asking && k.wanted(now) {
		next = earliest(next, latest(k.next, now))
	}
	return next.Sub(now)
}
