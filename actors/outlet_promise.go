package actors

import (
	"sync/atomic"
	"time"

	"hongyan/messages"
)

// promiseFor is how long a Ready that was followed by no Send counts: as long as the commit between the two may take, in time slices
// of that length.
const promiseFor = opTimeout

// promises count the users who were told that they may send and who have not sent yet. Each of them writes down that it is about to, and
// again that it could not: when an outage ends, thousands of users who all heard yes at once would write twice a second each, for a
// handful of calls, and the store would fall so far behind that writes count as lost.
type promises struct{ slice atomic.Uint64 } // number of the time slice, shifted by promiseBits, and how many were made in it

const promiseBits = 16

// make one, if so many more have room.
func (p *promises) make(now time.Time, room int) bool {
	number := uint64(now.UnixMilli()/promiseFor.Milliseconds()) << promiseBits
	for {
		old := p.slice.Load()
		next := old
		if old>>promiseBits<<promiseBits != number {
			next = number
		}
		if int(next-number) >= min(room, maxInFlight) {
			return false
		}
		if p.slice.CompareAndSwap(old, next+1) {
			return true
		}
	}
}

// kept notes that one of those who were told came to send.
func (p *promises) kept() {
	for {
		old := p.slice.Load()
		if old&(1<<promiseBits-1) == 0 || p.slice.CompareAndSwap(old, old-1) {
			return
		}
	}
}

// room is how many more may be told that they may send: one at a time where the first has to find out whether it works.
func (s *lineState) room(now time.Time) int {
	most := maxInFlight
	if s.breaker.trial || s.blocked(messages.AccountBlock_KIND_NO_RIGHT, now) {
		most = 1
	}
	if !s.unlimited {
		most = min(most, s.inFlight+s.permits)
	}
	return most - s.inFlight
}
