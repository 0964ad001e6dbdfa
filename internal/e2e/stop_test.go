package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
)

// TestStopUnderLoad: SIGTERM under load ends the node in order and in time. Nothing is lost, and the next run takes over from
// checkpoints that no crash stands in.
func TestStopUnderLoad(t *testing.T) {
	realProcess(t)
	n := newNode(t, settings{
		durability: "disk", level: "debug", rules: checker.Rules(killTurn),
		account: checker.ReplyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
	})
	p := n.platform()
	l := newLoad(t, p, killUsers, killWindow)
	n.startReady()
	l.start()
	for range 2 {
		eventually(t, time.Minute, "a backlog", func() bool { return n.metrics()["wechat_message_queue_length"] >= atTheKill })
		took := n.stop()
		t.Logf("stopped in %v", took)
		before := len(n.said())
		n.startReady()
		takenOver(t, n, before, 0)
		awaitEnds(t, p, time.Now())
	}
	// What a crash looks like in the same place, so that the above can fail.
	n.kill()
	before := len(n.said())
	n.startReady()
	takenOver(t, n, before, 1)

	s := checker.Story{Users: l.settleDown(n)}
	n.stop()
	s.Journal, s.Witness, s.Down = readJournal(t, n), p.Witness(), n.down
	v := checker.Check(s)
	t.Logf("%v", v)
	report(t, v)
}

// takenOver waits until every partition has told of its takeover, behind the first so many bytes that the node said, and holds
// the crashes that each counted against crashes.
func takenOver(t *testing.T, n *node, behind, crashes int) {
	t.Helper()
	eventually(t, 30*time.Second, "every partition tells of its takeover", func() bool {
		return len(takeovers(n.said()[behind:])) == partitions
	})
	for partition, counted := range takeovers(n.said()[behind:]) {
		if counted != crashes {
			t.Errorf("partition %d was taken over with %d crashes counted, want %d", partition, counted, crashes)
		}
	}
}

// takeovers are the crashes that each partition's takeover counted, as the node said; -1 where a line does not tell.
func takeovers(said string) map[int]int {
	seen := make(map[int]int)
	for line := range strings.Lines(said) {
		var l struct {
			Message   string `json:"msg"`
			Partition int    `json:"partition"`
			Crashes   *int   `json:"crashes"`
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Message != "partition taken over" {
			continue
		}
		seen[l.Partition] = -1
		if l.Crashes != nil {
			seen[l.Partition] = *l.Crashes
		}
	}
	return seen
}
