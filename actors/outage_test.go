package actors

import (
	"testing"
	"time"
)

// Rule 13 holds only while somebody could be told: a redelivery that met a dead node proves nothing by its absence.

// One redelivery was missed: the next one gets the answer, and the user's later answer waits for it.
func TestRedeliveryMissedInAnOutage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		in := w.message("u1", "1", "a")
		w.deliver(in)
		w.kill()
		time.Sleep(6 * time.Second) // WeChat's second delivery finds nobody
		w.door.behave(func(d *door) { d.deaf, d.gone = false, true })
		w.start()
		time.Sleep(time.Second)
		w.door.behave(func(d *door) { d.gone = false })
		b := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(3 * time.Second)
		if b.isDone() {
			t.Error("a later answer left before the missing one")
		}
		third := w.deliver(in)
		if third.text() != "re: a" || b.text() != "re: b" {
			t.Errorf("the third delivery got %q, the next message %q", third.text(), b.text())
		}
	})
}

// All redeliveries may have been missed: nobody can tell, and reply.unknown decides. It is never silently lost.
func TestAllRedeliveriesMissedInAnOutage(t *testing.T) {
	for _, policy := range []UnknownPolicy{UnknownNever, UnknownOnce} {
		t.Run([]string{"never", "once"}[policy], func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.opts.Accounts = map[string]Account{account: {Unknown: policy}}
				w.start()
				w.door.behave(func(d *door) { d.deaf = true })
				w.deliver(w.message("u1", "1", "a"))
				w.kill()
				time.Sleep(12 * time.Second)
				w.door.behave(func(d *door) { d.deaf, d.gone = false, true })
				w.start()
				time.Sleep(5 * time.Second)
				w.door.behave(func(d *door) { d.gone = false })
				next, letters := w.deliver(w.message("u1", "2", "b")), w.log.Letters()
				for _, letter := range letters {
					if letter.GetReason() != ReasonUnknown {
						t.Errorf("the reason is %s", letter.GetReason())
					}
				}
				switch {
				case policy == UnknownNever && (len(letters) != 1 || next.text() != "re: b"):
					t.Errorf("dead letters %v, next answer %q", letters, next.text())
				case policy == UnknownOnce && (len(letters) != 0 || next.text() != "re: a\n\nre: b"):
					t.Errorf("dead letters %v, next answer %q", letters, next.text())
				}
			})
		})
	}
}

// A message whose turn had not begun is answered by whichever delivery still comes; where none can, its answer is kept.
func TestUnansweredInAnOutage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", 2*time.Second)
		w.start()
		in := w.message("u1", "1", "a")
		w.deliver(in)
		w.kill()
		w.door.behave(func(d *door) { d.gone = true })
		time.Sleep(6 * time.Second)
		w.start()
		time.Sleep(3500 * time.Millisecond)
		w.door.behave(func(d *door) { d.gone = false })
		if third := w.deliver(in); third.text() != "re: a" {
			t.Errorf("the third delivery got %q", third.text())
		}
	})
}
