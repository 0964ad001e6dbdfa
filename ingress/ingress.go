package ingress

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"hongyan/messages"
	"hongyan/wechat"
	"hongyan/wechat/crypt"
)

// Defaults of what Options and Account leave out.
const (
	DefaultMaxBody    = wechat.MaxBody // bytes; WeChat's pushes have a few KB
	DefaultDeadline   = 4600 * time.Millisecond
	DefaultDeliveries = 3
)

// Options are what New needs. Accounts, Log and ID must be given.
type Options struct {
	Accounts []Account
	Log      Log
	ID       string // of this ingress process, new at each start; stands in messages.Slot.Ingress

	Now        func() time.Time      // the wall clock, for freshness and ages; time.Now where nil. Lateness is not judged by it
	Random     io.Reader             // for sealed replies; crypto/rand where nil. Read by many goroutines at once
	Logger     *slog.Logger          // slog.Default where nil
	Registerer prometheus.Registerer // nil: metrics are kept but not published
	Trace      messages.TraceFunc    // nil: nobody watches
	MaxBody    int64                 // bytes; DefaultMaxBody where 0
	Partitions int                   // of the log, for traces; 0: traces carry -1
	Callers    Callers               // needed where an account's CallbackIPs is not off
	Proxies    []netip.Prefix        // whose X-Forwarded-For is believed; without them the peer is the caller
	IPRate     float64               // requests a second of one client address; 0: no bound. With it, Drain must be called at the end
	// Alone says that nobody takes WeChat's later deliveries while this process is stopped: Drain ends exchanges that wait for an answer.
	Alone bool
}

// Ingress is the callback endpoint of one process. Its methods may be called at once.
type Ingress struct {
	id         string
	log        Log
	accounts   map[string]*account
	single     *account // set where exactly one account is configured
	stranger   *account // stands for every account that is not configured: the same work, never a success
	now        func() time.Time
	random     io.Reader
	logger     *slog.Logger
	trace      messages.TraceFunc
	maxBody    int64
	partitions int

	metrics    *metrics
	slots      *slots
	deliveries *deliveries
	bodies     sync.Pool     // of *[]byte
	quiet      limiter       // of lines about refusals
	bulk       chan struct{} // one per event without a user that is on its way into the log
	callers    Callers
	proxies    []netip.Prefix
	elsewhere  limiter  // of lines about addresses that are not listed
	perIP      *ipRates // nil: no bound

	gate    gate
	alone   bool
	parting chan struct{} // closed while the process stops: nobody waits for an answer any more
}

// account is one Official Account, ready to serve.
type account struct {
	Account
	door
	configured bool
	accepted   kindCounters
}

// accountID is DESIGN §8's form of an account id.
var accountID = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// New checks the options and builds the endpoint. All faults of all accounts come back in one error.
func New(o Options) (*Ingress, error) {
	if o.Log == nil || o.ID == "" {
		return nil, errors.New("ingress: Options.Log and Options.ID must be set")
	}
	if len(o.Accounts) == 0 {
		return nil, errors.New("ingress: no account is configured")
	}
	g := &Ingress{
		id: o.ID, log: o.Log, accounts: make(map[string]*account, len(o.Accounts)),
		now: o.Now, random: o.Random, logger: o.Logger, trace: o.Trace, maxBody: o.MaxBody, partitions: o.Partitions,
		slots: newSlots(),
		bulk:  make(chan struct{}, bulkPerCore*runtime.GOMAXPROCS(0)),
		quiet: limiter{allow: rate.NewLimiter(refusalLinesPerSecond, refusalLinesBurst)},
		alone: o.Alone, parting: make(chan struct{}),
		callers: o.Callers, proxies: o.Proxies, elsewhere: limiter{allow: rate.NewLimiter(rate.Every(time.Minute), 1)},
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.random == nil {
		g.random = rand.Reader
	}
	if g.logger == nil {
		g.logger = slog.Default()
	}
	if g.maxBody <= 0 {
		g.maxBody = DefaultMaxBody
	}
	var err error
	if g.metrics, err = newMetrics(o.Registerer, g.slots.count); err != nil {
		return nil, err
	}
	window := DefaultDeliveries * deliveryInterval
	var faults []error
	for _, c := range o.Accounts {
		a, err := g.newAccount(c)
		if err == nil && g.accounts[c.ID] != nil {
			err = errors.New("the id is given twice")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("ingress: account %q: %w", c.ID, err))
			continue
		}
		a.configured = true
		g.accounts[c.ID] = a
		window = max(window, time.Duration(a.Deliveries)*deliveryInterval)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	g.deliveries = newDeliveries(window + deliveryInterval)
	if len(o.Accounts) == 1 {
		g.single = g.accounts[o.Accounts[0].ID]
	}
	if g.stranger, err = g.newStranger(o.Accounts[0].Mode); err != nil {
		return nil, err
	}
	if g.perIP, err = newIPRates(o.IPRate); err != nil {
		return nil, err
	}
	return g, nil
}

// newAccount fills the defaults in, checks c and builds its codecs.
func (g *Ingress) newAccount(c Account) (*account, error) {
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.Deliveries == 0 {
		c.Deliveries = DefaultDeliveries
	}
	switch {
	case !accountID.MatchString(c.ID):
		return nil, errors.New("the id must be 1 to 32 of a-z, 0-9, _ and -")
	case c.Mode > ModeSafe:
		return nil, fmt.Errorf("mode %d is none of plain, compat and safe", c.Mode)
	case c.Token == "":
		return nil, errors.New("the token is empty: anybody could sign for the account")
	case c.Mode != ModePlain && c.AppID == "":
		return nil, errors.New("the app id is empty: encrypted pushes are bound to it")
	case c.Deadline < 0 || c.Deadline > writeCutOff:
		return nil, fmt.Errorf("the deadline %v is not within 0 and %v", c.Deadline, writeCutOff)
	case c.Deliveries < 1:
		return nil, fmt.Errorf("deliveries is %d, not at least 1", c.Deliveries)
	case c.CallbackIPs > AddressEnforce:
		return nil, fmt.Errorf("callback_ips %d is none of off, report and enforce", c.CallbackIPs)
	case c.CallbackIPs != AddressOff && g.callers == nil:
		return nil, errors.New("callback_ips is on, and Options.Callers is not set")
	case c.MaxClockSkew < 0:
		return nil, fmt.Errorf("the clock skew %v is negative", c.MaxClockSkew)
	}
	a := &account{Account: c, accepted: kindCounters{account: c.ID, vec: g.metrics.accepted}}
	a.door = door{id: c.ID, mode: c.Mode, skew: c.MaxClockSkew, tokens: [2]string{c.Token, c.PreviousToken}}
	if c.PreviousToken == "" {
		random, err := g.randomText(32)
		if err != nil {
			return nil, err
		}
		a.tokens[1] = random
	}
	if c.Mode == ModePlain {
		return a, nil
	}
	keys := []string{c.AESKey}
	if c.PreviousAESKey != "" {
		keys = append(keys, c.PreviousAESKey)
	}
	for i, token := range a.tokens {
		for _, key := range keys {
			codec, err := crypt.NewCodec(token, key, c.AppID)
			if err != nil {
				return nil, err
			}
			a.codecs[i] = append(a.codecs[i], codec)
		}
	}
	return a, nil
}

// newStranger makes an account with credentials that nobody has, in the mode of the first account configured.
func (g *Ingress) newStranger(mode Mode) (*account, error) {
	token, err := g.randomText(32)
	if err != nil {
		return nil, err
	}
	key, err := g.randomText(32)
	if err != nil {
		return nil, err
	}
	return g.newAccount(Account{ID: "stranger", AppID: token, Mode: mode, Token: token, AESKey: key[:43]})
}

// randomText is n random bytes in letters and digits, as EncodingAESKeys are written.
func (g *Ingress) randomText(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(g.random, b); err != nil {
		return "", fmt.Errorf("ingress: reading random bytes: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// Offer ends a slot with an answer, or only asks for the verdict about one (DESIGN §3 rules 12 and 14). The reply is
//
//	written   this answer was written to WeChat in time
//	refused   it was not, and never will be on this slot
//	unknown   nobody can tell, or ctx ended first: ask again within 60 s
//	open      only to a question: the slot still waits
//
// An offer without an answer ends the slot with a bare `success`. o must not be changed afterwards.
func (g *Ingress) Offer(ctx context.Context, o *messages.Offer) *messages.OfferReply {
	reply := g.slots.offer(ctx, o)
	if !o.GetAsk() {
		g.metrics.verdict[reply.GetVerdict()].Inc()
	}
	return reply
}

// Drain is the planned stop: new exchanges get 503 from now on, and it returns when those that are under way have ended, or
// with ctx's error. Offers are answered all the while and afterwards. It is called once.
//
// Where this is the only ingress, WeChat's later deliveries would find nobody and its users would see the fault banner. So what still waits
// for an answer after partAfter ends with the account's text for that: the message is in the log, and its answer comes later.
func (g *Ingress) Drain(ctx context.Context) error {
	g.perIP.stop()
	if g.alone {
		defer time.AfterFunc(partAfter, func() { close(g.parting) }).Stop()
	}
	select {
	case <-g.gate.shut():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ingress: exchanges are still open: %w", ctx.Err())
	}
}

// partAfter is how long answers may still come while the process stops.
const partAfter = 2 * time.Second

// Server is an HTTP server with the limits that the endpoint needs around its handler: a request has ten seconds to arrive,
// headers five, and a connection may idle for ninety. Writes are bounded by the handler. The caller sets Addr or a listener.
func (g *Ingress) Server() *http.Server {
	return &http.Server{
		Handler:           g.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(g.logger.Handler(), slog.LevelDebug),
	}
}

// gate counts the exchanges under way and lets none in once it is shut.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside int
	empty  chan struct{} // closed when the gate is shut and nobody is inside
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// shut closes the gate and returns the channel that closes when the last one has left. It may be called again.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed, g.empty = true, make(chan struct{})
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}
