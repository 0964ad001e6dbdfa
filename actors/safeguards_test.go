package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/state/memory"
	"hongyan/stream"
	memlog "hongyan/stream/memory"
)

// brittleLog is a log whose readers break when they are told.
type brittleLog struct {
	*memlog.Log
	mu      sync.Mutex
	readers []stream.Source
}

func (l *brittleLog) Read(ctx context.Context, partition int, from stream.Start) (stream.Source, error) {
	source, err := l.Log.Read(ctx, partition, from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, source)
	return source, err
}

func (l *brittleLog) snap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, source := range l.readers {
		source.Close()
	}
	l.readers = nil
}

// Rule 4: a pump whose reader broke reads on only if its last entry is still there.
func TestLogReplacedBehindABrokenReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brittleLog{Log: memlog.New(1, time.Now)}
		system := actor.NewActorSystemWithConfig(actor.Configure(
			actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })))
		var read atomic.Int32
		replaced := make(chan error, 1)
		to := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *received:
				read.Add(1)
			case *pumpEnded:
				replaced <- m.err
			}
		}))
		p := &pump{log: log, from: stream.Start{Sequence: 1}, to: to, root: system.Root, gate: newGate()}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.run(ctx) }) // ended by cancel
		write := func() {
			if _, err := log.Append(0, []byte("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		write()
		write()
		log.snap()
		time.Sleep(time.Second)
		write()
		if n := read.Load(); n != 3 {
			t.Errorf("%d entries read over a broken reader, want 3", n)
		}
		log.LoseTail(3)
		write() // takes the last one's sequence
		log.snap()
		time.Sleep(time.Second)
		select {
		case err := <-replaced:
			if !errors.Is(err, errReplaced) {
				t.Errorf("the pump ended with %v", err)
			}
		default:
			t.Error("the pump reads on in another log")
		}
		cancel()
		running.Wait()
		system.Shutdown()
		time.Sleep(time.Minute) // proto.actor's throttle of dead letters ends by its own clock
	})
}

// Rule 6: one entry that does not end must not make the list of what is settled above it grow for ever.
func TestGateAboveTheFloor(t *testing.T) {
	t.Parallel()
	p := &partition{gate: newGate(), led: &ledger{}}
	for seq := range uint64(maxAboveFloor) {
		p.led.add(stream.Mark{Sequence: seq + 1})
		if seq > 0 {
			p.led.settle(seq + 1)
		}
	}
	if p.setGate(); !p.gate.shut.Load() {
		t.Errorf("the pump reads on with %d entries above the floor", len(p.led.entries))
	}
	p.led.settle(1)
	if p.setGate(); p.gate.shut.Load() {
		t.Error("the pump stands still although the floor has moved")
	}
}

// Rule 7: what is settled in memory alone is not purged: whoever takes the partition over reads it again.
func TestPurgeFollowsTheStoredCheckpoint(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && c.Key.IsCheckpoint() {
				return memory.Unreached
			}
			return memory.None
		})
		const entries = purgeAtLeast + 10
		for i := range entries {
			w.deliver(w.message("u1", string(rune('A'+i)), "x"))
		}
		time.Sleep(3 * purgeEvery)
		if n := w.log.Len(0); n != entries {
			t.Errorf("%d entries left, want all %d: no checkpoint covers them", n, entries)
		}
		w.breakStore(func(memory.Call) memory.Fault { return memory.None })
		time.Sleep(3 * purgeEvery)
		if n := w.log.Len(0); n != 1 {
			t.Errorf("%d entries left once the checkpoint is in the store, want the newest alone", n)
		}
	})
}

// Rule 8: a write of unknown outcome may still land. An answer that a former activation may have given up is given only over a
// commit that keeps that write out: otherwise it would be kept as well, and given twice.
func TestCommitLandsAfterItsActivation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Unknown: UnknownOnce}}
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		var commits atomic.Int32
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op != memory.Commit || c.Key.IsCheckpoint() || commits.Add(1) != 2 {
				return memory.None
			}
			w.door.behave(func(d *door) { d.deaf = false })
			return memory.Late // the commit that keeps the answer for later
		})
		in := w.message("u1", "1", "a")
		in.CreateTime = time.Now().Add(-13 * time.Second).Unix() // WeChat's last delivery, by age
		s := w.deliver(in)
		time.Sleep(20 * time.Second)
		if s.text() != "re: a" {
			t.Fatalf("the next activation's offer brought %q", s.text())
		}
		if n := w.store.Land(); n != 1 {
			t.Fatalf("%d writes were late", n)
		}
		if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: b" {
			t.Errorf("the next message got %q: an answer was given twice", next.text())
		}
	})
}

// Rule 8: a checkpoint whose acknowledgement got lost is the owner's own, and no reason to step down.
func TestCheckpointWithoutAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		var commits atomic.Int32
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && c.Key.IsCheckpoint() && commits.Add(1) == 1 {
				return memory.LostAnswer
			}
			return memory.None
		})
		w.deliver(w.message("u1", "1", "a"))
		time.Sleep(time.Second)
		w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Second)
		select {
		case <-w.gone:
			w.pid = nil
			t.Fatal("the owner stepped down over its own write")
		default:
		}
		if c := w.checkpoint(); c.Floor != 2 {
			t.Errorf("floor %d", c.Floor)
		}
	})
}

// Rule 9: only a store that is behind is repaired. A record on which somebody else wrote under the same epoch is loaded anew.
func TestOtherWriterIsNotRepairedAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.deliver(w.message("u1", "1", "a"))
		_, first := w.state("u1")
		other := commitAs(t, w, "u1", first, w.epoch)
		s := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(10 * time.Second)
		if _, rec := w.state("u1"); rec.Version.Number != other.Version.Number+1 || s.text() != "re: b" {
			t.Errorf("version %d behind the other writer's %d, answer %q", rec.Version.Number, other.Version.Number, s.text())
		}
		if n := w.repairs("user"); n != 0 {
			t.Errorf("%v repairs of a store that lost nothing", n)
		}
	})
}

// Rule 11: what a former activation committed is told to nobody before it is on the disk, also where there is no answer to give.
func TestBarrierBehindAFormerCommit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var broken atomic.Bool
		broken.Store(true)
		w.opts.Barrier = barrierFunc(func(context.Context) error {
			if broken.Load() {
				return errors.New("disk")
			}
			return nil
		})
		w.start()
		in := w.message("u1", "1", "")
		in.Kind = messages.Kind_KIND_UNSUBSCRIBE // which nobody answers
		s := w.deliver(in)
		time.Sleep(5 * time.Second)
		if st, _ := w.state("u1"); st.Counts.Turns != 1 || s.isDone() {
			t.Errorf("%d turns committed, exchange ended %v: nothing of it may be on the disk", st.Counts.Turns, s.isDone())
		}
		broken.Store(false)
		time.Sleep(10 * time.Second)
		if !s.isDone() {
			t.Error("the exchange is open although the disk has recovered")
		}
	})
}

// Rule 17: the last delivery is known by count too, when all come at once.
func TestLastDeliveryByCount(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		in := w.message("u1", "1", "a")
		for range 3 {
			s := w.door.open(in)
			w.door.close(s)
			w.accept(in, s)
		}
		time.Sleep(time.Second)
		if st, _ := w.state("u1"); len(st.Kept) != 1 {
			t.Errorf("%d answers kept after three refused deliveries, want 1", len(st.Kept))
		}
	})
}

// Rule 19: an entry that belongs to no user is settled behind its dead letter, however long that takes.
func TestUndecodableEntryWaitsForItsLetter(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.log.Fail(func(op string) error {
			if op == "bury" {
				return errors.New("full")
			}
			return nil
		})
		if _, err := w.log.Append(0, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 0 {
			t.Errorf("floor %d: settled without its dead letter", c.Floor)
		}
		w.log.Fail(nil)
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 1 || len(w.log.Letters()) != 1 {
			t.Errorf("floor %d, %d dead letters", c.Floor, len(w.log.Letters()))
		}
	})
}

// Rule 13: while the log takes nothing, a redelivery leaves no trace, so its absence proves nothing: reply.unknown decides.
func TestFullLogProvesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var full atomic.Bool
		w.opts.LogFull = full.Load
		w.start()
		w.door.behave(func(d *door) { d.deaf = true })
		w.deliver(w.message("u1", "1", "a"))
		time.Sleep(4 * time.Second)
		full.Store(true)
		time.Sleep(2 * time.Second) // WeChat delivers again, and the log does not take it
		full.Store(false)
		w.door.behave(func(d *door) { d.deaf, d.gone = false, true })
		time.Sleep(20 * time.Second)
		letters := w.log.Letters()
		for _, l := range letters {
			if l.GetReason() != ReasonUnknown || l.GetAnswer().GetText().GetContent() != "re: a" {
				t.Errorf("dead letter %v", l)
			}
		}
		if len(letters) != 1 {
			t.Errorf("%d dead letters for an answer of which nobody can tell", len(letters))
		}
	})
}

// Rule 13: a former owner may have offered its answer to a delivery that the next one has not read yet. The next one reads up to
// there before it gives the answer up, or the user would get it twice.
func TestFormerOffersAreReadFirst(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", 2*time.Second)
		w.start()
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && c.Key.IsCheckpoint() {
				return memory.Unreached
			}
			return memory.None
		})
		in := w.message("u1", "1", "a")
		in.CreateTime = time.Now().Add(-13 * time.Second).Unix() // every delivery looks like the last one, by age
		first := w.door.open(in)
		w.door.close(first)
		w.accept(in, first)
		second := w.deliver(in)
		time.Sleep(3 * time.Second)
		if second.text() != "re: a" {
			t.Fatalf("the second delivery got %q", second.text())
		}
		w.kill()
		w.breakStore(func(memory.Call) memory.Fault { return memory.None })
		w.start()
		time.Sleep(20 * time.Second)
		if st, _ := w.state("u1"); len(st.Kept) != 0 {
			t.Error("an answer that was written is kept for the user's next message")
		}
		if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: b" || len(w.log.Letters()) != 0 {
			t.Errorf("the next message got %q, %d dead letters", next.text(), len(w.log.Letters()))
		}
	})
}
