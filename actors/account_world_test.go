package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/memory"
	memlog "hongyan/stream/memory"
	"hongyan/wechat/api"
)

// office is a partition with an account's actor in it, as the cluster runs it, and some nodes that use the account, in virtual time.
// What is true about tokens and messages, the platform says.
type office struct {
	t        *testing.T
	platform *weixin
	settings AccountSettings
	store    *memory.Store
	log      *memlog.Log
	system   *actor.ActorSystem
	pid      *actor.PID
	gone     chan struct{}
	epoch    uint64
	reg      *prometheus.Registry
	lines    *logLines

	mu      sync.Mutex
	ids     uint64
	deaf    bool // questions find nobody
	looks   int  // at the nodes' clocks
	senders []*Sender
	stops   []func()
}

// inOffice runs a test in a bubble.
func inOffice(t *testing.T, f func(t *testing.T, o *office)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &weixin{life: 2 * time.Hour}
		o := &office{
			t: t, platform: p, store: memory.New(memory.Options{}), log: memlog.New(1, time.Now), lines: &logLines{},
			settings: AccountSettings{ID: account, AppID: "wxapp", AppSecret: "secret", API: p},
		}
		defer func() {
			for _, stop := range o.stops {
				stop()
			}
			if o.pid != nil {
				o.stop()
			}
			time.Sleep(time.Minute) // proto.actor's throttle of dead letters ends by its own clock
		}()
		f(t, o)
	})
}

func (o *office) random() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids++
	return o.ids * 0x9e3779b97f4a7c15
}

// start takes the partition over under the next epoch.
func (o *office) start() {
	o.t.Helper()
	o.epoch++
	o.reg = prometheus.NewRegistry()
	engine := New(Options{
		Node: fmt.Sprint("owner", o.epoch), Official: map[string]AccountSettings{account: o.settings}, Log: o.log, Graveyard: o.log,
		Store: o.store, Now: time.Now, Random: o.random, Logger: slog.New(o.lines), Registerer: o.reg,
	})
	o.system = actor.NewActorSystemWithConfig(actor.Configure(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })))
	o.pid = o.system.Root.Spawn(engine.Partition(Tenure{Epoch: o.epoch, Mark: fmt.Sprint("mark", o.epoch)}))
	gone, pid := make(chan struct{}), o.pid
	o.gone = gone
	o.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			ctx.Watch(pid)
		case *actor.Terminated:
			close(gone)
		}
	}))
	synctest.Wait()
}

// stop ends the owner; whatever is in its memory is gone.
func (o *office) stop() {
	o.t.Helper()
	o.system.Root.Stop(o.pid)
	<-o.gone
	o.system.Shutdown()
	synctest.Wait()
	o.pid = nil
}

// ask reaches the account's actor as the cluster does: by the partition's owner.
func (o *office) ask(_ context.Context, name messages.User, question proto.Message) (any, error) {
	o.mu.Lock()
	deaf, pid, root := o.deaf, o.pid, o.system.Root
	o.mu.Unlock()
	if deaf || pid == nil {
		return nil, errors.New("nobody owns the partition at the moment")
	}
	reply, err := root.RequestFuture(pid, &messages.Activate{Account: name.Account, OpenId: name.OpenID}, 700*time.Millisecond).Result()
	if err != nil {
		return nil, err
	}
	activated := reply.(*messages.Activated)
	if activated.GetError() != "" {
		return nil, errors.New(activated.GetError())
	}
	return root.RequestFuture(actor.NewPID(pid.Address, activated.GetActorId()), question, 700*time.Millisecond).Result()
}

// become makes another owner the one that is asked.
func (o *office) become(pid *actor.PID, system *actor.ActorSystem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pid, o.system = pid, system
}

func (o *office) looked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.looks
}

// now is a node's clock.
func (o *office) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.looks++
	return time.Now()
}

func (o *office) setDeaf(deaf bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deaf = deaf
}

// lease asks by hand.
func (o *office) lease(ask *messages.AccountLease) *messages.AccountLeased {
	o.t.Helper()
	reply, err := o.ask(o.t.Context(), messages.AccountActor(account), ask)
	if err != nil {
		o.t.Fatal(err)
	}
	synctest.Wait()
	return reply.(*messages.AccountLeased)
}

// node starts a node that uses the account.
func (o *office) node(name string) *Sender {
	o.t.Helper()
	s, err := NewSender(SenderOptions{
		Node: name, Accounts: map[string]SendAPI{account: o.platform}, Ask: o.ask, Now: o.now, Random: o.random,
		Logger: slog.New(o.lines), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ended by stops
		defer close(ended)
		if err := s.Run(ctx); err != nil {
			o.t.Error(err)
		}
	}()
	o.senders = append(o.senders, s)
	o.stops = append(o.stops, func() { cancel(); <-ended })
	return s
}

// pushUntil sends one message as a user's actor does: it waits until it may, and repeats what was not made. It gives up after a while.
func pushUntil(t *testing.T, s *Sender, user, text string, within time.Duration) Sent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		ok, retry, why := s.Ready(account)
		sent := Sent{Fate: FateNotMade, Retry: retry, Detail: why}
		if ok {
			sent = s.Send(ctx, messages.User{Account: account, OpenID: user}, textAnswer(text))
		}
		if sent.Fate != FateNotMade {
			return sent
		}
		if !sent.Retry.After(time.Now()) {
			t.Errorf("a call was not made (%s), and it may be made again at once: %v", sent.Detail, sent.Retry)
			return sent
		}
		select {
		case <-time.After(time.Until(sent.Retry)):
		case <-ctx.Done():
			return sent
		}
	}
}

func textAnswer(text string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
}

// record is what is committed.
func (o *office) record() accountRecord {
	o.t.Helper()
	rec, err := o.store.Load(o.t.Context(), state.Key{User: messages.AccountActor(account)})
	if errors.Is(err, state.ErrNotFound) {
		return accountRecord{}
	}
	if err != nil {
		o.t.Fatal(err)
	}
	r, err := decodeAccount(rec.Value)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// weixin is WeChat's side of one account's tokens and messages (wechat-protocol §4, §5.1).
type weixin struct {
	mu       sync.Mutex
	life     time.Duration
	token    string
	made     time.Time
	expires  time.Time
	older    map[string]time.Time // tokens that overlap, until when
	serial   int
	forcedAt time.Time

	stable, forced, classic int      // calls of the token APIs
	shown                   []string // messages that users saw
	calls                   map[string]int
	refuse                  func(call string, n int) error // an error in place of the call; nil: none
	slow                    time.Duration
	ips                     []netip.Prefix
	remain                  int64
}

func refused(call string, code int, class api.Class) error {
	return &api.Error{Call: call, Code: code, Class: class, Msg: "refused", Status: 200}
}

// enter counts a call, takes its time, and tells what goes wrong.
func (p *weixin) enter(ctx context.Context, call string) error {
	p.mu.Lock()
	if p.calls == nil {
		p.calls = make(map[string]int)
	}
	p.calls[call]++
	n, slow, refuse := p.calls[call], p.slow, p.refuse
	p.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return &api.Error{Call: call, Class: api.Unknown, Msg: "no answer"}
		}
	}
	if refuse != nil {
		return refuse(call, n)
	}
	return nil
}

func (p *weixin) count(call string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[call]
}

func (p *weixin) behave(f func(p *weixin)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// fetches is how often a token was asked for.
func (p *weixin) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stable + p.forced + p.classic
}

func (p *weixin) renew(overlap time.Duration) {
	if p.older == nil {
		p.older = make(map[string]time.Time)
	}
	if p.token != "" && overlap > 0 {
		p.older[p.token] = time.Now().Add(overlap)
	}
	p.serial++
	p.token, p.made, p.expires = fmt.Sprint("token", p.serial), time.Now(), time.Now().Add(p.life)
}

// kill makes the token worthless, as another program with the same secret does.
func (p *weixin) kill() {
	p.behave(func(p *weixin) { p.token, p.older = "", nil })
}

func (p *weixin) StableToken(ctx context.Context, force bool) (api.Token, error) {
	p.behave(func(p *weixin) {
		if force {
			p.forced++
		} else {
			p.stable++
		}
	})
	if err := p.enter(ctx, "stable_token"); err != nil {
		return api.Token{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := time.Until(p.expires)
	switch {
	case force && time.Since(p.forcedAt) >= 30*time.Second:
		p.forcedAt = time.Now()
		p.renew(0)
	case p.token == "":
		p.renew(0)
	case left < 5*time.Minute:
		p.renew(left)
	}
	return api.Token{Value: p.token, ExpiresIn: time.Until(p.expires)}, nil
}

func (p *weixin) Token(ctx context.Context) (api.Token, error) {
	p.behave(func(p *weixin) { p.classic++ })
	if err := p.enter(ctx, "token"); err != nil {
		return api.Token{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renew(5 * time.Minute)
	return api.Token{Value: p.token, ExpiresIn: time.Until(p.expires)}, nil
}

// valid is called with mu held.
func (p *weixin) valid(call, token string) error {
	if token != "" && (token == p.token && time.Now().Before(p.expires) || time.Now().Before(p.older[token])) {
		return nil
	}
	return refused(call, 40001, api.TokenInvalid)
}

func (p *weixin) SendCustom(ctx context.Context, token, _ string, a *messages.Answer, _ string) error {
	if err := p.enter(ctx, "send"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.valid("send", token); err != nil {
		return err
	}
	p.shown = append(p.shown, a.GetText().GetContent())
	return nil
}

func (p *weixin) Typing(ctx context.Context, token, _ string, _ bool) error {
	if err := p.enter(ctx, "typing"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.valid("typing", token)
}

func (p *weixin) APIDomainIPs(ctx context.Context, token string) ([]netip.Prefix, error) {
	if err := p.enter(ctx, "domain_ips"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ips, p.valid("domain_ips", token)
}

func (p *weixin) CallbackIPs(ctx context.Context, token string) ([]netip.Prefix, error) {
	if err := p.enter(ctx, "callback_ips"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ips, p.valid("callback_ips", token)
}

func (p *weixin) Quota(ctx context.Context, token, _ string) (api.Quota, error) {
	if err := p.enter(ctx, "quota"); err != nil {
		return api.Quota{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return api.Quota{Remain: p.remain}, p.valid("quota", token)
}

// logLines is a slog.Handler that keeps what it gets.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

// with are the lines that contain text.
func (l *logLines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}
