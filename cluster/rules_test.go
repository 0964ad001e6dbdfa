package cluster

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
		"one sign, quiet lease":             {gone: signNoResponders, taken: true},
		"silence alone, quiet lease":        {gone: signSilent, taken: true},
		"one sign, just taken over":         {gone: signNoResponders, moved: time.Second},
		"silence alone, just taken over":    {gone: signSilent, moved: time.Second},
		"no responders and cut, just taken": {gone: signNoResponders | signCut, moved: time.Second, taken: true},
		"two signs, just taken over":        {gone: signSilent | signNoResponders, moved: time.Second, taken: true},
		"its own word, just taken over":     {gone: signGoodbye, moved: time.Second, taken: true},
		"one sign, taken over before":       {gone: signNoResponders, moved: takeoverPause + time.Second, taken: true},
		"alive":                             {live: true},
		"alive, waited for":                 {live: true, waited: 10 * time.Second},
		"alive, does not hand over":         {live: true, waited: time.Minute, taken: true},
		"nobody knows it":                   {},
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
		if p.note(at, at, linkUnknown); p.signs != step.want {
			t.Errorf("after %v and %d misses: signs %b, want %b", step.after, step.misses, p.signs, step.want)
		}
	}
	if !p.goneAt.Equal(now.Add(200 * time.Millisecond)) {
		t.Errorf("gone at %v", p.goneAt)
	}
}

// judging is a membership whose clock and peers the test sets, beside a server that nobody else uses.
func judging(t *testing.T, clock *skippingClock) *membership {
	t.Helper()
	n, err := New(testOptions(t, connect(t, startNATS(t)), nil))
	if err != nil {
		t.Fatal(err)
	}
	n.now = clock.now
	n.links.now = clock.now
	m := newMembership(n)
	m.greeted = true
	m.self.Address = "127.0.0.1:71" // it does not listen
	m.lastTick, m.echoed = clock.now(), clock.now()
	return m
}

const otherID = "0123456789abcdefghijkl"

func beatOf(id string) *nats.Msg {
	return &nats.Msg{Subject: "hy.member.test.hb", Data: Member{ID: id, Node: id[:1], Address: "127.0.0.1:70", Worker: true}.encode()}
}

// A process that was paused fences itself before it takes note of anything that waited for it.
func TestWokenProcessFencesItselfFirst(t *testing.T) {
	clock := newSkippingClock()
	m := judging(t, clock)
	clock.skip(15 * time.Second)
	m.take(beatOf(otherID))
	if !m.fenced {
		t.Error("what waited was handled by a node that trusts itself")
	}
	if v, _ := m.node.board.load(); !v.fenced {
		t.Error("nobody was told")
	}
}

// A node whose own heartbeats do not come back hears nobody: it finds nobody silent, and fences itself; its word that it did
// frees its leases.
func TestDeafNodeJudgesNobody(t *testing.T) {
	clock := newSkippingClock()
	m := judging(t, clock)
	m.take(beatOf(otherID))
	for range 3 { // the last that is heard is its own word
		clock.skip(tick)
		m.judge()
	}
	m.take(&nats.Msg{Subject: "hy.member.test.hb", Data: m.self.encode()})
	for range 25 { // 2.5 s without a word from anybody
		clock.skip(tick)
		m.judge()
	}
	if m.peers[otherID].signs != 0 {
		t.Error("a node that hears nothing judged another")
	}
	if !m.fenced || !m.self.Fenced {
		t.Errorf("a node that hears nothing trusts itself: %v, %v", m.fenced, m.self.Fenced)
	}
	// It hears itself again, but the other not.
	m.take(&nats.Msg{Subject: "hy.member.test.hb", Data: m.self.encode()})
	for range 25 {
		m.take(&nats.Msg{Subject: "hy.member.test.hb", Data: m.self.encode()})
		clock.skip(tick)
		m.judge()
	}
	if m.fenced || m.self.Fenced {
		t.Error("it hears again and stays fenced")
	}
	if m.peers[otherID].signs != signSilent {
		t.Errorf("signs of a silent peer: %b", m.peers[otherID].signs)
	}
	k := &keeper{node: m.node, log: slog.New(slog.DiscardHandler)}
	v := &view{self: "self", members: []Member{{ID: otherID, Fenced: true}}}
	if err := k.passOver(v, Lease{Member: otherID, Mark: "m"}); err != nil {
		t.Errorf("the lease of a live node that dropped it: %v", err)
	}
}

// Pings without responder count for nothing just after this node's own reconnect, and for little while the peer's transport
// answers: its process lives.
func TestNoRespondersInContext(t *testing.T) {
	clock := newSkippingClock()
	m := judging(t, clock)
	miss := func() {
		m.take(&nats.Msg{Subject: m.pongs + otherID, Header: nats.Header{"Status": []string{"503"}}})
		m.take(&nats.Msg{Subject: "hy.member.test.hb", Data: m.self.encode()})
		clock.skip(tick)
		m.judge()
	}
	m.take(beatOf(otherID))
	m.found(clock.now())
	for range 10 {
		miss()
	}
	if m.peers[otherID].signs != 0 {
		t.Error("judged while all reconnect")
	}
	clock.skip(settleAfter)
	m.lastTick, m.echoed = clock.now(), clock.now()
	m.take(beatOf(otherID))
	m.node.links.known["127.0.0.1:70"] = &link{up: true, answered: clock.now()}
	for range missesNeeded + 1 {
		miss()
	}
	if m.peers[otherID].signs != 0 {
		t.Error("judged while its transport answers")
	}
	m.hear(beatOf(otherID).Data)
	m.node.links.cut("127.0.0.1:70")
	miss() // one is enough
	if m.peers[otherID].signs != signNoResponders|signCut {
		t.Errorf("its transport was cut: signs %b", m.peers[otherID].signs)
	}
}

// What the writer of a lease tells is taken as the bucket's watch would tell it.
func TestLeaseNewsIsTold(t *testing.T) {
	t.Parallel()
	s := startNATS(t)
	conn := connect(t, s)
	bucket, err := openBucket(t.Context(), conn, 1)
	if err != nil {
		t.Fatal(err)
	}
	writer, reader := newLeases(bucket, 4, conn, nil), newLeases(nil, 4, conn, nil)
	writer.subject = "news"
	sub, err := conn.SubscribeSync("news")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := writer.swap(t.Context(), 3, Lease{Member: otherID, Mark: "m", Epoch: 9}, 0)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, noise := range []string{"", "{", `{"partition":4,"revision":1}`, `{"partition":-1,"revision":1}`, `{"partition":3}`} {
		reader.hear([]byte(noise))
	}
	reader.hear(msg.Data)
	if h, _ := reader.seen(3); h.revision != revision || h.lease.Mark != "m" || h.lease.Epoch != 9 {
		t.Errorf("heard %+v", h)
	}
}
