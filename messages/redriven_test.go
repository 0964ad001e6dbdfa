package messages_test

import (
	"testing"

	"hongyan/messages"
)

// A log that was put in place of another has the same entries at other places.
func TestSameEntry(t *testing.T) {
	t.Parallel()
	a := &messages.Redriven{Generation: 1, Sequence: 7, Entry: "x"}
	for name, tt := range map[string]struct {
		other *messages.Redriven
		same  bool
	}{
		"the same entry in a new log": {&messages.Redriven{Generation: 2, Sequence: 1, Entry: "x"}, true},
		"another entry at that place": {&messages.Redriven{Generation: 1, Sequence: 7, Entry: "y"}, false},
		"an entry that has no id":     {&messages.Redriven{Generation: 1, Sequence: 7}, false},
	} {
		if got := a.SameEntry(tt.other); got != tt.same {
			t.Errorf("%s: %v", name, got)
		}
	}
	old := &messages.Redriven{Generation: 1, Sequence: 7}
	if !old.SameEntry(&messages.Redriven{Generation: 1, Sequence: 7}) || old.SameEntry(&messages.Redriven{Generation: 1, Sequence: 8}) {
		t.Error("entries without an id are told apart by their place")
	}
}
