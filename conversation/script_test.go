package conversation

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"hongyan/messages"
)

// TestScripts runs the stories in testdata. Each is one user's; run with -rewrite to accept what the core does now.
//
//	limits turns=4 bytes=200 idle=1h text=60 kept=2 retention=10m keptfor=48h push=yes
//	turn key=m1 at=5 [t=2s] [kind=click] [image=id] [late] [menu] : what the user wrote, and behind it the bot's answers, "||" between them
//	classify key=m1 at=5 [t=2s] [log=1s] [created=1s]
//	written key=m1 | keep key=m1 [repeat] | abandon key=m1 reason=x | bury key=m1 at=5 reason=x [outoforder]
//	drop key=m1 at=5 | notice [t=2s] | published number=1 | reload | state
//
// Those of the way through WeChat's API are in script_push_test.go.
//
// Times are offsets from noon; at is the position in the log.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{limits: DefaultLimits()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type script struct {
	state  State
	limits Limits
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	now := noon
	if arg(d, "t") != "" {
		now = noon.Add(duration(t, arg(d, "t")))
	}
	switch d.Cmd {
	case "limits":
		s.setLimits(t, d)
		return "ok\n"
	case "turn":
		return s.turn(t, d, now)
	case "classify":
		class, outcome := s.state.Classify(s.arrival(t, d, now), s.limits, now)
		return [...]string{"fresh", "known", "expired", "lost", "doubtful"}[class] + wordIf(class == Known, " "+OutcomeWord(outcome)) + "\n"
	case "written":
		s.state = s.state.Delivered(key(d))
	case "keep":
		s.state = s.state.Keep(key(d), d.HasArg("repeat"), s.limits, now)
	case "abandon":
		s.state = s.state.Abandon(key(d), arg(d, "reason"), "", now)
	case "bury":
		s.state = s.state.Bury(s.arrival(t, d, now), !d.HasArg("outoforder"), arg(d, "reason"), "", s.limits, now)
	case "drop":
		s.state = s.state.Drop([]Arrival{s.arrival(t, d, now)}, s.limits, now)
	case "notice":
		next, due := s.state.Notice(now)
		s.state = next
		return strconv.FormatBool(due) + "\n"
	case "published":
		n, err := strconv.ParseUint(arg(d, "number"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.state = s.state.Published(n)
	case "fill":
		return s.fill(t, d, now)
	case "reload":
		b, err := s.state.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s.state, err = Decode(b); err != nil {
			t.Fatal(err)
		}
	case "state":
	default:
		return s.runPush(t, d, now)
	}
	return s.show()
}

func (s *script) setLimits(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	for _, a := range d.CmdArgs {
		v := a.Vals[0]
		switch a.Key {
		case "turns":
			s.limits.MaxTurns = number(t, v)
		case "bytes":
			s.limits.MaxBytes = number(t, v)
		case "idle":
			s.limits.Idle = duration(t, v)
		case "text":
			s.limits.TextBytes = number(t, v)
		case "kept":
			s.limits.MaxKept = number(t, v)
		case "retention":
			s.limits.KeyRetention = duration(t, v)
		case "keptfor":
			s.limits.KeptFor = duration(t, v)
		case "push":
			s.limits.Push = v == "yes"
		case "more":
			s.limits.More = strings.Join(a.Vals, " ")
		default:
			t.Fatalf("%s: no such limit: %s", d.Pos, a.Key)
		}
	}
}

func (s *script) turn(t *testing.T, d *datadriven.TestData, now time.Time) string {
	t.Helper()
	// The input's first line is what the user wrote, the rest is what the bot said.
	wrote, said, _ := strings.Cut(d.Input, "\n")
	in := &messages.Inbound{Kind: messages.Kind_KIND_TEXT, Body: &messages.Inbound_Text{Text: &messages.Text{Content: wrote}}}
	switch arg(d, "kind") {
	case "":
	default:
		in.Kind = events[arg(d, "kind")]
		in.Body = &messages.Inbound_Event{Event: &messages.Event{Name: arg(d, "kind"), Key: wrote}}
	}
	var answer Said
	switch {
	case arg(d, "image") != "":
		answer.Answers = []*messages.Answer{{Content: &messages.Answer_Image{Image: &messages.MediaAnswer{MediaId: arg(d, "image")}}}}
	case said != "":
		for text := range strings.SplitSeq(said, "||") {
			answer.Answers = append(answer.Answers, textAnswer(text))
		}
	}
	if d.HasArg("menu") { // only a customer-service message can carry it
		answer.Answers = append(answer.Answers, menu())
	}
	if v := arg(d, "set"); v != "" {
		name, value, _ := strings.Cut(v, ":")
		answer.Session = map[string]string{name: value}
	}
	more := wordIf(s.state.AsksForMore(in), "asks for more\n")
	next, step, err := s.state.Turn(in, s.arrival(t, d, now), answer, s.limits, now)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	s.state = next
	reply := wordIf(step.Push, "push, ") + "success"
	if step.Reply != nil {
		reply = quoted(step.Reply)
	}
	return more + OutcomeWord(step.Outcome) + ": " + reply + "\n"
}

// fill commits n turns, one a second.
func (s *script) fill(t *testing.T, d *datadriven.TestData, now time.Time) string {
	t.Helper()
	n, from := number(t, arg(d, "n")), number(t, arg(d, "from"))
	for i := range n {
		at := now.Add(time.Duration(i) * time.Second / 100)
		a := Arrival{Key: keyOf(fmt.Sprint("fill", from+i)), At: messages.Position{Generation: 1, Sequence: uint64(from + i)}, LogTime: at}
		next, _, err := s.state.Turn(&messages.Inbound{Kind: messages.Kind_KIND_CLICK}, a, Said{}, s.limits, at)
		if err != nil {
			t.Fatal(err)
		}
		s.state = next
	}
	return fmt.Sprintf("%d keys, applied %s\n", s.state.Keys.Len(), s.state.Applied)
}

func (s *script) arrival(t *testing.T, d *datadriven.TestData, now time.Time) Arrival {
	t.Helper()
	a := Arrival{Key: key(d), LogTime: now, Late: d.HasArg("late")}
	a.At = messages.Position{Generation: 1, Sequence: uint64(number(t, arg(d, "at")))}
	if g := arg(d, "gen"); g != "" {
		a.At.Generation = uint64(number(t, g))
	}
	if l := arg(d, "log"); l != "" {
		a.LogTime = noon.Add(duration(t, l))
	}
	if c := arg(d, "created"); c != "" {
		a.CreateTime = noon.Add(duration(t, c)).Unix()
	}
	return a
}

// show is the state as the scripts print it.
func (s *script) show() string {
	var b strings.Builder
	st := s.state
	fmt.Fprintf(&b, "applied %s keys", st.Applied)
	for i := range min(st.Keys.Len(), 12) {
		k := st.Keys.At(i)
		fmt.Fprintf(&b, " %s=%s", name(k.Key), OutcomeWord(k.Outcome))
	}
	b.WriteString("\n")
	for _, r := range st.Answers {
		a, _ := r.Answer.Open()
		fmt.Fprintf(&b, "recorded %s%s %s\n", name(r.Key), wordIf(r.Settled, " settled"), quoted(a))
	}
	for _, k := range st.Kept {
		a, _ := k.Answer.Open()
		fmt.Fprintf(&b, "kept %s%s%s%s %s\n", name(k.Key), wordIf(k.Repeat, " repeat"), wordIf(k.Cut, " cut"), pushAt(k), quoted(a))
	}
	s.showPushes(&b)
	for _, g := range st.Burials {
		fmt.Fprintf(&b, "burial %d %s %s\n", g.Number, name(g.Key), g.Reason)
	}
	for _, turn := range st.Turns {
		fmt.Fprintf(&b, "%s: %s\n", [...]string{1: "user", 2: "bot"}[turn.Role], turn.Text)
	}
	for k, v := range st.Session {
		fmt.Fprintf(&b, "session %s=%s\n", k, v)
	}
	f, _ := st.Follows.MarshalText()
	fmt.Fprintf(&b, "follows %s, %s\n", f, strings.NewReplacer(" Pushed:0", "", " Limited:0", "").Replace(fmt.Sprintf("%+v", st.Counts)))
	return b.String()
}

func quoted(a *messages.Answer) string {
	if a.GetText() == nil {
		return DescribeAnswer(a)
	}
	return strconv.Quote(a.GetText().GetContent())
}

// Keys in scripts are short names, padded.
func key(d *datadriven.TestData) messages.Key { return keyOf(arg(d, "key")) }

func keyOf(name string) (k messages.Key) {
	copy(k[:], name)
	return k
}

func name(k messages.Key) string { return strings.TrimRight(string(k[:]), "\x00") }

func arg(d *datadriven.TestData, name string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) > 0 {
			return strings.Join(a.Vals, " ")
		}
	}
	return ""
}

func wordIf(yes bool, word string) string {
	if yes {
		return word
	}
	return ""
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	v, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
