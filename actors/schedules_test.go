package actors

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
	"hongyan/state"
)

// Rule 5: the end of careful hand-over comes while a batch is under way and another entry has just been held back. It is handed over

// Rule 13: the end of one message's retry window says nothing about the next message, which took its place while the word was on its

// way: the next one's redelivery gets its answer.
func TestWindowOfTheMessageBefore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		a := w.message("u1", "1", strings.Repeat("long ", 500))
		w.deliver(a)
		time.Sleep(6 * time.Second)
		w.door.behave(func(d *door) { d.deaf, d.slow = false, 400*time.Millisecond })
		b := w.message("u1", "2", "more") // which needs no bot, so that its answer is out within the same turn
		first := w.deliver(b)
		w.door.close(first)
		time.Sleep(450 * time.Millisecond)
		if again := w.deliver(a); again.isDone() {
			t.Fatal("the offer was meant to be on its way when the window ends")
		}
		time.Sleep(4550 * time.Millisecond)
		w.door.behave(func(d *door) { d.slow = 0 })
		if second := w.deliver(b); !strings.Contains(second.text(), "long ") {
			t.Errorf("b's redelivery got %q", second.text())
		}
	})
}

// Promise P2: the mark that an answer was written lives in the activation until the next commit. A replay that comes after the

// activation has ended is told apart by its place in the log: it brings the answer back into nobody's queue.
func TestReplayAfterTheActivationEnded(t *testing.T) {
	for name, end := range map[string]func(*world){
		"passivated": func(*world) { time.Sleep(5 * time.Minute) },
		"new owner":  func(w *world) { time.Sleep(2 * time.Minute); w.kill(); w.start() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.opts.PassivateAfter = time.Minute
				w.start()
				a := w.message("u1", "1", "a")
				w.deliver(a)
				time.Sleep(time.Second)
				end(w)
				s := w.door.open(a)
				w.door.close(s)
				w.accept(a, s)
				time.Sleep(10 * time.Second)
				if late := w.deliver(a); !late.isDone() || late.got() != nil {
					t.Errorf("a repeat after minutes got %q, want success", late.text())
				}
				if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: b" {
					t.Errorf("the next message got %q: an answer was given twice", next.text())
				}
			})
		})
	}
}

// Rule 6: what a flood pushes out ends at once, and not with the turn that holds the queue up: the partition never stops for one user.
func TestFloodBehindAWaitingMessage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("stubborn", time.Hour)
		w.start()
		w.deliver(w.message("u1", "0", "stubborn"))
		const flood = maxUnsettled + 1000
		var last *slot
		for i := range flood {
			in := w.message("u1", fmt.Sprint("m", i), "x")
			last = w.door.open(in)
			w.accept(in, last)
		}
		synctest.Wait()
		if other := w.deliver(w.message("u2", "1", "hi")); other.text() != "re: hi" {
			t.Errorf("the other user got %q", other.text())
		}
		time.Sleep(time.Second)
		if !last.isDone() || last.got() != nil {
			t.Error("what the flood pushed out holds its exchange open")
		}
		st, _ := w.state("u1")
		if st.Counts.Dropped != flood-maxQueued+1 {
			t.Errorf("%d dropped", st.Counts.Dropped)
		}
	})
}

// Rule 4: a new generation is read by log time until its floor has moved, also by the owner after the next: what was settled half an

// hour ago has no key any more, and would be applied anew.
func TestCrashAfterAReplacedLog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		w.deliver(w.message("u1", "2", "b"))
		time.Sleep(30 * time.Minute)
		w.deliver(w.message("u1", "3", "c"))
		time.Sleep(time.Second)
		w.log.LoseTail(3)
		<-w.gone
		w.system.Shutdown()
		w.start()
		time.Sleep(time.Second)
		w.kill()
		w.start()
		time.Sleep(10 * time.Second)
		if w.bot.count("a") != 1 || w.bot.count("b") != 1 {
			t.Errorf("the bot was asked %d times about a, %d about b", w.bot.count("a"), w.bot.count("b"))
		}
		d := w.deliver(w.message("u1", "4", "d"))
		if d.text() != "re: d" {
			t.Errorf("d got %q", d.text())
		}
		time.Sleep(time.Second)
		if c := w.checkpoint(); c.Generation != 2 || c.Floor != 3 {
			t.Errorf("checkpoint %+v", c)
		}
	})
}

// Rules 2 and 4: a floor that stood still for long makes a new generation read entries whose keys are rightly forgotten. What lies

// before the last applied message in log time was applied, or had its end, though its place in the log is a new one.
func TestOldEntriesInANewGeneration(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", 2*time.Hour)
		w.start()
		w.deliver(w.message("u2", "0", "slow")) // holds the floor
		w.deliver(w.message("u1", "1", "a"))
		time.Sleep(30 * time.Minute)
		w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Second)
		w.deliver(w.message("u3", "3", "c"))
		time.Sleep(500 * time.Millisecond)
		w.log.LoseTail(4)
		<-w.gone
		w.system.Shutdown()
		w.start()
		time.Sleep(10 * time.Second)
		if n := w.bot.count("a"); n != 1 {
			t.Errorf("the bot was asked %d times about a message that was settled", n)
		}
		w.wantSaid("u1", "a", "b")
	})
}

// Rule 19: a dead letter that a former activation committed and could not publish has its message in it when it is published.
func TestLateDeadLetterHasItsMessage(t *testing.T) {
	for name, crash := range map[string]bool{"new activation": false, "new owner": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.bot.panics = map[string]bool{"boom": true}
				w.start()
				w.deliver(w.message("u1", "0", "before")) // is read again by a new owner, in front of it
				w.log.Fail(func(op string) error {
					if op == "bury" {
						return errors.New("full")
					}
					return nil
				})
				s := w.deliver(w.message("u1", "1", "boom"))
				if crash {
					w.kill()
				}
				w.log.Fail(nil)
				if crash {
					w.start()
				}
				time.Sleep(10 * time.Second)
				letters := w.log.Letters()
				for id, l := range letters {
					if l.GetInbound().GetText().GetContent() != "boom" || l.GetSequence() != 2 {
						t.Errorf("dead letter %s: %v", id, l)
					}
				}
				if len(letters) != 1 || !s.isDone() {
					t.Errorf("%d dead letters, exchange ended %v", len(letters), s.isDone())
				}
				if st, _ := w.state("u1"); len(st.Burials) != 0 {
					t.Errorf("the record still names %d dead letters: they would be published again", len(st.Burials))
				}
			})
		})
	}
}

// Rule 13: a redelivery proves that the delivery before it was not answered, so nothing is unknown any more: the answer is kept, and

// not buried, when the later deliveries are refused.
func TestRedeliverySettlesTheUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		in := w.message("u1", "1", "a")
		w.deliver(in)
		w.door.behave(func(d *door) { d.deaf = false })
		for range 2 {
			time.Sleep(5 * time.Second)
			s := w.door.open(in)
			w.door.close(s)
			w.accept(in, s)
			synctest.Wait()
		}
		next := w.deliver(w.message("u1", "2", "b"))
		if n := len(w.log.Letters()); n != 0 || next.text() != "re: a\n\nre: b" {
			t.Errorf("%d dead letters, next answer %q", n, next.text())
		}
	})
}

// Rule 12: the ingress keeps its verdict, and is asked for it before an answer counts as unknown at its last delivery.
func TestVerdictIsAskedAgain(t *testing.T) {
	for name, written := range map[string]bool{"written": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.start()
				w.door.behave(func(d *door) { d.mute, d.deaf = written, !written })
				in := w.message("u1", "1", "a")
				in.CreateTime = time.Now().Add(-13 * time.Second).Unix() // WeChat's last delivery, by age
				s := w.deliver(in)
				w.door.close(s)
				w.door.behave(func(d *door) { d.mute, d.deaf = false, false })
				time.Sleep(10 * time.Second)
				next, want := w.deliver(w.message("u1", "2", "b")), "re: b"
				if !written {
					want = "re: a\n\nre: b"
				}
				if n := len(w.log.Letters()); n != 0 || next.text() != want {
					t.Errorf("%d dead letters, next answer %q, want %q", n, next.text(), want)
				}
			})
		})
	}
}

// Rule 12: an ingress that remembers a slot no more says nothing about it. A former owner's answer is then unknown, not refused.
func TestForgottenVerdict(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.mute = true })
		in := w.message("u1", "1", "a")
		in.CreateTime = time.Now().Add(-13 * time.Second).Unix()
		w.deliver(in)
		w.kill()
		w.door.behave(func(d *door) { d.mute, d.forgets = false, true })
		w.start()
		time.Sleep(20 * time.Second)
		next := w.deliver(w.message("u1", "2", "b"))
		if n := len(w.log.Letters()); n != 1 || next.text() != "re: b" {
			t.Errorf("%d dead letters, next answer %q: it was written, and nobody knows", n, next.text())
		}
	})
}

// Rule 6: a user whose record cannot be read holds the floor for a minute, not for ever: a partition never stops for one user.
func TestUnreadableRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		commitAs(t, w, "u1", state.Record{Value: []byte("garbage")}, w.epoch)
		w.deliver(w.message("u1", "1", "a"))
		if other := w.deliver(w.message("u2", "2", "b")); other.text() != "re: b" {
			t.Errorf("the other user got %q", other.text())
		}
		time.Sleep(30 * time.Second)
		if n := len(w.log.Letters()); n != 0 {
			t.Errorf("%d dead letters after half a minute", n)
		}
		time.Sleep(time.Minute)
		for _, l := range w.log.Letters() {
			if l.GetReason() != ReasonUnreadable || l.GetInbound().GetText().GetContent() != "a" {
				t.Errorf("dead letter %v", l)
			}
		}
		if c := w.checkpoint(); c.Floor != 2 || len(w.log.Letters()) != 1 {
			t.Errorf("floor %d, %d dead letters", c.Floor, len(w.log.Letters()))
		}
	})
}

// Rule 4: a server that starts again may have lost its tail and take new entries before anybody looks: then the newest entry is in
// place, and what was written over those that are gone would never be read.
// Whoever leaves in between, in order or not, leaves the question to the next owner.
func TestLostTailThatWasWrittenOver(t *testing.T) {
	for name, leave := range map[string]func(w *world){
		"looked for": func(w *world) {
			time.Sleep(2 * time.Second)
			select {
			case <-w.gone:
				w.system.Shutdown()
			default:
				w.t.Error("nobody noticed")
				w.stop()
			}
		},
		"release": func(w *world) { w.stop() },
		"crash": func(w *world) {
			time.Sleep(2 * tickEvery)
			w.kill()
		},
	} {
		t.Run(name, func(t *testing.T) { inWorld(t, func(t *testing.T, w *world) { writtenOver(t, w, leave) }) })
	}
}

func writtenOver(t *testing.T, w *world, leave func(w *world)) {
	t.Helper()
	w.start()
	for i := range 4 {
		w.deliver(w.message("u1", fmt.Sprint(i), fmt.Sprint("old", i)))
	}
	time.Sleep(1050 * time.Millisecond) // the log was looked at a moment ago
	w.deliver(w.message("u1", "5", "lost"))
	w.log.LoseTail(5)
	time.Sleep(300 * time.Millisecond) // its server starts again, and readers resume by themselves
	var slots []*slot
	for i := range 4 {
		in := w.message("u1", fmt.Sprint("n", i), fmt.Sprint("new", i))
		slots = append(slots, w.door.open(in))
		w.accept(in, slots[i])
	}
	synctest.Wait()
	leave(w)
	w.start()
	time.Sleep(time.Second)
	dead := make(map[string]bool)
	for _, l := range w.log.Letters() {
		dead[l.GetInbound().GetText().GetContent()] = l.GetReason() == ReasonLostKey
	}
	for i, s := range slots { // those behind are applied already: what was passed over has its end as a dead letter (rule 2)
		if text := fmt.Sprint("new", i); !s.isDone() || s.text() != "re: "+text && !dead[text] {
			t.Errorf("entry %d: exchange ended %v, answer %q, dead letter %v", i, s.isDone(), s.text(), dead[text])
		}
	}
}

// Rule 6: a slow turn that holds the floor while tens of thousands of entries behind it are settled comes to an end too: the pump would
// stop above 65,536 of them.
func TestFloorHoldsManySettledEntries(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", time.Hour)
		w.start()
		first := w.deliver(w.message("first", "0", "slow"))
		job := w.message("", "job", "")
		job.Kind = messages.Kind_KIND_TEMPLATE_JOB_FINISH // which needs no user's actor
		for range maxAboveFloor/2 + 10 {
			w.accept(job, &slot{})
		}
		time.Sleep(time.Second)
		if first.text() != "fallback" {
			t.Errorf("the floor's slow turn got %q", first.text())
		}
	})
}
