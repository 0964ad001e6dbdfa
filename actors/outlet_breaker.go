package actors

import (
	"time"

	"hongyan/wechat/api"
)

// breaker keeps a node from calling an API that does not work. It opens after breakAfter failures in a row. What ends it is a harmless
// call: a user's message whose outcome nobody knows is never sent again, so none is risked to find out. After that, messages go one
// at a time until the first one got through.
type breaker struct {
	failures int
	openings int       // in a row
	open     bool      // until a harmless call got through
	until    time.Time // with open: not looked at before
	probing  bool
	trial    bool // one message at a time
}

const (
	breakAfter = 5
	breakFirst = 2 * time.Second
	breakMost  = 5 * time.Second
)

// fails tells whether a class says that the API does not work.
func fails(c api.Class) bool {
	return c == api.Unknown || c == api.Unsent || c == api.Busy || c == api.Refused
}

// ready tells whether a message may go out, and when to ask again. inFlight is how many are out.
func (b *breaker) ready(now time.Time, inFlight int) (ok bool, retry time.Time) {
	switch {
	case b.open:
		return false, latest(b.until, now.Add(slowDown))
	case b.trial && inFlight > 0:
		return false, now.Add(slowDown)
	}
	return true, time.Time{}
}

// learn takes the outcome of a user's message.
func (b *breaker) learn(c api.Class, now time.Time, chance uint64) {
	if !fails(c) {
		if !b.open { // what was under way when it opened proves nothing
			*b = breaker{}
		}
		return
	}
	b.failures++
	if !b.open && (b.trial || b.failures >= breakAfter) {
		b.openFor(now, chance)
	}
}

func (b *breaker) openFor(now time.Time, chance uint64) {
	wait := min(breakFirst<<min(b.openings, 4), breakMost)
	b.openings++
	b.open, b.trial, b.until = true, false, now.Add(wait*3/4+spread(wait/4, chance))
}

// probeDue tells whether a harmless call is due.
func (b *breaker) probeDue(now time.Time) bool { return b.open && !b.probing && !now.Before(b.until) }

// probed takes the outcome of the harmless call.
func (b *breaker) probed(c api.Class, now time.Time, chance uint64) {
	b.probing = false
	if fails(c) {
		b.openFor(now, chance)
		return
	}
	b.open, b.trial, b.failures = false, true, 0
}
