package actors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// platform is WeChat as a simulation sees it: it delivers each message up to three times, five seconds apart, to any ingress, until
// one delivery is ended, and now and then several times at once.
type platform struct {
	sim  *sim
	open sync.WaitGroup
}

const (
	thinking    = "thinking"
	notReceived = "not received"
	patience    = 5 * time.Second
)

// response is the end of one HTTP exchange; the zero one is a broken connection or a 503.
type response struct {
	ok     bool
	answer *messages.Answer // nil is `success`
}

// conn is one HTTP exchange as both sides see it.
type conn struct {
	hungUp  chan struct{} // closed by the platform
	replies chan response
}

func (s *sim) message(user, text string) *messages.Inbound {
	in := &messages.Inbound{
		Account: accountOf(user), OpenId: user, MsgId: text, MsgType: "text", Kind: messages.Kind_KIND_TEXT, CreateTime: time.Now().Unix(),
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: text}},
	}
	k := messages.DedupeKey(in)
	in.Key = k[:]
	return in
}

// replayed tells whether a message is delivered twice at once, and replayed by somebody later.
func (s *sim) replayed(text string) bool { return s.chance.fixed(100, "again"+text) < 8 }

// send delivers a message until it is answered or given up.
func (p *platform) send(user, text string) {
	in := p.sim.message(user, text)
	p.sim.watch.sent(in)
	p.sim.hall.opened(user)
	twice := p.sim.replayed(text)
	p.open.Go(func() {
		for n := range 3 {
			began := time.Now()
			if twice && n == 0 {
				p.open.Go(func() { p.deliver(in, "at once", false) })
			}
			if p.deliver(in, fmt.Sprint(n), false) {
				return
			}
			time.Sleep(time.Until(began.Add(patience)))
			if p.sim.watch.answered(in) {
				return // at once, by the other delivery
			}
		}
	})
	if twice { // somebody replays what he saw
		p.open.Go(func() {
			time.Sleep(time.Duration(p.sim.chance.fixed(60000, "replay"+text)) * time.Millisecond)
			p.deliver(in, "replay", true)
		})
	}
}

// deliver is one delivery. It tells whether WeChat delivers no more.
func (p *platform) deliver(in *messages.Inbound, place string, replay bool) bool {
	place += in.GetMsgId()
	door := p.sim.doors.any(place)
	if door == nil {
		return false
	}
	c := &conn{hungUp: make(chan struct{}), replies: make(chan response, 1)}
	there, back := p.sim.chance.upTo(80*time.Millisecond, "there"+place), p.sim.chance.upTo(80*time.Millisecond, "back"+place)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	time.Sleep(there)
	p.open.Go(func() { door.serve(in, c) })
	select {
	case r := <-c.replies:
		at := time.Now()
		time.Sleep(back)
		if !r.ok {
			return false
		}
		p.sim.watch.shown(in, r.answer, at, replay)
		return true
	case <-timer.C:
	}
	time.Sleep(there)
	close(c.hungUp)
	return false
}

// doors are the ingresses.
type doors struct {
	sim  *sim
	mu   sync.Mutex
	all  []*ingress
	made int
}

func (d *doors) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made++
	id := fmt.Sprint("i", d.made)
	d.all = append(d.all, &ingress{sim: d.sim, id: id, died: make(chan struct{}), slots: make(map[uint64]*exchange),
		seen: make(map[string]*sighting), skew: time.Duration(d.sim.chance.fixed(1000, "skew"+id)-500) * time.Millisecond})
}

func (d *doors) get(id string) *ingress {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.all {
		if g.id == id {
			return g
		}
	}
	return nil
}

func (d *doors) any(place string) *ingress {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) == 0 {
		return nil
	}
	return d.all[d.sim.chance.roll(len(d.all), "door"+place)]
}

// kill ends an ingress without a word: its exchanges break, and offers to it find no responder.
func (d *doors) kill(g *ingress) {
	d.mu.Lock()
	for i, have := range d.all {
		if have == g {
			d.all = append(d.all[:i:i], d.all[i+1:]...)
			close(g.died)
			break
		}
	}
	d.mu.Unlock()
}

// ingress is one ingress process with its slots. It behaves as package ingress does (DESIGN §3 rules 12 and 17).
type ingress struct {
	sim  *sim
	id   string
	skew time.Duration
	died chan struct{}

	mu    sync.Mutex
	last  uint64
	slots map[uint64]*exchange
	seen  map[string]*sighting
}

type sighting struct {
	count    int
	first    time.Time
	accepted bool
}

// exchange is one slot: open, claimed by an offer, ruled.
type exchange struct {
	id      uint64
	key     string
	start   time.Time
	claim   chan struct{}
	ruled   chan struct{}
	claimed bool
	answer  *messages.Answer
	verdict messages.Verdict
	ended   time.Time
}

func (g *ingress) dead() bool {
	select {
	case <-g.died:
		return true
	default:
		return false
	}
}

func (g *ingress) begin(in *messages.Inbound) (*exchange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	x := &exchange{id: g.last, key: string(in.GetKey()), start: time.Now(), claim: make(chan struct{}), ruled: make(chan struct{})}
	g.slots[x.id] = x
	s := g.seen[x.key]
	if s == nil {
		s = &sighting{first: x.start}
		g.seen[x.key] = s
	}
	s.count++
	age := max(time.Since(s.first), time.Now().Add(g.skew).Sub(time.Unix(in.GetCreateTime(), 0)))
	return x, s.count >= 3 || age >= 2*patience-500*time.Millisecond
}

// close is the exchange's word that it waits no longer.
func (g *ingress) close(x *exchange) (*messages.Answer, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !x.claimed {
		g.ruleLocked(x, messages.Verdict_VERDICT_REFUSED)
	}
	return x.answer, x.claimed
}

func (g *ingress) rule(x *exchange, v messages.Verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ruleLocked(x, v)
}

func (g *ingress) ruleLocked(x *exchange, v messages.Verdict) {
	if x.ended.IsZero() {
		x.verdict, x.ended = v, time.Now()
		close(x.ruled)
	}
}

// serve is one HTTP exchange.
func (g *ingress) serve(in *messages.Inbound, c *conn) {
	x, last := g.begin(in)
	err := g.accept(in, x)
	if g.dead() {
		c.replies <- response{}
		return
	}
	if err != nil {
		g.sim.watch.notAccepted(in)
		if _, claimed := g.close(x); claimed {
			g.rule(x, messages.Verdict_VERDICT_REFUSED)
		}
		switch {
		case last && g.accepted(x.key, false):
			c.replies <- response{ok: true, answer: textOf(thinking)}
		case last:
			c.replies <- response{ok: true, answer: textOf(notReceived)}
		default:
			c.replies <- response{}
		}
		return
	}
	g.accepted(x.key, true)
	g.sim.watch.accepted(in)
	limit := 5500 * time.Millisecond
	if last {
		limit = 4600 * time.Millisecond
	}
	timer := time.NewTimer(limit - time.Since(x.start))
	defer timer.Stop()
	select {
	case <-x.claim:
	case <-c.hungUp:
	case <-timer.C:
	case <-g.died:
		c.replies <- response{}
		return
	}
	answer, claimed := g.close(x)
	if claimed && g.write(x, c, answer) {
		return
	}
	if last {
		c.replies <- response{ok: true, answer: textOf(thinking)}
	}
}

// write is the end of an exchange by an offer. False: it was refused.
func (g *ingress) write(x *exchange, c *conn, answer *messages.Answer) bool {
	select {
	case <-c.hungUp:
		g.rule(x, messages.Verdict_VERDICT_REFUSED)
		return false
	default:
	}
	if time.Since(x.start) > 4800*time.Millisecond {
		g.rule(x, messages.Verdict_VERDICT_REFUSED)
		return false
	}
	w, place := g.sim.weather.Load(), fmt.Sprint("write", g.id, x.id)
	if g.sim.chance.roll(100, place) < w.brokenWrite {
		c.replies <- response{ok: g.sim.chance.roll(2, "half"+place) == 0, answer: answer}
		g.rule(x, messages.Verdict_VERDICT_UNKNOWN)
		return true
	}
	c.replies <- response{ok: true, answer: answer}
	if g.sim.chance.roll(100, "dies"+place) < w.diesOnWrite {
		g.sim.doors.kill(g)
		g.sim.doors.open()
	}
	g.rule(x, messages.Verdict_VERDICT_WRITTEN)
	return true
}

func (g *ingress) accepted(key string, now bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[key]
	s.accepted = s.accepted || now
	return s.accepted
}

// accept writes a delivery to the log and waits 3.8 s at most for its word.
func (g *ingress) accept(in *messages.Inbound, x *exchange) error {
	w, place := g.sim.weather.Load(), fmt.Sprint("accept", g.id, x.id)
	if w.full || g.sim.chance.roll(100, place) < w.accept {
		return errDead
	}
	delay := time.Duration(0)
	if g.sim.chance.roll(100, "slow?"+place) < w.acceptSlow {
		delay = g.sim.chance.upTo(6*time.Second, "slow"+place)
		g.sim.watch.acceptedLate(in)
	}
	done, waited := make(chan error, 1), time.Since(x.start)
	g.sim.wechat.open.Go(func() {
		time.Sleep(delay)
		done <- g.sim.append(in, &messages.Slot{Ingress: g.id, Id: x.id}, waited)
	})
	select {
	case err := <-done:
		if g.sim.chance.roll(100, "lost"+place) < w.accept {
			time.Sleep(3800*time.Millisecond - delay)
			return errDead
		}
		return err
	case <-time.After(3800 * time.Millisecond):
		return errDead
	}
}

// offer is an owner's side of a slot. No reply: the process is dead.
func (g *ingress) offer(ctx context.Context, o *messages.Offer) *messages.OfferReply {
	if g.dead() {
		return nil
	}
	g.mu.Lock()
	x := g.slots[o.GetSlot()]
	switch {
	case x == nil || x.key != string(o.GetKey()):
		g.mu.Unlock()
		return &messages.OfferReply{Verdict: messages.Verdict_VERDICT_REFUSED}
	case !x.ended.IsZero() && time.Since(x.ended) > time.Minute:
		g.mu.Unlock()
		if o.GetAsk() {
			return &messages.OfferReply{}
		}
		return &messages.OfferReply{Verdict: messages.Verdict_VERDICT_REFUSED}
	case x.ended.IsZero() && !x.claimed && o.GetAsk():
		g.mu.Unlock()
		return &messages.OfferReply{Verdict: messages.Verdict_VERDICT_OPEN}
	case x.ended.IsZero() && !x.claimed:
		x.claimed, x.answer = true, o.GetAnswer()
		close(x.claim)
	}
	g.mu.Unlock()
	select {
	case <-x.ruled:
	case <-g.died:
	case <-ctx.Done():
		return &messages.OfferReply{}
	}
	if g.dead() {
		return nil
	}
	if !proto.Equal(x.answer, o.GetAnswer()) && (!o.GetAsk() || o.GetAnswer() != nil) {
		return &messages.OfferReply{Verdict: messages.Verdict_VERDICT_REFUSED}
	}
	return &messages.OfferReply{Verdict: x.verdict}
}

func textOf(text string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
}
