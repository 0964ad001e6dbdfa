package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// fable is a story that is right: one user, messages 1 to 4. The answer to 2 came by a redelivery; that to 3 was kept, after the
// thinking text, and came together with 4's.
func fable() story {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := story{users: map[string]shownUser{}}
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	add := func(seconds float64, kind simulator.RecordKind, n, number int, r simulator.Record) {
		r.Seq, r.At, r.Kind, r.OpenID, r.MsgID, r.Number = uint64(len(s.witness)+1), at(seconds), kind, "u", fmt.Sprint("m", n), number
		s.witness = append(s.witness, r)
	}
	push := func(seconds float64, n int) {
		add(seconds, simulator.RecordPush, n, 0, simulator.Record{Content: question(fmt.Sprint(n))})
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
	deliver(17, 21.6, 3, 3, thinkingText)
	push(30, 4)
	deliver(30, 30.1, 4, 1, "《3》\n\n《4》")

	u := shownUser{}
	for n := 1; n <= 4; n++ {
		e := entry{sequence: uint64(n), openID: "u", msgID: fmt.Sprint("m", n), key: fmt.Sprint("k", n), text: question(fmt.Sprint(n))}
		s.journal.entries = append(s.journal.entries, e)
		u.Turns = append(u.Turns, struct{ Role, Kind, Text string }{"user", "text", e.text},
			struct{ Role, Kind, Text string }{"bot", "", "《" + fmt.Sprint(n) + "》"})
		u.Messages = append(u.Messages, struct{ Key, Outcome string }{e.key, "answered"})
	}
	u.Counts.Turns = 4
	s.users["u"] = u
	return s
}

// find returns the record of a message's delivery.
func (s *story) find(kind simulator.RecordKind, msgID string, number int) *simulator.Record {
	i := slices.IndexFunc(s.witness, func(r simulator.Record) bool { return r.Kind == kind && r.MsgID == msgID && r.Number == number })
	return &s.witness[i]
}

// TestChecker: the checker accepts a right story, and each wrong one turns it red for the right reason.
func TestChecker(t *testing.T) {
	t.Parallel()
	if v := check(fable()); len(v.violations) > 0 || v.accepted != 4 || v.delivered != 4 || v.merged != 1 || v.redelivery != 1 || v.thinking != 1 {
		t.Errorf("a right story: %v\n%s", v, strings.Join(v.violations, "\n"))
	}
	answer := func(s *story, msgID string, number int) *simulator.Answer {
		r := s.find(simulator.RecordReceived, msgID, number)
		copied := *r.Answer
		r.Answer = &copied
		return r.Answer
	}
	for wrong, c := range map[string]struct {
		bend func(s *story)
		says string
	}{
		"answered twice":            {func(s *story) { answer(s, "m4", 1).Content = "《2》\n\n《3》\n\n《4》" }, "2 times"},
		"never answered":            {func(s *story) { answer(s, "m4", 1).Content = "《4》" }, "reached nobody"},
		"merged in the wrong order": {func(s *story) { answer(s, "m4", 1).Content = "《4》\n\n《3》" }, "stands behind"},
		"an answer out of its order": {func(s *story) { // 1's only with the last delivery, long after 2's
			s.find(simulator.RecordReceived, "m1", 1).Outcome = simulator.OutcomeSilent
			answer(s, "m4", 1).Content = "《1》《3》《4》"
		}, "was there before the delivery"},
		"an answer that overtakes": {func(s *story) {
			r := s.find(simulator.RecordReceived, "m1", 1)
			r.Seq, r.At = 100, s.witness[0].At.Add(time.Minute)
		}, "an earlier message"},
		"another user's answer":    {func(s *story) { answer(s, "m1", 1).Content = "《1》《9》" }, "belongs to no accepted message"},
		"a text that nobody wrote": {func(s *story) { answer(s, "m1", 1).Content = "《1》 and more" }, "wrong text"},
		"thinking too early":       {func(s *story) { answer(s, "m2", 2).Content = thinkingText }, "not the last"},
		"a malformed reply": {func(s *story) {
			s.find(simulator.RecordReceived, "m1", 1).Outcome = simulator.OutcomeMalformed
		}, "does not understand"},
		"a banner": {func(s *story) {
			s.find(simulator.RecordReceived, "m3", 3).Outcome = simulator.OutcomeRefused
			s.find(simulator.RecordEnd, "m3", 0).Banner = true
		}, "fault banner"},
		"success without acceptance": {func(s *story) { s.journal.entries = s.journal.entries[1:] }, "is not in the log"},
		"not accepted though it was up": {func(s *story) {
			s.journal.entries = s.journal.entries[1:]
			s.find(simulator.RecordReceived, "m1", 1).Status = 503
		}, "never accepted"},
		"an entry from nowhere": {func(s *story) { s.journal.entries[0].msgID = "m9" }, "nobody sent"},
		"two turns": {func(s *story) {
			u := s.users["u"]
			u.Turns = append(slices.Clone(u.Turns[:2]), u.Turns...)
			s.users["u"] = u
		}, "turns are not those"},
		"no turn": {func(s *story) {
			u := s.users["u"]
			u.Turns = u.Turns[:6]
			s.users["u"] = u
		}, "turns are not those"},
		"turns in another order": {func(s *story) {
			s.journal.entries[0], s.journal.entries[1] = s.journal.entries[1], s.journal.entries[0]
		}, "turns are not those"},
		"a commit that shows nowhere": {func(s *story) {
			u := s.users["u"]
			u.Counts.Turns++
			s.users["u"] = u
		}, "turns counted"},
		"another outcome": {func(s *story) { s.users["u"].Messages[1].Outcome = "dead" }, "outcomes are not those"},
		"not at rest": {func(s *story) {
			u := s.users["u"]
			u.Kept = append(u.Kept, struct{ Key string }{"k4"})
			s.users["u"] = u
		}, "not at rest"},
		"dead and answered": {func(s *story) {
			s.journal.dead = []deadLetter{{openID: "u", key: "k1", reason: "panic"}}
		}, "is a dead letter"},
		"no end": {func(s *story) {
			s.witness = slices.DeleteFunc(s.witness, func(r simulator.Record) bool { return r.Kind == simulator.RecordEnd && r.MsgID == "m1" })
		}, "no end"},
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			s := fable()
			c.bend(&s)
			v := check(s)
			if !slices.ContainsFunc(v.violations, func(violation string) bool { return strings.Contains(violation, c.says) }) {
				t.Errorf("no violation says %q; all: %q", c.says, v.violations)
			}
		})
	}
	t.Run("accounted for", func(t *testing.T) {
		t.Parallel()
		s := fable()
		answer(&s, "m4", 1).Content = "《4》"
		s.journal.dead = []deadLetter{{openID: "u", key: "k3", reason: "unknown"}}
		if v := check(s); len(v.violations) > 0 || len(v.unknown) != 1 {
			t.Errorf("%v: %q", v, v.violations)
		}
		s = fable()
		s.find(simulator.RecordReceived, "m3", 3).Outcome = simulator.OutcomeRefused
		s.find(simulator.RecordEnd, "m3", 0).Banner = true
		s.down = []outage{{from: s.witness[0].At.Add(20 * time.Second)}}
		if v := check(s); len(v.violations) > 0 || v.excused != 1 {
			t.Errorf("%v: %q", v, v.violations)
		}
	})
}
