package actors

import (
	"math"
	"time"
)

// meter hands out a limited number of permits in each window. What it has handed out stands in the record ahead of time, in blocks: a
// successor counts a whole block as handed out, so that a limit is never passed, and not every permit costs a write.
type meter struct {
	Window   int64 `cbor:"1,keyasint,omitempty"` // number of the minute or day
	Reserved int64 `cbor:"2,keyasint,omitempty"` // never less than what was handed out
	granted  int64
}

// meterBlocks is into how many blocks a limit is cut at most.
const meterBlocks = 16

// resume takes up a meter that was loaded.
func (m *meter) resume() { m.granted = m.Reserved }

// turn begins a new window where there is one. Without a limit the meter is empty.
func (m *meter) turn(window, limit int64) {
	if limit <= 0 {
		*m = meter{}
	} else if m.Window != window {
		*m = meter{Window: window}
	}
}

// left is how many permits the window still has.
func (m *meter) left(limit int64) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return max(0, limit-m.granted)
}

// take hands out n permits, of which there are enough.
func (m *meter) take(n, limit int64) {
	if limit <= 0 || n <= 0 {
		return
	}
	m.granted += n
	if m.granted > m.Reserved {
		block := (limit + meterBlocks - 1) / meterBlocks
		m.Reserved = min(limit, m.granted+block-1)
	}
}

// giveBack takes n permits back.
func (m *meter) giveBack(n int64) { m.granted = max(0, m.granted-n) }

// bucket is a rate over time: rate permits a second, a second's worth at once.
type bucket struct {
	level float64
	at    time.Time
}

// fill brings the bucket up to now.
func (b *bucket) fill(rate float64, now time.Time) {
	most := max(rate, 1)
	if b.at.IsZero() {
		b.level = 1 // a successor does not know what was handed out in this second
	} else if since := now.Sub(b.at); since > 0 {
		b.level = min(most, b.level+rate*since.Seconds())
	}
	b.at = now
}

// next is how long until the bucket has a permit.
func (b *bucket) next(rate float64) time.Duration {
	if b.level >= 1 || rate <= 0 {
		return 0
	}
	return time.Duration((1 - b.level) / rate * float64(time.Second))
}
