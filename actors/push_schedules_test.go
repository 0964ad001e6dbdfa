package actors

import (
	"slices"
	"testing"
	"time"

	"hongyan/messages"
)

// redrive puts an entry into the log that re-drives a letter.
func (w *world) redrive(id string, letter *messages.DeadLetter) {
	w.t.Helper()
	entry := &messages.Entry{Source: messages.Source_SOURCE_REDRIVE, Inbound: letter.GetInbound(),
		Redrive: &messages.Redrive{Letter: "0." + account + "." + id, Attempt: letter.GetAttempt() + 1}}
	if _, err := w.log.Accept(w.t.Context(), entry); err != nil {
		w.t.Fatal(err)
	}
}

// Rule 19: each part of an answer may have a letter of its own. Each of them is run, though all are of one message.
func TestRedriveEachLetterOfAMessage(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two", "three")
		w.line.fates = []Sent{{Fate: FateNoUser, Code: 43004}}
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.line.want(t)
		w.wantDead(ReasonNoUser, ReasonNoUser, ReasonNoUser)
		for id, letter := range w.log.Letters() {
			w.redrive(id, letter)
		}
		time.Sleep(30 * time.Second)
		for id, letter := range w.log.Letters() { // again, as an impatient operator would
			w.redrive(id, letter)
		}
		time.Sleep(30 * time.Second)
		w.line.behave(func(l *hotline) {
			slices.Sort(l.shown) // the letters were re-driven in no order
		})
		w.line.want(t, "one", "three", "two")
		for _, letter := range w.log.Letters() {
			if letter.GetRedriven() == nil {
				t.Error("a letter was not taken up")
			}
		}
	})
}

// Rule 9: a store that lost writes in a fail-over lost rows of the due index with them. Its owner, who has them, puts them back.
func TestStoreThatLostTheDueIndexIsRepaired(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.until = time.Now().Add(10 * time.Minute)
		w.start()
		image := w.store.Snapshot()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor == 0 || c.Due == 0 {
			t.Fatalf("floor %d, shards %b: the row is not there, and the test shows nothing", c.Floor, c.Due)
		}
		w.store.Restore(image)
		w.deliver(w.message("u2", "2", "hello")) // its checkpoint finds out
		time.Sleep(5 * time.Second)
		w.kill()
		w.start()
		time.Sleep(12 * time.Minute)
		w.line.want(t, "one", "two")
	})
}

// Rule 19: where nobody can tell whether the entry of a re-drive was run before, the letter stays as it is: a second letter, without the
// answer, would only let the bot answer the message once more.
func TestRedriveOfAForgottenKeyLeavesTheLetter(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.fates = []Sent{{Fate: FateBadMessage, Code: 45008}}
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.wantDead(ReasonRefused)
		st, rec := w.state("u1")
		w.kill()
		st.Applied.Sequence = 1 << 20 // the next entries stand before it
		value, err := st.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec.Value = value
		commitAs(t, w, "u1", rec, w.epoch)
		w.start()
		for id, letter := range w.log.Letters() {
			w.redrive(id, letter)
		}
		time.Sleep(30 * time.Second)
		w.wantDead(ReasonRefused)
		for _, letter := range w.log.Letters() {
			if letter.GetRedriven() != nil {
				t.Error("the letter counts as run")
			}
		}
		w.line.want(t, "two")
		if c := w.checkpoint(); c.Floor != c.Newest {
			t.Errorf("unsettled: %+v", c)
		}
	})
}
