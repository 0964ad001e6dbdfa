package actors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 6: above half of what a partition may have under way, new slow turns take the fallback and the floor's running one is cut
// short, so that the partition never stops for slow bots.
func TestBusyPartitionHurries(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", time.Hour)
		w.bot.slow("stubborn", time.Hour) // slow, whatever it is told
		w.start()
		first := w.deliver(w.message("first", "0", "slow"))
		for i := range maxUnsettled / 2 {
			w.deliver(w.message(fmt.Sprint("u", i), fmt.Sprint(i), "stubborn"))
		}
		if first.isDone() {
			t.Error("the first slow turn was cut short although there was room")
		}
		if last := w.deliver(w.message("last", "1", "slow")); last.text() != "fallback" {
			t.Errorf("a slow turn beyond half of the room got %q", last.text())
		}
		time.Sleep(time.Second)
		if first.text() != "fallback" {
			t.Errorf("the floor's slow turn got %q: it holds everybody up", first.text())
		}
	})
}

// Rule 6: a partition that cannot commit reads no more than it may have under way, and goes on when it can.
func TestFullPartitionStopsReading(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.deaf = true }) // every answer is unknown and waits for the retry window
		const more = 2000
		for i := range maxUnsettled + more {
			in := w.message(fmt.Sprint("u", i), fmt.Sprint(i), "x")
			s := w.door.open(in)
			w.accept(in, s)
		}
		synctest.Wait()
		if n := w.bot.total(); n > maxUnsettled+maxAhead || n < maxUnsettled {
			t.Errorf("%d messages under way, want about %d", n, maxUnsettled)
		}
		w.door.behave(func(d *door) { d.deaf = false })
		time.Sleep(30 * time.Second)
		if n := w.bot.total(); n != maxUnsettled+more {
			t.Errorf("%d messages handled in the end, want %d", n, maxUnsettled+more)
		}
		if c := w.checkpoint(); c.Floor != maxUnsettled+more {
			t.Errorf("floor %d", c.Floor)
		}
	})
}

func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.set(true)
		ended := make(chan error, 1)
		go func() { ended <- g.wait(t.Context()) }() // ended by set
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("went through a shut gate")
		default:
		}
		g.set(false)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for range maxAhead {
			g.handed()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- g.wait(ctx) }() // ended by taken
		synctest.Wait()
		g.taken()
		if err := <-ended; err != nil {
			t.Errorf("with room in the mailbox: %v", err)
		}
		g.handed()
		cancel()
		if err := g.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("an ended context: %v", err)
		}
	})
}
