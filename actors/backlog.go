package actors

import "time"

// Backlog is what a partition's actor last reported of its work, at most a tick (100 ms) old while it runs.
type Backlog struct {
	Lag       time.Duration // age of the oldest unsettled log entry; 0 without one
	Unsettled int           // log entries under way
	Residents int           // users whose actor is in memory
	Floor     uint64        // log sequence up to which everything of the partition is settled
	Newest    uint64        // newest log sequence read
}

// Backlog is the partition's last report; false where its actor does not run here or has not reported yet. Any goroutine may
// call it.
func (e *Engine) Backlog(partition int) (Backlog, bool) {
	r, ok := e.reported.Load(partition)
	if !ok {
		return Backlog{}, false
	}
	return r.(reported).Backlog, true //nolint:forcetypeassert // only tellBacklog stores
}

// reported is a report with the tenure that made it, so that a former tenure's end does not take the next one's away.
type reported struct {
	Backlog
	epoch uint64
}

// tellBacklog replaces the partition's report.
func (p *partition) tellBacklog(now time.Time) {
	p.reported.Store(p.tenure.Partition, reported{epoch: p.tenure.Epoch, Backlog: Backlog{
		Lag: p.led.lag(now), Unsettled: p.led.unsettled, Residents: p.live,
		Floor: p.led.floor.Sequence, Newest: p.led.newest.Sequence,
	}})
}

// dropBacklog takes the report back: the partition is not this node's any more.
func (p *partition) dropBacklog() {
	if r, ok := p.reported.Load(p.tenure.Partition); ok && r.(reported).epoch == p.tenure.Epoch { //nolint:forcetypeassert // as above
		p.reported.CompareAndDelete(p.tenure.Partition, r)
	}
}
