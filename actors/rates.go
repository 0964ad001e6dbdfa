package actors

import (
	"sync/atomic"
	"time"

	"hongyan/messages"
)

// rates are the accounts' rates on one node. Users are spread evenly over the partitions, so a node's part of what holds for the cluster is
// its part of them: no node asks another one, and what one gives up its successor has.
type rates map[string]*accountRate

// accountRate counts an account's messages by when they came, on the log's clock: so many in each window. A bucket of tokens would need
// them in their order, and users' actors come to theirs in any, most of all over entries that waited while nobody read them.
type accountRate struct {
	perWindow float64                   // over the whole cluster
	windows   [rateWindows]atomic.Int64 // by number modulo rateWindows: the window's number and its count
}

// A node takes several seconds' worth of its part at once, for users do not write as evenly as that, and at least so many messages.
const (
	rateWindow  = 10 * time.Second
	leastBurst  = 5
	rateWindows = 64 // what is older than all of them is not counted any more
	countBits   = 24
)

func newRates(accounts map[string]Account) rates {
	r := make(rates)
	for id, a := range accounts {
		if a.Rate > 0 {
			r[id] = &accountRate{perWindow: a.Rate * rateWindow.Seconds()}
		}
	}
	return r
}

// admit counts a message that came at that time against the account's rate, of which share is this node's, and tells whether there was
// room for it.
func (r rates) admit(account string, share float64, at time.Time) bool {
	a := r[account]
	if a == nil {
		return true
	}
	most := min(max(int64(a.perWindow*share), leastBurst), 1<<countBits-1)
	window := at.Unix() / int64(rateWindow.Seconds())
	cell := &a.windows[window%rateWindows]
	for {
		before := cell.Load()
		next := before + 1
		switch counted := before >> countBits; {
		case counted > window:
			return true
		case counted < window:
			next = window<<countBits | 1
		case before&(1<<countBits-1) >= most:
			return false
		}
		if cell.CompareAndSwap(before, next) {
			return true
		}
	}
}

// Share is this node's part of what the whole cluster may do in a second, 0 to 1: its part of the partitions.
func (e *Engine) Share() float64 {
	if e.Partitions <= 0 {
		return 1
	}
	return min(float64(e.owned.Load())/float64(e.Partitions), 1)
}

// By whom a message was limited: the label "by".
const (
	limitedByUser    = "user"
	limitedByAccount = "account"
)

// overRate tells whether a message that is new comes over a rate, and over whose; empty: over none. Only what a user does is counted:
// messages, and taps on the menu. A re-driven letter was counted when it came, and so was an entry that a former activation had in hand
// (again); the user's own bucket knows by itself what it counted.
func (u *user) overRate(it *item, again bool) string {
	if it.source != messages.Source_SOURCE_CALLBACK || it.dead != "" || !limitable(it.in.GetKind()) {
		return ""
	}
	next, ok := u.st.Admit(it.arrival, u.account.Limits)
	u.st = next // no commit of its own: the next one writes it down
	switch {
	case !ok:
		return limitedByUser
	case !again && !u.rates.admit(u.name.Account, u.Share(), it.arrival.LogTime):
		return limitedByAccount
	default:
		return ""
	}
}

func limitable(kind messages.Kind) bool {
	return kind != messages.Kind_KIND_UNKNOWN && !kind.IsEvent() || kind == messages.Kind_KIND_CLICK
}
