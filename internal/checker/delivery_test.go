package checker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// tale is a witness's log that is right: the user asks a, b and c. a is answered by the first delivery; b ends with success and is pushed;
// c is kept after the text that says so, and comes with d's answer.
func tale() []simulator.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out []simulator.Record
	add := func(after time.Duration, r simulator.Record) {
		at = at.Add(after)
		r.At, r.Account, r.OpenID, r.Seq = at, "push", "u", uint64(len(out)+1)
		out = append(out, r)
	}
	ask := func(id, name string) {
		add(time.Second, simulator.Record{Kind: simulator.RecordPush, MsgID: id, Content: Question(name)})
		add(time.Millisecond, simulator.Record{Kind: simulator.RecordSent, MsgID: id, Number: 1})
	}
	got := func(id string, after time.Duration, outcome simulator.Outcome, text string) {
		r := simulator.Record{Kind: simulator.RecordReceived, MsgID: id, Number: 1, Status: 200, Outcome: outcome}
		if text != "" {
			r.Answer = &simulator.Answer{Type: "text", Content: text}
		}
		add(after, r)
		add(0, simulator.Record{Kind: simulator.RecordEnd, MsgID: id, Outcome: outcome})
	}
	ask("1", "a")
	got("1", time.Second, simulator.OutcomeAnswered, "《a》")
	ask("2", "b")
	got("2", 4*time.Second, simulator.OutcomeSilent, "")
	add(3*time.Second, simulator.Record{Kind: simulator.RecordCustom, Answer: &simulator.Answer{Type: "text", Content: "《b》"}})
	ask("3", "c")
	got("3", 4*time.Second, simulator.OutcomeAnswered, ThinkingText)
	ask("4", "d")
	got("4", time.Second, simulator.OutcomeAnswered, "《c》\n\n《d》")
	return out
}

// find is the place of a record.
func find(records []simulator.Record, kind simulator.RecordKind, msgID string) int {
	return slices.IndexFunc(records, func(r simulator.Record) bool { return r.Kind == kind && r.MsgID == msgID })
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	found := Deliveries(tale(), OneAnswer, nil)
	if len(found.Violations) > 0 || found.Answers != 4 {
		t.Fatalf("%v: %v", found, found.Violations)
	}
	for name, way := range map[string]string{"a": "passive 1", "b": "custom", "c": "with another message", "d": "passive 1"} {
		if got := found.Asked[name].Ways(); got != way {
			t.Errorf("%s came %s, not %s", name, got, way)
		}
	}
	if a := found.Asked["b"]; a.After() != 7*time.Second+time.Millisecond {
		t.Errorf("b was seen after %v", a.After())
	}
	if !found.Asked["c"].Thinking || found.Asked["a"].Thinking {
		t.Error("c alone got the text that its answer is not there yet")
	}
	if found = Deliveries(tale()[1:], OneAnswer, nil); found.Asked["a"] != nil {
		t.Error("a question was made up")
	}

	custom := func(records []simulator.Record) int { return find(records, simulator.RecordCustom, "") }
	for name, c := range map[string]struct {
		spoil func([]simulator.Record) []simulator.Record
		want  string
	}{
		"a push that never came": {func(r []simulator.Record) []simulator.Record {
			return slices.Delete(r, custom(r), custom(r)+1)
		}, "answer b was never seen"},
		"a push that came twice": {func(r []simulator.Record) []simulator.Record {
			again := r[custom(r)]
			again.Seq += 1000
			return append(r, again)
		}, "answer b was seen 2 times"},
		"pushed and answered": {func(r []simulator.Record) []simulator.Record {
			i := find(r, simulator.RecordReceived, "2")
			r[i].Outcome, r[i].Answer = simulator.OutcomeAnswered, &simulator.Answer{Type: "text", Content: "《b》"}
			return r
		}, "answer b was seen 2 times"},
		"the banner": {func(r []simulator.Record) []simulator.Record {
			r[find(r, simulator.RecordEnd, "2")].Banner = true
			return r
		}, "fault banner"},
		"overtaken": {func(r []simulator.Record) []simulator.Record {
			i := find(r, simulator.RecordReceived, "4")
			r[i].Answer = &simulator.Answer{Type: "text", Content: "《d》《c》"}
			return r
		}, "user u saw d before c"},
		"a push that overtakes": {func(r []simulator.Record) []simulator.Record {
			r[find(r, simulator.RecordReceived, "3")].Answer.Content = "《c》"
			r[find(r, simulator.RecordReceived, "4")].Answer.Content = "《d》"
			late := r[custom(r)]
			late.Seq, late.At = 1000, r[len(r)-1].At.Add(time.Second)
			return append(slices.Delete(r, custom(r), custom(r)+1), late)
		}, "user u saw d before b"},
		"somebody else's": {func(r []simulator.Record) []simulator.Record {
			r[custom(r)].Answer.Content = "《b》《x》"
			return r
		}, "saw x, which nobody asked for"},
	} {
		got := Deliveries(c.spoil(tale()), OneAnswer, nil)
		if !slices.ContainsFunc(got.Violations, func(v string) bool { return strings.Contains(v, c.want) }) {
			t.Errorf("%s: the checker found %q, not %q", name, got.Violations, c.want)
		}
	}

	r := tale()
	r = slices.Delete(r, custom(r), custom(r)+1)
	if found = Deliveries(r, OneAnswer, map[string]bool{"b": true}); len(found.Violations) > 0 || found.Unknown != 1 {
		t.Errorf("an answer that is listed as unknown: %v: %v", found, found.Violations)
	}
}
