package conversation

import (
	"fmt"
	"testing"
	"time"

	"hongyan/messages"
)

// Rule 10: the ring holds 1,024 keys besides those of unsettled messages: a flood that pushes a committed message's key out while its
// answer is on its way, kept or to be buried does not make it a lost one.
func TestUnsettledKeysAreKnown(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	arrival := func(i int) Arrival {
		return Arrival{Key: keyOf(fmt.Sprint("m", i)), At: messages.Position{Generation: 1, Sequence: uint64(i)}, LogTime: noon}
	}
	in := &messages.Inbound{Kind: messages.Kind_KIND_TEXT, Body: &messages.Inbound_Text{Text: &messages.Text{Content: "hi"}}}
	answered, _, err := State{}.Turn(in, arrival(1), Said{Answers: []*messages.Answer{textAnswer("hello")}}, limits, noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		state State
		want  messages.Outcome
	}{
		"unsettled": {answered, messages.Outcome_OUTCOME_ANSWERED},
		"kept":      {answered.Keep(arrival(1).Key, false, limits, noon), messages.Outcome_OUTCOME_ANSWERED},
		"dead":      {State{}.Bury(arrival(1), true, "panic", "", limits, noon), messages.Outcome_OUTCOME_DEAD},
	} {
		st := c.state
		for i := range MaxKeys + 10 {
			st = st.Drop([]Arrival{arrival(2 + i)}, limits, noon)
		}
		if _, ok := st.Keys.Find(arrival(1).Key); ok {
			t.Fatal("the key is still in the ring: the test shows nothing")
		}
		if class, outcome := st.Classify(arrival(1), limits, noon.Add(time.Second)); class != Known || outcome != c.want {
			t.Errorf("%s: class %d, outcome %s", name, class, OutcomeWord(outcome))
		}
	}
}
