package upstream

import "time"

// cells are how finely a tally's window moves.
const cells = 10

// tally counts how calls ended, over a window that moves along, and how many failed in a row.
type tally struct {
	width time.Duration // of a cell
	epoch time.Time
	cells [cells]cell
	row   int // failures in a row, however long ago the first one
}

type cell struct {
	number      int64 // since epoch; a cell of another number is empty
	ok, failing int
}

func newTally(window time.Duration, now time.Time) tally {
	return tally{width: max(window/cells, 1), epoch: now}
}

// add counts a call that ended at now.
func (t *tally) add(now time.Time, failed bool) {
	number := int64(now.Sub(t.epoch) / t.width)
	c := &t.cells[number%cells]
	if c.number != number {
		*c = cell{number: number}
	}
	if failed {
		c.failing++
		t.row++
		return
	}
	c.ok++
	t.row = 0
}

// trips tells whether a breaker must open that does so after so many failures in a row, or where half of at least twice as many failed.
func (t *tally) trips(now time.Time, failures int) bool {
	if t.row >= failures {
		return true
	}
	number := int64(now.Sub(t.epoch) / t.width)
	all, failing := 0, 0
	for _, c := range t.cells {
		if number-c.number < cells {
			all += c.ok + c.failing
			failing += c.failing
		}
	}
	return all >= 2*failures && 2*failing >= all
}
