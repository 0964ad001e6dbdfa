package actors

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state/memory"
)

const tooFast = "too many messages at once, please wait"

// flood starts a world that tells flooding users, with one turn that holds the queue up for an hour.
func flood(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Flooded: tooFast}}
		w.bot.slow("stubborn", time.Hour)
		w.start()
		w.deliver(w.message("u1", "0", "stubborn"))
		f(t, w)
	})
}

// pour writes n messages of the user at once, each with an exchange that WeChat has hung up already where closed says so.
func (w *world) pour(user, name string, n int, closed func(i int) bool) ([]*messages.Inbound, []*slot) {
	w.t.Helper()
	ins, slots := make([]*messages.Inbound, n), make([]*slot, n)
	for i := range n {
		ins[i] = w.message(user, fmt.Sprint(name, i), fmt.Sprint(name, i))
		slots[i] = w.door.open(ins[i])
		if closed(i) {
			w.door.close(slots[i])
		}
		w.accept(ins[i], slots[i])
	}
	synctest.Wait()
	return ins, slots
}

func never(int) bool { return false }

// told lists which slots were ended with the notice, and reports any that is open or has another answer.
func told(t *testing.T, slots []*slot) []int {
	t.Helper()
	var out []int
	for i, s := range slots {
		switch {
		case s.text() == tooFast:
			out = append(out, i)
		case !s.isDone() || s.got() != nil:
			t.Errorf("slot %d: done %v, answer %q", i, s.isDone(), s.text())
		}
	}
	return out
}

// Rule 6: a flooding user is told so by one message a minute, and all others beyond the queue end with success.
func TestFloodNotice(t *testing.T) {
	flood(t, func(t *testing.T, w *world) {
		ins, slots := w.pour("u1", "a", maxQueued+50, never)
		if got := told(t, slots[maxQueued-1:]); len(got) != 1 {
			t.Errorf("told at %v", got)
		}
		_, again := w.pour("u1", "b", 50, never)
		time.Sleep(59 * time.Second)
		_, still := w.pour("u1", "c", 50, never)
		if n := len(told(t, again)) + len(told(t, still)); n != 0 {
			t.Errorf("told %d times more within the minute", n)
		}
		time.Sleep(time.Second)
		_, minute := w.pour("u1", "d", 50, never)
		if got := told(t, minute); len(got) != 1 {
			t.Errorf("a minute later told at %v", got)
		}
		if n := testutil.ToFloat64(w.engine.metrics.floodNoticed.WithLabelValues(account)); n != 2 {
			t.Errorf("%v notices counted", n)
		}
		if n := testutil.ToFloat64(w.engine.metrics.floodDropped.WithLabelValues(account)); n != 201 {
			t.Errorf("%v dropped messages counted", n)
		}
		// P2: WeChat asks again about the message that was told, and about one that was not.
		for _, in := range ins[maxQueued-1 : maxQueued+1] {
			if s := w.deliver(in); !s.isDone() || s.got() != nil {
				t.Errorf("a later delivery: done %v, answer %q", s.isDone(), s.text())
			}
		}
	})
}

// Rule 6: the notice goes to an exchange that is open, and a minute in which nobody could be told is not spent.
func TestFloodNoticeFindsAnOpenSlot(t *testing.T) {
	flood(t, func(t *testing.T, w *world) {
		w.pour("u1", "a", maxQueued+20, func(int) bool { return true })
		_, slots := w.pour("u1", "b", 20, func(i int) bool { return i < 5 })
		if slots[5].text() != tooFast {
			t.Errorf("the first open exchange got %q", slots[5].text())
		}
		if got := told(t, slots[5:]); len(got) != 1 {
			t.Errorf("told at %v", got)
		}
	})
}

// P2: the notice is committed before it is given: an owner that dies in between, or behind it, does not make the next one say it
// again, and what was dropped has no turn.
func TestFloodNoticeAndTakeover(t *testing.T) {
	for name, die := range map[string]func(w *world) (heal func()){
		"behind the commit": func(w *world) func() {
			w.breakStore(func(c memory.Call) memory.Fault {
				if c.Op == memory.Commit && !c.Key.IsCheckpoint() {
					return memory.LostAnswer
				}
				return memory.None
			})
			return func() {}
		},
		"behind the notice": func(w *world) func() {
			w.breakStore(func(c memory.Call) memory.Fault {
				if c.Op == memory.Commit && c.Key.IsCheckpoint() {
					return memory.Unreached
				}
				return memory.None
			})
			return func() {}
		},
		"no verdict": func(w *world) func() {
			w.door.behave(func(d *door) { d.mute = true })
			return func() { w.door.behave(func(d *door) { d.mute = false }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			flood(t, func(t *testing.T, w *world) {
				heal := die(w)
				_, slots := w.pour("u1", "a", maxQueued+50, never)
				w.kill()
				w.breakStore(func(memory.Call) memory.Fault { return memory.None })
				heal()
				w.start()
				time.Sleep(5 * time.Second)
				notices := 0
				for _, s := range slots[maxQueued-1:] {
					if s.text() == tooFast {
						notices++
					} else if s.text() != "" {
						t.Errorf("a dropped message got %q", s.text())
					}
				}
				if notices > 1 {
					t.Errorf("told %d times", notices)
				}
				if st, _ := w.state("u1"); st.Counts.Dropped != 51 {
					t.Errorf("%d dropped", st.Counts.Dropped)
				}
				for i := maxQueued - 1; i < maxQueued+50; i++ {
					if n := w.bot.count(fmt.Sprint("a", i)); n != 0 {
						t.Errorf("the bot was asked about a dropped message")
					}
				}
			})
		})
	}
}

// Rule 10: more than 1,024 messages push a key out before its time. A replay of that message, whose place in the log is new, has no
// second turn: it ends as a dead letter, and the user's next message flows.
func TestReplayOfAForgottenKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		first := w.message("u1", "first", "first")
		w.deliver(first)
		for i := range conversation.MaxKeys + 10 {
			w.deliver(w.message("u1", fmt.Sprint(i), "x"))
			time.Sleep(100 * time.Millisecond)
		}
		again := w.deliver(first)
		if n := w.bot.count("first"); n != 1 || !again.isDone() || again.got() != nil {
			t.Errorf("the bot was asked %d times; the replay got %q", n, again.text())
		}
		letters := w.log.Letters()
		for _, l := range letters {
			if l.GetReason() != ReasonLostKey || l.GetInbound().GetMsgId() != "first" {
				t.Errorf("dead letter %v", l)
			}
		}
		if next := w.deliver(w.message("u1", "next", "next")); next.text() != "re: next" || len(letters) != 1 {
			t.Errorf("the next message got %q, %d dead letters", next.text(), len(letters))
		}
	})
}
