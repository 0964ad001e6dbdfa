package actors

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"hongyan/messages"
)

// rates are the accounts' rates on one node. Users are spread evenly over the partitions, so a node's part of a rate that holds for the
// cluster is its part of the partitions: no node asks another one, and what one gives up the next one has.
type rates struct {
	accounts   map[string]*accountRate
	partitions int
	owned      *atomic.Int64
}

type accountRate struct {
	perSecond float64 // over the cluster
	limiter   *rate.Limiter
}

func newRates(accounts map[string]Account, partitions int) rates {
	r := rates{accounts: make(map[string]*accountRate), partitions: partitions, owned: new(atomic.Int64)}
	for id, a := range accounts {
		if a.Rate > 0 {
			r.accounts[id] = &accountRate{perSecond: a.Rate, limiter: rate.NewLimiter(0, 1)}
		}
	}
	return r
}

// own notes that the node owns so many more partitions.
func (r rates) own(more int64, now time.Time) {
	r.owned.Add(more)
	share := r.share()
	for _, a := range r.accounts {
		a.limiter.SetLimitAt(now, rate.Limit(a.perSecond*share))
		a.limiter.SetBurstAt(now, max(1, int(a.perSecond*share))) // a second's worth
	}
}

// share is the node's part of what the cluster may do, 0 to 1.
func (r rates) share() float64 {
	if r.partitions <= 0 {
		return 1
	}
	return min(float64(r.owned.Load())/float64(r.partitions), 1)
}

// admit counts a message against the account's rate, and tells whether there was room for it.
func (r rates) admit(account string, now time.Time) bool {
	a := r.accounts[account]
	return a == nil || a.limiter.AllowN(now, 1)
}

// Share is this node's part of what the whole cluster may do in a second, 0 to 1: its part of the partitions.
func (e *Engine) Share() float64 { return e.rates.share() }

// By whom a message was limited: the label "by".
const (
	limitedByUser    = "user"
	limitedByAccount = "account"
)

// overRate tells whether a message that is new comes over a rate, and over whose; empty: over none. Only what a user does is counted:
// messages, and taps on the menu. A re-driven letter was counted when it came.
func (u *user) overRate(it *item) string {
	if it.source != messages.Source_SOURCE_CALLBACK || it.dead != "" || !limitable(it.in.GetKind()) {
		return ""
	}
	next, ok := u.st.Admit(it.arrival, u.account.Limits)
	u.st = next // no commit of its own: the next one writes it down
	switch {
	case !ok:
		return limitedByUser
	case !u.rates.admit(u.name.Account, it.began):
		return limitedByAccount
	default:
		return ""
	}
}

func limitable(kind messages.Kind) bool {
	return kind != messages.Kind_KIND_UNKNOWN && !kind.IsEvent() || kind == messages.Kind_KIND_CLICK
}
