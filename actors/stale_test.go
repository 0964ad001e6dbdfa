package actors

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state"
)

// Rules 8 and 14: an owner that was stopped does not know what a later one has done with an answer: it may have been kept for the
// user's next message. So before the old owner offers what it committed a while ago it compares and sets, is refused, and says nothing.
func TestStaleOwnerOffersNothing(t *testing.T) {
	for name, settled := range map[string]bool{"waiting for a redelivery": false, "recorded answer": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				in := w.message("u1", "1", "a")
				first := w.door.open(in)
				if !settled {
					w.door.close(first)
				}
				w.accept(in, first)
				time.Sleep(time.Second)
				st, rec := w.state("u1")
				value, err := st.Keep(st.Answers[0].Key, false, w.opts.Accounts[account].Limits, time.Now()).Encode()
				if err != nil {
					t.Fatal(err)
				}
				rec.Value = value
				commitAs(t, w, "u1", rec, w.epoch+1)
				time.Sleep(4 * time.Second)
				if again := w.deliver(in); again.isDone() {
					t.Errorf("an owner that is one no more gave %q", again.text())
				}
				time.Sleep(time.Second)
				select {
				case <-w.gone:
				default:
					t.Error("the old owner goes on")
				}
				w.system.Shutdown()
				w.epoch++
				w.start()
				if next := w.deliver(w.message("u1", "2", "b")); strings.Count(next.text(), "re: a") != 1 {
					t.Errorf("the next message got %q", next.text())
				}
			})
		})
	}
}

// Rule 13: an answer counted as delivered because WeChat did not deliver the message again. It did, later than it should, and that
// delivery cannot carry the answer either: now it is known that the user has none, and the answer is kept.
func TestLateRedeliveryProvesTheContrary(t *testing.T) {
	for name, c := range map[string]struct {
		late    time.Duration
		crashes bool
	}{
		"a redelivery":           {late: 9 * time.Second},
		"under the next owner":   {late: 9 * time.Second, crashes: true},
		"a replay after minutes": {late: 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				w.door.behave(func(d *door) { d.deaf = true })
				in := w.message("u1", "1", "a")
				w.deliver(in)
				w.door.behave(func(d *door) { d.deaf = false })
				time.Sleep(c.late)
				if c.crashes {
					w.kill()
					w.start()
				}
				again := w.door.open(in)
				w.door.close(again)
				w.accept(in, again)
				time.Sleep(time.Second)
				want := "re: a\n\nre: b"
				if c.late > 15*time.Second {
					want = "re: b" // it is not WeChat that asks
				}
				if next := w.deliver(w.message("u1", "2", "b")); next.text() != want || len(w.log.Letters()) != 0 {
					t.Errorf("the next message got %q, want %q; %d dead letters", next.text(), want, len(w.log.Letters()))
				}
			})
		})
	}
}

// Rule 13: the late redelivery carried the answer, and one that is later still, whose exchange is closed, does not bring it back.
func TestLateRedeliveryGetsTheAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		in := w.message("u1", "1", "a")
		w.deliver(in)
		w.door.behave(func(d *door) { d.deaf = false })
		time.Sleep(9 * time.Second)
		if again := w.deliver(in); again.text() != "re: a" {
			t.Errorf("the redelivery got %q", again.text())
		}
		time.Sleep(time.Second)
		closed := w.door.open(in)
		w.door.close(closed)
		w.accept(in, closed)
		time.Sleep(time.Second)
		if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: b" {
			t.Errorf("the next message got %q", next.text())
		}
	})
}

// A new owner that only says `success` to a repeated delivery has written nothing by that. A former owner's late write would change the
// record behind its back: before it settles anything, it makes sure that none can (rule 8).
func TestRepeatsKeepFormerOwnersOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		in := w.message("u1", "1", "a")
		w.deliver(in)
		time.Sleep(2 * time.Minute) // so long that its answer is forgotten
		_, before := w.state("u1")
		w.kill()
		w.start()
		w.deliver(in)
		time.Sleep(time.Second)
		key := state.Key{User: messages.User{Account: account, OpenID: "u1"}}
		_, err := w.store.Commit(t.Context(), key, before, state.Write{Epoch: 1, WriteID: 1, Value: before.Value})
		if !errors.Is(err, state.ErrStaleEpoch) {
			t.Errorf("a former owner's write came to %v, want it refused", err)
		}
		w.wantSaid("u1", "a")
	})
}
