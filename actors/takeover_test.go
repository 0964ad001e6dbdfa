package actors

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/memory"
	"hongyan/stream"
)

// commitAs replaces a user's record as the owner of another epoch would.
func commitAs(t *testing.T, w *world, user string, base state.Record, epoch uint64) state.Record {
	t.Helper()
	rec, err := w.store.Commit(t.Context(), state.Key{User: messages.User{Account: account, OpenID: user}}, base,
		state.Write{Epoch: epoch, WriteID: 99, Incarnation: 99, Value: base.Value})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// Rules 1 and 3: what was not settled is read again by the next owner and recognised by its key: one turn, in order.
func TestTakeoverReadsAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", 10*time.Second)
		w.start()
		a := w.deliver(w.message("u1", "1", "a"))
		slow := w.deliver(w.message("u1", "2", "slow"))
		b := w.deliver(w.message("u1", "3", "b"))
		w.kill() // before any checkpoint
		w.start()
		time.Sleep(30 * time.Second)
		if a.text() != "re: a" || slow.text() != "re: slow" || b.text() != "re: b" {
			t.Errorf("a %q, slow %q, b %q", a.text(), slow.text(), b.text())
		}
		w.wantSaid("u1", "a", "slow", "b")
		if n := w.bot.count("a"); n != 1 {
			t.Errorf("the bot was asked %d times about a committed message", n)
		}
	})
}

// The checkpoint is written after the commits that it covers, and entries settled above the floor are left out.
func TestSettledAboveTheFloorIsLeftOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", time.Hour)
		w.start()
		w.deliver(w.message("u1", "1", "slow"))
		w.deliver(w.message("u2", "2", "b"))
		time.Sleep(time.Second)
		if c := w.checkpoint(); c.Floor != 0 || len(c.Above) == 0 {
			t.Fatalf("checkpoint %+v", c)
		}
		w.kill()
		var loads1, loads2 atomic.Int32
		w.breakStore(func(c memory.Call) memory.Fault {
			switch {
			case c.Op == memory.Load && c.Key.User.OpenID == "u1":
				loads1.Add(1)
			case c.Op == memory.Load && c.Key.User.OpenID == "u2":
				loads2.Add(1)
			}
			return memory.None
		})
		w.start()
		time.Sleep(time.Second)
		if loads1.Load() != 1 || loads2.Load() != 0 {
			t.Errorf("%d loads of u1, %d of u2: u2's settled entry was handed over again", loads1.Load(), loads2.Load())
		}
		w.kill()
	})
}

// Rule 12: a former owner's commit without a verdict is unknown, even where the ingress is gone: not given twice, and what comes
// after waits for the retry window.
func TestFormerCommitIsUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.mute = true }) // written, and the verdict gets lost with the owner
		a := w.deliver(w.message("u1", "1", "a"))
		w.kill()
		w.door.behave(func(d *door) { d.mute, d.gone = false, true })
		w.start()
		time.Sleep(20 * time.Second)
		w.door.behave(func(d *door) { d.gone = false })
		next := w.deliver(w.message("u1", "2", "b"))
		if a.text() != "re: a" || next.text() != "re: b" {
			t.Errorf("a %q, next %q", a.text(), next.text())
		}
		w.wantSaid("u1", "a", "b")
	})
}

// The kept verdict of an ingress that lives is asked again: no waiting.
func TestFormerCommitWithVerdict(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.door.behave(func(d *door) { d.mute = true })
		w.deliver(w.message("u1", "1", "a"))
		w.kill()
		w.door.behave(func(d *door) { d.mute = false })
		w.start()
		began := time.Now()
		next := w.deliver(w.message("u1", "2", "b"))
		if next.text() != "re: b" || time.Since(began) > time.Second {
			t.Errorf("next %q after %s", next.text(), time.Since(began))
		}
	})
}

// Rule 3: a checkpoint that is missing over a non-empty log is a start error.
func TestMissingCheckpoint(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.deliver(w.message("u1", "1", "a"))
		w.opts = Options{Log: w.log, Store: w.store, Random: w.random, Now: time.Now}
		_, err := takeover(t.Context(), &w.opts, Tenure{Epoch: 1, TakenOver: func() { t.Error("was called taken over") }})
		if !errors.Is(err, ErrNoCheckpoint) {
			t.Errorf("takeover over a log without its checkpoint: %v", err)
		}
	})
}

// Rule 3: the epoch goes into the checkpoint by compare-and-set; a former owner's checkpoint is refused from then on.
func TestFormerOwnersCheckpointIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		later := Tenure{Epoch: w.epoch + 1, Mark: "later"}
		told := 0
		later.TakenOver = func() {
			told++
			if epoch, err := CheckpointEpoch(t.Context(), w.store, later.Partition); epoch != later.Epoch || err != nil {
				t.Errorf("called taken over while the checkpoint has epoch %d, %v", epoch, err)
			}
		}
		if _, err := takeover(t.Context(), &w.opts, later); err != nil || told != 1 {
			t.Fatalf("%v; told %d times", err, told)
		}
		w.deliver(w.message("u1", "2", "b"))
		<-w.gone // its checkpoint was refused
		w.system.Shutdown()
		w.pid = nil
		if _, err := takeover(t.Context(), &w.opts, Tenure{Epoch: w.epoch}); !errors.Is(err, state.ErrStaleEpoch) {
			t.Errorf("takeover under an epoch that is over: %v", err)
		}
	})
}

// Rule 4: a log that lost its tail and wrote on is noticed within a second and read anew under another generation; keys deduplicate.
func TestLostTail(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		w.deliver(w.message("u1", "2", "b"))
		time.Sleep(500 * time.Millisecond)
		w.log.LoseTail(2)
		time.Sleep(10 * time.Millisecond)
		c := w.deliver(w.message("u1", "3", "c")) // takes b's sequence
		<-w.gone
		if c.isDone() {
			t.Fatal("the reader saw a reused sequence")
		}
		w.system.Shutdown()
		w.start()
		time.Sleep(10 * time.Second)
		if c.text() != "re: c" {
			t.Errorf("c got %q", c.text())
		}
		w.wantSaid("u1", "a", "b", "c")
		st, _ := w.state("u1")
		if st.Applied != (messages.Position{Generation: 2, Sequence: 2}) {
			t.Errorf("applied %s", st.Applied)
		}
	})
}

// Rule 5: an entry that is named alone at two deaths is a dead letter; the rest flows.
func TestDeadlyEntry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("deadly", time.Hour) // stands for the death: the test kills while it is asked
		w.start()
		for i := range 5 {
			w.deliver(w.message("u1", fmt.Sprint("p", i), fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		deadly := w.message("u2", "d", "deadly")
		w.deliver(deadly)
		after := w.deliver(w.message("u3", "x", "after"))
		deaths := 0
		for ; len(w.log.Letters()) == 0 && deaths < 12; deaths++ {
			w.kill()
			w.start()
			time.Sleep(500 * time.Millisecond)
		}
		letters := w.log.Letters()
		if len(letters) != 1 {
			t.Fatalf("%d dead letters after %d deaths; checkpoint %+v", len(letters), deaths, w.checkpoint())
		}
		for _, l := range letters {
			if l.GetReason() != ReasonDeadly || l.GetInbound().GetText().GetContent() != "deadly" {
				t.Errorf("dead letter %v", l)
			}
		}
		time.Sleep(time.Second)
		if after.text() != "re: after" {
			t.Errorf("the message behind it got %q", after.text())
		}
		if c := w.checkpoint(); c.Crashes != 0 || c.Floor != 7 {
			t.Errorf("checkpoint %+v: the counter must be cleared once the floor has passed", c)
		}
	})
}

// A planned release writes a clean checkpoint; the next owner counts no crash and reads nothing again.
func TestPlannedRelease(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", askingWithin/2)
		w.start()
		s := w.deliver(w.message("u1", "1", "a"))
		w.stop()
		if s.text() != "re: a" {
			t.Errorf("the release did not wait for the turn: %q", s.text())
		}
		if c := w.checkpoint(); !c.Clean || c.Floor != 1 || c.Crashes != 0 {
			t.Errorf("checkpoint %+v", c)
		}
		w.start()
		if c := w.checkpoint(); c.Clean || c.Crashes != 0 {
			t.Errorf("checkpoint %+v", c)
		}
	})
}

// Rule 7: purging goes strictly below the floor of the checkpoint in the store, and keeps the newest entry.
func TestPurge(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		for i := range purgeAtLeast + 10 {
			w.deliver(w.message(fmt.Sprint("u", i%7), fmt.Sprint("m", i), "x"))
		}
		time.Sleep(2 * purgeEvery)
		if n := w.log.Len(0); n != 1 {
			t.Errorf("%d entries left, want the newest alone", n)
		}
		if holds, err := w.log.Holds(t.Context(), 0, w.checkpoint().newest()); err != nil || !holds {
			t.Error("the newest entry was purged")
		}
	})
}

// With KeepSettled, entries stay for so long after they were settled, except in a full log.
func TestPurgeKeepsSettled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var full atomic.Bool
		w.opts.LogFull = full.Load
		w.opts.KeepSettled = time.Hour
		w.start()
		const entries = purgeAtLeast + 10
		for i := range entries {
			w.deliver(w.message(fmt.Sprint("u", i%7), fmt.Sprint("m", i), "x"))
		}
		time.Sleep(59 * time.Minute)
		if n := w.log.Len(0); n != entries {
			t.Errorf("%d entries left before the hour is over, want all %d", n, entries)
		}
		time.Sleep(2 * time.Minute)
		if n := w.log.Len(0); n != 1 {
			t.Errorf("%d entries left after the hour, want the newest alone", n)
		}
		for i := range 10 {
			w.deliver(w.message("u1", fmt.Sprint("n", i), "x"))
		}
		full.Store(true)
		time.Sleep(2 * purgeEvery)
		if n := w.log.Len(0); n != 1 {
			t.Errorf("%d entries left in a full log, want the newest alone", n)
		}
	})
}

// A log that refuses entries is purged at once, however little that frees; a log that does not can wait.
func TestPurgeFullLog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var full atomic.Bool
		w.opts.LogFull = full.Load
		w.start()
		for i := range 10 {
			w.deliver(w.message("u1", fmt.Sprint("m", i), "x"))
		}
		time.Sleep(2 * purgeEvery)
		if n := w.log.Len(0); n != 10 {
			t.Errorf("%d entries left of a log that has room, want all 10", n)
		}
		full.Store(true)
		time.Sleep(2 * time.Second)
		if n := w.log.Len(0); n != 1 {
			t.Errorf("%d entries left of a full log, want the newest alone", n)
		}
	})
}

// Entries that nobody can handle hold nobody up.
func TestUndecodableEntry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		if _, err := w.log.Append(0, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
		stranger := w.message("u1", "1", "a")
		stranger.Account = "nobody"
		w.deliver(stranger)
		s := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Second)
		if s.text() != "re: b" || len(w.log.Letters()) != 2 {
			t.Errorf("%q, %d dead letters", s.text(), len(w.log.Letters()))
		}
		if c := w.checkpoint(); c.Floor != 3 {
			t.Errorf("floor %d", c.Floor)
		}
	})
}

// A user's actor that fails is fed again by the partition (rule 1): see TestCommitFaults. Here the ledger by itself.
func TestLedger(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	at := func(seq uint64) stream.Mark { return stream.Mark{Sequence: seq, LogTime: time.Unix(int64(seq), 0)} }
	for _, seq := range []uint64{3, 5, 9, 12} {
		if _, fresh := l.add(at(seq)); !fresh {
			t.Errorf("%d is not fresh", seq)
		}
	}
	if _, fresh := l.add(at(9)); fresh {
		t.Error("9 is fresh twice")
	}
	if !l.settle(9) || l.settle(9) || l.settle(4) || l.floor.Sequence != 0 {
		t.Errorf("floor %d after 9 was settled", l.floor.Sequence)
	}
	if !l.settle(3) || l.floor.Sequence != 3 || !l.settle(5) || l.floor.Sequence != 9 {
		t.Errorf("floor %d", l.floor.Sequence)
	}
	if l.unsettled != 1 || !l.passed(11, 0) || l.passed(12, 99) {
		t.Errorf("unsettled %d", l.unsettled)
	}
	cp := checkpoint{}.pack(l)
	back, err := cp.ledger()
	if err != nil || back.floor.Sequence != 9 || back.newest.Sequence != 12 {
		t.Errorf("packed and unpacked: %+v, %v", back, err)
	}
}
