package conversation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"hongyan/messages"
)

// events are what a script may call the kind of a push that is no text.
var events = map[string]messages.Kind{
	"click": messages.Kind_KIND_CLICK, "subscribe": messages.Kind_KIND_SUBSCRIBE, "unsubscribe": messages.Kind_KIND_UNSUBSCRIBE,
	"location": messages.Kind_KIND_LOCATION_REPORT, "scan": messages.Kind_KIND_SCAN, "view": messages.Kind_KIND_VIEW,
}

// runPush runs the commands of the way through WeChat's API:
//
//	mark key=m1 at=5 [kind=click] [created=1s]
//	begin key=m1 | sent key=m1 | notsent key=m1 | repeat key=m1 | lose key=m1 reason=x | loseall key=m1 reason=x
//	closed key=m1 | retire key=m1 [retry=10m] | divert key=m1 | redeliver key=m1#2 at=9 : the answer
//	pushkept [t=10m] | wake [t=10m] | due | grants [t=10m] | unfinished
func (s *script) runPush(t *testing.T, d *datadriven.TestData, now time.Time) string {
	t.Helper()
	k := key(d)
	switch d.Cmd {
	case "mark":
		in := &messages.Inbound{Kind: messages.Kind_KIND_TEXT}
		if arg(d, "kind") != "" {
			in.Kind = events[arg(d, "kind")]
		}
		s.state = s.state.Mark(in, s.arrival(t, d, now), now)
	case "begin":
		return s.begin(k, now)
	case "sent":
		s.state = s.state.Sent(k)
	case "notsent":
		s.state = s.state.NotSent(k, now)
	case "repeat":
		next, ok := s.state.Repeat(k)
		s.state = next
		if !ok {
			return "it was repeated already\n"
		}
	case "lose":
		s.state = s.state.Lose(k, arg(d, "reason"), "", now)
	case "loseall":
		s.state = s.state.LoseAll(k, arg(d, "reason"), "", now)
	case "closed":
		s.state = s.state.Closed(k, s.limits, now)
	case "retire":
		retry := time.Time{}
		if r := arg(d, "retry"); r != "" {
			retry = noon.Add(duration(t, r))
		}
		s.state = s.state.Retire(k, retry, s.limits, now)
	case "divert":
		s.state = s.state.Divert(k, s.limits, now)
	case "redeliver":
		next, step, err := s.state.Redeliver(s.arrival(t, d, now), textAnswer(d.Input), s.limits, now)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		s.state = next
		return OutcomeWord(step.Outcome) + wordIf(step.Push, ": push") + wordIf(step.Reply != nil, ": passive") + "\n" + s.show()
	case "pushkept":
		return s.pushKept(now)
	default:
		return s.runDue(t, d, now)
	}
	return s.show()
}

func (s *script) begin(k messages.Key, now time.Time) string {
	next, part, ok, err := s.state.Begin(k, now)
	switch {
	case err != nil:
		return "error: " + err.Error() + "\n"
	case !ok:
		return "no grant is open\n"
	}
	s.state = next
	return quoted(part) + "\n"
}

func (s *script) pushKept(now time.Time) string {
	next, first, ok := s.state.PushKept(s.limits, now)
	s.state = next
	if !ok {
		return "nothing may be pushed\n" + s.show()
	}
	return "push of " + name(first) + "\n" + s.show()
}

func (s *script) runDue(t *testing.T, d *datadriven.TestData, now time.Time) string {
	t.Helper()
	switch d.Cmd {
	case "wake":
		s.state = s.state.Wake(s.limits, now)
		return s.show()
	case "due":
		if due := s.state.Due(s.limits); !due.IsZero() {
			return due.Sub(noon).String() + "\n"
		}
		return "never\n"
	case "unfinished":
		if k, ok := s.state.Unfinished(); ok {
			return name(k) + "\n"
		}
		return "none\n"
	case "grants":
		return s.grants(now)
	}
	t.Fatalf("%s: no such command: %s", d.Pos, d.Cmd)
	return ""
}

// grants are shown in the order in which they stand, and the one that is used next is named.
func (s *script) grants(now time.Time) string {
	var b strings.Builder
	for i, g := range s.state.Grants {
		word, _ := g.Class.MarshalText()
		from, until := time.UnixMilli(g.FromMS).Sub(noon), time.UnixMilli(g.UntilMS).Sub(noon)
		fmt.Fprintf(&b, "%s: %d left, from %s until %s%s\n", word, g.Left, from, until, wordIf(i == s.state.openGrant(now), ", next"))
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}

// showPushes prints what leaves through WeChat's API.
func (s *script) showPushes(b *strings.Builder) {
	for _, p := range s.state.Pushes {
		sending := wordIf(p.Sending, fmt.Sprintf(" sending part %d, attempt %d", p.Number, p.Attempt))
		fmt.Fprintf(b, "push %s%s%s%s\n", name(p.Key), wordIf(!p.Answered, " marked"), sending, wordIf(p.Repeated, " repeated"))
		for _, part := range p.Parts {
			a, _ := part.Answer.Open()
			fmt.Fprintf(b, "  part of %s%s%s %s\n", name(part.Key), wordIf(part.Repeat, " repeat"), wordIf(part.Cut, " cut"), quoted(a))
		}
	}
}

// pushAt tells when what is kept may be pushed all the same.
func pushAt(k Kept) string {
	if k.PushMS == 0 {
		return ""
	}
	return " push at " + time.UnixMilli(k.PushMS).Sub(noon).String()
}

func menu() *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Menu{Menu: &messages.MenuAnswer{
		Head: "选一个", Options: []*messages.MenuOption{{Id: "1", Content: "好"}},
	}}}
}
