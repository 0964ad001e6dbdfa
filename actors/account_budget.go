package actors

import (
	"cmp"
	"math"
	"slices"
	"time"

	"hongyan/bots"
	"hongyan/messages"
)

// The account's budget of model tokens, as its actor keeps it: what all nodes spent today stands in the record, next to which report of
// which node was counted last, so that a report which is repeated, even to the next owner, counts once.
//
// The nodes report about once a second each. They are answered at once, and the record follows at most once a second: when the owner
// dies, up to a second of what was reported is not counted.
const (
	spendEvery   = time.Second
	spenderGone  = time.Hour // a node that was silent for so long repeats nothing any more
	mostSpenders = 256       // nodes whose reports are told from repetitions
)

// spender is a node of which something was counted.
type spender struct {
	Node   string `cbor:"1,keyasint"`
	Serial uint64 `cbor:"2,keyasint"` // of its last report that counted
	AtMS   int64  `cbor:"3,keyasint,omitempty"`
}

// spending is what was spent, ahead of the record by up to spendEvery.
type spending struct {
	today    tally
	tomorrow int64     // by nodes whose clocks are ahead; a successor does not know of it
	spenders []spender // by node
	ahead    bool      // of the record
	noted    time.Time // when the record last followed
	waking   bool      // an actWake is under way
}

// spendDue wakes the state machine: the record may follow.
type spendDue struct{}

// actWake wants a spendDue after a while.
type actWake struct{ after time.Duration }

func (actWake) isAccountAction() {}

// resumeSpending takes up what the record has.
func resumeSpending(rec accountRecord) spending {
	return spending{today: rec.Spent, spenders: slices.Clone(rec.Spenders)}
}

// spend counts a node's report, and answers what is left.
func (s *accountState) spend(e *messages.AccountSpend, now time.Time) *messages.AccountBudget {
	p := &s.spending
	at, known := slices.BinarySearchFunc(p.spenders, e.GetNode(), func(n spender, node string) int { return cmp.Compare(n.Node, node) })
	again := known && e.GetSerial() <= p.spenders[at].Serial
	day, count := p.today.Day, &p.today.Count
	if e.GetDay() == day+1 { // it has begun at the node, whose clock is ahead
		day, count = day+1, &p.tomorrow
	}
	if tokens := e.GetTokens(); tokens > 0 && !again && e.GetDay() >= day { // a day that is over has no budget
		*count += min(tokens, math.MaxInt64-*count)
		if !known {
			p.spenders = slices.Insert(p.spenders, at, spender{Node: e.GetNode()})
		}
		p.spenders[at].Serial, p.spenders[at].AtMS = e.GetSerial(), now.UnixMilli()
		p.ahead = true
	}
	r := &messages.AccountBudget{
		Left: bots.Unbounded, Spent: *count, TurnsInMs: nextWeChatDay(now).Sub(now).Milliseconds(), Day: day,
	}
	if limit := s.conf.TokensPerDay; limit > 0 {
		r.Left = max(limit-*count, 0)
	}
	return r
}

// turnSpending begins a new day where one has begun. The record hears of it with the day's next tokens.
func (s *accountState) turnSpending(day int64) {
	p := &s.spending
	switch p.today.Day {
	case day, day + 1: // a day that has begun goes on, though a new owner's clock may be behind
		return
	case day - 1:
		p.today = tally{Day: day, Count: p.tomorrow}
	default:
		p.today = tally{Day: day}
	}
	p.tomorrow = 0
}

// dueSpending lets the record follow, or asks to be woken when it may.
func (s *accountState) dueSpending(now time.Time) []accountAction {
	p := &s.spending
	if !p.ahead || p.waking {
		return nil
	}
	if wait := p.noted.Add(spendEvery).Sub(now); wait > 0 && wait <= spendEvery {
		p.waking = true
		return []accountAction{actWake{after: wait}}
	}
	s.noteSpending(now)
	return nil
}

// noteSpending brings the record up to date; it changes where something was spent alone.
func (s *accountState) noteSpending(now time.Time) {
	p := &s.spending
	if !p.ahead {
		return
	}
	p.spenders = slices.DeleteFunc(p.spenders, func(n spender) bool { return now.UnixMilli()-n.AtMS > spenderGone.Milliseconds() })
	for len(p.spenders) > mostSpenders {
		oldest := slices.MinFunc(p.spenders, func(a, b spender) int { return cmp.Compare(a.AtMS, b.AtMS) })
		p.spenders = slices.DeleteFunc(p.spenders, func(n spender) bool { return n == oldest })
	}
	s.Spent, s.Spenders = p.today, slices.Clone(p.spenders)
	p.ahead, p.noted = false, now
}
