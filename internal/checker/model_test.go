package checker

import (
	"slices"
	"testing"

	"hongyan/wechat/simulator"
)

// shown is what a phone showed: as a passive reply to a message, or by customer service where the message is "".
func shown(seq uint64, openID, msgID, text string) simulator.Record {
	r := simulator.Record{
		Seq: seq, Kind: simulator.RecordCustom, OpenID: openID, MsgID: msgID, Answer: &simulator.Answer{Type: "text", Content: text},
	}
	if msgID != "" {
		r.Kind, r.Outcome = simulator.RecordReceived, simulator.OutcomeAnswered
	}
	return r
}

func asked(seq uint64, openID, msgID, name string) simulator.Record {
	return simulator.Record{Seq: seq, Kind: simulator.RecordPush, OpenID: openID, MsgID: msgID, Content: Question(name)}
}

// TestNameAnswers: the model's words, apologies and rules, alone and in one reply, stand for the questions that they answer.
func TestNameAnswers(t *testing.T) {
	t.Parallel()
	records := []simulator.Record{
		asked(1, "u", "1", "a"),
		shown(2, "u", "1", "【示例模型】您说的是“问 a”，这是我们对话的第 1 句。"),
		asked(3, "u", "2", "b"),
		asked(4, "u", "3", "c"),
		asked(5, "v", "4", "x"),
		shown(6, "u", "", UnavailableText),
		shown(7, "u", "3", "【示例模型】关于“问 c”：上一句是“问 a”。"),
		asked(8, "u", "5", "d"),
		asked(9, "u", "6", "e"),
		shown(10, "u", "6", UnavailableText+"\n\n【示例模型】您又提到“问 e”。这是第 3 句，在“问 c”之后。\n"),
		shown(11, "v", "4", "《x》"),
	}
	before := records[1].Answer.Content
	named, n := NameAnswers(records)
	var got []string
	for _, r := range named {
		if r.Answer != nil {
			got = append(got, r.Answer.Content)
		}
	}
	if want := []string{"《a》", "《b》", "《c》", "《d》《e》", "《x》"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(n.Model) != 3 || n.Model["a"] != before || n.Model["e"] != "【示例模型】您又提到“问 e”。这是第 3 句，在“问 c”之后。" {
		t.Errorf("the model's words: %q", n.Model)
	}
	if len(n.Sorry) != 2 || !n.Sorry["b"] || !n.Sorry["d"] {
		t.Errorf("apologies: %v", n.Sorry)
	}
	if records[1].Answer.Content != before {
		t.Errorf("the records themselves were changed: %q", records[1].Answer.Content)
	}
	if d := Deliveries(named, OneAnswer, nil); len(d.Violations) > 0 || d.Answers != 6 {
		t.Errorf("%v: %q", d, d.Violations)
	}
}

// TestNameAnswersFindsFaults: a second answer, a second apology, one too few, and an order that is not the user's.
func TestNameAnswersFindsFaults(t *testing.T) {
	t.Parallel()
	model := func(name string) string { return "【示例模型】您说的是“问 " + name + "”，第 1 句。" }
	for name, records := range map[string][]simulator.Record{
		"two answers":         {asked(1, "u", "1", "a"), shown(2, "u", "1", model("a")), shown(3, "u", "", model("a"))},
		"answer and apology":  {asked(1, "u", "1", "a"), shown(2, "u", "1", model("a")), shown(3, "u", "", UnavailableText)},
		"two apologies":       {asked(1, "u", "1", "a"), shown(2, "u", "1", UnavailableText), shown(3, "u", "", UnavailableText)},
		"none":                {asked(1, "u", "1", "a"), asked(2, "u", "2", "b"), shown(3, "u", "2", UnavailableText)},
		"another's":           {asked(1, "u", "1", "a"), asked(2, "v", "2", "b"), shown(3, "u", "", model("b"))},
		"out of order":        {asked(1, "u", "1", "a"), asked(2, "u", "2", "b"), shown(3, "u", "", model("b")), shown(4, "u", "", model("a"))},
		"apology out of turn": {asked(1, "u", "1", "a"), asked(2, "u", "2", "b"), shown(3, "u", "", UnavailableText), shown(4, "u", "", model("a"))},
	} {
		named, _ := NameAnswers(records)
		if d := Deliveries(named, OneAnswer, nil); len(d.Violations) == 0 {
			t.Errorf("%s: no violation in %v", name, d)
		}
	}
}
