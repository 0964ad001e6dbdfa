package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/memory"
	"hongyan/stream"
	memlog "hongyan/stream/memory"
)

// world is one partition with everything around it, in virtual time: a log, a store, ingresses whose verdicts the test decides,
// and a bot. It must live inside a synctest bubble.
type world struct {
	t      *testing.T
	log    *memlog.Log
	store  *memory.Store
	fault  atomic.Pointer[func(memory.Call) memory.Fault] // of the store
	door   *door
	line   *hotline // nil: the account may not push
	bot    *scriptedBot
	system *actor.ActorSystem
	pid    *actor.PID
	gone   chan struct{} // closed when the partition's actor has ended
	epoch  uint64
	opts   Options
	engine *Engine
	reg    *prometheus.Registry
	order  *order
	ids    atomic.Uint64
}

const account = "demo"

// inWorld runs a test in a bubble with a fresh world.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, order: &order{}}
		w.log = memlog.New(1, time.Now)
		w.store = memory.New(memory.Options{Before: func(_ context.Context, c memory.Call) memory.Fault {
			if c.Op == memory.Commit && !c.Key.IsCheckpoint() {
				w.order.add("commit")
			}
			if f := w.fault.Load(); f != nil {
				return (*f)(c)
			}
			return memory.None
		}})
		w.door = &door{order: w.order, slots: make(map[uint64]*slot), now: time.Now}
		w.bot = &scriptedBot{}
		defer func() {
			if w.pid != nil {
				w.stop()
			}
			time.Sleep(time.Minute) // proto.actor's throttle of dead letters ends by its own clock
		}()
		f(t, w)
	})
}

// random stands for Options.Random: distinct, and the same in every run.
func (w *world) random() uint64 { return w.ids.Add(1) * 0x9e3779b97f4a7c15 }

// start takes the partition over under the next epoch.
func (w *world) start() {
	w.t.Helper()
	w.epoch++
	w.reg = prometheus.NewRegistry()
	given := w.opts.Accounts[account]
	w.opts = Options{
		Node: "n1", Log: w.log, Graveyard: w.log, Store: w.store, Offers: w.door, Now: time.Now, Random: w.random,
		Logger: slog.New(slog.DiscardHandler), Registerer: w.reg, Barrier: w.opts.Barrier, PassivateAfter: w.opts.PassivateAfter,
		LogFull: w.opts.LogFull, KeepSettled: w.opts.KeepSettled, Wakes: w.log, Letters: w.log,
		Accounts: map[string]Account{account: {ID: account, Bot: w.bot, Limits: conversation.DefaultLimits(), Deliveries: 3,
			Unknown: given.Unknown, Flooded: given.Flooded, Limited: given.Limited, Busy: given.Busy, Rate: given.Rate}},
		Tokens: w.opts.Tokens, Partitions: w.opts.Partitions,
	}
	a := w.opts.Accounts[account]
	if given.Limits.KeptFor > 0 {
		a.Limits.KeptFor = given.Limits.KeptFor
	}
	a.Limits.UserEvery, a.Limits.UserBurst, a.Limits.UserTokens = given.Limits.UserEvery, given.Limits.UserBurst, given.Limits.UserTokens
	a.Limits.BreakAfter, a.Limits.RestFor, a.Limits.HandOver = given.Limits.BreakAfter, given.Limits.RestFor, given.Limits.HandOver
	if w.line != nil {
		a.Limits.Push, a.PushAfter, a.Typing, w.opts.Outlet = true, pushAfter, given.Typing, w.line
	}
	w.opts.Accounts[account] = a
	w.system = actor.NewActorSystemWithConfig(actor.Configure(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })))
	w.gone = make(chan struct{})
	w.engine = New(w.opts)
	props := w.engine.Partition(Tenure{Epoch: w.epoch, Mark: fmt.Sprint("mark", w.epoch)})
	w.pid = w.system.Root.Spawn(props)
	gone := w.gone
	w.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			ctx.Watch(w.pid)
		case *actor.Terminated:
			close(gone)
		}
	}))
	synctest.Wait()
}

// kill ends the partition as a crash would: nothing is written any more.
func (w *world) kill() {
	w.t.Helper()
	fault := w.fault.Load()
	w.breakStore(func(memory.Call) memory.Fault { return memory.Unreached })
	w.system.Root.Stop(w.pid)
	<-w.gone
	w.system.Shutdown()
	synctest.Wait()
	w.pid = nil
	w.fault.Store(fault)
}

// breakStore makes f decide what goes wrong with the store's calls. It is called by many goroutines.
func (w *world) breakStore(f func(memory.Call) memory.Fault) { w.fault.Store(&f) }

// stop releases the partition in order.
func (w *world) stop() {
	w.t.Helper()
	w.system.Root.Send(w.pid, &Release{})
	<-w.gone
	w.system.Shutdown()
	synctest.Wait()
	w.pid = nil
}

// message is what a user wrote; deliveries of one message differ in their slots only.
func (w *world) message(user, id, text string) *messages.Inbound {
	in := &messages.Inbound{
		Account: account, OpenId: user, MsgId: id, MsgType: "text", Kind: messages.Kind_KIND_TEXT, CreateTime: time.Now().Unix(),
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: text}},
	}
	k := messages.DedupeKey(in)
	in.Key = k[:]
	return in
}

// deliver puts one delivery into the log with a fresh open slot.
func (w *world) deliver(in *messages.Inbound) *slot {
	w.t.Helper()
	s := w.door.open(in)
	w.accept(in, s)
	synctest.Wait()
	return s
}

// accept puts one delivery into the log.
func (w *world) accept(in *messages.Inbound, s *slot) {
	w.t.Helper()
	if _, err := w.log.Accept(w.t.Context(), &messages.Entry{Inbound: in, Slot: &messages.Slot{Ingress: "door", Id: s.id}}); err != nil {
		w.t.Fatal(err)
	}
}

// state is the user's committed record.
func (w *world) state(user string) (conversation.State, state.Record) {
	w.t.Helper()
	rec, err := w.store.Load(w.t.Context(), state.Key{User: messages.User{Account: account, OpenID: user}})
	if errors.Is(err, state.ErrNotFound) {
		return conversation.State{}, rec
	}
	if err != nil {
		w.t.Fatal(err)
	}
	st, err := conversation.Decode(rec.Value)
	if err != nil {
		w.t.Fatal(err)
	}
	return st, rec
}

// checkpoint is the committed one.
func (w *world) checkpoint() checkpoint {
	w.t.Helper()
	rec, err := w.store.Load(w.t.Context(), state.Checkpoint(0))
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := decodeCheckpoint(rec.Value)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// said lists what the user said, in the order of the commits.
func said(st conversation.State) []string {
	var out []string
	for _, turn := range st.Turns {
		if turn.Role == conversation.RoleUser {
			out = append(out, turn.Text)
		}
	}
	return out
}

func (w *world) wantSaid(user string, want ...string) {
	w.t.Helper()
	st, _ := w.state(user)
	if got := said(st); !slices.Equal(got, want) {
		w.t.Errorf("committed turns of %s: %q, want %q", user, got, want)
	}
}

// door is all ingresses: it keeps slots and the verdicts about them, as DESIGN §3 rule 12 says.
type door struct {
	order *order
	now   func() time.Time
	mu    sync.Mutex
	next  uint64
	slots map[uint64]*slot
	gone  bool          // no responder
	mute  bool          // offers are heard and acted upon, but no verdict comes back
	deaf  bool          // offers get lost
	slow  time.Duration // what an offer takes on its way

	forgets bool // what became of slots that have ended
}

type slot struct {
	door   *door
	id     uint64
	key    messages.Key
	closed bool // WeChat hung up
	done   bool
	answer *messages.Answer // as written
	at     time.Time
}

// text is the answer as written, empty before that and for success.
func (s *slot) text() string { return s.got().GetText().GetContent() }

func (s *slot) got() *messages.Answer {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	return s.answer
}

func (s *slot) isDone() bool {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	return s.done
}

func (s *slot) when() time.Time {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	return s.at
}

func (d *door) open(in *messages.Inbound) *slot {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	s := &slot{door: d, id: d.next, key: messages.KeyOf(in)}
	d.slots[s.id] = s
	return s
}

// behave sets how the ingresses are from now on.
func (d *door) behave(f func(d *door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *door) close(s *slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.closed = true
}

// Offer implements Offers.
func (d *door) Offer(_ context.Context, _ string, o *messages.Offer) (*messages.OfferReply, error) {
	d.mu.Lock()
	if slow := d.slow; slow > 0 {
		d.mu.Unlock()
		time.Sleep(slow)
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	if d.gone {
		return nil, stream.ErrNoIngress
	}
	if d.deaf {
		return nil, errors.New("no verdict")
	}
	s := d.slots[o.GetSlot()]
	verdict := messages.Verdict_VERDICT_REFUSED
	switch {
	case s == nil:
	case s.done && d.forgets && o.GetAsk():
		verdict = messages.Verdict_VERDICT_UNKNOWN
	case s.done && d.forgets:
	case s.done:
		verdict = messages.Verdict_VERDICT_WRITTEN
	case s.closed:
	case o.GetAsk():
		verdict = messages.Verdict_VERDICT_OPEN
	default:
		s.done, s.answer, s.at = true, o.GetAnswer(), d.now()
		verdict = messages.Verdict_VERDICT_WRITTEN
		d.order.add("offer")
	}
	if d.mute {
		return nil, errors.New("no verdict")
	}
	return &messages.OfferReply{Verdict: verdict}, nil
}

// scriptedBot answers "re: <text>", after a delay where one is set.
type scriptedBot struct {
	mu      sync.Mutex
	delay   map[string]time.Duration
	panics  map[string]bool
	several map[string][]string
	says    map[string]bots.Response // to these texts
	asked   []string
	last    *bots.Request
}

func (b *scriptedBot) Name() string { return "scripted" }

func (b *scriptedBot) Answer(ctx context.Context, req *bots.Request) (bots.Response, error) {
	text := req.Message.GetText().GetContent()
	b.mu.Lock()
	b.asked, b.last = append(b.asked, text), req
	if said, ok := b.says[text]; ok {
		b.mu.Unlock()
		return said, nil
	}
	delay, dies := b.delay[text], b.panics[text]
	b.mu.Unlock()
	if dies {
		panic("scripted")
	}
	if delay > 0 && (!req.Hurry || text == "stubborn") {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return bots.Response{}, ctx.Err()
		}
	}
	if answers, ok := b.several[text]; ok {
		resp := bots.Response{Handled: true}
		for _, a := range answers {
			resp.Answers = append(resp.Answers, bots.Text(a))
		}
		return resp, nil
	}
	reply := "re: " + text
	if req.Hurry && delay > 0 {
		reply = "fallback"
	}
	return bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text(reply)}}, nil
}

func (b *scriptedBot) slow(text string, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.delay == nil {
		b.delay = make(map[string]time.Duration)
	}
	b.delay[text] = d
}

// total is how often the bot was asked.
func (b *scriptedBot) total() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.asked)
}

func (b *scriptedBot) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, a := range b.asked {
		if a == text {
			n++
		}
	}
	return n
}

// order notes in which order things happened.
type order struct {
	mu     sync.Mutex
	events []string
}

func (o *order) add(e string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

func (o *order) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.events
	o.events = nil
	return out
}
