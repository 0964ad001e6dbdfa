package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// What the address check found, in the label "found".
const (
	addressListed   = "listed"
	addressUnlisted = "unlisted"
	addressUnknown  = "unknown" // there is no list yet: everything passes
)

// fromWeChat compares where a genuine request came from with the addresses that WeChat publishes (wechat-protocol §5.3). It comes after
// everything else, so that an address counts as unlisted only for what somebody could sign.
func (x *exchange) fromWeChat() reason {
	policy := x.account.CallbackIPs
	if policy == AddressOff || x.g.callers == nil {
		return genuine
	}
	from, ok := clientAddress(x.r, x.g.proxies)
	listed, known := x.g.callers.Listed(x.account.ID, from)
	switch {
	case !known:
		x.g.metrics.addresses.WithLabelValues(x.account.ID, addressUnknown).Inc()
		return genuine
	case listed && ok:
		x.g.metrics.addresses.WithLabelValues(x.account.ID, addressListed).Inc()
		return genuine
	}
	x.g.metrics.addresses.WithLabelValues(x.account.ID, addressUnlisted).Inc()
	x.g.callers.Doubt(x.account.ID)
	if say, leftOut := x.g.elsewhere.next(); say {
		x.g.logger.LogAttrs(x.r.Context(), slog.LevelWarn, "a properly signed callback came from an address that WeChat does not publish; "+
			"either somebody else knows the token, or listen.trusted_proxies lacks a proxy", slog.String("account", x.account.ID),
			slog.String("address", from.String()), slog.String("remote", x.r.RemoteAddr), slog.Bool("refused", policy == AddressEnforce),
			slog.Int64("left_out", leftOut))
	}
	if policy == AddressEnforce {
		return reasonAddress
	}
	return genuine
}

// clientAddress is where a request came from: the peer, or, where that is one of the trusted proxies, the last hop of X-Forwarded-For
// that is none of them. What stands further left was written by whoever sent the request. It is false where there is no such address.
func clientAddress(r *http.Request, trusted []netip.Prefix) (netip.Addr, bool) {
	at, ok := parseHop(r.RemoteAddr)
	if !ok || !within(at, trusted) {
		return at, ok
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if hop = strings.TrimSpace(hop); hop == "" {
			continue
		}
		if at, ok = parseHop(hop); !ok || !within(at, trusted) {
			return at, ok
		}
	}
	return at, true // all of them are ours
}

// parseHop reads an address with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// When a list is asked for again.
const (
	callersEvery  = 10 * time.Minute
	callersFirst  = 500 * time.Millisecond // doubled until there is a list
	callersMost   = time.Minute
	callersDoubt  = 2 * time.Second // the account's actor reads it meanwhile
	callersWithin = 5 * time.Second
)

// CallerLists keeps the lists of WeChat's addresses of some accounts. The accounts' actors read them from WeChat, once a day and where
// one is in doubt; this asks the actors.
type CallerLists struct {
	ask    func(ctx context.Context, account messages.User, question proto.Message) (any, error)
	logger *slog.Logger
	lists  map[string]*callerList
}

var _ Callers = (*CallerLists)(nil)

type callerList struct {
	networks atomic.Pointer[[]netip.Prefix]
	doubt    chan struct{} // has room for one
}

// NewCallerLists makes the lists of the accounts, by id. ask asks an account's actor wherever it is: cluster.Node.Request on a worker,
// cluster.Ask elsewhere.
func NewCallerLists(accounts []string, ask func(context.Context, messages.User, proto.Message) (any, error), logger *slog.Logger) *CallerLists {
	c := &CallerLists{ask: ask, logger: logger, lists: make(map[string]*callerList, len(accounts))}
	for _, id := range accounts {
		c.lists[id] = &callerList{doubt: make(chan struct{}, 1)}
	}
	return c
}

// Listed implements Callers.
func (c *CallerLists) Listed(account string, from netip.Addr) (listed, known bool) {
	l := c.lists[account]
	if l == nil {
		return false, false
	}
	networks := l.networks.Load()
	if networks == nil {
		return false, false
	}
	return within(from, *networks), true
}

// Doubt implements Callers.
func (c *CallerLists) Doubt(account string) {
	if l := c.lists[account]; l != nil {
		select {
		case l.doubt <- struct{}{}:
		default:
		}
	}
}

// Run keeps the lists up to date until ctx ends. A list that was there once stays, however long nobody answers.
func (c *CallerLists) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for id, l := range c.lists {
		running.Go(func() { c.keep(ctx, id, l) }) // ended by ctx
	}
	running.Wait()
	return nil
}

func (c *CallerLists) keep(ctx context.Context, account string, l *callerList) {
	wait, doubted := callersFirst, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		doubts := l.doubt
		if l.networks.Load() == nil || doubted { // it is being read already
			doubts = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-doubts:
			doubted = true
		case <-timer.C:
			doubted = false
		}
		err := c.fetch(ctx, account, l, doubted)
		known := l.networks.Load() != nil
		switch {
		case doubted:
			timer.Reset(callersDoubt)
			continue
		case err == nil && known:
			wait = callersEvery
		default:
			wait = min(2*wait, callersMost)
		}
		if err != nil && ctx.Err() == nil {
			c.logger.Warn("the list of WeChat's addresses was not received; it is asked for again", "account", account, "known", known, "error", err)
		}
		timer.Reset(wait)
	}
}

// fetch asks the account's actor once.
func (c *CallerLists) fetch(ctx context.Context, account string, l *callerList, doubt bool) error {
	ctx, cancel := context.WithTimeout(ctx, callersWithin)
	defer cancel()
	reply, err := c.ask(ctx, messages.AccountActor(account), &messages.CallbackIPs{Doubt: doubt})
	if err != nil {
		return err
	}
	list, ok := reply.(*messages.CallbackIPList)
	if !ok {
		return errors.New("the account's actor answered with something else; do all nodes run the same version?")
	}
	networks := make([]netip.Prefix, 0, len(list.GetRanges()))
	for _, r := range list.GetRanges() {
		n, err := netip.ParsePrefix(r)
		if err != nil {
			return err
		}
		networks = append(networks, n)
	}
	if len(networks) > 0 { // else it is not known yet
		l.networks.Store(&networks)
	}
	return nil
}
