package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Rule 14: an exchange that was open for a while before its message was in the log has that much less time.
func TestPushDeadlineOfAnOpenExchange(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 8*time.Second)
		w.start()
		began := time.Now()
		in := w.message("u1", "1", "slow")
		s := w.door.open(in)
		entry := &messages.Entry{Inbound: in, Slot: &messages.Slot{Ingress: "door", Id: s.id}, WaitedMs: 2000}
		if _, err := w.log.Accept(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		w.wantQuiet(s, pushAfter-2*time.Second, pushAfter-2*time.Second+100*time.Millisecond, began)
		time.Sleep(10 * time.Second)
		w.line.want(t, "re: slow")
	})
}

// Rule 14: a user who may not be sent anything gets the answer on an open exchange or not at all, so none is ended before it is there.
func TestNoGrantHoldsTheExchange(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 8*time.Second)
		w.start()
		in := w.message("u1", "1", "slow")
		in.Kind = messages.Kind_KIND_LOCATION_REPORT // which opens no grant
		s := w.deliver(in)
		time.Sleep(6 * time.Second)
		if s.isDone() {
			t.Fatalf("the exchange was ended with %q, and nothing may be sent", s.text())
		}
		time.Sleep(3 * time.Second)
		if s.text() != "re: slow" {
			t.Errorf("the exchange got %q", s.text())
		}
		w.line.want(t)
	})
}

// Rule 14: a delivery that comes while the answer is thought about, or sent, ends at once: WeChat need not deliver once more.
func TestLaterDeliveryIsToldAtOnce(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 8*time.Second)
		w.line.slow = 5 * time.Second
		w.start()
		in := w.message("u1", "1", "slow")
		w.deliver(in)
		for _, after := range []time.Duration{5 * time.Second, 5 * time.Second} {
			time.Sleep(after)
			began := time.Now()
			s := w.deliver(in)
			time.Sleep(time.Second)
			w.wantQuiet(s, 0, 100*time.Millisecond, began)
		}
		time.Sleep(10 * time.Second)
		w.line.want(t, "re: slow")
	})
}

// Rules 11 and 14: a path that a former activation committed is told to nobody before it is on the disk.
func TestBarrierBehindAFormerMark(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", time.Minute)
		var broken atomic.Bool
		broken.Store(true)
		w.opts.Barrier = barrierFunc(func(context.Context) error {
			if broken.Load() {
				return errors.New("disk")
			}
			return nil
		})
		w.start()
		s := w.deliver(w.message("u1", "1", "slow"))
		time.Sleep(8 * time.Second)
		if st, _ := w.state("u1"); len(st.Pushes) != 1 || s.isDone() {
			t.Errorf("pushes %+v, exchange ended %v: nothing of it may be on the disk", st.Pushes, s.isDone())
		}
		broken.Store(false)
		time.Sleep(5 * time.Second)
		if !s.isDone() || s.got() != nil {
			t.Errorf("the exchange got %q (ended %v) once the disk had recovered", s.text(), s.isDone())
		}
	})
}

// last is a message in its last delivery, by its age.
func (w *world) last(user, id, text string) *messages.Inbound {
	in := w.message(user, id, text)
	in.CreateTime = time.Now().Add(-13 * time.Second).Unix()
	return in
}

// Rule 14: an answer that no delivery took is pushed where the account may.
func TestRefusedAnswerIsPushed(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.start()
		in := w.last("u1", "1", "a")
		s := w.door.open(in)
		w.door.close(s)
		w.accept(in, s)
		time.Sleep(10 * time.Second)
		w.line.want(t, "re: a")
		if st, _ := w.state("u1"); len(st.Kept)+len(st.Pushes)+len(st.Answers) != 0 {
			t.Errorf("left over: %+v", st)
		}
	})
}

// Rule 14: an answer that may have been written is not pushed: the user would read it twice.
func TestUnknownAnswerIsNotPushed(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Unknown: UnknownOnce}}
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		w.deliver(w.last("u1", "1", "a"))
		time.Sleep(30 * time.Second)
		w.line.want(t)
		w.door.behave(func(d *door) { d.deaf = false })
		if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: a\n\nre: b" {
			t.Errorf("the next reply is %q", next.text())
		}
		w.line.want(t)
	})
}

// Rule 19: a letter whose taking up failed is no other one's: it is tried again, and run once though a try had its effect unheard.
func TestRedriveOfALogInTrouble(t *testing.T) {
	for _, fails := range []string{"take_up", "take_up_done", "letter"} {
		t.Run(fails, func(t *testing.T) {
			inPushWorld(t, func(t *testing.T, w *world) {
				w.line.fates = []Sent{{Fate: FateNoUser, Code: 43004}}
				w.answers("many", "one", "two")
				w.start()
				w.deliver(w.message("u1", "1", "many"))
				time.Sleep(5 * time.Second)
				w.wantDead(ReasonNoUser, ReasonNoUser)
				var broken atomic.Bool
				broken.Store(true)
				w.log.Fail(func(op string) error {
					if op == fails && broken.Load() {
						return errors.New("no answer")
					}
					return nil
				})
				for id, letter := range w.log.Letters() {
					if letter.GetAnswer().GetText().GetContent() == "two" {
						w.redrive(id, letter)
					}
				}
				time.Sleep(10 * time.Second)
				if fails != "take_up_done" { // which the next try finds done
					w.line.want(t)
				}
				broken.Store(false)
				time.Sleep(10 * time.Second)
				w.line.want(t, "two")
			})
		})
	}
}

// Rule 19: an operator's re-drive is no flood of the user's, however many messages wait.
func TestRedriveIsNoFlood(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.line.fates = []Sent{{Fate: FateNoUser, Code: 43004}}
		w.answers("many", "one", "two")
		w.answers("x", "")
		w.slowly("stubborn", 20*time.Second)
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.wantDead(ReasonNoUser, ReasonNoUser)
		w.deliver(w.message("u1", "2", "stubborn"))
		for n := range maxQueued + 10 {
			w.deliver(w.message("u1", fmt.Sprint("x", n), "x"))
		}
		for id, letter := range w.log.Letters() {
			if letter.GetAnswer().GetText().GetContent() == "two" {
				w.redrive(id, letter)
			}
		}
		time.Sleep(30 * time.Second)
		if st, _ := w.state("u1"); st.Counts.Dropped == 0 {
			t.Error("nothing was dropped: the test shows nothing")
		}
		w.line.want(t, "re: stubborn", "two")
	})
}

// Rule 19: a re-driven letter of an account that is gone ends quietly: its letter stays as it is, and there is no second one.
func TestRedriveOfAGoneAccount(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.start()
		in := w.message("u1", "1", "a")
		in.Account = "gone"
		entry := &messages.Entry{Source: messages.Source_SOURCE_REDRIVE, Inbound: in, Redrive: &messages.Redrive{Letter: "0.gone.x.1", Attempt: 2}}
		if _, err := w.log.Accept(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.wantDead()
		if c := w.checkpoint(); c.Floor != 1 {
			t.Errorf("floor %d, want the entry settled", c.Floor)
		}
	})
}

// Rule 19: the letter itself says who runs it. Keys tell the same attempt apart from itself; this holds also where they are of no use.
func TestRedriveHasOneWinner(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.line.fates = []Sent{{Fate: FateBadMessage, Code: 45002}}
		w.answers("many", "one", "two")
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.line.want(t, "two")
		w.wantDead(ReasonRefused)
		for id, letter := range w.log.Letters() {
			for attempt := range int32(4) { // another key each time
				copied := proto.CloneOf(letter)
				copied.Attempt = attempt + 1
				w.redrive(id, copied)
			}
		}
		time.Sleep(30 * time.Second)
		w.line.want(t, "two", "one")
		w.wantSaid("u1", "many")
	})
}

// Rule 16: the result of a call and the mark of the next one are one write: a part costs one, and an answer one more.
func TestOneWritePerPart(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two", "three")
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.line.want(t, "one", "two", "three")
		// The turn, and the mark of the first part; then a result each.
		want := []string{"commit", "offer", "commit", "sent", "commit", "sent", "commit", "sent", "commit"}
		if got := w.order.take(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
