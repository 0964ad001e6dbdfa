package actors

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/stream"
)

// maxAhead is how many entries the pump hands over before the partition has taken them up.
const maxAhead = 512

// restartGap is how long the log writes nothing at least when its server starts again, which may have lost its tail. A reader resumes
// by itself then and may pass over the loss, so whatever stands before such a gap is looked at once more (DESIGN §3 rule 4).
const restartGap = 100 * time.Millisecond

// errReplaced: the newest entry that was read is not in the log any more (DESIGN §3 rule 4).
var errReplaced = errors.New("the log was replaced or lost its tail")

// pump reads one partition and hands every entry to the partition's actor, in order. It reads on only while the gate is open.
type pump struct {
	log       Log
	partition int
	from      stream.Start
	to        *actor.PID
	root      *actor.RootContext
	gate      *gate
	before    stream.Mark                   // the newest entry that was seen
	source    atomic.Pointer[stream.Source] // the one that is being read, for caughtUp
}

// run reads until ctx ends or the log turns out to be another one; the partition learns of that by pumpEnded. After a broken
// reader it makes sure that the log is the same before it reads on behind the last entry.
func (p *pump) run(ctx context.Context) {
	var last stream.Mark
	for ctx.Err() == nil {
		err := p.read(ctx, &last)
		if ctx.Err() != nil {
			return
		}
		if last.Sequence > 0 {
			p.from = stream.Start{Sequence: last.Sequence + 1}
			holds, herr := p.log.Holds(ctx, p.partition, last)
			if herr == nil && !holds {
				err = errReplaced
			}
		}
		if errors.Is(err, errReplaced) {
			p.root.Send(p.to, &pumpEnded{err: err})
			return
		}
		p.root.Send(p.to, &logTrouble{})
		select {
		case <-time.After(respawnAfter):
		case <-ctx.Done():
		}
	}
}

// read opens one source and reads it to its end.
func (p *pump) read(ctx context.Context, last *stream.Mark) error {
	source, err := p.log.Read(ctx, p.partition, p.from)
	if err != nil {
		return err
	}
	p.source.Store(&source)
	defer func() {
		p.source.Store(nil)
		source.Close()
	}()
	for {
		if err := p.gate.wait(ctx); err != nil {
			return err
		}
		rec, err := source.Next(ctx)
		if err != nil {
			return err
		}
		p.gate.handed()
		p.root.Send(p.to, &received{rec: rec, gap: p.gapBefore(rec)})
		*last = stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}
	}
}

// gapBefore is the entry before rec if the log may have lost something between the two, else zero.
func (p *pump) gapBefore(rec stream.Received) stream.Mark {
	before := p.before
	p.before = stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}
	if between := rec.LogTime.Sub(before.LogTime); before.Sequence >= rec.Sequence || between >= 0 && between < restartGap {
		return stream.Mark{}
	}
	return before
}

// caughtUp asks the open source whether nothing stands behind last. False also where there is no open source.
func (p *pump) caughtUp(ctx context.Context, last uint64) (bool, error) {
	source := p.source.Load()
	if source == nil {
		return false, nil
	}
	return (*source).CaughtUp(ctx, last)
}

// gate stops the pump: while the partition has enough entries under way (DESIGN §3 rule 6), and while more than maxAhead of them
// lie unread in the partition's mailbox, which has no bound of its own.
type gate struct {
	shut  atomic.Bool
	ahead atomic.Int64
	wake  chan struct{}
}

func newGate() *gate { return &gate{wake: make(chan struct{}, 1)} }

// handed counts an entry into the mailbox, taken out of it.
func (g *gate) handed() { g.ahead.Add(1) }

func (g *gate) taken() {
	if g.ahead.Add(-1) == maxAhead-1 {
		g.poke()
	}
}

// set shuts or opens the gate.
func (g *gate) set(shut bool) {
	if g.shut.Swap(shut) && !shut {
		g.poke()
	}
}

func (g *gate) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// wait returns once the pump may read on, or with ctx's error.
func (g *gate) wait(ctx context.Context) error {
	for g.shut.Load() || g.ahead.Load() >= maxAhead {
		select {
		case <-g.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
