package actors

import (
	"slices"
	"time"

	"hongyan/stream"
)

// ledger tracks one partition's entries from the floor upwards: which were read, which are settled. The floor is the newest entry
// below which everything is settled. A ledger belongs to its partition actor; it is pure and knows no clock.
type ledger struct {
	floor     stream.Mark
	entries   []ledgerEntry // above the floor, ascending; entries[0] is unsettled
	done      []uint64      // settled above the floor by an earlier tenure, ascending; consumed as they are read
	newest    stream.Mark   // the newest entry read, or known from the checkpoint
	unsettled int
}

type ledgerEntry struct {
	mark    stream.Mark
	settled bool
}

// add notes an entry as read. It tells whether an earlier tenure settled it already, and whether it is new at all.
func (l *ledger) add(m stream.Mark) (settledBefore, fresh bool) {
	if m.Sequence <= l.floor.Sequence || (len(l.entries) > 0 && m.Sequence <= l.entries[len(l.entries)-1].mark.Sequence) {
		return false, false
	}
	if m.Sequence > l.newest.Sequence {
		l.newest = m
	}
	for len(l.done) > 0 && l.done[0] < m.Sequence {
		l.done = l.done[1:]
	}
	settledBefore = len(l.done) > 0 && l.done[0] == m.Sequence
	l.entries = append(l.entries, ledgerEntry{mark: m, settled: settledBefore})
	if !settledBefore {
		l.unsettled++
	}
	l.advance()
	return settledBefore, true
}

// settle notes that an entry reached its end. Settling twice, or an entry below the floor, changes nothing and returns false.
func (l *ledger) settle(seq uint64) bool {
	i, ok := slices.BinarySearchFunc(l.entries, seq, func(e ledgerEntry, s uint64) int {
		switch {
		case e.mark.Sequence < s:
			return -1
		case e.mark.Sequence > s:
			return 1
		default:
			return 0
		}
	})
	if !ok || l.entries[i].settled {
		return false
	}
	l.entries[i].settled = true
	l.unsettled--
	l.advance()
	return true
}

// advance lifts the floor over settled entries.
func (l *ledger) advance() {
	n := 0
	for n < len(l.entries) && l.entries[n].settled {
		n++
	}
	if n == 0 {
		return
	}
	l.floor = l.entries[n-1].mark
	l.entries = l.entries[n:]
	if len(l.entries) == 0 {
		l.entries = nil // let a burst's memory go
	}
}

// settledAbove lists what is settled above the floor, what an earlier tenure settled and was not read again included.
func (l *ledger) settledAbove() []uint64 {
	var out []uint64
	for _, e := range l.entries {
		if e.settled {
			out = append(out, e.mark.Sequence)
		}
	}
	for _, seq := range l.done {
		if len(l.entries) == 0 || seq > l.entries[len(l.entries)-1].mark.Sequence {
			out = append(out, seq)
		}
	}
	return out
}

// oldest is the oldest unsettled entry.
func (l *ledger) oldest() (stream.Mark, bool) {
	if len(l.entries) == 0 {
		return stream.Mark{}, false
	}
	return l.entries[0].mark, true
}

// passed tells whether everything of the partition up to seq is settled. read is the last sequence up to which the log was read.
func (l *ledger) passed(seq, read uint64) bool {
	if m, ok := l.oldest(); ok {
		return m.Sequence > seq
	}
	return read >= seq
}

// lag is how long the oldest unsettled entry has been in the log.
func (l *ledger) lag(now time.Time) time.Duration {
	m, ok := l.oldest()
	if !ok {
		return 0
	}
	return max(now.Sub(m.LogTime), 0)
}
