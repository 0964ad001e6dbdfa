package actors

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// SendAPI is what a Sender calls of WeChat's API. *api.Client implements it.
type SendAPI interface {
	SendCustom(ctx context.Context, token, openID string, answer *messages.Answer, kfAccount string) error
	Typing(ctx context.Context, token, openID string, on bool) error
	APIDomainIPs(ctx context.Context, token string) ([]netip.Prefix, error)
}

// SenderOptions are what NewSender needs; all must be given but Media.
type SenderOptions struct {
	Node     string             // unique in the cluster, new at each start of the process
	Accounts map[string]SendAPI // by account id; an account that is not there cannot send
	// Media are the accounts whose users' media can be fetched, by id: they need an AppSecret, and not the right to send. May be nil.
	Media map[string]MediaAPI
	// Ask asks an account's actor wherever it is; cluster.Node.Request does. It may deliver a question more than once.
	Ask        func(ctx context.Context, account messages.User, question proto.Message) (any, error)
	Now        func() time.Time
	Random     func() uint64 // uniformly random; called by many goroutines
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Sender is a node's Outlet for all accounts. Each account has a line of its own: a goroutine that alone changes the line's state and
// publishes a copy after each change. Nothing may be sent before Run has begun or after it has ended.
type Sender struct {
	lines map[string]*line
}

var _ Outlet = (*Sender)(nil)

const (
	leaseTimeout   = 3 * time.Second
	probeTimeout   = 5 * time.Second
	refreshPatient = 4 * time.Second // how long a call waits for the next token
	maxTyping      = 64              // calls at a time
)

// NewSender registers the sender's metrics.
func NewSender(o SenderOptions) (*Sender, error) {
	if o.Node == "" || o.Ask == nil || o.Now == nil || o.Random == nil || o.Logger == nil {
		return nil, errors.New("actors: SenderOptions need Node, Ask, Now, Random and Logger")
	}
	m := newSenderMetrics(o.Registerer)
	s := &Sender{lines: make(map[string]*line, len(o.Accounts))}
	for id, calls := range o.Accounts {
		s.lines[id] = newLine(&o, m, id)
		s.lines[id].api = calls
	}
	for id, calls := range o.Media {
		if s.lines[id] == nil {
			s.lines[id] = newLine(&o, m, id)
			s.lines[id].state.fetchOnly = true
		}
		s.lines[id].media = calls
	}
	return s, nil
}

func newLine(o *SenderOptions, m *senderMetrics, account string) *line {
	l := &line{
		opts: o, account: account, name: messages.AccountActor(account), metrics: m, log: o.Logger.With("account", account),
		events: make(chan any), kick: make(chan struct{}, 1), ended: make(chan struct{}),
		typing: make(chan struct{}, maxTyping), fetching: make(chan struct{}, maxFetching),
	}
	l.state.serial = o.Random() >> 1 // a question of a former process of this name is none of ours
	l.publish()
	return l
}

// sending is the account's line where the account may send, else nil.
func (s *Sender) sending(account string) *line {
	if l := s.lines[account]; l != nil && l.api != nil {
		return l
	}
	return nil
}

// Run serves until ctx ends, and returns after the calls that it made itself. Calls of Send bring their own context.
func (s *Sender) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, l := range s.lines {
		running.Go(func() { l.run(ctx) }) // ended by ctx
	}
	running.Wait()
	return nil
}

// Ready implements Outlet.
func (s *Sender) Ready(account string) (ok bool, retry time.Time, why string) {
	l := s.sending(account)
	if l == nil {
		return true, time.Time{}, "" // Send says that there is no right, and why
	}
	now := l.opts.Now()
	state := l.snapshot.Load()
	ok, retry, why = state.ready(now)
	if ok && !l.promised.make(now, state.room(now)) {
		return false, now.Add(slowDown), "too many calls at a time"
	}
	l.touch(now, !ok)
	return ok, retry, why
}

// Send implements Outlet.
func (s *Sender) Send(ctx context.Context, user messages.User, part *messages.Answer) Sent {
	l := s.sending(user.Account)
	if l == nil {
		return Sent{Fate: FateNoRight, Detail: "account " + user.Account + " may not send: it needs app_secret and customer_service in the configuration"}
	}
	l.promised.kept()
	sent := l.send(ctx, user.OpenID, part)
	l.metrics.sends.WithLabelValues(l.account, sent.Fate.String()).Inc()
	return sent
}

// Typing implements Outlet.
func (s *Sender) Typing(ctx context.Context, user messages.User, on bool) {
	l := s.sending(user.Account)
	if l == nil {
		return
	}
	now := l.opts.Now()
	state := l.snapshot.Load()
	if ok, _, _ := state.ready(now); !ok {
		l.touch(now, true)
		return
	}
	select {
	case l.typing <- struct{}{}:
		defer func() { <-l.typing }()
	default:
		return
	}
	if err := l.api.Typing(ctx, state.token, user.OpenID, on); classOf(err) == api.TokenInvalid {
		l.post(refusedEvent{generation: state.generation})
	}
}

// senderMetrics are those of all lines of a node.
type senderMetrics struct {
	sends    *prometheus.CounterVec // by account, fate
	inFlight *prometheus.GaugeVec   // by account
	breaker  *prometheus.GaugeVec   // by account: 1 while open
	leases   *prometheus.CounterVec // by account, outcome
	fetches  *prometheus.CounterVec // by account, result
}

func newSenderMetrics(reg prometheus.Registerer) *senderMetrics {
	f := promauto.With(reg)
	return &senderMetrics{
		sends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_sends_total", Help: "Customer-service messages by what became of the call.",
		}, []string{"account", "fate"}),
		inFlight: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_sends_in_flight", Help: "Calls of the send API under way on this node.",
		}, []string{"account"}),
		breaker: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_send_breaker_open", Help: "1 while this node calls nothing because WeChat's API did not work.",
		}, []string{"account"}),
		leases: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_account_leases_total", Help: "Questions to the account's actor, by outcome: ok or error.",
		}, []string{"account", "outcome"}),
		fetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_media_fetches_total",
			Help: "Files that bots wanted from WeChat: ok, no_token, too_large, no_file, gave_up, broken, or the class of WeChat's error.",
		}, []string{"account", "result"}),
	}
}
