package actors

import (
	"bytes"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/stream"
)

// batch is the entries that were handed over with care and are not settled yet.
type batch map[uint64]struct{}

// careful is the size of the batches in which entries are handed over after so many crashes; 0 is no bound (DESIGN §3 rule 5).
func careful(crashes uint32) int {
	switch {
	case crashes < 3:
		return 0
	case crashes == 3:
		return 64
	case crashes == 4:
		return 8
	default:
		return 1
	}
}

// deadlyAfter is the number of deaths over one entry, named alone, that make it a dead letter.
const deadlyAfter = 2

// handHeld hands over the next careful batch once the one before is settled: its name goes into the checkpoint first, so that a
// death over it is known (DESIGN §3 rule 5). Where no care is needed any more, everything that was held back goes at once, before
// what is read after it.
func (p *partition) handHeld(ctx actor.Context) {
	if p.stopped || len(p.held) == 0 {
		return
	}
	size := careful(p.cp.Crashes)
	if size == 0 {
		held := p.held
		p.held, p.batch = nil, nil
		for _, rec := range held {
			p.hand(ctx, rec)
		}
		return
	}
	if len(p.batch) > 0 || p.committing {
		return
	}
	next := p.held[:min(size, len(p.held))]
	first, last := next[0].Sequence, next[len(next)-1].Sequence
	// With what is settled by now: the next owner would begin with that again, name it, and forget how often this batch killed.
	if named := p.packed(); named.name(first, last, p.tenure.Mark) {
		p.commitCheckpoint(named)
		return // checkpointed calls again
	}
	p.held = slices.Clone(p.held[len(next):])
	p.batch = make(batch, len(next))
	if first == last && p.cp.NamedCount >= deadlyAfter {
		p.doomed[first] = ReasonDeadly
		p.log.Warn("an entry killed its owner twice; it becomes a dead letter", "sequence", first)
	}
	for _, rec := range next {
		p.batch[rec.Sequence] = struct{}{}
	}
	for _, rec := range next {
		p.hand(ctx, rec)
	}
	p.held = slices.DeleteFunc(p.held, func(rec stream.Received) bool {
		joins := p.joins(rec)
		if joins {
			p.hand(ctx, rec)
		}
		return joins
	})
}

// joins tells whether an entry is one more delivery of a message that its user's actor has in hand. It is no new danger and needs no
// care, and the message may be waiting for it.
func (p *partition) joins(rec stream.Received) bool {
	if rec.Entry.GetSource() != messages.Source_SOURCE_CALLBACK {
		return false // a re-driven letter names the message that it was, and runs as another one, in its own turn
	}
	in := rec.Entry.GetInbound()
	r := p.users[messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}]
	return r != nil && slices.ContainsFunc(r.entries, func(have stream.Received) bool {
		return have.Entry.GetSource() == messages.Source_SOURCE_CALLBACK && bytes.Equal(have.Entry.GetInbound().GetKey(), in.GetKey())
	})
}

// settledInBatch notes that an entry of the careful batch is settled.
func (p *partition) settledInBatch(ctx actor.Context, seq uint64) {
	delete(p.batch, seq)
	p.handHeld(ctx)
}

// name notes the batch that the owner is about to hand over, and tells whether that is news.
func (c *checkpoint) name(first, last uint64, owner string) bool {
	if c.Named != first || c.NamedLast != last {
		c.Named, c.NamedLast, c.NamedCount, c.NamedBy = first, last, 0, owner
		return true
	}
	news := c.NamedBy != owner
	c.NamedBy = owner
	return news
}

// died notes that the owner that wrote c is gone without a word. It counts over an entry only if that owner had named it alone: one
// that could not even take over did not die of it.
func (c *checkpoint) died(endOfLog uint64) {
	c.Crashes++
	c.CrashEnd = endOfLog
	if c.Named != 0 && c.Named == c.NamedLast && c.NamedBy == c.Mark {
		c.NamedCount++
	}
}
