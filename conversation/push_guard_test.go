package conversation

import (
	"fmt"
	"testing"
	"time"

	"hongyan/messages"
)

// Rule 10: a message whose answer is being pushed is known for as long as that takes, whatever a flood pushes out of the ring of keys.
func TestKeysOfPushesAreKnown(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.Push = true
	arrival := func(i int) Arrival {
		return Arrival{Key: keyOf(fmt.Sprint("m", i)), At: messages.Position{Generation: 1, Sequence: uint64(i)}, LogTime: noon}
	}
	in := &messages.Inbound{Kind: messages.Kind_KIND_TEXT, Body: &messages.Inbound_Text{Text: &messages.Text{Content: "hi"}}}
	st, step, err := State{}.Turn(in, arrival(1), Said{Answers: []*messages.Answer{textAnswer("one"), textAnswer("two")}}, limits, noon)
	if err != nil || !step.Push {
		t.Fatalf("pushed %v, error %v", step.Push, err)
	}
	for i := range MaxKeys + 10 {
		st = st.Drop([]Arrival{arrival(2 + i)}, limits, noon)
	}
	if _, ok := st.Keys.Find(arrival(1).Key); ok {
		t.Fatal("the key is still in the ring: the test shows nothing")
	}
	if class, outcome := st.Classify(arrival(1), limits, noon.Add(time.Second)); class != Known || outcome != messages.Outcome_OUTCOME_ANSWERED {
		t.Errorf("class %d, outcome %s", class, OutcomeWord(outcome))
	}
}
