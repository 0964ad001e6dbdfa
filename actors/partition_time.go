package actors

import (
	"context"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/stream"
)

type (
	// generationChecked ends a look at the log that found nothing missing. open are entries before a gap that could not be looked at.
	generationChecked struct{ open []stream.Mark }
	// purgeDone ends a purge.
	purgeDone struct{}
)

// tick does what is due by time.
func (p *partition) tick(ctx actor.Context) {
	if p.stopped {
		return
	}
	now := p.Now()
	if p.dirty > 0 || p.missing.Sequence > 0 || (p.cp.Crashes > 0 && !p.committing && p.led.passed(p.cp.CrashEnd, p.readUpTo) && len(p.held) == 0) {
		p.flush()
	}
	if p.logFull() {
		p.troubled = now
	}
	p.handHeld(ctx)
	p.metrics.report(&p.stats, p.live, p.led.unsettled, p.led.lag(now), p.checkpointAge(now))
	p.tellBacklog(now)
	if p.busy() {
		p.hurryFloor(ctx)
	}
	p.letGo(ctx, p.readTime) // the log is in the order of its times
	if len(p.waits) > 0 || p.mustProveCaughtUp() {
		p.probe(now)
	}
	p.countIdle()
	p.wakeDue(now)
	if since := now.Sub(p.lastPurge); !p.checking && (since >= purgeEvery || since >= generationEvery && p.logFull()) {
		p.lastPurge = now
		p.purge()
	}
	if now.Sub(p.lastGeneration) >= generationEvery {
		p.lastGeneration = now
		p.checkGeneration()
	}
	p.respawnDue(ctx, now)
	if now.Sub(p.lastSweep) >= p.passivateAfter()/8 {
		p.lastSweep = now
		p.passivate(ctx, now)
	}
	p.tryRelease(ctx)
}

// hurryFloor tells the user that holds the floor to come to an end (DESIGN §3 rule 6).
func (p *partition) hurryFloor(ctx actor.Context) {
	m, ok := p.led.oldest()
	if !ok {
		return
	}
	for _, r := range p.users {
		if r.pid != nil && len(r.entries) > 0 && r.entries[0].Sequence == m.Sequence {
			ctx.Send(r.pid, &hurry{})
			return
		}
	}
}

// mustProveCaughtUp: after a crash over a log whose end is another partition's entry, only a look at the log tells that nothing of
// ours is left below it.
func (p *partition) mustProveCaughtUp() bool {
	return p.cp.Crashes > 0 && p.led.unsettled == 0 && p.readUpTo < p.cp.CrashEnd
}

// probe asks the log whether everything up to now was read. Users who wait for a redelivery that may stand in the log unread
// need to know (DESIGN §3 rule 13).
func (p *partition) probe(now time.Time) {
	if p.probing || p.pump == nil {
		return
	}
	p.probing = true
	last := p.readUpTo
	go func() { // ended by the log's answer or opTimeout
		ctx, cancel := context.WithTimeout(p.ctx, opTimeout)
		defer cancel()
		at := now
		ok, err := p.pump.caughtUp(ctx, last)
		if err != nil {
			p.root.Send(p.pid, &logTrouble{})
		}
		if !ok {
			at = time.Time{}
		}
		p.root.Send(p.pid, &caughtUp{at: at})
	}()
}

// release tells the users whose time is over. at is zero where the log was not caught up.
func (p *partition) release(ctx actor.Context, at time.Time) {
	p.probing = false
	if at.IsZero() {
		return
	}
	if p.mustProveCaughtUp() {
		p.readUpTo = max(p.readUpTo, p.cp.CrashEnd)
	}
	p.letGo(ctx, at)
}

// countIdle notes how many entries belong to users who wait for a redelivery.
func (p *partition) countIdle() {
	p.idle = 0
	for user := range p.waits {
		if r := p.users[user]; r != nil {
			p.idle += len(r.entries)
		}
	}
	p.setGate()
}

// letGo tells the users whose time is over, everything of the log up to at having been read.
func (p *partition) letGo(ctx actor.Context, at time.Time) {
	for user, until := range p.waits {
		if !at.After(until) {
			continue
		}
		delete(p.waits, user)
		if r := p.users[user]; r != nil && r.pid != nil {
			ctx.Send(r.pid, &windowOver{readUpTo: at, troubled: p.troubled})
		}
	}
}

// checkGeneration reads the newest entry back, and those before a gap: a log that lost its tail and wrote on may have a new newest one
// by now (DESIGN §3 rule 4).
func (p *partition) checkGeneration() {
	newest := p.led.newest
	if p.checking || newest.Sequence == 0 {
		return
	}
	p.checking = true
	p.looked, p.gaps = p.gaps, nil
	marks := append([]stream.Mark{newest}, p.looked...)
	go func() { // ended by the log's answers or opTimeout
		ctx, cancel := context.WithTimeout(p.ctx, opTimeout)
		defer cancel()
		for i, m := range marks {
			switch holds, err := p.Log.Holds(ctx, p.tenure.Partition, m); {
			case err != nil:
				p.root.Send(p.pid, &generationChecked{open: marks[max(i, 1):]})
				return
			case !holds:
				p.root.Send(p.pid, &replaced{mark: m})
				return
			}
		}
		p.root.Send(p.pid, &generationChecked{})
	}()
}

// maxGaps bounds the entries that are looked at once more: those before the newest gaps.
const maxGaps = 64

// noteGap remembers an entry behind which the log may have lost something. What is that old has been written to disk long ago.
func (p *partition) noteGap(m stream.Mark) {
	if m.Sequence == 0 || p.Now().Sub(m.LogTime) > 10*time.Minute {
		return
	}
	p.gaps = append(p.gaps, m)
	if len(p.gaps) > maxGaps {
		p.gaps = slices.Delete(p.gaps, 0, len(p.gaps)-maxGaps)
	}
}

// purge removes what lies strictly below the floor that the checkpoint in the store has (DESIGN §3 rule 7). It scans the log's
// blocks under its lock: the longer the log, the longer everybody waits. So partitions take turns and purge often, but only where it
// pays; or at once where the log takes nothing any more, however little it frees.
func (p *partition) purge() {
	below := p.cp.Floor
	for _, g := range p.cp.Gaps { // whoever comes next looks for them
		below = min(below, g.Sequence)
	}
	below = p.restedFloor(below)
	if p.purging || p.sinceClean < purgeAtLeast && !p.logFull() || below <= p.purged {
		return
	}
	p.purging, p.purged, p.sinceClean = true, below, 0
	go func() { // ended by the log's answer or its timeout
		ctx, cancel := context.WithTimeout(p.ctx, 10*opTimeout)
		defer cancel()
		if err := p.Log.Purge(ctx, p.tenure.Partition, below); err != nil {
			p.log.Warn("entries below the floor were not purged and stay until the next round", "error", err)
		}
		p.root.Send(p.pid, &purgeDone{})
	}()
}

// floorMarks is how many places of the floor are remembered within KeepSettled.
const floorMarks = 256

// floorAt is where the floor stood at a time.
type floorAt struct {
	at    time.Time
	below uint64
}

// restedFloor is the floor as it stood KeepSettled ago: what was settled since may still be looked at. A full log has no room for that.
func (p *partition) restedFloor(below uint64) uint64 {
	if p.KeepSettled <= 0 || p.logFull() {
		return below
	}
	now := p.Now()
	if n := len(p.floors); n == 0 || below > p.floors[n-1].below && now.Sub(p.floors[n-1].at) >= p.KeepSettled/floorMarks {
		p.floors = append(p.floors, floorAt{at: now, below: below})
	}
	rested := 0
	for rested < len(p.floors) && now.Sub(p.floors[rested].at) >= p.KeepSettled {
		rested++
	}
	if rested == 0 {
		return 0
	}
	below = min(below, p.floors[rested-1].below)
	p.floors = slices.Delete(p.floors, 0, rested-1)
	return below
}

func (p *partition) logFull() bool { return p.LogFull != nil && p.LogFull() }

func (p *partition) passivateAfter() time.Duration {
	if p.PassivateAfter <= 0 {
		return 10 * time.Minute
	}
	return p.PassivateAfter
}

// passivate stops the actors of users who have been silent. They have no unsettled entry, so nothing is in their mailboxes but a
// question from outside, which is asked again.
func (p *partition) passivate(ctx actor.Context, now time.Time) {
	for user, r := range p.users {
		if len(r.entries) > 0 || now.Sub(r.active) < p.passivateAfter() {
			continue
		}
		if r.pid != nil {
			ctx.Stop(r.pid)
			p.forgetPID(r.pid)
		}
		delete(p.users, user)
		delete(p.waits, user)
	}
}

// activate answers the cluster's lookup with the user's actor.
func (p *partition) activate(ctx actor.Context, m *messages.Activate) {
	if p.stopped || p.led == nil {
		ctx.Respond(&messages.Activated{Error: "the partition is moving"})
		return
	}
	user := messages.User{Account: m.GetAccount(), OpenID: m.GetOpenId()}
	if !p.serves(user) {
		ctx.Respond(&messages.Activated{Error: "account " + user.Account + " is not configured"})
		return
	}
	r := p.resident(user)
	if r.pid == nil {
		p.spawn(ctx, user, r)
	}
	if r.pid == nil {
		ctx.Respond(&messages.Activated{Error: "the user's actor is starting again"})
		return
	}
	ctx.Respond(&messages.Activated{ActorId: r.pid.GetId()})
}
