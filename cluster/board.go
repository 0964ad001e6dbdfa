package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// sign says what speaks for a member being gone. Two signs are independent: silence is judged by our clock, no responders by
// the NATS server, the end of a connection by the peer's machine.
type sign uint8

const (
	signSilent       sign = 1 << iota // no heartbeat and no pong for silenceAfter
	signNoResponders                  // the server says that nobody listens on its ping subject
	signCut                           // and its connection to us has ended by itself; counts beside another sign only
	signGoodbye                       // it said so itself
)

// view is what this node believes about the cluster at one moment. A published view is never changed.
type view struct {
	self    string
	members []Member             // live members by id, self included
	roster  []Member             // members and those gone a short while ago: what proto.actor is told, see forgetAfter
	gone    map[string]sign      // ids judged gone, with what speaks for it
	heard   map[string]time.Time // of those judged gone by a sign: when they were last heard
	desired []string             // partition → id of the worker that should own it, "" if there is none
	fenced  bool                 // this node trusts neither its leases nor its judgement: drop everything, take nothing
	leaving bool                 // this node hands over and goes
	settled bool                 // membership has listened long enough for a first judgement
}

func (v *view) wants(partition int) bool {
	return v.settled && !v.fenced && !v.leaving && v.desired[partition] == v.self
}

func (v *view) live(id string) (Member, bool) {
	i := slices.IndexFunc(v.members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return v.members[i], true
}

func (v *view) equal(w *view) bool {
	return v.self == w.self && v.fenced == w.fenced && v.leaving == w.leaving && v.settled == w.settled &&
		slices.Equal(v.members, w.members) && slices.Equal(v.roster, w.roster) &&
		slices.Equal(v.desired, w.desired) && maps.Equal(v.gone, w.gone)
}

// board publishes views. Whoever waits takes the channel that load returned with the view and reads the board again when it
// is closed, so no change is missed.
type board struct {
	mu      sync.Mutex
	current *view
	changed chan struct{}
	left    chan struct{}
}

func newBoard() *board {
	return &board{current: &view{}, changed: make(chan struct{}), left: make(chan struct{})}
}

func (b *board) load() (*view, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current, b.changed
}

// publish replaces the view. Leaving is the board's own: once set it stays.
func (b *board) publish(next *view) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next.leaving = b.current.leaving
	if !next.equal(b.current) {
		b.replace(next)
	}
}

// leave tells everybody that this node goes, even when the membership that publishes views has ended.
func (b *board) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.leaving {
		return
	}
	next := *b.current
	next.leaving = true
	b.replace(&next)
	close(b.left)
}

func (b *board) replace(next *view) {
	b.current = next
	close(b.changed)
	b.changed = make(chan struct{})
}
