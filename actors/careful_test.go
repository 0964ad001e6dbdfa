package actors

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state/memory"
	"hongyan/stream"
)

// all the same, before what is read after it.
func TestCarefulEndsWithEntriesHeldBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("first", time.Hour)
		w.start()
		w.deliver(w.message("u1", "1", "first"))
		for range 2 {
			w.kill()
			w.start()
		}
		w.kill()
		w.bot.slow("first", 3*time.Second)
		w.bot.slow("second", 10*time.Second)
		w.start() // after three deaths
		time.Sleep(time.Second)
		w.deliver(w.message("u2", "2", "second")) // held back behind the first
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && c.Key.IsCheckpoint() {
				time.Sleep(500 * time.Millisecond)
			}
			return memory.None
		})
		time.Sleep(3 * time.Second) // the first is settled, the second named and handed over, the counter about to be cleared
		for i := range 8 {
			w.deliver(w.message("u2", fmt.Sprint("m", i), fmt.Sprint(i)))
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		st, _ := w.state("u2")
		want := []string{"second"}
		for i := range 8 {
			want = append(want, fmt.Sprint(i))
		}
		if got := said(st); !slices.Equal(got, want) {
			t.Errorf("committed turns %q, want %q", got, want)
		}
		if c := w.checkpoint(); c.Floor != 10 || c.Crashes != 0 {
			t.Errorf("checkpoint %+v", c)
		}
	})
}

// An actor that stops starts no user's actor any more: nobody would end it, and the partition would never end.
func TestStoppingPartitionHandsNothingOver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("first", time.Hour)
		w.start()
		w.deliver(w.message("u1", "1", "first"))
		for range 2 {
			w.kill()
			w.start()
		}
		w.kill()
		w.bot.slow("first", time.Second)
		w.breakStore(func(c memory.Call) memory.Fault {
			switch {
			case c.Op == memory.Commit && c.Key.User.OpenID == "u1":
				time.Sleep(10 * time.Second)
			case c.Op == memory.Load && c.Key.User.OpenID == "u9":
				time.Sleep(30 * time.Second)
			}
			return memory.None
		})
		w.start() // after three deaths: the first entry is alone in its batch
		w.deliver(w.message("u2", "2", "second"))
		w.system.Root.Send(w.pid, &messages.Activate{Account: account, OpenId: "u9"})
		time.Sleep(2 * time.Second)
		w.system.Root.Send(w.pid, &Release{}) // which is over before the first one's commit, and that before u9's load
		time.Sleep(time.Minute)
		select {
		case <-w.gone:
		default:
			t.Fatal("the partition's actor never ended")
		}
		w.system.Shutdown()
		w.pid = nil
	})
}

// Rule 5: a takeover whose outcome got lost is no death over the entry that is named: nobody had handed it over.
func TestFailedTakeoverKillsNoEntry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("innocent", time.Hour)
		w.start()
		s := w.deliver(w.message("u1", "1", "innocent"))
		for range 3 {
			w.kill()
			w.start()
			time.Sleep(time.Second)
		}
		w.kill() // the first death over the entry, named alone
		w.bot.slow("innocent", 0)
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && c.Key.IsCheckpoint() {
				return memory.LostAnswer
			}
			return memory.None
		})
		for range 3 {
			w.epoch++
			if _, err := takeover(t.Context(), &w.opts, Tenure{Epoch: w.epoch, Mark: fmt.Sprint("failed", w.epoch)}); err == nil {
				t.Fatal("the takeover did not fail")
			}
		}
		w.breakStore(func(memory.Call) memory.Fault { return memory.None })
		w.start()
		time.Sleep(time.Second)
		if s.text() != "re: innocent" || len(w.log.Letters()) != 0 {
			t.Errorf("answer %q, %d dead letters", s.text(), len(w.log.Letters()))
		}
	})
}

// Rule 5: deaths over an entry are counted though each owner first finds an entry before it, which had its end under the owner before
// but not in the checkpoint: the name of that one must not wipe the count out.
func TestDeadlyEntryBehindASettledOne(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("innocent", time.Hour)
		w.bot.slow("deadly", time.Hour)
		w.start()
		w.deliver(w.message("u1", "1", "innocent"))
		s := w.deliver(w.message("u2", "2", "deadly"))
		for range 5 {
			w.kill()
			w.start()
		}
		w.kill()
		w.bot.slow("innocent", 0)
		for deaths := range 5 {
			w.start()
			if s.isDone() {
				break
			}
			if deaths == 4 {
				t.Fatalf("the deadly entry lives: checkpoint %+v", w.checkpoint())
			}
			w.kill() // before the first tick: at once, as such entries do
		}
		for _, l := range w.log.Letters() {
			if l.GetReason() != ReasonDeadly || l.GetInbound().GetText().GetContent() != "deadly" {
				t.Errorf("dead letter %v", l)
			}
		}
		w.wantSaid("u1", "innocent")
	})
}

// A re-driven letter names the message that it was. While entries are handed over with care it must not pass those before it as if it were
// one more delivery of that message: its turn would move the user's position over them (rules 2 and 5).
func TestCarefulKeepsRedrivesInTheirPlace(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{Account: account, OpenId: "u1", Key: make([]byte, messages.KeySize)}
	entry := func(source messages.Source) stream.Received {
		return stream.Received{Entry: &messages.Entry{Inbound: in, Source: source}}
	}
	p := &partition{users: map[messages.User]*resident{
		{Account: account, OpenID: "u1"}: {entries: []stream.Received{entry(messages.Source_SOURCE_CALLBACK)}},
	}}
	if !p.joins(entry(messages.Source_SOURCE_CALLBACK)) {
		t.Error("one more delivery of a message in hand must not wait for the batch")
	}
	for _, source := range []messages.Source{messages.Source_SOURCE_REDRIVE, messages.Source_SOURCE_WAKE} {
		if p.joins(entry(source)) {
			t.Errorf("an entry of %v passes those before it", source)
		}
	}
}
