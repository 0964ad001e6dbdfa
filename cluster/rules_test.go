package cluster

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// Whose lease may be taken (DESIGN rule 20).
func TestPassOver(t *testing.T) {
	t.Parallel()
	const owner = "0123456789abcdefghijkl"
	lease := Lease{Member: owner, Mark: "m", Epoch: 4}
	for name, c := range map[string]struct {
		gone   sign // 0: not known to be gone
		live   bool
		moved  time.Duration // how long ago it was taken unplanned, 0 never
		waited time.Duration // how long a live owner has been waited for
		taken  bool
	}{
		"one sign, quiet lease":          {gone: signNoResponders, taken: true},
		"silence alone, quiet lease":     {gone: signSilent, taken: true},
		"one sign, just taken over":      {gone: signNoResponders, moved: time.Second},
		"silence alone, just taken over": {gone: signSilent, moved: time.Second},
		"two signs, just taken over":     {gone: signSilent | signNoResponders, moved: time.Second, taken: true},
		"its own word, just taken over":  {gone: signGoodbye, moved: time.Second, taken: true},
		"one sign, taken over before":    {gone: signNoResponders, moved: takeoverPause + time.Second, taken: true},
		"alive":                          {live: true},
		"alive, waited for":              {live: true, waited: 10 * time.Second},
		"alive, does not hand over":      {live: true, waited: time.Minute, taken: true},
		"nobody knows it":                {},
	} {
		n := &Node{opts: Options{HandOver: 10 * time.Second}, leases: newLeases(nil, 1, nil, nil)}
		n.membership = &membership{inquired: make(chan string, 1)}
		n.leases.known[0] = held{lease: lease, revision: 1}
		if c.moved > 0 {
			n.leases.known[0].moved = time.Now().Add(-c.moved)
		}
		v := &view{self: "self", gone: map[string]sign{}}
		if c.gone != 0 {
			v.gone[owner] = c.gone
		}
		if c.live {
			v.members = []Member{{ID: owner}}
		}
		k := &keeper{node: n, log: slog.New(slog.DiscardHandler)}
		if c.waited > 0 {
			k.blockedBy, k.blocked = lease.Mark, time.Now().Add(-c.waited)
		}
		err := k.passOver(v, lease)
		if (err == nil) != c.taken || (err != nil && !errors.Is(err, errLeaseHeld)) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := len(n.membership.inquired) == 1; asked != (c.gone == 0 && !c.live) {
			t.Errorf("%s: asked for a judgement: %v", name, asked)
		}
	}
}

// What the watch tells late must not undo what this node wrote, but a server that lost its tail is believed.
func TestLeaseNotes(t *testing.T) {
	t.Parallel()
	l := newLeases(nil, 1, nil, nil)
	_, changed := l.seen(0)
	l.note(0, Lease{Mark: "a"}, 7, false)
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	if h, _ := l.seen(0); !h.moved.IsZero() {
		t.Error("the first sight of a lease counts as a takeover")
	}
	l.note(0, Lease{Mark: "old"}, 6, false)
	if h, _ := l.seen(0); h.lease.Mark != "a" {
		t.Error("an older revision replaced a newer one")
	}
	l.note(0, Lease{Mark: "b", Planned: true}, 8, false)
	if h, _ := l.seen(0); !h.moved.IsZero() {
		t.Error("a hand-over counts as a takeover")
	}
	l.note(0, Lease{Mark: "c"}, 9, false)
	if h, _ := l.seen(0); h.moved.IsZero() {
		t.Error("a takeover was not noticed")
	}
	l.note(0, Lease{Mark: "tail"}, 3, true)
	if h, _ := l.seen(0); h.lease.Mark != "tail" || h.revision != 3 {
		t.Error("a server that lost its tail was not believed")
	}
}

// Two misses or silence.
func TestSignsOfAPeersEnd(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := &peer{member: Member{ID: "0123456789abcdefghijkl", Address: "127.0.0.1:1"}, heard: now}
	for _, step := range []struct {
		after  time.Duration
		misses int
		want   sign
	}{
		{0, 0, 0},
		{100 * time.Millisecond, 1, 0}, // one ping may fall into a reconnect
		{200 * time.Millisecond, 2, signNoResponders},
		{silenceAfter + time.Millisecond, 2, signNoResponders | signSilent},
	} {
		p.misses = step.misses
		at := now.Add(step.after)
		if p.note(at, at, missesNeeded); p.signs != step.want {
			t.Errorf("after %v and %d misses: signs %b, want %b", step.after, step.misses, p.signs, step.want)
		}
	}
	if !p.goneAt.Equal(now.Add(200 * time.Millisecond)) {
		t.Errorf("gone at %v", p.goneAt)
	}
}
