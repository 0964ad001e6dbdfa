package model

import (
	"math/bits"
	"sync"
	"time"
)

// quirk is something that an endpoint does not take; several are joined by |.
type quirk uint32

const (
	noUsage       quirk = 1 << iota // stream_options
	newLimit                        // max_tokens: it wants max_completion_tokens
	noTemperature                   // any but its own
	noUser                          // the field user
	noTools

	allQuirks = iota // how many there are
)

// String says what is left out, for logs.
func (q quirk) String() string {
	switch q {
	case noUsage:
		return "stream_options"
	case newLimit:
		return "max_tokens (max_completion_tokens instead)"
	case noTemperature:
		return "temperature"
	case noUser:
		return "user"
	case noTools:
		return "tools"
	default:
		return "several"
	}
}

// quirkTime is for how long a field is left out before the endpoint is offered it again. A refusal is the endpoint's words, which may
// quote the user's: what was understood wrongly does not last, and what is true costs one more request now and then.
const quirkTime = 10 * time.Minute

// quirks are what an endpoint was found not to take, each until its time is over. The zero value is ready to use.
type quirks struct {
	mu    sync.Mutex
	until [allQuirks]time.Time // by the bit's number; zero: never found
}

// now are those that hold at the moment.
func (q *quirks) now(now time.Time) quirk {
	q.mu.Lock()
	defer q.mu.Unlock()
	var held quirk
	for i, until := range q.until {
		if now.Before(until) {
			held |= 1 << i
		}
	}
	return held
}

// remember notes what an endpoint does not take, and returns those of them that were never found before.
func (q *quirks) remember(found quirk, now time.Time) (fresh quirk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.until {
		if found&(1<<i) == 0 {
			continue
		}
		if q.until[i].IsZero() {
			fresh |= 1 << i
		}
		q.until[i] = now.Add(quirkTime)
	}
	return fresh
}

// learn remembers what was left out of a request that the endpoint then took, after it had refused the same with it. A refusal alone
// teaches nothing. The log says it once per field.
func (b *Bot) learn(e *endpoint, found quirk) {
	for fresh := e.quirks.remember(found, b.now()); fresh != 0; fresh &= fresh - 1 {
		b.log.Warn("the model's endpoint does not take a field, it is left out and offered again from time to time", "bot", b.name,
			"endpoint", e.host, "field", (quirk(1) << bits.TrailingZeros32(uint32(fresh))).String(), "again_after", quirkTime)
	}
}
