// Package checker decides what must be true after real processes were killed, stopped and cut off: it compares what the simulated
// WeChat pushed and received (its own witness log), what stands in the log, and what the engine's records say at the end. It
// knows nothing of how the engine works, only what WeChat and the users must see. Only tests import it.
//
// Of the scorecard's invariants it decides I1 (accepted: an end), I2 (one commit, one answer), I3 (the order of the log) and I5
// (every answer delivered or accounted for). I4, writes of a stale owner, takes the store's own history: see internal/chaos.
package checker

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"hongyan/wechat/simulator"
)

// Question is what users of these tests write: the text `问 <name>`. Its one right answer is `《<name>》`: every answer names the
// message that it belongs to, also where several answers that had to wait stand in one reply.
func Question(name string) string { return "问 " + name }

// Rules are a rules file that answers each question after a delay, so that a backlog really exists.
func Rules(delay time.Duration) string {
	return fmt.Sprintf("rules:\n  - {match: regexp, value: '^问 (\\S+)$', delay: %s, reply: '《$1》'}\n", delay)
}

// The account's texts, and the lines of its configuration that set them.
const (
	ThinkingText    = "还在想，请稍后再来。"
	NotReceivedText = "没有收到，请再发送一次。"
	UnavailableText = "【忙】请稍后再问一次。"
	ReplyTexts      = "    reply: {thinking: " + ThinkingText + ", not_received: " + NotReceivedText + ", unavailable: " + UnavailableText + "}\n"
)

var answerName = regexp.MustCompile(`《([^》]*)》`)

// Journal is what stands in the log and in the log of dead letters.
type Journal struct {
	Entries []Entry
	Dead    []DeadLetter
}

// Entry is one accepted delivery.
type Entry struct {
	Sequence uint64 // grows with the order of the log, at least among the entries of one user
	OpenID   string
	MsgID    string
	Key      string // in hex
	Text     string
}

// DeadLetter is one entry of the log of dead letters.
type DeadLetter struct {
	OpenID, Key, Reason string
}

// User is what the engine remembers of a user, as `hongyan user show -o json` tells it.
type User struct {
	Partition int    `json:"partition"`
	Epoch     uint64 `json:"epoch"`
	Queued    int    `json:"queued"`
	Counts    Counts `json:"counts"`
	Turns     []Turn `json:"turns"`
	Messages  []Message
	Kept      []struct{ Key string } `json:"kept"`
	Dead      []struct{ Key, Reason string }
}

// Counts are the user's counters.
type Counts struct{ Turns, Answered, Silent, Dead, Dropped, Kept int }

// Turn is one utterance of the conversation.
type Turn struct{ Role, Kind, Text string }

// Message is a recent message and its outcome.
type Message struct{ Key, Outcome string }

// Outage is a time in which no callback could be served. Without an end it lasts.
type Outage struct{ From, To time.Time }

// Story is all that is known from outside of what happened to some users.
type Story struct {
	Journal Journal
	Witness []simulator.Record
	Users   map[string]User // by OpenID; asked when all was over
	Down    []Outage
}

// Verdict is what the checker found.
type Verdict struct {
	Violations []string

	Accepted   int            // messages that the log has
	Turned     int            // of them, committed turns
	Delivered  int            // answers that reached their user
	Merged     int            // of them, those that came with the answer to another message
	Redelivery int            // of them, those that came by a redelivery
	Unaccepted int            // messages that the log never had: the engine was down at each delivery
	Excused    int            // accepted messages with the banner because the engine was down at the last delivery
	Thinking   int            // last deliveries that got the thinking text
	Late       int            // messages that nobody can judge: the platform itself ended their last delivery long after its time
	Unknown    []string       // answers that are dead letters because nobody can tell whether they arrived
	Dead       map[string]int // messages and answers that are dead letters for another reason, by reason
	Inversions int            // answers of one user that the platform noted in the other order, within its own scheduling
	Widest     time.Duration  // of them
}

func (v *Verdict) String() string {
	return fmt.Sprintf("accepted %d, committed turns %d, answers received %d (%d by a redelivery, %d merged into another reply), "+
		"dead letters with unknown delivery %d and others %v, never accepted %d, banners while the engine was down %d, thinking texts %d, "+
		"not to be judged because the platform was late %d, "+
		"noted the other way round %d by %v at most; violations %d", v.Accepted, v.Turned, v.Delivered, v.Redelivery, v.Merged,
		len(v.Unknown), v.Dead, v.Unaccepted, v.Excused, v.Thinking, v.Late, v.Inversions, v.Widest, len(v.Violations))
}

// fault notes a violation.
func (v *Verdict) fault(format string, args ...any) {
	v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
}

// scheduling is by how much the platform may note two replies in the other order than they came: after an outage hundreds come at once,
// and on a busy machine each waits for its goroutine. An answer that truly overtook another by waiting for no redelivery overtakes it by
// a whole delivery, which the checker proves from the order of events alone; this bound only has to lie below that.
const scheduling = 4 * time.Second

// starved is by how much the platform may be late to cut a delivery off. Later than that, this machine was so busy that the platform's
// five seconds say nothing: the reply may have come in time and have waited, unread, beside the clock.
const starved = 250 * time.Millisecond

// Told is one message as the platform knows it.
type Told struct {
	OpenID, MsgID, Text string
	Sent, Received      map[int]simulator.Record // by delivery
	Last                int
	End                 simulator.Record
}

// late tells whether the platform cut the last delivery off too late to be believed.
func (m *Told) late() bool {
	last := m.Received[m.Last]
	return last.Outcome == simulator.OutcomeCutoff && last.ElapsedMS > float64((simulator.DefaultCutoff+starved)/time.Millisecond)
}

// given is one answer text in the hands of its user.
type given struct {
	sent  simulator.Record // the delivery that carried it
	got   simulator.Record // its reply
	place int              // of the answer in the reply
}

// Check compares. It knows nothing of how the engine works: only what WeChat and the users must see.
func Check(s Story) *Verdict {
	v := &Verdict{Dead: make(map[string]int)}
	all, byName := Tell(s.Witness)
	got := make(map[string][]given) // by openid and answer
	for _, m := range all {
		v.read(m, got)
	}

	order := make(map[string][]Entry) // each user's messages in the order in which the log took them
	known := make(map[string]bool)    // messages in the log, by user and MsgId
	asked := make(map[string]bool)    // answers that are due, by user and name
	for _, e := range s.Journal.Entries {
		id := e.OpenID + "/" + e.MsgID
		if known[id] {
			continue
		}
		known[id], asked[e.OpenID+"/"+Name(e.Text)] = true, true
		order[e.OpenID] = append(order[e.OpenID], e)
		if m := byName[id]; m == nil || m.Text != e.Text {
			v.fault("the log has message %s with text %q, which nobody sent", id, e.Text)
		}
	}
	for _, m := range all {
		v.end(m, known[m.OpenID+"/"+m.MsgID], s.Down)
	}
	for openID, entries := range order {
		shown, ok := s.Users[openID]
		if !ok {
			v.fault("user %s sent messages and was not asked about", openID)
			continue
		}
		v.turns(openID, entries, shown, s.Journal.Dead)
		v.answers(openID, entries, got, s.Journal.Dead, byName)
	}
	for answer := range got {
		if !asked[answer] {
			v.fault("answer %s belongs to no accepted message of its user", answer)
		}
	}
	return v
}

// Name is the name in a question.
func Name(text string) string { return strings.TrimPrefix(text, Question("")) }

// Tell gathers the witness's records by message.
func Tell(records []simulator.Record) (all []*Told, byName map[string]*Told) {
	byName = make(map[string]*Told)
	for _, r := range records {
		if !r.Kind.OfMessage() {
			continue
		}
		id := r.OpenID + "/" + r.MsgID
		m := byName[id]
		if m == nil {
			m = &Told{OpenID: r.OpenID, MsgID: r.MsgID, Sent: map[int]simulator.Record{}, Received: map[int]simulator.Record{}}
			byName[id] = m
			all = append(all, m)
		}
		switch r.Kind {
		case simulator.RecordPush:
			m.Text = r.Content
		case simulator.RecordSent:
			m.Sent[r.Number], m.Last = r, max(m.Last, r.Number)
		case simulator.RecordReceived:
			m.Received[r.Number] = r
		case simulator.RecordEnd:
			m.End = r
		default: // of the API
		}
	}
	return all, byName
}

// read takes the answers out of what a message's deliveries brought. A reply is answers, blanks, and nothing else.
func (v *Verdict) read(m *Told, got map[string][]given) {
	for number, r := range m.Received {
		switch r.Outcome {
		case simulator.OutcomeAnswered:
		case simulator.OutcomeMalformed:
			v.fault("message %s got a reply that WeChat does not understand: %s", m.Text, r.Detail)
			continue
		case simulator.OutcomeSilent, simulator.OutcomeCutoff, simulator.OutcomeRefused, simulator.OutcomeBadStatus:
			continue
		}
		if r.Answer.Type != "text" {
			v.fault("message %s got a reply of type %s", m.Text, r.Answer.Type)
			continue
		}
		text := r.Answer.Content
		if text == ThinkingText || text == NotReceivedText {
			if number < simulator.DefaultDeliveries {
				v.fault("message %s got %q at delivery %d, which was not the last", m.Text, text, number)
			}
			if text == ThinkingText {
				v.Thinking++
			}
			continue
		}
		for place, found := range answerName.FindAllStringSubmatch(text, -1) {
			id := m.OpenID + "/" + found[1]
			got[id] = append(got[id], given{sent: m.Sent[number], got: r, place: place})
			if found[1] != Name(m.Text) {
				v.Merged++
			}
			if number > 1 {
				v.Redelivery++
			}
		}
		if rest := strings.TrimSpace(answerName.ReplaceAllString(text, "")); rest != "" {
			v.fault("message %s got a wrong text: %q", m.Text, text)
		}
	}
}

// end judges how a message ended on the platform.
func (v *Verdict) end(m *Told, accepted bool, down []Outage) {
	if m.End.Kind == "" || strings.HasPrefix(m.End.Detail, "given up") {
		v.fault("message %s of user %s has no end on the platform: %s", m.Text, m.OpenID, m.End.Detail)
		return
	}
	last := m.Received[m.Last]
	if !accepted {
		v.Unaccepted++
		for number, r := range m.Received {
			if r.Status == 200 && (r.Answer == nil || r.Answer.Content != NotReceivedText) {
				v.fault("message %s is not in the log, and delivery %d was told %s", m.Text, number, r.Outcome)
			}
		}
		if !wasDown(down, m.Sent[m.Last].At, last.At) {
			v.fault("message %s was never accepted, though the engine was up at its last delivery: %s %s", m.Text, last.Outcome, last.Detail)
		}
		return
	}
	v.Accepted++
	if m.End.Banner && m.late() {
		v.Late++
		return
	}
	if m.End.Banner {
		if last.Outcome == simulator.OutcomeRefused && wasDown(down, m.Sent[m.Last].At, last.At) {
			v.Excused++
			return
		}
		v.fault("accepted message %s ended with the fault banner: %s %s", m.Text, last.Outcome, last.Detail)
	}
}

// wasDown tells whether the engine was down at some time between the two.
func wasDown(down []Outage, from, to time.Time) bool {
	return slices.ContainsFunc(down, func(o Outage) bool {
		return o.From.Before(to) && (o.To.IsZero() || o.To.After(from))
	})
}

// turns compares what `user show` tells with the log: one committed turn for each message, in its order, with its own answer.
func (v *Verdict) turns(openID string, entries []Entry, u User, dead []DeadLetter) {
	if u.Queued != 0 || len(u.Kept) != 0 || len(u.Dead) != 0 {
		v.fault("user %s is not at rest: %d queued, %d answers kept, %d dead letters unpublished", openID, u.Queued, len(u.Kept), len(u.Dead))
	}
	ended := make(map[string]bool) // messages that ended as dead letters in place of a turn
	for _, m := range u.Messages {
		if m.Outcome == "dead" && slices.ContainsFunc(dead, func(d DeadLetter) bool { return d.OpenID == openID && d.Key == m.Key }) {
			ended[m.Key] = true
		}
	}
	if u.Counts.Turns != len(entries)-len(ended) || u.Counts.Dropped != 0 {
		v.fault("user %s: %d messages in the log, %d of them dead letters, %d turns counted, %d dropped",
			openID, len(entries), len(ended), u.Counts.Turns, u.Counts.Dropped)
	}
	var want, have []string
	for _, e := range entries {
		if ended[e.Key] {
			continue
		}
		want = append(want, "user "+e.Text, "bot 《"+Name(e.Text)+"》")
	}
	for _, t := range u.Turns {
		have = append(have, t.Role+" "+t.Text)
		if t.Role == "user" {
			v.Turned++
		}
	}
	if i, differ := firstDifference(want, have); differ {
		v.fault("user %s: the turns are not those of the log, from number %d on: want %q, have %q", openID, i, around(want, i), around(have, i))
	}
	want, have = nil, nil
	for _, e := range entries {
		if ended[e.Key] {
			want = append(want, e.Key+" dead")
			continue
		}
		want = append(want, e.Key+" answered")
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
func (v *Verdict) answers(openID string, entries []Entry, got map[string][]given, dead []DeadLetter, told map[string]*Told) {
	type placed struct {
		name string
		given
	}
	var before []placed
	for _, e := range entries {
		buried := slices.IndexFunc(dead, func(d DeadLetter) bool { return d.OpenID == openID && d.Key == e.Key })
		answers := got[openID+"/"+Name(e.Text)]
		switch {
		case len(answers) > 1:
			v.fault("the answer to %s reached the user %d times", e.Text, len(answers))
		case len(answers) == 0 && buried >= 0 && dead[buried].Reason == "unknown":
			v.Unknown = append(v.Unknown, openID+"/"+Name(e.Text))
			continue
		case len(answers) == 0 && buried >= 0 && dead[buried].Reason != "":
			v.Dead[dead[buried].Reason]++
			continue
		case len(answers) == 0 && told[openID+"/"+e.MsgID] != nil && told[openID+"/"+e.MsgID].late():
			continue
		case len(answers) == 0:
			v.fault("the answer to %s reached nobody, and no dead letter accounts for it", e.Text)
			continue
		case buried >= 0 && dead[buried].Reason != "unknown":
			v.fault("message %s was answered and is a dead letter: %s", e.Text, dead[buried].Reason)
		}
		v.Delivered++
		now := answers[0]
		for _, b := range before {
			switch {
			case now.got.Seq == b.got.Seq && now.place < b.place:
				v.fault("the answer to %s stands behind that to %s, a later message, in one reply", b.name, e.Text)
			case now.got.Seq < b.sent.Seq:
				v.fault("the answer to %s was there before the delivery that brought the one to %s, an earlier message, began", e.Text, b.name)
			case now.got.Seq < b.got.Seq && b.got.At.Sub(now.got.At) > scheduling:
				v.fault("the answer to %s came %v before that to %s, an earlier message", e.Text, b.got.At.Sub(now.got.At), b.name)
			case now.got.Seq < b.got.Seq:
				v.Inversions, v.Widest = v.Inversions+1, max(v.Widest, b.got.At.Sub(now.got.At))
			}
		}
		before = append(before, placed{e.Text, now})
	}
}
