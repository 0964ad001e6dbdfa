package checker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// fable is a Story that is right: one user, messages 1 to 4. The answer to 2 came by a redelivery; that to 3 was kept, after the
// thinking text, and came together with 4's.
func fable() Story {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := Story{Users: map[string]User{}}
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	add := func(seconds float64, kind simulator.RecordKind, n, number int, r simulator.Record) {
		r.Seq, r.At, r.Kind, r.OpenID, r.MsgID, r.Number = uint64(len(s.Witness)+1), at(seconds), kind, "u", fmt.Sprint("m", n), number
		s.Witness = append(s.Witness, r)
	}
	push := func(seconds float64, n int) {
		add(seconds, simulator.RecordPush, n, 0, simulator.Record{Content: Question(fmt.Sprint(n))})
	}
	deliver := func(from, to float64, n, number int, text string) {
		add(from, simulator.RecordSent, n, number, simulator.Record{})
		r := simulator.Record{Outcome: simulator.OutcomeRefused}
		if text != "" {
			r = simulator.Record{Outcome: simulator.OutcomeAnswered, Status: 200, Answer: &simulator.Answer{Type: "text", Content: text}}
		}
		add(to, simulator.RecordReceived, n, number, r)
		if text != "" {
			add(to, simulator.RecordEnd, n, 0, simulator.Record{Outcome: r.Outcome})
		}
	}
	push(0, 1)
	deliver(0, .1, 1, 1, "《1》")
	push(1, 2)
	deliver(1, 2, 2, 1, "")
	deliver(6, 6.1, 2, 2, "《2》")
	push(7, 3)
	deliver(7, 12, 3, 1, "")
	deliver(12, 17, 3, 2, "")
	deliver(17, 21.6, 3, 3, ThinkingText)
	push(30, 4)
	deliver(30, 30.1, 4, 1, "《3》\n\n《4》")

	u := User{}
	for n := 1; n <= 4; n++ {
		e := Entry{Sequence: uint64(n), OpenID: "u", MsgID: fmt.Sprint("m", n), Key: fmt.Sprint("k", n), Text: Question(fmt.Sprint(n))}
		s.Journal.Entries = append(s.Journal.Entries, e)
		u.Turns = append(u.Turns, Turn{"user", "text", e.Text},
			Turn{"bot", "", "《" + fmt.Sprint(n) + "》"})
		u.Messages = append(u.Messages, Message{e.Key, "answered"})
	}
	u.Counts.Turns = 4
	s.Users["u"] = u
	return s
}

// find returns the record of a message's delivery.
func (s *Story) find(kind simulator.RecordKind, msgID string, number int) *simulator.Record {
	i := slices.IndexFunc(s.Witness, func(r simulator.Record) bool { return r.Kind == kind && r.MsgID == msgID && r.Number == number })
	return &s.Witness[i]
}

// TestChecker: the checker accepts a right Story, and each wrong one turns it red for the right reason.
func TestChecker(t *testing.T) {
	t.Parallel()
	if v := Check(fable()); len(v.Violations) > 0 || v.Accepted != 4 || v.Delivered != 4 || v.Merged != 1 || v.Redelivery != 1 || v.Thinking != 1 {
		t.Errorf("a right Story: %v\n%s", v, strings.Join(v.Violations, "\n"))
	}
	answer := func(s *Story, msgID string, number int) *simulator.Answer {
		r := s.find(simulator.RecordReceived, msgID, number)
		copied := *r.Answer
		r.Answer = &copied
		return r.Answer
	}
	for wrong, c := range map[string]struct {
		bend func(s *Story)
		says string
	}{
		"answered twice":            {func(s *Story) { answer(s, "m4", 1).Content = "《2》\n\n《3》\n\n《4》" }, "2 times"},
		"never answered":            {func(s *Story) { answer(s, "m4", 1).Content = "《4》" }, "reached nobody"},
		"merged in the wrong order": {func(s *Story) { answer(s, "m4", 1).Content = "《4》\n\n《3》" }, "stands behind"},
		"an answer out of its order": {func(s *Story) { // 1's only with the last delivery, long after 2's
			s.find(simulator.RecordReceived, "m1", 1).Outcome = simulator.OutcomeSilent
			answer(s, "m4", 1).Content = "《1》《3》《4》"
		}, "was there before the delivery"},
		"an answer that overtakes": {func(s *Story) {
			r := s.find(simulator.RecordReceived, "m1", 1)
			r.Seq, r.At = 100, s.Witness[0].At.Add(time.Minute)
		}, "an earlier message"},
		"another user's answer":    {func(s *Story) { answer(s, "m1", 1).Content = "《1》《9》" }, "belongs to no accepted message"},
		"a text that nobody wrote": {func(s *Story) { answer(s, "m1", 1).Content = "《1》 and more" }, "wrong text"},
		"thinking too early":       {func(s *Story) { answer(s, "m2", 2).Content = ThinkingText }, "not the last"},
		"a malformed reply": {func(s *Story) {
			s.find(simulator.RecordReceived, "m1", 1).Outcome = simulator.OutcomeMalformed
		}, "does not understand"},
		"a banner": {func(s *Story) {
			s.find(simulator.RecordReceived, "m3", 3).Outcome = simulator.OutcomeRefused
			s.find(simulator.RecordEnd, "m3", 0).Banner = true
		}, "fault banner"},
		"success without acceptance": {func(s *Story) { s.Journal.Entries = s.Journal.Entries[1:] }, "is not in the log"},
		"not accepted though it was up": {func(s *Story) {
			s.Journal.Entries = s.Journal.Entries[1:]
			s.find(simulator.RecordReceived, "m1", 1).Status = 503
		}, "never accepted"},
		"an entry from nowhere": {func(s *Story) { s.Journal.Entries[0].MsgID = "m9" }, "nobody sent"},
		"two turns": {func(s *Story) {
			u := s.Users["u"]
			u.Turns = append(slices.Clone(u.Turns[:2]), u.Turns...)
			s.Users["u"] = u
		}, "turns are not those"},
		"no turn": {func(s *Story) {
			u := s.Users["u"]
			u.Turns = u.Turns[:6]
			s.Users["u"] = u
		}, "turns are not those"},
		"turns in another order": {func(s *Story) {
			s.Journal.Entries[0], s.Journal.Entries[1] = s.Journal.Entries[1], s.Journal.Entries[0]
		}, "turns are not those"},
		"a commit that shows nowhere": {func(s *Story) {
			u := s.Users["u"]
			u.Counts.Turns++
			s.Users["u"] = u
		}, "turns counted"},
		"another outcome": {func(s *Story) { s.Users["u"].Messages[1].Outcome = "dead" }, "outcomes are not those"},
		"not at rest": {func(s *Story) {
			u := s.Users["u"]
			u.Kept = append(u.Kept, struct{ Key string }{"k4"})
			s.Users["u"] = u
		}, "not at rest"},
		"dead and answered": {func(s *Story) {
			s.Journal.Dead = []DeadLetter{{OpenID: "u", Key: "k1", Reason: "panic"}}
		}, "is a dead letter"},
		"dead without a letter": {func(s *Story) {
			answer(s, "m4", 1).Content = "《4》"
			u := s.Users["u"]
			u.Turns = slices.Delete(slices.Clone(u.Turns), 4, 6)
			u.Messages[2].Outcome, u.Counts.Turns = "dead", 3
			s.Users["u"] = u
		}, "reached nobody"},
		"a dead letter without a reason": {func(s *Story) {
			answer(s, "m4", 1).Content = "《4》"
			s.Journal.Dead = []DeadLetter{{OpenID: "u", Key: "k3"}}
		}, "reached nobody"},
		"a banner at the platform's time": {func(s *Story) {
			r := s.find(simulator.RecordReceived, "m3", 3)
			r.Outcome, r.ElapsedMS, r.Answer = simulator.OutcomeCutoff, 5100, nil
			s.find(simulator.RecordEnd, "m3", 0).Banner = true
		}, "fault banner"},
		"no end": {func(s *Story) {
			s.Witness = slices.DeleteFunc(s.Witness, func(r simulator.Record) bool { return r.Kind == simulator.RecordEnd && r.MsgID == "m1" })
		}, "no end"},
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			s := fable()
			c.bend(&s)
			v := Check(s)
			if !slices.ContainsFunc(v.Violations, func(violation string) bool { return strings.Contains(violation, c.says) }) {
				t.Errorf("no violation says %q; all: %q", c.says, v.Violations)
			}
		})
	}
	t.Run("accounted for", func(t *testing.T) {
		t.Parallel()
		s := fable()
		answer(&s, "m4", 1).Content = "《4》"
		s.Journal.Dead = []DeadLetter{{OpenID: "u", Key: "k3", Reason: "unknown"}}
		if v := Check(s); len(v.Violations) > 0 || len(v.Unknown) != 1 {
			t.Errorf("%v: %q", v, v.Violations)
		}
		// The platform was so late that its own five seconds prove nothing.
		s = fable()
		answer(&s, "m4", 1).Content = "《4》"
		r := s.find(simulator.RecordReceived, "m3", 3)
		r.Outcome, r.ElapsedMS, r.Answer = simulator.OutcomeCutoff, 5400, nil
		s.find(simulator.RecordEnd, "m3", 0).Banner = true
		if v := Check(s); len(v.Violations) > 0 || v.Late != 1 {
			t.Errorf("%v: %q", v, v.Violations)
		}
		// A message that ended as a dead letter has no turn and no answer.
		s = fable()
		answer(&s, "m4", 1).Content = "《4》"
		s.Journal.Dead = []DeadLetter{{OpenID: "u", Key: "k3", Reason: "panic"}}
		u := s.Users["u"]
		u.Turns = slices.Delete(slices.Clone(u.Turns), 4, 6)
		u.Messages[2].Outcome, u.Counts.Turns = "dead", 3
		s.Users["u"] = u
		if v := Check(s); len(v.Violations) > 0 || v.Dead["panic"] != 1 {
			t.Errorf("%v: %q", v, v.Violations)
		}
		s = fable()
		s.find(simulator.RecordReceived, "m3", 3).Outcome = simulator.OutcomeRefused
		s.find(simulator.RecordEnd, "m3", 0).Banner = true
		s.Down = []Outage{{From: s.Witness[0].At.Add(20 * time.Second)}}
		if v := Check(s); len(v.Violations) > 0 || v.Excused != 1 {
			t.Errorf("%v: %q", v, v.Violations)
		}
	})
}
