package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

const (
	killUsers  = 10
	killWindow = 12 // messages of one user under way
	killTurn   = 100 * time.Millisecond
	atTheKill  = 50 // unsettled entries at least

	// handful is how many answers may be accounted for as dead letters, and how many messages may have met a dead engine at their
	// last delivery; more would be a fault of their own.
	handful = 3
)

// manner is when a kill comes.
type manner int

const (
	steady       manner = iota // everything from before the last kill has come to its end
	starting                   // while the engine starts after the last kill
	redelivering               // while WeChat delivers again what the last kill cut off
	manners
)

func (m manner) String() string {
	return [...]string{"steady", "starting", "redelivering"}[m]
}

// TestKill kills the engine at random instants under load and starts it again on the same data. Every message has exactly one
// committed turn, in the order of the log, and its answer reaches the user exactly once.
func TestKill(t *testing.T) {
	realProcess(t)
	for _, durability := range []string{"os", "disk"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			killAgainAndAgain(t, durability, *kills)
		})
	}
}

func killAgainAndAgain(t *testing.T, durability string, times int) {
	chance := seeded(t)
	n := newNode(t, settings{
		durability: durability, rules: checker.Rules(killTurn),
		account: checker.ReplyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
	})
	p := n.platform()
	l := newLoad(t, p, killUsers, killWindow)
	n.startReady()
	l.start()

	last := steady
	for k := range times {
		// No message shall meet three deaths, for WeChat delivers three times: after one of the hard manners comes a steady one.
		how := steady
		if k > 0 && last == steady {
			how = manner(chance.IntN(int(manners)))
		}
		last = how
		queue := awaitInstant(t, n, p, how, chance)
		n.kill()
		unsettled := unsettledAtKill(t, n, p)
		t.Logf("kill %d of %d (%s): %d unsettled entries; wechat_message_queue_length was %v just before", k+1, times, how, unsettled, queue)
		if unsettled < atTheKill {
			t.Errorf("kill %d: %d unsettled entries, fewer than %d: the kill shows too little", k+1, unsettled, atTheKill)
		}
		n.start()
	}
	n.awaitReady()
	// The last kill's messages come to their end under load, too.
	began := time.Now()
	awaitEnds(t, p, began)

	s := checker.Story{Users: l.settleDown(n)}
	n.stop()
	s.Journal, s.Witness, s.Down = readJournal(t, n), p.Witness(), n.down
	v := checker.Check(s)
	t.Logf("%s, %d kills: %v", durability, times, v)
	report(t, v)
}

// report fails the test for what the checker found.
func report(t *testing.T, v *checker.Verdict) {
	t.Helper()
	for i, violation := range v.Violations {
		if i == 20 {
			t.Errorf("… and %d more", len(v.Violations)-i)
			break
		}
		t.Error(violation)
	}
	if len(v.Dead) > 0 {
		t.Errorf("dead letters for which there is no reason here: %v", v.Dead)
	}
	if v.Accepted == 0 {
		t.Error("nothing was accepted: this run shows nothing")
	}
	if len(v.Unknown) > handful {
		t.Errorf("%d answers are dead letters because nobody knows their delivery: %v", len(v.Unknown), v.Unknown)
	}
	if v.Late > handful {
		t.Errorf("%d messages could not be judged, because this machine was too busy for the platform itself", v.Late)
	}
	if v.Excused+v.Unaccepted > handful {
		t.Errorf("%d messages met a dead engine at their last delivery: this run shows too little", v.Excused+v.Unaccepted)
	}
}

// awaitInstant returns at a random instant of the given kind, with the queue length as the engine itself last told it; -1 where
// it is not up.
func awaitInstant(t *testing.T, n *node, p *simulator.Platform, how manner, chance *rand.Rand) float64 {
	t.Helper()
	killed := time.Now() // the last one
	switch how {
	case starting:
		pause(t, time.Duration(chance.Int64N(int64(1500*time.Millisecond))))
		return -1
	case redelivering:
		n.awaitReady()
		eventually(t, time.Minute, "redeliveries begin", func() bool {
			return slices.ContainsFunc(p.Witness(), func(r simulator.Record) bool {
				return r.Kind == simulator.RecordSent && r.Number == 2 && r.At.After(killed)
			})
		})
		pause(t, time.Duration(chance.Int64N(int64(time.Second))))
	default:
		n.awaitReady()
		awaitEnds(t, p, killed)
	}
	var queue float64
	eventually(t, time.Minute, "a backlog", func() bool {
		queue = n.metrics()["wechat_message_queue_length"]
		return queue >= atTheKill*5/4
	})
	pause(t, time.Duration(chance.Int64N(int64(500*time.Millisecond))))
	return n.metrics()["wechat_message_queue_length"]
}

// awaitEnds returns when every message that was pushed before an instant has come to its end on the platform.
func awaitEnds(t *testing.T, p *simulator.Platform, before time.Time) {
	t.Helper()
	eventually(t, time.Minute, "what was under way at the last kill comes to its end", func() bool {
		records := p.Witness()
		open := under(records)
		return !slices.ContainsFunc(records, func(r simulator.Record) bool {
			_, isOpen := open[r.OpenID+"/"+r.MsgID]
			return isOpen && r.Kind == simulator.RecordPush && r.At.Before(before)
		})
	})
}

// unsettledAtKill counts from facts: the entries that stand in the dead engine's log, of messages for which the platform has no
// answer yet and can still deliver. Not one of them can have been settled.
func unsettledAtKill(t *testing.T, n *node, p *simulator.Platform) int {
	t.Helper()
	entries := readJournal(t, n).Entries
	open := under(p.Witness()) // after the read: what was written before the kill has arrived
	count := 0
	for _, e := range entries {
		if delivery, ok := open[e.OpenID+"/"+e.MsgID]; ok && delivery < simulator.DefaultDeliveries {
			count++
		}
	}
	return count
}
