package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/state/memory"
)

// repairs is the alarm's counter.
func (w *world) repairs(record string) float64 {
	return testutil.ToFloat64(w.engine.metrics.repairs.WithLabelValues(record))
}

// Rule 9: a store that lost a user's latest writes is repaired from the activation that made them, not obeyed.
func TestStoreThatLostAUserIsRepaired(t *testing.T) {
	for name, keep := range map[string]int{"its latest writes": 1, "the whole record": 0} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				image := w.store.Snapshot()
				for i := range 3 {
					if i == keep {
						image = w.store.Snapshot()
					}
					w.deliver(w.message("u1", fmt.Sprint(i), fmt.Sprint(i)))
				}
				_, before := w.state("u1")
				w.store.Restore(image)
				next := w.deliver(w.message("u1", "3", "3"))
				time.Sleep(2 * time.Second)
				if next.text() != "re: 3" {
					t.Errorf("the next message got %q", next.text())
				}
				w.wantSaid("u1", "0", "1", "2", "3")
				_, rec := w.state("u1")
				if rec.Version.Number != before.Version.Number+1 || rec.Version.Incarnation != before.Version.Incarnation {
					t.Errorf("the record is at %+v, was at %+v", rec.Version, before.Version)
				}
				if n := w.repairs("user"); n != 1 {
					t.Errorf("%v repairs counted", n)
				}
			})
		})
	}
}

// Rule 9: a lost checkpoint is put back, and the users in memory compare their own records at once: nobody has to write first.
func TestStoreThatLostTheCheckpointIsRepaired(t *testing.T) {
	for name, whole := range map[string]bool{"its latest writes": false, "the whole record": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				image := w.store.Snapshot()
				w.start()
				if !whole {
					image = w.store.Snapshot()
				}
				w.deliver(w.message("u1", "1", "a"))
				w.deliver(w.message("u2", "2", "b"))
				time.Sleep(time.Second)
				w.store.Restore(image)
				w.deliver(w.message("u3", "3", "c"))
				time.Sleep(time.Second)
				w.wantSaid("u1", "a")
				w.wantSaid("u2", "b")
				if c := w.checkpoint(); c.Floor != 3 {
					t.Errorf("floor %d", c.Floor)
				}
				if w.repairs("checkpoint") != 1 || w.repairs("user") != 2 {
					t.Errorf("repairs: %v of the checkpoint, %v of users", w.repairs("checkpoint"), w.repairs("user"))
				}
				w.kill()
				w.start() // the next owner finds everything
				w.deliver(w.message("u1", "4", "d"))
				w.wantSaid("u1", "a", "d")
			})
		})
	}
}

// Rule 9 goes with rule 8: where a later owner has written, the record is obeyed and this one steps down.
func TestLaterOwnerIsNotRepairedAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		_, first := w.state("u1")
		image := w.store.Snapshot()
		w.deliver(w.message("u1", "2", "b"))
		w.store.Restore(image)
		later := commitAs(t, w, "u1", first, w.epoch+1)
		w.deliver(w.message("u1", "3", "c"))
		<-w.gone
		if _, now := w.state("u1"); now.Version != later.Version {
			t.Errorf("the record is at %+v, want the later owner's", now.Version)
		}
		w.system.Shutdown()
		w.pid = nil
	})
}

// A repair that is sent and not acknowledged is sent again, and is in the store once.
func TestRepairWithoutAnswer(t *testing.T) {
	for name, fault := range map[string]memory.Fault{"request lost": memory.LostRequest, "answer lost": memory.LostAnswer} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				w.deliver(w.message("u1", "1", "a"))
				image := w.store.Snapshot()
				w.deliver(w.message("u1", "2", "b"))
				w.store.Restore(image)
				commits := 0
				w.breakStore(func(c memory.Call) memory.Fault {
					if c.Op == memory.Commit && !c.Key.IsCheckpoint() {
						if commits++; commits == 2 {
							return fault
						}
					}
					return memory.None
				})
				s := w.deliver(w.message("u1", "3", "c"))
				w.wantSaid("u1", "a", "b", "c")
				if s.text() != "re: c" {
					t.Errorf("answer %q", s.text())
				}
			})
		})
	}
}
