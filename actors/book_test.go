package actors

import (
	"sync/atomic"
	"testing"
	"time"

	"hongyan/state/memory"
)

// A store that does not answer ends the activation, and so leaves it open what became of a commit. What became of a call is known all the
// same, as long as the tenure lasts: it is neither made twice nor given up.
func TestCallsOutliveActivations(t *testing.T) {
	for name, fault := range map[string]memory.Fault{
		"lost before": memory.Unreached, "lost behind": memory.LostAnswer, "late": memory.Late,
	} {
		for commit := int32(1); commit <= 5; commit++ { // the turn with its push, two marks and results, the end
			t.Run(name, func(t *testing.T) {
				inPushWorld(t, func(t *testing.T, w *world) {
					w.answers("many", "one", "two", "three")
					w.line.slow = 200 * time.Millisecond
					w.start()
					var commits atomic.Int32
					w.breakStore(func(c memory.Call) memory.Fault {
						if c.Op != memory.Commit || c.Key.IsCheckpoint() || commits.Add(1) != commit {
							return memory.None
						}
						return fault
					})
					w.deliver(w.message("u1", "1", "many"))
					time.Sleep(time.Minute)
					w.line.want(t, "one", "two", "three")
					w.wantDead()
					if st, _ := w.state("u1"); len(st.Pushes) != 0 || len(st.Kept) != 0 {
						t.Errorf("commit %d: left over: %+v %+v", commit, st.Pushes, st.Kept)
					}
				})
			})
		}
	}
}

// An activation that ends while its call is under way leaves it to the next one.
func TestCallUnderWayIsTakenOver(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.slow = 9 * time.Second
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(time.Second)
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && !c.Key.IsCheckpoint() {
				return memory.Unreached
			}
			return memory.None
		})
		w.deliver(w.message("u1", "2", "b")) // its mark cannot be written
		time.Sleep(5 * time.Second)
		w.breakStore(func(memory.Call) memory.Fault { return memory.None })
		time.Sleep(time.Minute)
		w.line.want(t, "one", "two", "re: b")
		w.wantDead()
	})
}
