package actors

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state/memory"
)

// inQuota runs a test in a world whose account may send again after a while; "many" has the answers one, two and three.
func inQuota(t *testing.T, after time.Duration, f func(t *testing.T, w *world)) {
	t.Helper()
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two", "three")
		w.line.until = time.Now().Add(after)
		w.start()
		f(t, w)
	})
}

// rowsFail makes the writes of the due index go wrong, and nothing else.
func (w *world) rowsFail(fault func() memory.Fault) {
	w.breakStore(func(c memory.Call) memory.Fault {
		if c.Op == memory.Commit && c.Key.User.Reserved() {
			return fault()
		}
		return memory.None
	})
}

// Rule 18: whoever is settled by a later message waits for the row of the earlier one too.
func TestLaterSettlementWaitsForTheRow(t *testing.T) {
	inQuota(t, 10*time.Minute, func(t *testing.T, w *world) {
		w.rowsFail(func() memory.Fault { return memory.Unreached })
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(2 * time.Second)
		gone := w.message("u1", "2", "")
		gone.Kind = messages.Kind_KIND_UNSUBSCRIBE // it leaves what is kept as it is
		w.deliver(gone)
		time.Sleep(3 * time.Second)
		if c := w.checkpoint(); c.Floor != 0 || len(c.Above) != 0 {
			t.Errorf("floor %d and %d bytes above it, and no row is in the store", c.Floor, len(c.Above))
		}
		w.rowsFail(func() memory.Fault { return memory.None })
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 2 {
			t.Errorf("floor %d, want both entries settled", c.Floor)
		}
	})
}

// Rule 18: a row that came while others of its record were being written is not in the store with them.
func TestRowThatCameMeanwhile(t *testing.T) {
	inQuota(t, 10*time.Minute, func(t *testing.T, w *world) {
		first := messages.User{Account: account, OpenID: "u1"}
		second := first
		for n := 2; second == first || shardOf(second) != shardOf(first); n++ {
			second.OpenID = fmt.Sprint("u", n)
		}
		w.rowsFail(func() memory.Fault {
			time.Sleep(2 * time.Second)
			return memory.None
		})
		w.deliver(w.message(first.OpenID, "1", "many"))
		time.Sleep(time.Second)
		w.deliver(w.message(second.OpenID, "2", "many"))
		time.Sleep(1900 * time.Millisecond) // the first row is in the store, the second one on its way
		if c := w.checkpoint(); c.Floor > 1 || len(c.Above) != 0 {
			t.Errorf("floor %d and %d bytes above it: the second entry is settled and its row is not in the store", c.Floor, len(c.Above))
		}
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 2 {
			t.Errorf("floor %d, want both entries settled", c.Floor)
		}
	})
}

// Rules 8 and 18: a write of rows whose outcome nobody knows, this owner's or a former one's, keeps no entry unsettled for ever.
func TestRowsOfUnknownOutcome(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  memory.Fault
		former bool
	}{
		"lost answer":             {memory.LostAnswer, false},
		"late":                    {memory.Late, false},
		"late, of a former owner": {memory.Late, true},
	} {
		t.Run(name, func(t *testing.T) {
			inQuota(t, 10*time.Minute, func(t *testing.T, w *world) {
				var tries atomic.Int32
				w.rowsFail(func() memory.Fault {
					if tries.Add(1) > 1 {
						return memory.Unreached
					}
					return tt.fault
				})
				w.deliver(w.message("u1", "1", "many"))
				time.Sleep(2 * time.Second)
				if tt.former {
					w.kill()
					w.start()
				}
				if n := w.store.Land(); (n == 1) != (tt.fault == memory.Late) {
					t.Fatalf("%d writes landed late", n)
				}
				w.rowsFail(func() memory.Fault { return memory.None })
				time.Sleep(5 * time.Second)
				if c := w.checkpoint(); c.Floor != 1 || c.Due == 0 {
					t.Errorf("floor %d, shards %b", c.Floor, c.Due)
				}
				time.Sleep(11 * time.Minute)
				w.line.want(t, "one", "two", "three")
			})
		})
	}
}

// Rule 18: every owner knows which records of rows there are, also one that never wrote any.
func TestDueOverTwoTakeovers(t *testing.T) {
	inQuota(t, 10*time.Minute, func(t *testing.T, w *world) {
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(time.Second)
		w.kill()
		w.start()
		w.deliver(w.message("u2", "2", "b")) // something to write a checkpoint for
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 2 {
			t.Fatalf("floor %d, want both entries settled", c.Floor)
		}
		w.kill()
		w.start()
		time.Sleep(11 * time.Minute)
		w.line.want(t, "one", "two", "three")
	})
}

// Rules 4 and 18: rows are the store's, so a log that was replaced takes none of them with it.
func TestDueOverAReplacedLog(t *testing.T) {
	inQuota(t, 10*time.Minute, func(t *testing.T, w *world) {
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(time.Second)
		w.log.LoseTail(1)
		<-w.gone
		w.system.Shutdown()
		w.start()
		time.Sleep(11 * time.Minute)
		if c := w.checkpoint(); c.Generation != 2 {
			t.Errorf("generation %d, want 2", c.Generation)
		}
		w.line.want(t, "one", "two", "three")
	})
}

// Rule 18: a wake-up that did not get into the log is written again.
func TestWokenAgain(t *testing.T) {
	inQuota(t, 2*time.Minute, func(t *testing.T, w *world) {
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(time.Minute)
		var full atomic.Bool
		full.Store(true)
		var refused atomic.Int32
		w.log.Fail(func(op string) error {
			if op == "accept" && full.Load() {
				refused.Add(1)
				return errors.New("no answer")
			}
			return nil
		})
		time.Sleep(90 * time.Second)
		if refused.Load() == 0 {
			t.Fatal("nobody tried to wake the user")
		}
		full.Store(false)
		w.line.want(t)
		time.Sleep(wakeAgain)
		w.line.want(t, "one", "two", "three")
	})
}

// Rules 16 and 18: an owner that dies over a wake-up leaves it unsettled, and the next one goes on with what it had begun.
func TestWakeOverACrash(t *testing.T) {
	inQuota(t, 2*time.Minute, func(t *testing.T, w *world) {
		w.line.slow = 3 * time.Second
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(2*time.Minute + 5500*time.Millisecond) // the second part is on its way
		w.kill()
		time.Sleep(5 * time.Second)
		w.line.want(t, "one", "two")
		w.start()
		time.Sleep(30 * time.Second)
		w.line.want(t, "one", "two", "three")
		w.wantDead(ReasonUnknown)
		if st, _ := w.state("u1"); len(st.Pushes)+len(st.Kept) != 0 {
			t.Errorf("left over: %+v %+v", st.Pushes, st.Kept)
		}
	})
}
