package e2e

import (
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// TestOutage leaves the engine dead for longer than WeChat delivers again. Turns are so short that many are committed, and their
// answers not offered yet, when it dies. What was accepted is answered all the same, at the latest with the user's next message,
// or is a dead letter because nobody can tell whether the answer came through: never silently lost.
func TestOutage(t *testing.T) {
	realProcess(t)
	for name, down := range map[string]time.Duration{
		"one delivery missed":   5500 * time.Millisecond,
		"all deliveries missed": 12 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, settings{
				durability: "disk", rules: questionRules(2 * time.Millisecond),
				account: replyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
			})
			p := n.platform()
			l := newLoad(t, p, killUsers, 3)
			n.startReady()
			l.start()
			for range max(*kills/10, 1) {
				began := len(p.Witness())
				eventually(t, startLimit, "some messages are answered", func() bool { return len(p.Witness()) > began+400 })
				n.kill()
				pause(t, down)
				n.startReady()
				awaitEnds(t, p, time.Now())
			}
			s := story{users: l.settleDown(n)}
			n.stop()
			s.journal, s.witness, s.down = readJournal(t, n), p.Witness(), n.down
			v := check(s)
			t.Logf("%v; %v", v, v.unknown)
			for _, violation := range v.violations {
				t.Error(violation)
			}
			if missed := down > 2*simulator.DefaultCutoff; missed != (v.excused+v.unaccepted > 0) {
				t.Errorf("%d messages met a dead engine at their last delivery after %v of it", v.excused+v.unaccepted, down)
			}
		})
	}
}
