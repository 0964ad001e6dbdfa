// Package upstream stands in front of whatever a remote bot asks: it spreads calls over the endpoints, keeps a circuit breaker for each,
// bounds how many calls are under way and how many begin in a second, and notices an endpoint that has fallen silent
// (docs/decisions/0017-upstreams.md). It also holds what those calls share: keys that rotate, and an HTTP transport.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"hongyan/bots"
)

// The reasons why no endpoint is asked. Each is a bots.ErrUnavailable: not the turn's fault, and no wait would have helped it.
var (
	ErrOpen = fmt.Errorf("%w: every endpoint failed lately, and rests", bots.ErrUnavailable)
	ErrBusy = fmt.Errorf("%w: all its places are taken", bots.ErrUnavailable)
	ErrRate = fmt.Errorf("%w: it is over its rate", bots.ErrUnavailable)
)

// ErrSilent is in the error of a call that was ended because its endpoint, quicker before, had fallen silent over all its calls.
var ErrSilent = errors.New("the endpoint has fallen silent")

// What Options and Settings hold where a field is zero.
const (
	DefaultMaxInFlight = 512
	DefaultFailures    = 5
	DefaultWindow      = 10 * time.Second
	DefaultOpen        = 10 * time.Second
	DefaultProbes      = 1
)

// Options describe one upstream: what a bot asks.
type Options struct {
	Name        string     // the bot's name, a label of the metrics
	Endpoints   []Endpoint // at least one
	MaxInFlight int        // places: calls at a time; more get ErrBusy at once; 0: DefaultMaxInFlight
	// Rate is how many calls may begin in a second over the cluster; 0: no bound. A call that goes on to a second endpoint counts once.
	Rate float64
	// Share is this node's part of Rate, 0 to 1; nil: all of it. It is looked at once a second, and must not block.
	Share   func() float64
	Breaker Settings

	// Now is the clock of everything but the breakers' timers, which take the runtime's; nil: time.Now. A test that moves time does it with
	// testing/synctest, for both.
	Now        func() time.Time
	Random     func() float64        // in [0, 1), asked by one goroutine at a time; nil: math/rand/v2
	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: nothing is counted for others to see; upstreams may share one
}

// Endpoint is one place where the upstream can be asked.
type Endpoint struct {
	Name   string // for labels and logs: a host or a subject, never a secret; equal names get a number
	Weight int    // its part of the calls; 0: only where all others fail, in the order in which they stand
}

// Settings are those of each endpoint's breaker. A zero field means the default.
type Settings struct {
	// Failures in a row open the breaker. So do half of the calls that ended within Window, where there were twice as many as Failures.
	Failures int
	Window   time.Duration
	Open     time.Duration // how long it stays open, before probes are let through
	Probes   int           // calls at a time while half-open; as many successes close it
	// Silence is for how long an endpoint may be silent over several calls before they all fail, if it was quicker before; 0: for ever.
	Silence time.Duration
}

// Call is one call of one endpoint.
type Call struct {
	Endpoint int // its index in Options.Endpoints
	// Alive is to be called whenever anything of the endpoint arrives: headers, a chunk, a sign of life. It is cheap, never blocks, and may
	// be called from any goroutine, even after the call has returned.
	Alive func()
}

// Upstream is safe for concurrent use. Everything that changes is behind mu, and nothing under it blocks.
type Upstream struct {
	name     string
	places   int
	settings Settings
	now      func() time.Time
	random   func() float64
	log      *slog.Logger
	metrics  *metrics

	open, busy, overRate error // ErrOpen, ErrBusy, ErrRate with our name: made once, for refusing must cost nothing

	mu        sync.Mutex
	endpoints []*endpoint
	inFlight  int
	quota     *quota
	awake     time.Time // since when this process has not stood still
	ticked    time.Time // when Run last looked; zero before it did
	changes   []change  // of state, to be logged by whoever unlocks
}

// New checks the options and builds the upstream, all its breakers closed.
func New(opts Options) (*Upstream, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", opts.Name, err)
	}
	m, err := newMetrics(opts.Registerer, opts.Name)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", opts.Name, err)
	}
	u := &Upstream{
		name: opts.Name, places: opts.MaxInFlight, settings: opts.Breaker,
		now: opts.Now, random: opts.Random, log: opts.Logger.With("upstream", opts.Name), metrics: m,
		open:     fmt.Errorf("upstream %s: %w", opts.Name, ErrOpen),
		busy:     fmt.Errorf("upstream %s: %w", opts.Name, ErrBusy),
		overRate: fmt.Errorf("upstream %s: %w", opts.Name, ErrRate),
	}
	u.awake = u.now()
	u.quota = newQuota(opts.Rate, opts.Share, u.awake)
	names := make(map[string]int)
	for i, e := range opts.Endpoints {
		names[e.Name]++
		if n := names[e.Name]; n > 1 {
			e.Name = fmt.Sprintf("%s#%d", e.Name, n)
		}
		u.endpoints = append(u.endpoints, u.newEndpoint(i, e))
	}
	return u, nil
}

// complete checks what is there and fills in what is not.
func (o *Options) complete() error {
	switch b := o.Breaker; {
	case o.Name == "":
		return errors.New("it has no name; metrics and logs need one")
	case len(o.Endpoints) == 0:
		return errors.New("it has no endpoint; give at least one place to ask")
	case o.MaxInFlight < 0:
		return fmt.Errorf("%d places; at least one call must be able to run", o.MaxInFlight)
	case math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0) || o.Rate < 0:
		return fmt.Errorf("a rate of %v calls a second; it is 0 (no bound) or more", o.Rate)
	case b.Failures < 0, b.Probes < 0, b.Window < 0, b.Open < 0, b.Silence < 0:
		return fmt.Errorf("a number or a time of its breaker is below zero: %+v", b)
	}
	for _, e := range o.Endpoints {
		if e.Weight < 0 {
			return fmt.Errorf("endpoint %s has the weight %d; it is 0 (only where all others fail) or more", e.Name, e.Weight)
		}
	}
	orElse(&o.MaxInFlight, DefaultMaxInFlight)
	orElse(&o.Breaker.Failures, DefaultFailures)
	orElse(&o.Breaker.Window, DefaultWindow)
	orElse(&o.Breaker.Open, DefaultOpen)
	orElse(&o.Breaker.Probes, DefaultProbes)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

func orElse[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// quota is this node's part of the rate. Its owner locks.
type quota struct {
	rate    float64 // calls a second over the cluster; 0: no bound
	share   func() float64
	limiter *rate.Limiter
	looked  time.Time // at share
	none    bool      // the share is nothing at all
}

func newQuota(perSecond float64, share func() float64, now time.Time) *quota {
	q := &quota{rate: perSecond, share: share}
	if perSecond > 0 {
		if share == nil {
			q.share = func() float64 { return 1 }
		}
		part := q.look(now)
		q.limiter = rate.NewLimiter(rate.Limit(part), burst(part))
	}
	return q
}

// burst is one second's worth, and at least one call.
func burst(part float64) int { return max(1, int(part)) }

// look asks for the share anew, and returns our part of the rate.
func (q *quota) look(now time.Time) float64 {
	q.looked = now
	share := q.share()
	if !(share > 0) { // NaN, too
		share = 0
	}
	q.none = share == 0
	return q.rate * min(share, 1)
}

// take tells whether a call may begin now, and counts it.
func (q *quota) take(now time.Time) bool {
	if q.rate == 0 {
		return true
	}
	if now.Sub(q.looked) >= time.Second {
		part := q.look(now)
		q.limiter.SetLimitAt(now, rate.Limit(part))
		q.limiter.SetBurstAt(now, burst(part))
	}
	return !q.none && q.limiter.AllowN(now, 1)
}

// Do has call ask one endpoint, and another one where that fails, each at most once, until one did not fail; its error is the last
// one's. Where no endpoint could be asked at all it is ErrOpen, ErrBusy or ErrRate, at once. What call returns counts as Fault says; a
// call that ends because ctx was cancelled counts for nobody, one whose deadline passed as Broken.
//
// The context that call gets ends with ctx, or when its endpoint has fallen silent; call must return soon after. A panic in call goes on
// up, and counts for nobody.
func (u *Upstream) Do(ctx context.Context, call func(ctx context.Context, c Call) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("upstream %s: %w", u.name, err)
	}
	v, err := u.enter()
	if err != nil {
		return err
	}
	defer u.leave()
	var tried []*endpoint
	for {
		again, err := u.visit(ctx, v, call)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("upstream %s: endpoint %s: %w", u.name, v.at.name, err)
		if !again || len(u.endpoints) == 1 {
			return err
		}
		tried = append(tried, v.at)
		if v = u.next(tried); v == nil {
			return err
		}
	}
}

// enter takes a place, and one at an endpoint.
func (u *Upstream) enter() (*visit, error) {
	u.mu.Lock()
	defer u.unlock()
	if u.inFlight >= u.places {
		u.metrics.refused.WithLabelValues(u.name, "busy").Inc()
		return nil, u.busy
	}
	now := u.now()
	v := u.choose(now, nil)
	if v == nil {
		u.metrics.refused.WithLabelValues(u.name, "open").Inc()
		return nil, u.open
	}
	if !u.quota.take(now) {
		v.end(now, verdict{result: resultCancelled})
		u.metrics.refused.WithLabelValues(u.name, "rate").Inc()
		return nil, u.overRate
	}
	u.inFlight++
	u.metrics.inFlight.Set(float64(u.inFlight))
	return v, nil
}

// leave gives the place back.
func (u *Upstream) leave() {
	u.mu.Lock()
	defer u.unlock()
	u.inFlight--
	u.metrics.inFlight.Set(float64(u.inFlight))
}

// next takes a place at an endpoint that was not tried; nil where none has one.
func (u *Upstream) next(tried []*endpoint) *visit {
	u.mu.Lock()
	defer u.unlock()
	return u.choose(u.now(), tried)
}

// visit asks one endpoint, and tells whether another may be asked after its error.
func (u *Upstream) visit(ctx context.Context, v *visit, call func(context.Context, Call) error) (again bool, err error) {
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	came := verdict{result: resultPanic}
	defer func() {
		u.mu.Lock()
		defer u.unlock()
		now := u.now()
		u.metrics.calls.WithLabelValues(u.name, v.at.name, came.result).Inc()
		u.metrics.seconds.Observe(now.Sub(v.began).Seconds())
		v.end(now, came)
	}()
	v.begin(cancel)
	err = call(within, Call{Endpoint: v.at.index, Alive: v.alive})
	came = judge(ctx, within, err)
	if came.err != nil {
		err = came.err
	}
	return came.again && ctx.Err() == nil, err
}

// unlock logs what changed meanwhile, after letting go of the lock.
func (u *Upstream) unlock() {
	changes := u.changes
	u.changes = nil
	u.mu.Unlock()
	for _, c := range changes {
		c.log(u.log)
	}
}
