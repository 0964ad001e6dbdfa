package e2e

import (
	"testing"
	"time"

	"hongyan/internal/checker"
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
				durability: "disk", rules: checker.Rules(2 * time.Millisecond),
				account: checker.ReplyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
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
			s := checker.Story{Users: l.settleDown(n)}
			n.stop()
			s.Journal, s.Witness, s.Down = readJournal(t, n), p.Witness(), n.down
			v := checker.Check(s)
			t.Logf("%v; %v", v, v.Unknown)
			for _, violation := range v.Violations {
				t.Error(violation)
			}
			if missed := down > 2*simulator.DefaultCutoff; missed != (v.Excused+v.Unaccepted > 0) {
				t.Errorf("%d messages met a dead engine at their last delivery after %v of it", v.Excused+v.Unaccepted, down)
			}
		})
	}
}
