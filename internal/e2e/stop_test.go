package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestStopUnderLoad: SIGTERM under load ends the node in order and in time. Nothing is lost, and the next run takes over from
// checkpoints that no crash stands in.
func TestStopUnderLoad(t *testing.T) {
	realProcess(t)
	n := newNode(t, settings{
		durability: "disk", level: "debug", rules: questionRules(killTurn),
		account: replyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
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
		takenOver(t, n, n.said()[before:], 0)
		awaitEnds(t, p, time.Now())
	}
	// What a crash looks like in the same place, so that the above can fail.
	n.kill()
	before := len(n.said())
	n.startReady()
	takenOver(t, n, n.said()[before:], 1)

	s := story{users: l.settleDown(n)}
	n.stop()
	s.journal, s.witness, s.down = readJournal(t, n), p.Witness(), n.down
	v := check(s)
	t.Logf("%v", v)
	report(t, v)
}

// takenOver reads the lines about takeovers: every partition's, with so many crashes counted.
func takenOver(t *testing.T, n *node, said string, crashes int) {
	t.Helper()
	seen := make(map[int]bool)
	for line := range strings.Lines(said) {
		var l struct {
			Message   string `json:"msg"`
			Partition int    `json:"partition"`
			Crashes   *int   `json:"crashes"`
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Message != "partition taken over" {
			continue
		}
		seen[l.Partition] = true
		if l.Crashes == nil || *l.Crashes != crashes {
			t.Errorf("partition %d was not taken over with %d crashes counted: %s", l.Partition, crashes, line)
		}
	}
	if len(seen) != partitions {
		t.Errorf("%d of %d partitions tell of their takeover; the node said:\n%s", len(seen), partitions, n.proc.tail())
	}
}
