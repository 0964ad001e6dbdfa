package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state/memory"
)

func TestMessageIsCommittedThenAnswered(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		s := w.deliver(w.message("u1", "1", "你好"))
		if s.text() != "re: 你好" {
			t.Errorf("answer %q", s.text())
		}
		if got := w.order.take(); !slices.Equal(got, []string{"commit", "offer"}) {
			t.Errorf("order %q: the commit must come before the offer, and be one", got)
		}
		time.Sleep(time.Second)
		if c := w.checkpoint(); c.Floor != 1 {
			t.Errorf("floor %d after the message was settled", c.Floor)
		}
	})
}

// Promise P2: three deliveries, one effect, one answer, whichever of them is open.
func TestDeliveriesJoinTheTurn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", 7*time.Second)
		w.start()
		in := w.message("u1", "1", "slow")
		first := w.deliver(in)
		time.Sleep(5 * time.Second)
		w.door.close(first)
		second := w.deliver(in)
		time.Sleep(3 * time.Second)
		if first.text() != "" || second.text() != "re: slow" {
			t.Errorf("first got %q, second got %q", first.text(), second.text())
		}
		if n := w.bot.count("slow"); n != 1 {
			t.Errorf("the bot was asked %d times", n)
		}
		third := w.deliver(in) // WeChat did not get the answer: the recorded one goes out again
		if third.text() != "re: slow" {
			t.Errorf("a later delivery got %q", third.text())
		}
		time.Sleep(2 * time.Minute)
		if late := w.deliver(in); !late.isDone() || late.got() != nil {
			t.Errorf("a repeat after a minute got %q, want success", late.text())
		}
		w.wantSaid("u1", "slow")
	})
}

// Promise P3: a user's messages are applied and answered in the order of the log; nobody waits for another user.
func TestOrderPerUser(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", 3*time.Second)
		w.start()
		a := w.deliver(w.message("u1", "1", "a"))
		b := w.deliver(w.message("u1", "2", "b"))
		other := w.deliver(w.message("u2", "3", "c"))
		if other.text() == "" || a.isDone() || b.isDone() {
			t.Errorf("other %q a %v b %v: only the other user's message can be answered yet", other.text(), a.isDone(), b.isDone())
		}
		time.Sleep(4 * time.Second)
		if !a.isDone() || !b.isDone() || b.when().Before(a.when()) {
			t.Errorf("a %v at %s, b %v at %s", a.isDone(), a.when(), b.isDone(), b.when())
		}
		w.wantSaid("u1", "a", "b")
	})
}

// Rule 15: the next answer leaves only after the earlier one was written or kept.
func TestAnswersKeepTheirOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", 5500*time.Millisecond)
		w.start()
		in := w.message("u1", "1", "a")
		first := w.deliver(in)
		b := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(5 * time.Second)
		w.door.close(first)
		time.Sleep(time.Second) // a's turn is committed, its answer refused; b must wait for a's redelivery
		if b.isDone() {
			t.Fatal("b was answered before a")
		}
		second := w.deliver(in)
		if second.text() != "re: a" || b.text() != "re: b" {
			t.Errorf("a's redelivery got %q, then b %q", second.text(), b.text())
		}
		if b.when().Before(second.when()) {
			t.Error("b's answer left before a's")
		}
	})
}

// Rules 13 and 18: an answer that no delivery took is kept and goes in front of the next one, in one commit.
func TestLateAnswerIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("late", 20*time.Second)
		w.start()
		in := w.message("u1", "1", "late")
		for range 3 {
			s := w.deliver(in)
			time.Sleep(5 * time.Second)
			w.door.close(s)
		}
		time.Sleep(10 * time.Second)
		st, _ := w.state("u1")
		if len(st.Kept) != 1 || len(st.Answers) != 0 {
			t.Fatalf("kept %d, recorded %d", len(st.Kept), len(st.Answers))
		}
		next := w.deliver(w.message("u1", "2", "hi"))
		if want := "re: late\n\nre: hi"; next.text() != want {
			t.Errorf("next answer %q, want %q", next.text(), want)
		}
		if again := w.deliver(in); !again.isDone() || again.got() != nil {
			t.Errorf("a repeat of the late message got %q: its answer would be given twice", again.text())
		}
		if st, _ := w.state("u1"); len(st.Kept) != 0 {
			t.Error("the answer is kept although it was handed over")
		}
	})
}

// Rule 13: where WeChat does not deliver again, an offer without a verdict counts as delivered; where it does, that delivery gets
// the answer.
func TestUnknownVerdict(t *testing.T) {
	for _, redelivered := range []bool{false, true} {
		t.Run(fmt.Sprint("redelivered ", redelivered), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				w.door.behave(func(d *door) { d.deaf = true })
				in := w.message("u1", "1", "a")
				w.deliver(in)
				time.Sleep(4 * time.Second)
				w.door.behave(func(d *door) { d.deaf = false })
				b := w.deliver(w.message("u1", "2", "b"))
				if b.isDone() {
					t.Fatal("an answer left while the one before it is unknown")
				}
				if redelivered {
					if second := w.deliver(in); second.text() != "re: a" {
						t.Errorf("the redelivery got %q", second.text())
					}
				}
				time.Sleep(10 * time.Second)
				if b.text() != "re: b" {
					t.Errorf("b got %q: nothing was to be kept in front of it", b.text())
				}
				if n := len(w.log.Letters()); n != 0 {
					t.Errorf("%d dead letters for an answer that was delivered, or counts as delivered", n)
				}
			})
		})
	}
}

// The window is over only when everything that may stand in the log was read: a redelivery that waits there unread gets the answer.
func TestUnknownWaitsForTheLog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		w.deliver(w.message("u1", "1", "a"))
		w.log.Fail(func(op string) error {
			if op == "caughtup" {
				return errors.New("cut off")
			}
			return nil
		})
		w.door.behave(func(d *door) { d.deaf = false })
		b := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Minute)
		if b.isDone() {
			t.Error("the unknown answer counts as delivered although the log could not be asked")
		}
		w.log.Fail(nil)
		time.Sleep(time.Second)
		if !b.isDone() {
			t.Error("nothing went on after the log could be asked again")
		}
	})
}

// reply.unknown: an answer whose last delivery is unknown is a dead letter, or given once more.
func TestUnknownAtTheLastDelivery(t *testing.T) {
	for _, policy := range []UnknownPolicy{UnknownNever, UnknownOnce} {
		t.Run([]string{"never", "once"}[policy], func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.opts.Accounts = map[string]Account{account: {Unknown: policy}}
				w.start()
				in := w.message("u1", "1", "a")
				in.CreateTime = time.Now().Add(-13 * time.Second).Unix() // WeChat's last delivery, by age
				w.door.behave(func(d *door) { d.deaf = true })
				w.deliver(in)
				time.Sleep(10 * time.Second)
				w.door.behave(func(d *door) { d.deaf = false })
				next := w.deliver(w.message("u1", "2", "b"))
				letters := len(w.log.Letters())
				switch policy {
				case UnknownNever:
					if letters != 1 || next.text() != "re: b" {
						t.Errorf("%d dead letters, next answer %q", letters, next.text())
					}
				case UnknownOnce:
					if letters != 0 || next.text() != "re: a\n\nre: b" {
						t.Errorf("%d dead letters, next answer %q", letters, next.text())
					}
				}
			})
		})
	}
}

// Rule 12: a first offer that finds no ingress is refused, not unknown: the answer is kept at once when the delivery was the last.
func TestGoneIngressRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.gone = true })
		in := w.message("u1", "1", "a")
		in.CreateTime = time.Now().Add(-13 * time.Second).Unix()
		w.deliver(in)
		time.Sleep(time.Second)
		if st, _ := w.state("u1"); len(st.Kept) != 1 {
			t.Errorf("%d answers kept, want 1", len(st.Kept))
		}
	})
}

// Rule 8: an unknown outcome of a commit drops the activation; what the store says then is what happened, once.
func TestCommitFaults(t *testing.T) {
	for name, fault := range map[string]memory.Fault{
		"never sent": memory.Unreached, "request lost": memory.LostRequest, "failed but persisted": memory.LostAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				var n atomic.Int32
				w.breakStore(func(c memory.Call) memory.Fault {
					if c.Op == memory.Commit && !c.Key.IsCheckpoint() && n.Add(1) <= 2 {
						return fault
					}
					return memory.None
				})
				a := w.deliver(w.message("u1", "1", "a"))
				b := w.deliver(w.message("u1", "2", "b"))
				time.Sleep(20 * time.Second)
				if a.text() != "re: a" || b.text() != "re: b" || b.when().Before(a.when()) {
					t.Errorf("a %q, b %q", a.text(), b.text())
				}
				w.wantSaid("u1", "a", "b")
				if _, rec := w.state("u1"); rec.Version.Number < 2 || rec.Version.Number > 4 { // at most one to fence each lost one
					t.Errorf("version %d", rec.Version.Number)
				}
			})
		})
	}
}

// Promise P4: a stale owner's write is refused and noticed, and the owner steps down.
func TestStaleOwnerStepsDown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		_, rec := w.state("u1")
		later := commitAs(t, w, "u1", rec, w.epoch+1)
		s := w.deliver(w.message("u1", "2", "b"))
		<-w.gone
		if s.isDone() {
			t.Error("the stale owner answered")
		}
		if _, now := w.state("u1"); now.Version != later.Version {
			t.Errorf("the record is at %+v, want the later owner's %+v", now.Version, later.Version)
		}
		w.system.Shutdown()
		w.pid = nil
	})
}

// A flooding user's messages beyond the queue end as dropped_flood; nobody else notices.
func TestFlood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("first", 3*time.Second)
		w.start()
		w.deliver(w.message("u1", "0", "first"))
		var slots []*slot
		for i := range maxQueued + 50 {
			slots = append(slots, w.deliver(w.message("u1", fmt.Sprint("m", i), fmt.Sprint(i))))
		}
		if other := w.deliver(w.message("u2", "x", "hi")); other.text() != "re: hi" {
			t.Errorf("the other user got %q", other.text())
		}
		time.Sleep(10 * time.Second)
		st, _ := w.state("u1")
		if st.Counts.Dropped != 51 || st.Counts.Turns != maxQueued {
			t.Errorf("%d dropped, %d turns, want 51 and %d", st.Counts.Dropped, st.Counts.Turns, maxQueued)
		}
		for i, s := range slots {
			if !s.isDone() {
				t.Fatalf("message %d was left open", i)
			}
		}
		if c := w.checkpoint(); c.Floor != uint64(maxQueued+52) {
			t.Errorf("floor %d", c.Floor)
		}
	})
}

// A bot that panics ends its message as a dead letter; the user's next one flows.
func TestPanickingBot(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.panics = map[string]bool{"boom": true}
		w.start()
		s := w.deliver(w.message("u1", "1", "boom"))
		next := w.deliver(w.message("u1", "2", "hi"))
		time.Sleep(10 * time.Second)
		if !s.isDone() || s.got() != nil || next.text() != "re: hi" {
			t.Errorf("the message got %q (%v), the next %q", s.text(), s.isDone(), next.text())
		}
		letters := w.log.Letters()
		if len(letters) != 1 {
			t.Fatalf("%d dead letters", len(letters))
		}
		for _, l := range letters {
			if l.GetReason() != ReasonPanic || l.GetInbound().GetText().GetContent() != "boom" {
				t.Errorf("dead letter %v", l)
			}
		}
	})
}

// Rule 19: commit, then publish, then settle; a letter that could not be published is published later, once.
func TestBurialOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.panics = map[string]bool{"boom": true}
		w.start()
		w.log.Fail(func(op string) error {
			if op == "bury" {
				return errors.New("full")
			}
			return nil
		})
		s := w.deliver(w.message("u1", "1", "boom"))
		time.Sleep(5 * time.Second)
		st, _ := w.state("u1")
		if len(st.Burials) != 1 || s.isDone() {
			t.Errorf("%d burials committed, answered %v: it must be committed first and not settled", len(st.Burials), s.isDone())
		}
		if c := w.checkpoint(); c.Floor != 0 {
			t.Errorf("floor %d: settled before it was published", c.Floor)
		}
		w.log.Fail(nil)
		time.Sleep(10 * time.Second)
		if n := len(w.log.Letters()); n != 1 || !s.isDone() {
			t.Errorf("%d dead letters, answered %v", n, s.isDone())
		}
	})
}

// Rule 11: with durability disk nothing is offered before the commit's barrier, and a barrier that fails answers nobody.
func TestBarrierComesBeforeTheOffer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var broken atomic.Bool
		w.opts.Barrier = barrierFunc(func(context.Context) error {
			w.order.add("barrier")
			if broken.Load() {
				return errors.New("disk")
			}
			return nil
		})
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		if got := w.order.take(); !slices.Equal(got, []string{"commit", "barrier", "offer"}) {
			t.Errorf("order %q", got)
		}
		broken.Store(true)
		s := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Second)
		if s.isDone() {
			t.Error("answered although the commit may not be on the disk")
		}
		broken.Store(false)
		time.Sleep(20 * time.Second)
		if s.text() != "re: b" {
			t.Errorf("after the disk recovered: %q", s.text())
		}
		w.wantSaid("u1", "a", "b")
	})
}

type barrierFunc func(context.Context) error

func (f barrierFunc) Sync(ctx context.Context) error { return f(ctx) }

// Users who are silent leave memory; the next message finds their record.
func TestPassivation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.PassivateAfter = time.Minute
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		time.Sleep(2 * time.Minute)
		var loads atomic.Int32
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Load {
				loads.Add(1)
			}
			return memory.None
		})
		w.deliver(w.message("u1", "2", "b"))
		if n := loads.Load(); n != 1 {
			t.Errorf("%d reads for a user who came back, want 1", n)
		}
		w.wantSaid("u1", "a", "b")
		synctest.Wait()
	})
}

func TestHistoryReachesTheBot(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		w.deliver(w.message("u1", "2", "b"))
		st, _ := w.state("u1")
		var got []string
		for _, turn := range st.History(conversation.DefaultLimits(), time.Now()) {
			got = append(got, turn.Text)
		}
		if want := []string{"a", "re: a", "b", "re: b"}; !slices.Equal(got, want) {
			t.Errorf("history %q, want %q", got, want)
		}
		if st.Keys.Len() != 2 || st.Applied != (messages.Position{Generation: 1, Sequence: 2}) {
			t.Errorf("%d keys, applied %s", st.Keys.Len(), st.Applied)
		}
	})
}

// A new user whose first message is being answered is there, though nothing of him is in the store yet.
func TestViewOfAFirstMessage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 3*time.Second)
		w.start()
		w.deliver(w.message("u1", "1", "slow"))
		view := func() *messages.UserView {
			ask := func(pid *actor.PID, m any) any {
				reply, err := w.system.Root.RequestFuture(pid, m, time.Second).Result()
				if err != nil {
					t.Fatal(err)
				}
				return reply
			}
			activated, ok := ask(w.pid, &messages.Activate{Account: account, OpenId: "u1"}).(*messages.Activated)
			if !ok || activated.GetError() != "" {
				t.Fatalf("the user's actor: %v", activated)
			}
			v, _ := ask(actor.NewPID(w.pid.GetAddress(), activated.GetActorId()), &messages.Inspect{}).(*messages.UserView)
			return v
		}
		if v := view(); !v.GetFound() || v.GetQueued() != 1 || v.GetRunning() == "" || v.GetVersion() != 0 {
			t.Errorf("while the bot is at work: %v", v)
		}
		time.Sleep(5 * time.Second)
		if v := view(); !v.GetFound() || v.GetQueued() != 0 || v.GetVersion() == 0 {
			t.Errorf("afterwards: %v", v)
		}
	})
}
