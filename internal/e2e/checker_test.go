package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"hongyan/wechat/simulator"
)

// A question is the text `问 <name>`, its one right answer `《<name>》`: every answer names the message that it belongs to, also
// where several answers that had to wait stand in one reply.
func question(name string) string { return "问 " + name }

// questionRules answer each question after a delay, so that a backlog really exists.
func questionRules(delay time.Duration) string {
	return fmt.Sprintf("rules:\n  - {match: regexp, value: '^问 (\\S+)$', delay: %s, reply: '《$1》'}\n", delay)
}

const (
	thinkingText    = "还在想，请稍后再来。"
	notReceivedText = "没有收到，请再发送一次。"
	replyTexts      = "    reply: {thinking: " + thinkingText + ", not_received: " + notReceivedText + "}\n"
)

var answerName = regexp.MustCompile(`《([^》]*)》`)

// story is all that is known from outside of what happened to some users.
type story struct {
	journal journal
	witness []simulator.Record
	users   map[string]shownUser // by OpenID; asked when all was over
	down    []outage
}

// verdict is what the checker found.
type verdict struct {
	violations []string

	accepted   int // messages that the log has
	turned     int // of them, committed turns
	delivered  int // answers that reached their user
	merged     int // of them, those that came with the answer to another message
	redelivery int // of them, those that came by a redelivery
	unaccepted int // messages that the log never had: the engine was down at each delivery
	excused    int // accepted messages with the banner because the engine was down at the last delivery
	thinking   int // last deliveries that got the thinking text
	unknown    []string
	inversions int           // answers of one user that the platform noted in the other order, within its own scheduling
	widest     time.Duration // of them
}

func (v *verdict) String() string {
	return fmt.Sprintf("accepted %d, committed turns %d, answers received %d (%d by a redelivery, %d merged into another reply), "+
		"dead letters with unknown delivery %d, never accepted %d, banners while the engine was down %d, thinking texts %d, "+
		"noted the other way round %d by %v at most; violations %d", v.accepted, v.turned, v.delivered, v.redelivery, v.merged,
		len(v.unknown), v.unaccepted, v.excused, v.thinking, v.inversions, v.widest, len(v.violations))
}

// fault notes a violation.
func (v *verdict) fault(format string, args ...any) {
	v.violations = append(v.violations, fmt.Sprintf(format, args...))
}

// scheduling is by how much the platform may note two replies in the other order than they came: after an outage hundreds come at once,
// and on a busy machine each waits for its goroutine. An answer that truly overtook another by waiting for no redelivery overtakes it by
// a whole delivery, which the checker proves from the order of events alone; this bound only has to lie below that.
const scheduling = 4 * time.Second

// told is one message as the platform knows it.
type told struct {
	openID, msgID, text string
	sent, received      map[int]simulator.Record // by delivery
	last                int
	end                 simulator.Record
}

// given is one answer text in the hands of its user.
type given struct {
	sent  simulator.Record // the delivery that carried it
	got   simulator.Record // its reply
	place int              // of the answer in the reply
}

// check compares. It knows nothing of how the engine works: only what WeChat and the users must see.
func check(s story) *verdict {
	v := &verdict{}
	all, byName := tell(s.witness)
	got := make(map[string][]given) // by openid and answer
	for _, m := range all {
		v.read(m, got)
	}

	order := make(map[string][]entry) // each user's messages in the order in which the log took them
	known := make(map[string]bool)    // messages in the log, by user and MsgId
	asked := make(map[string]bool)    // answers that are due, by user and name
	for _, e := range s.journal.entries {
		id := e.openID + "/" + e.msgID
		if known[id] {
			continue
		}
		known[id], asked[e.openID+"/"+name(e.text)] = true, true
		order[e.openID] = append(order[e.openID], e)
		if m := byName[id]; m == nil || m.text != e.text {
			v.fault("the log has message %s with text %q, which nobody sent", id, e.text)
		}
	}
	for _, m := range all {
		v.end(m, known[m.openID+"/"+m.msgID], s.down)
	}
	for openID, entries := range order {
		shown, ok := s.users[openID]
		if !ok {
			v.fault("user %s sent messages and was not asked about", openID)
			continue
		}
		v.turns(openID, entries, shown)
		v.answers(openID, entries, got, s.journal.dead)
	}
	for answer := range got {
		if !asked[answer] {
			v.fault("answer %s belongs to no accepted message of its user", answer)
		}
	}
	return v
}

func name(text string) string { return strings.TrimPrefix(text, question("")) }

// tell gathers the witness's records by message.
func tell(records []simulator.Record) (all []*told, byName map[string]*told) {
	byName = make(map[string]*told)
	for _, r := range records {
		id := r.OpenID + "/" + r.MsgID
		m := byName[id]
		if m == nil {
			m = &told{openID: r.OpenID, msgID: r.MsgID, sent: map[int]simulator.Record{}, received: map[int]simulator.Record{}}
			byName[id] = m
			all = append(all, m)
		}
		switch r.Kind {
		case simulator.RecordPush:
			m.text = r.Content
		case simulator.RecordSent:
			m.sent[r.Number], m.last = r, max(m.last, r.Number)
		case simulator.RecordReceived:
			m.received[r.Number] = r
		case simulator.RecordEnd:
			m.end = r
		case simulator.RecordHandshake:
		}
	}
	return all, byName
}

// read takes the answers out of what a message's deliveries brought. A reply is answers, blanks, and nothing else.
func (v *verdict) read(m *told, got map[string][]given) {
	for number, r := range m.received {
		switch r.Outcome {
		case simulator.OutcomeAnswered:
		case simulator.OutcomeMalformed:
			v.fault("message %s got a reply that WeChat does not understand: %s", m.text, r.Detail)
			continue
		case simulator.OutcomeSilent, simulator.OutcomeCutoff, simulator.OutcomeRefused, simulator.OutcomeBadStatus:
			continue
		}
		if r.Answer.Type != "text" {
			v.fault("message %s got a reply of type %s", m.text, r.Answer.Type)
			continue
		}
		text := r.Answer.Content
		if text == thinkingText || text == notReceivedText {
			if number < simulator.DefaultDeliveries {
				v.fault("message %s got %q at delivery %d, which was not the last", m.text, text, number)
			}
			if text == thinkingText {
				v.thinking++
			}
			continue
		}
		for place, found := range answerName.FindAllStringSubmatch(text, -1) {
			id := m.openID + "/" + found[1]
			got[id] = append(got[id], given{sent: m.sent[number], got: r, place: place})
			if found[1] != name(m.text) {
				v.merged++
			}
			if number > 1 {
				v.redelivery++
			}
		}
		if rest := strings.TrimSpace(answerName.ReplaceAllString(text, "")); rest != "" {
			v.fault("message %s got a wrong text: %q", m.text, text)
		}
	}
}

// end judges how a message ended on the platform.
func (v *verdict) end(m *told, accepted bool, down []outage) {
	if m.end.Kind == "" || strings.HasPrefix(m.end.Detail, "given up") {
		v.fault("message %s of user %s has no end on the platform: %s", m.text, m.openID, m.end.Detail)
		return
	}
	last := m.received[m.last]
	if !accepted {
		v.unaccepted++
		for number, r := range m.received {
			if r.Status == 200 && (r.Answer == nil || r.Answer.Content != notReceivedText) {
				v.fault("message %s is not in the log, and delivery %d was told %s", m.text, number, r.Outcome)
			}
		}
		if !wasDown(down, m.sent[m.last].At, last.At) {
			v.fault("message %s was never accepted, though the engine was up at its last delivery: %s %s", m.text, last.Outcome, last.Detail)
		}
		return
	}
	v.accepted++
	if m.end.Banner {
		if last.Outcome == simulator.OutcomeRefused && wasDown(down, m.sent[m.last].At, last.At) {
			v.excused++
			return
		}
		v.fault("accepted message %s ended with the fault banner: %s %s", m.text, last.Outcome, last.Detail)
	}
}

// wasDown tells whether the engine was down at some time between the two.
func wasDown(down []outage, from, to time.Time) bool {
	return slices.ContainsFunc(down, func(o outage) bool {
		return o.from.Before(to) && (o.to.IsZero() || o.to.After(from))
	})
}

// turns compares what `user show` tells with the log: one committed turn for each message, in its order, with its own answer.
func (v *verdict) turns(openID string, entries []entry, u shownUser) {
	if u.Queued != 0 || len(u.Kept) != 0 || len(u.Dead) != 0 {
		v.fault("user %s is not at rest: %d queued, %d answers kept, %d dead letters unpublished", openID, u.Queued, len(u.Kept), len(u.Dead))
	}
	if u.Counts.Turns != len(entries) || u.Counts.Dropped != 0 {
		v.fault("user %s: %d messages in the log, %d turns counted, %d dropped", openID, len(entries), u.Counts.Turns, u.Counts.Dropped)
	}
	var want, have []string
	for _, e := range entries {
		want = append(want, "user "+e.text, "bot 《"+name(e.text)+"》")
	}
	for _, t := range u.Turns {
		have = append(have, t.Role+" "+t.Text)
		if t.Role == "user" {
			v.turned++
		}
	}
	if i, differ := firstDifference(want, have); differ {
		v.fault("user %s: the turns are not those of the log, from number %d on: want %q, have %q", openID, i, around(want, i), around(have, i))
	}
	want, have = nil, nil
	for _, e := range entries {
		want = append(want, e.key+" answered")
	}
	for _, m := range u.Messages {
		have = append(have, m.Key+" "+m.Outcome)
	}
	if i, differ := firstDifference(want, have); differ {
		v.fault("user %s: the outcomes are not those of the log, from number %d on: want %q, have %q", openID, i, around(want, i), around(have, i))
	}
}

func firstDifference(a, b []string) (int, bool) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i, true
		}
	}
	return 0, false
}

func around(all []string, i int) []string { return all[min(i, len(all)):min(i+4, len(all))] }

// answers: each reached its user exactly once, in the order of the log, or is a dead letter because nobody can tell.
func (v *verdict) answers(openID string, entries []entry, got map[string][]given, dead []deadLetter) {
	type placed struct {
		name string
		given
	}
	var before []placed
	for _, e := range entries {
		buried := slices.IndexFunc(dead, func(d deadLetter) bool { return d.openID == openID && d.key == e.key })
		answers := got[openID+"/"+name(e.text)]
		switch {
		case len(answers) > 1:
			v.fault("the answer to %s reached the user %d times", e.text, len(answers))
		case len(answers) == 0 && buried >= 0 && dead[buried].reason == "unknown":
			v.unknown = append(v.unknown, openID+"/"+name(e.text))
			continue
		case len(answers) == 0:
			v.fault("the answer to %s reached nobody, and no dead letter accounts for it", e.text)
			continue
		case buried >= 0 && dead[buried].reason != "unknown":
			v.fault("message %s was answered and is a dead letter: %s", e.text, dead[buried].reason)
		}
		v.delivered++
		now := answers[0]
		for _, b := range before {
			switch {
			case now.got.Seq == b.got.Seq && now.place < b.place:
				v.fault("the answer to %s stands behind that to %s, a later message, in one reply", b.name, e.text)
			case now.got.Seq < b.sent.Seq:
				v.fault("the answer to %s was there before the delivery that brought the one to %s, an earlier message, began", e.text, b.name)
			case now.got.Seq < b.got.Seq && b.got.At.Sub(now.got.At) > scheduling:
				v.fault("the answer to %s came %v before that to %s, an earlier message", e.text, b.got.At.Sub(now.got.At), b.name)
			case now.got.Seq < b.got.Seq:
				v.inversions, v.widest = v.inversions+1, max(v.widest, b.got.At.Sub(now.got.At))
			}
		}
		before = append(before, placed{e.text, now})
	}
}
