package ingress

import (
	"context"
	"testing"
	"time"

	"hongyan/messages"
)

// Rule 12: once the serving goroutine waits no longer, no offer finds the slot open, whatever that goroutine does next.
func TestRefusedSlotIsNeverClaimed(t *testing.T) {
	t.Parallel()
	table := newSlots()
	key := messages.Key{1}
	s := table.begin(key, time.Now())
	if _, claimed := table.close(s); claimed {
		t.Fatal("claimed by nobody")
	}
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	o := &messages.Offer{Slot: s.id, Key: key[:], Answer: textAnswer("hello")}
	if v := table.offer(hasty, o).GetVerdict(); v != refused {
		t.Errorf("an offer behind the end of the wait: %v, want refused", v)
	}
	select {
	case <-s.claim:
		t.Error("the offer claimed the slot")
	default:
	}
	table.rule(s, ruling{verdict: written, answer: digest(o.GetAnswer())})
	if v := table.offer(hasty, o).GetVerdict(); v != refused {
		t.Errorf("a second ruling: %v, want refused as ruled first", v)
	}
}
