package ingress

import (
	"sync"
	"time"

	"hongyan/messages"
)

// What WeChat does (wechat-protocol §3) and what follows for a last delivery (DESIGN §3 rule 17).
const (
	// deliveryInterval lies between two deliveries of one message: WeChat hangs up after it and delivers again.
	deliveryInterval = 5 * time.Second
	// ageTolerance is by how much a last delivery may look younger: where an earlier delivery went to another ingress, only
	// CreateTime tells its age, and our clock may be behind WeChat's. It leaves the delivery before it three seconds of room.
	ageTolerance = 2 * time.Second

	seenLimit = 1 << 18 // keys per generation
)

// deliveries remembers for a short while which messages this process has seen, when first and how often.
type deliveries struct {
	mu   sync.Mutex
	seen *recent[messages.Key, sighting]
}

type sighting struct {
	first    time.Time
	count    int32
	accepted bool // the log has one of them
}

// newDeliveries remembers for at least window, the time from a message's first to its last delivery.
func newDeliveries(window time.Duration) *deliveries {
	return &deliveries{seen: newRecent[messages.Key, sighting](2, window, seenLimit)}
}

// note counts one delivery that arrived at now (monotonic) and returns how many there were, this one included, and how
// long ago the first one was.
func (d *deliveries) note(key messages.Key, now time.Time) (count int, age time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.seen.get(key, now)
	if !ok {
		s.first = now
	}
	s.count++
	d.seen.put(key, s, now)
	return int(s.count), now.Sub(s.first)
}

// accept notes that the log has the message.
func (d *deliveries) accept(key messages.Key, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.seen.get(key, now); ok && !s.accepted {
		s.accepted = true
		d.seen.put(key, s, now)
	}
}

// accepted tells whether the log has an earlier delivery of the message, as far as this process knows.
func (d *deliveries) accepted(key messages.Key, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.seen.get(key, now)
	return ok && s.accepted
}

// isLast judges whether WeChat will deliver the message no more, by the count and the age that this process saw, or by the
// message's own age. The former know only the deliveries that came here; the latter relies on two clocks. Each can miss a
// last delivery, so any of them is enough: a delivery wrongly taken for the last one only shows its text too early.
func isLast(deliveries, count int, seenFor, age time.Duration) bool {
	threshold := time.Duration(deliveries-1)*deliveryInterval - ageTolerance
	return count >= deliveries || max(seenFor, age) >= threshold
}
