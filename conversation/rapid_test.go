package conversation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"hongyan/messages"
)

// TestNothingIsLost takes a user's record through random steps, as an actor would: messages of all kinds, paths that become push, calls of
// every fate, owners who die between two steps, answers kept, diverted and re-driven, limits that change. Whatever happens, each piece of
// each answer is in one place: shown, on its way, kept, or in a dead letter; what is shown is in order, and no reply or call is larger than
// WeChat takes.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &walker{t: t, now: noon, limits: DefaultLimits(), seen: make(map[rune]int), twice: make(map[rune]bool), free: make(map[rune]bool),
			passed: make(map[rune]bool), spare: make(map[rune]int)}
		w.limits.TextBytes = rapid.IntRange(24, 80).Draw(t, "text bytes")
		w.limits.MaxKept, w.limits.KeptFor = rapid.IntRange(3, 30).Draw(t, "kept"), 48*time.Hour
		w.limits.Push, w.limits.More = rapid.Bool().Draw(t, "push"), "more"
		t.Repeat(map[string]func(*rapid.T){
			"message":  w.message,
			"another":  w.message,
			"mark":     w.mark,
			"exchange": w.exchange,
			"call":     w.call,
			"calls": func(t *rapid.T) {
				for range 4 {
					w.call(t)
				}
			},
			"proof":     w.proof,
			"wake":      w.wake,
			"redeliver": w.redeliver,
			"reload":    func(*rapid.T) { w.reload() },
			"time":      func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.Int64Range(1, 1<<47).Draw(t, "passes"))) },
			"rights":    func(t *rapid.T) { w.limits.Push = !w.limits.Push },
			"":          func(*rapid.T) { w.check() },
		})
	})
}

// walker is one walk. A piece of an answer is a rune that stands nowhere else, so that a cut text shows where each of them went.
type walker struct {
	t      *rapid.T
	st     State
	limits Limits
	now    time.Time
	seq    uint64

	pieces []rune        // all that the bot said, in order
	seen   map[rune]int  // how often each was shown
	twice  map[rune]bool // those that reply.unknown may have shown twice
	spare  map[rune]int  // how often each may have been shown more
	passed map[rune]bool // those that count as delivered
	free   map[rune]bool // those that a dead letter took out of the order, or that no passive reply takes
	order  []rune        // as they were shown
	dead   []Burial
	open   []messages.Key // marked, their turn being still to come
}

func (w *walker) arrival() Arrival {
	w.seq++
	return Arrival{Key: keyOf(fmt.Sprint("m", w.seq)), At: messages.Position{Generation: 1, Sequence: w.seq}, LogTime: w.now}
}

// firstPiece is the rune of the first piece; there are 20,000 behind it.
const firstPiece = '\u4e00'

// say makes an answer of n pieces, three bytes each.
func (w *walker) say(n int) *messages.Answer {
	var b strings.Builder
	for range n {
		piece := firstPiece + rune(len(w.pieces))
		w.pieces = append(w.pieces, piece)
		b.WriteRune(piece)
	}
	return textAnswer(b.String())
}

// draw makes the bot's answers.
func (w *walker) draw(t *rapid.T) (said Said) {
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3, 9}).Draw(t, "answers") {
		said.Answers = append(said.Answers, w.say(rapid.IntRange(1, 60).Draw(t, "pieces")))
	}
	if rapid.IntRange(0, 9).Draw(t, "menu") == 0 {
		said.Answers = append(said.Answers, menu())
	}
	return said
}

var kinds = []messages.Kind{messages.Kind_KIND_TEXT, messages.Kind_KIND_TEXT, messages.Kind_KIND_CLICK, messages.Kind_KIND_SUBSCRIBE,
	messages.Kind_KIND_VIEW, messages.Kind_KIND_UNSUBSCRIBE}

// message is a turn, of a message whose path is push already or of a fresh one.
func (w *walker) message(t *rapid.T) {
	a := w.arrival()
	if len(w.open) > 0 && rapid.Bool().Draw(t, "marked") {
		a.Key, w.open = w.open[0], w.open[1:]
	}
	w.turn(t, a, &messages.Inbound{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")})
}

func (w *walker) turn(t *rapid.T, a Arrival, in *messages.Inbound) {
	w.leave() // answers leave in order: what was offered before has been written
	said := Said{}
	if in.GetKind().Repliable() {
		said = w.draw(t)
	}
	wasMarked := w.st.marked(a.Key)
	next, step, err := w.st.Turn(in, a, said, w.limits, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.commit(next)
	switch p, ok := next.Pushing(a.Key); {
	case step.Reply != nil && (wasMarked || a.Late):
		t.Fatalf("a passive reply to %s", name(a.Key))
	case step.Push != (ok && p.Answered):
		t.Fatalf("the step says push: %v, the record %+v", step.Push, p)
	case step.Reply != nil && len(step.Reply.GetText().GetContent()) > w.limits.TextBytes:
		t.Fatalf("a reply of %d bytes, of %d at most", len(step.Reply.GetText().GetContent()), w.limits.TextBytes)
	}
}

// leave shows the recorded answers that are still on their way.
func (w *walker) leave() {
	for _, r := range w.st.Answers {
		if !r.Settled {
			w.show(r.Answer)
			w.st = w.st.Delivered(r.Key)
		}
	}
}

func (w *walker) mark(t *rapid.T) {
	a := w.arrival()
	w.open = append(w.open, a.Key)
	w.commit(w.st.Mark(&messages.Inbound{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}, a, w.now))
}

// exchange is what becomes of the last passive reply.
func (w *walker) exchange(t *rapid.T) {
	i := slices.IndexFunc(w.st.Answers, func(r Recorded) bool { return !r.Settled })
	if i < 0 {
		return
	}
	r := w.st.Answers[i]
	fates := []string{"written", "refused", "divert", "divert", "assumed", "unknown, once", "unknown, never"}
	switch rapid.SampledFrom(fates).Draw(t, "fate") {
	case "written":
		w.leave()
	case "refused":
		w.commit(w.st.Keep(r.Key, false, w.limits, w.now))
	case "divert":
		if w.limits.Push && w.st.GrantOpen(w.now) && !r.Repeat {
			w.commit(w.st.Divert(r.Key, w.limits, w.now))
		}
	case "assumed":
		for _, p := range piecesOf(r.Answer) {
			w.passed[p], w.free[p] = true, true
		}
		w.commit(w.st.Assume(r.Key, w.now))
	case "unknown, once":
		if !r.Repeat {
			w.maybeShown(t, r.Answer)
			w.commit(w.st.Keep(r.Key, true, w.limits, w.now))
		}
	default:
		w.commit(w.st.Abandon(r.Key, ReasonUnknown, "", w.now))
	}
}

// proof is a delivery that comes behind an answer that was taken for delivered, and cannot carry it either.
func (w *walker) proof(*rapid.T) {
	for _, r := range w.st.Answers {
		if r.Settled && r.AssumedMS > 0 {
			for _, p := range piecesOf(r.Answer) {
				delete(w.passed, p)
			}
			w.commit(w.st.Keep(r.Key, false, w.limits, w.now))
			return
		}
	}
}

// maybeShown is an outcome that nobody knows, and that may be repeated once.
func (w *walker) maybeShown(t *rapid.T, answer Blob) {
	for _, p := range piecesOf(answer) {
		if w.twice[p] {
			t.Fatalf("%c may be repeated a second time", p)
		}
		w.twice[p] = true
		w.spare[p]++
	}
	if rapid.Bool().Draw(t, "shown") {
		w.show(answer)
	}
}

// call is one call of WeChat's API, and what came of it.
func (w *walker) call(t *rapid.T) {
	key, ok := w.st.Unfinished()
	if !ok {
		return
	}
	if p, _ := w.st.Pushing(key); p.Sending { // of a former activation, whose call came to nothing
		w.commit(w.st.Lose(key, ReasonUnknown, "", w.now))
		return
	}
	next, part, open, err := w.st.Begin(key, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if !open {
		w.commit(w.st.Retire(key, time.Time{}, w.limits, w.now))
		return
	}
	w.commit(next)
	if n := len(part.GetText().GetContent()); n > w.limits.TextBytes {
		t.Fatalf("a call of %d bytes, of %d at most", n, w.limits.TextBytes)
	}
	p, _ := w.st.Pushing(key)
	answer := p.Parts[0].Answer
	fates := []string{"sent", "sent", "sent", "not made", "later", "closed", "no user", "bad", "unknown", "dies"}
	switch rapid.SampledFrom(fates).Draw(t, "fate") {
	case "sent":
		w.show(answer)
		w.commit(w.st.Sent(key))
	case "not made":
		w.commit(w.st.NotSent(key, w.now))
	case "later":
		w.commit(w.st.NotSent(key, w.now).Retire(key, w.now.Add(10*time.Minute), w.limits, w.now))
	case "closed":
		w.commit(w.st.Closed(key, w.limits, w.now))
	case "no user":
		w.commit(w.st.LoseAll(key, "no_user", "", w.now))
	case "bad":
		w.commit(w.st.Lose(key, "refused", "", w.now))
	case "unknown":
		if next, again := w.st.Repeat(key); again {
			w.maybeShown(t, answer)
			w.commit(next)
		} else {
			w.commit(w.st.Lose(key, ReasonUnknown, "", w.now))
		}
	default: // whoever made it died: the next step finds the mark
	}
}

// wake does what is due, and then nothing is due any more.
func (w *walker) wake(t *rapid.T) {
	for range 3 {
		if _, ok := w.st.Unfinished(); ok {
			w.call(t)
		}
	}
	if _, ok := w.st.Unfinished(); ok {
		return
	}
	if due := w.st.Due(w.limits); rapid.Bool().Draw(t, "at its time") && !due.IsZero() {
		w.now = maxTime(w.now, due)
	}
	next := w.st.Wake(w.limits, w.now)
	if w.limits.Push {
		next, _, _ = next.PushKept(w.limits, w.now)
		if due := next.Due(w.limits); !due.IsZero() && !due.After(w.now) {
			t.Fatalf("still due at %v, now it is %v", due, w.now)
		}
	}
	w.commit(next)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// redeliver runs one of the dead letters again.
func (w *walker) redeliver(t *rapid.T) {
	i := slices.IndexFunc(w.dead, func(b Burial) bool { return b.Answer != nil })
	if i < 0 {
		return
	}
	w.leave()
	letter := w.dead[i]
	w.dead = slices.Delete(w.dead, i, i+1)
	answer, err := letter.Answer.Open()
	if err != nil {
		t.Fatal(err)
	}
	a := w.arrival()
	next, step, err := w.st.Redeliver(a, answer, w.limits, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if step.Reply != nil {
		t.Fatal("a re-driven answer is passive")
	}
	for _, p := range piecesOf(letter.Answer) {
		w.twice[p] = false // an operator wants it
	}
	w.commit(next)
}

// commit takes a step, and publishes its dead letters.
func (w *walker) commit(next State) {
	w.st = next
	for _, b := range next.Burials {
		w.dead = append(w.dead, b)
		for _, p := range piecesOf(b.Answer) {
			w.free[p] = true
		}
		w.st = w.st.Published(b.Number)
	}
}

func (w *walker) reload() {
	b, err := w.st.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	st, err := Decode(b)
	if err != nil {
		w.t.Fatal(err)
	}
	again, err := st.Encode()
	if err != nil || !bytes.Equal(b, again) {
		w.t.Fatalf("the record does not come back as it was: %v", err)
	}
	w.st = st
}

// piecesOf are the pieces of an answer.
func piecesOf(answer Blob) (out []rune) {
	a, err := answer.Open()
	if err != nil {
		return nil
	}
	for _, r := range a.GetText().GetContent() {
		if r >= firstPiece {
			out = append(out, r)
		}
	}
	return out
}

func (w *walker) show(answer Blob) {
	for _, p := range piecesOf(answer) {
		w.seen[p]++
		w.order = append(w.order, p)
	}
}

// check looks where every piece is.
func (w *walker) check() {
	w.reload()
	where := maps.Clone(w.seen)
	note := func(b Blob) {
		for _, p := range piecesOf(b) {
			where[p]++
		}
	}
	for p := range w.passed {
		where[p]++
	}
	for _, r := range w.st.Answers {
		if !r.Settled {
			note(r.Answer)
		}
	}
	for _, k := range w.st.Kept {
		note(k.Answer)
	}
	for _, p := range w.st.Pushes {
		for _, part := range p.Parts {
			note(part.Answer)
		}
	}
	for _, b := range w.dead {
		note(b.Answer)
	}
	last := rune(0)
	for _, p := range w.order {
		if w.free[p] || w.spare[p] > 0 {
			continue
		}
		if p <= last {
			w.t.Fatalf("%c was shown behind %c", p, last)
		}
		last = p
	}
	for _, p := range w.pieces {
		if n := where[p]; n == 0 || n > 1+w.spare[p] {
			w.t.Fatalf("%c is in %d places", p, n)
		}
	}
	if len(w.st.Kept) > w.limits.MaxKept {
		w.t.Fatalf("%d answers are kept, of %d at most", len(w.st.Kept), w.limits.MaxKept)
	}
}

// TestOldRecords: what a node wrote that knew nothing of pushes is read as it is.
func TestOldRecords(t *testing.T) {
	t.Parallel()
	a := Arrival{Key: keyOf("a"), At: messages.Position{Generation: 1, Sequence: 7}, LogTime: noon}
	st, _, err := State{}.Turn(&messages.Inbound{Kind: messages.Kind_KIND_TEXT}, a, Said{Answers: []*messages.Answer{textAnswer("hi")}}, DefaultLimits(), noon)
	if err != nil {
		t.Fatal(err)
	}
	b, err := st.Keep(keyOf("a"), false, DefaultLimits(), noon).Encode()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[int]cbor.RawMessage
	if err := cbor.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, 16) // Pushes
	delete(fields, 17) // Grants
	fields[99] = cbor.RawMessage{0x01}
	if b, err = cbor.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	old, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	due := noon.Add(48*time.Hour + time.Millisecond)
	if len(old.Kept) != 1 || old.Applied.Sequence != 7 || old.GrantOpen(noon) || !old.Due(DefaultLimits()).Equal(due) {
		t.Errorf("read as %+v, due %v", old, old.Due(DefaultLimits()))
	}
}
