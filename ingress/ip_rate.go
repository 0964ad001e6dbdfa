package ingress

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// The table of addresses and their rates.
const (
	ipBurst     = 2      // seconds' worth of requests that one address may send at once
	ipBurstMin  = 5      // requests
	ipAddresses = 65_536 // kept at a time; those that come often stay
	ipIdle      = time.Minute
	ipv6Network = 64 // bits: one customer has as many addresses as it likes below that
)

// retrySoon is the Retry-After of a request over its rate, in seconds.
var retrySoon = []string{"1"}

// ipRates keeps each client address to a number of requests a second. The table is bounded: an address that is pushed out by others
// starts with a full bucket when it comes again, so a flood from everywhere is not held back here, and costs no memory either.
type ipRates struct {
	perSecond rate.Limit
	burst     int
	buckets   *otter.Cache[netip.Addr, *rate.Limiter]
	lines     limiter // of lines about it
}

// newIPRates is nil where perSecond is 0: no bound.
func newIPRates(perSecond float64) (*ipRates, error) {
	switch {
	case perSecond == 0:
		return nil, nil //nolint:nilnil // no limit is a choice
	case perSecond < 0 || math.IsNaN(perSecond) || math.IsInf(perSecond, 0):
		return nil, fmt.Errorf("ingress: Options.IPRate is %v, which is no number of requests a second", perSecond)
	}
	buckets, err := otter.New(&otter.Options[netip.Addr, *rate.Limiter]{
		MaximumSize:      ipAddresses,
		ExpiryCalculator: otter.ExpiryAccessing[netip.Addr, *rate.Limiter](ipIdle),
	})
	if err != nil {
		return nil, fmt.Errorf("ingress: the table of client addresses: %w", err)
	}
	return &ipRates{
		perSecond: rate.Limit(perSecond), burst: max(ipBurstMin, int(math.Ceil(ipBurst*min(perSecond, math.MaxInt32)))), buckets: buckets,
		lines: limiter{allow: rate.NewLimiter(rate.Every(time.Second), 1)},
	}, nil
}

// allow takes one request of an address at a moment; false where it is over its rate.
func (l *ipRates) allow(from netip.Addr, now time.Time) bool {
	if from.Is6() {
		if network, err := from.Prefix(ipv6Network); err == nil {
			from = network.Addr()
		}
	}
	bucket, known := l.buckets.GetIfPresent(from)
	if !known {
		bucket, _ = l.buckets.ComputeIfAbsent(from, func() (*rate.Limiter, bool) {
			return rate.NewLimiter(l.perSecond, l.burst), false
		})
	}
	return bucket.AllowN(now, 1)
}

// stop ends the goroutine that the table forgets idle addresses with. The table can still be used.
func (l *ipRates) stop() {
	if l != nil {
		l.buckets.StopAllGoroutines()
	}
}

// mayCome tells whether the request's client is within its rate, and answers it where it is not: 503, so that WeChat delivers again.
// Where a proxy names no client, all of those are one client: the proxy.
func (x *exchange) mayCome() bool {
	l := x.g.perIP
	if l == nil {
		return true
	}
	from, ok := clientAddress(x.r, x.g.proxies)
	if !ok {
		from, _ = parseHop(x.r.RemoteAddr)
	}
	if l.allow(from, x.start) {
		return true
	}
	x.g.metrics.limited.Inc()
	if say, leftOut := l.lines.next(); say {
		x.g.logger.LogAttrs(x.r.Context(), slog.LevelWarn, "an address sends more than limits.ip_rate; it gets 503",
			slog.String("address", from.String()), slog.String("remote", x.r.RemoteAddr), slog.Int64("left_out", leftOut))
	}
	h := x.w.Header()
	h["Connection"], h["Retry-After"] = hangUp, retrySoon
	_ = x.respond(http.StatusServiceUnavailable, nil, nil)
	return false
}
