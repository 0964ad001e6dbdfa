package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	tick           = 100 * time.Millisecond // pings and judgements
	beatEvery      = 300 * time.Millisecond // heartbeats to all
	silenceAfter   = 1500 * time.Millisecond
	standstill     = 1500 * time.Millisecond // a gap between two ticks after which this node trusts nothing it knew
	disconnectedIn = 1500 * time.Millisecond // the same for its connection: the others judge it gone by then
	missesNeeded   = 2                       // pings in a row without responder: one may fall into a reconnect
	// missesOfLinked is the same for a peer whose transport still answers: its process lives, only its connection to NATS was
	// lost, and it is likely to have another one soon. A killed process cuts its transport at once.
	missesOfLinked = 10
	// missesOfCut is the same for a peer whose transport has just been cut: the second sign of its end.
	missesOfCut = 1
	// settleAfter is how long after its own reconnect a node counts no pings without responder: the others reconnect too.
	settleAfter = 1500 * time.Millisecond
	greetQuiet  = 60 * time.Millisecond // no more answers to the greeting
	greetMost   = 300 * time.Millisecond
	// forgetAfter is how long a member that is gone stays in proto.actor's list and is pinged. What leaves that list never
	// comes back into it under the same id; a process that was only paused usually comes back before.
	forgetAfter = 30 * time.Second
	pastMost    = 4096 // ids kept to tell the dead; the oldest go first
	inboxLength = 4096
)

const (
	fenceStandstill   = "standstill"
	fenceDisconnected = "disconnected"
)

// peer is another process, as far as this one knows it.
type peer struct {
	member Member // only the ID until its record was heard
	heard  time.Time
	misses int
	signs  sign      // 0: alive
	goneAt time.Time // when it was judged gone
}

func (p *peer) known() bool { return p.member.Address != "" }

// membership judges who is alive. All fields belong to the goroutine of run.
type membership struct {
	node  *Node
	conn  *nats.Conn
	log   *slog.Logger
	now   func() time.Time
	self  Member
	peers map[string]*peer
	past  []string // ids of processes that left, or were gone for forgetAfter

	inbox    chan *nats.Msg
	inquired chan string
	suspects chan string // addresses whose connection ended
	prefix   string      // of all subjects
	pongs    string      // prefix of the replies to our pings

	lastTick     time.Time
	lastBeat     time.Time
	echoed       time.Time // when this node last heard its own heartbeat: up to then it heard everybody
	disconnected time.Time // since when, zero while connected
	reconnects   uint64    // of the connection, as of the last tick
	reconnected  time.Time // when this node last found its connection back
	fenced       bool
	fencedAt     time.Time
	greeted      bool // the first judgement may be made
}

func newMembership(n *Node) *membership {
	return &membership{
		node: n, conn: n.opts.Conn, log: n.log, now: n.now,
		self: Member{
			ID: n.transport.system.ID, Node: n.opts.NodeID, Address: n.transport.system.Address(), Worker: n.opts.Owner != nil,
			TLS: n.opts.TLS != nil,
		},
		peers:    map[string]*peer{},
		inbox:    make(chan *nats.Msg, inboxLength),
		inquired: make(chan string, inboxLength),
		suspects: make(chan string, inboxLength),
		prefix:   "hy.member." + n.opts.Name + ".",
		pongs:    n.opts.Conn.NewInbox() + ".",
	}
}

// inquire asks for a judgement about a process of which only the id is known, from a lease. It never blocks.
func (m *membership) inquire(id string) {
	select {
	case m.inquired <- id:
	default: // the keeper asks again
	}
}

// suspect has the peer at that address pinged at once. It never blocks.
func (m *membership) suspect(address string) {
	select {
	case m.suspects <- address:
	default: // the next tick pings it
	}
}

// run returns nil when ctx ends.
func (m *membership) run(ctx context.Context) error {
	var subs []*nats.Subscription
	defer func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe()
		}
	}()
	listen := func(subject string) error {
		sub, err := m.conn.ChanSubscribe(subject, m.inbox)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		subs = append(subs, sub)
		return nil
	}
	if err := errors.Join(listen(m.prefix+"hb"), listen(m.prefix+"ping."+m.self.ID), listen(m.pongs+"*")); err != nil {
		return err
	}
	if err := m.greet(ctx); err != nil {
		return err
	}
	if err := listen(m.prefix + "hello"); err != nil { // only now: we must not answer ourselves
		return err
	}
	m.greeted = true
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	m.lastTick, m.echoed, m.reconnects = m.now(), m.now(), m.conn.Stats().Reconnects
	m.beat()
	m.publish()
	left := m.node.board.left
	for {
		select {
		case <-ctx.Done():
			m.self.Bye = true
			m.beat()
			return flushed(m.conn)
		case <-left:
			left = nil
			m.self.Leaving = true
			m.beat()
			m.publish()
		case msg := <-m.inbox:
			m.take(msg)
		case id := <-m.inquired:
			m.track(id)
		case address := <-m.suspects:
			for id, p := range m.peers {
				if p.member.Address == address {
					m.ping(id)
				}
			}
		case <-ticker.C:
			m.judge()
		}
	}
}

// flushed makes sure that the last words are out; a connection that is down says nothing anyway.
func flushed(conn *nats.Conn) error {
	if conn.IsConnected() {
		_ = conn.FlushTimeout(storeTimeout)
	}
	return nil
}

// greet asks everybody to speak up, so that the first judgement knows them. Nobody there is known at once.
func (m *membership) greet(ctx context.Context) error {
	inbox := m.conn.NewInbox()
	sub, err := m.conn.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("greet the other members: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := m.conn.PublishRequest(m.prefix+"hello", inbox, m.self.encode()); err != nil {
		return fmt.Errorf("greet the other members: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, greetMost)
	defer cancel()
	for {
		quiet, done := context.WithTimeout(ctx, greetQuiet)
		msg, err := sub.NextMsgWithContext(quiet)
		done()
		if err != nil || noResponders(msg) { // nats.go itself turns "no responders" into an error here
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && len(m.peers) == 0 {
				continue // somebody listens but has not answered yet
			}
			return nil
		}
		m.hear(msg.Data)
	}
}

func noResponders(msg *nats.Msg) bool {
	return len(msg.Data) == 0 && msg.Header.Get("Status") == "503"
}

// take handles what was heard. A process that was paused must not act on what waited for it before it knows.
func (m *membership) take(msg *nats.Msg) {
	m.notice()
	m.receive(msg)
}

func (m *membership) receive(msg *nats.Msg) {
	switch {
	case strings.HasPrefix(msg.Subject, m.pongs):
		id := strings.TrimPrefix(msg.Subject, m.pongs)
		if noResponders(msg) {
			if p := m.peers[id]; p != nil && m.now().Sub(m.reconnected) > settleAfter {
				p.misses++
				m.conclude(p, m.now())
				m.publish()
			}
			return
		}
		m.hear(msg.Data)
	case msg.Subject == m.prefix+"hb":
		m.hear(msg.Data)
	case msg.Subject == m.prefix+"hello":
		_ = msg.Respond(m.self.encode()) // a lost answer is made good by the next heartbeat
		m.hear(msg.Data)
	case msg.Subject == m.prefix+"ping."+m.self.ID:
		_ = msg.Respond(m.self.encode())
	}
}

// hear takes a member's own word: it is alive.
func (m *membership) hear(record []byte) {
	other, err := decodeMember(record)
	if err != nil {
		m.log.Warn("a heartbeat cannot be read", "error", err)
		return
	}
	if other.ID == m.self.ID {
		m.echoed = m.now()
		return
	}
	p := m.peers[other.ID]
	if other.Bye {
		if p != nil {
			m.log.Info("a member left", "member", other.ID, "node", other.Node)
			m.forget(other.ID)
			m.publish()
		}
		return
	}
	if p == nil {
		p = &peer{}
		m.peers[other.ID] = p
		m.past = slices.DeleteFunc(m.past, func(id string) bool { return id == other.ID })
	}
	news := !p.known() || p.signs != 0 || p.member != other
	if !p.known() {
		m.log.Info("a member joined", "member", other.ID, "node", other.Node, "address", other.Address)
		m.succeed(other)
		m.compare(other)
		m.lastBeat = time.Time{} // it learns of us at the next tick
	} else if p.signs != 0 {
		m.log.Warn("a member that was given up is back", "member", other.ID, "node", other.Node)
	}
	p.member, p.heard, p.misses, p.signs = other, m.now(), 0, 0
	if news {
		m.publish()
	}
}

// compare says plainly why two nodes that see each other over NATS cannot call each other.
func (m *membership) compare(other Member) {
	host, _, _ := other.hostPort()
	switch {
	case other.TLS != m.self.TLS:
		m.log.Error("a member's transport is refused, for one of us has cluster.tls and the other has not: give all nodes certificates of one CA (`hongyan certs` makes them)",
			"node", other.Node, "address", other.Address, "its_tls", other.TLS, "own_tls", m.self.TLS)
	case !m.self.TLS && !isLoopback(host):
		m.log.Error("a member's transport is refused, for it is not on this machine and not encrypted: set cluster.tls on all nodes (`hongyan certs` makes the files)",
			"node", other.Node, "address", other.Address)
	}
}

// succeed forgets whoever is gone from the address that a new member has: were the end of the old one told to proto.actor
// later, it would cut the new one's stream.
func (m *membership) succeed(next Member) {
	for id, p := range m.peers {
		if p.signs != 0 && p.member.Address == next.Address {
			m.forget(id)
		}
	}
}

func (m *membership) track(id string) {
	if m.peers[id] != nil || slices.Contains(m.past, id) || id == m.self.ID {
		return
	}
	if !memberID.MatchString(id) { // no process of ours ever had such an id, and it would not do as a subject
		m.past = append(m.past, id)
		m.publish()
		return
	}
	m.peers[id] = &peer{member: Member{ID: id}, heard: m.now()}
	m.ping(id)
}

func (m *membership) ping(id string) {
	_ = m.conn.PublishRequest(m.prefix+"ping."+id, m.pongs+id, nil) // a ping that is not sent judges nobody
}

func (m *membership) beat() {
	m.lastBeat = m.now()
	_ = m.conn.Publish(m.prefix+"hb", m.self.encode()) // the next one is near
}

func (m *membership) forget(id string) {
	delete(m.peers, id)
	m.past = append(m.past, id)
	if extra := len(m.past) - pastMost; extra > 0 {
		m.past = slices.Delete(m.past, 0, extra)
	}
}

// publish tells the rest of the node what is believed now.
func (m *membership) publish() {
	if !m.greeted {
		return
	}
	v := &view{self: m.self.ID, fenced: m.fenced, settled: true, gone: map[string]sign{}, heard: map[string]time.Time{}}
	v.members = []Member{m.self}
	v.roster = []Member{m.self}
	for id, p := range m.peers {
		if p.signs != 0 {
			v.gone[id], v.heard[id] = p.signs, p.heard
		} else if p.known() {
			v.members = append(v.members, p.member)
		}
		if p.known() {
			v.roster = append(v.roster, p.member)
		}
	}
	for _, id := range m.past {
		v.gone[id] = signGoodbye
	}
	byID := func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(v.members, byID)
	slices.SortFunc(v.roster, byID)
	old, _ := m.node.board.load()
	if slices.Equal(old.members, v.members) {
		v.desired = old.desired
	} else {
		v.desired = place(m.node.opts.Partitions, workers(v.members))
	}
	m.node.metrics.members.Set(float64(len(v.members)))
	m.node.board.publish(v)
}

func workers(members []Member) []string {
	var ids []string
	for _, m := range members {
		if m.Worker && !m.Leaving && !m.Fenced {
			ids = append(ids, m.ID)
		}
	}
	return ids
}
