package actors

import (
	"log/slog"
	"math"
	"time"

	"hongyan/messages"
)

const (
	nodeGoneAfter = 5 * time.Second // without a lease; a node in use renews each second
	ipsEvery      = 24 * time.Hour  // wechat-protocol §5.3: re-read daily
	ipsSpread     = time.Hour
	ipsRetry      = time.Minute
	ipsDoubt      = 10 * time.Minute // a list in doubt is read anew, but not more often
)

// lease answers a node: what it may use until it asks again.
func (s *accountState) lease(e *messages.AccountLease, now time.Time, chance uint64) (*messages.AccountLeased, []accountAction) {
	last, known := s.nodes[e.GetNode()]
	again := known && last.serial == e.GetSerial()
	var do []accountAction
	if e.GetNeed() || e.GetWant() > 0 {
		s.token.needed(now)
	}
	s.refusal(e.GetRefused(), now)
	if !again {
		for _, t := range e.GetTroubles() {
			do = append(do, s.trouble(t, now, chance)...)
		}
		s.sent.Count += int64(e.GetSent())
		if n := int64(e.GetReturned()); n > 0 {
			s.Minute.giveBack(n)
			s.Day.giveBack(n)
		}
	}
	// What this very question makes due must show in its answer.
	do = append(do, s.due(now)...)
	r := &messages.AccountLeased{Generation: s.Generation}
	s.leaseToken(r, now)
	if again && last.reply != nil { // the node may or may not have heard of these permits: they are the same ones
		r.Unlimited, r.Permits, r.MoreInMs, r.Probe = last.reply.GetUnlimited(), last.reply.GetPermits(), last.reply.GetMoreInMs(),
			last.reply.GetProbe()
		r.Blocks, _ = s.blocksFor(false, now)
	} else {
		s.leasePermits(r, e, now)
		r.Blocks, r.Probe = s.blocksFor(e.GetWant() > 0 && r.GetToken() != "" && !r.GetHeld(), now)
	}
	s.nodes[e.GetNode()] = nodeLease{serial: e.GetSerial(), at: now, reply: r}
	return r, do
}

// leaseToken says which token to use, or why there is none.
func (s *accountState) leaseToken(r *messages.AccountLeased, now time.Time) {
	t := &s.token
	r.Pending, r.Held = t.fetching, t.refused
	if s.Token != "" && now.Before(s.expires()) {
		r.Token, r.ExpiresInMs = s.Token, s.expires().Sub(now).Milliseconds()
		if !t.refused {
			return
		}
	}
	switch {
	case !s.conf.calls():
		r.Why, r.RetryMs = "account "+s.conf.ID+" has no app_secret, so it cannot call WeChat's API", alarmRetry.Milliseconds()
	case t.fetching:
		r.Why, r.RetryMs = "a token is being fetched", 50
	case s.Alarm.Reason != "":
		r.Why, r.RetryMs = s.Alarm.Detail, max(s.Alarm.RetryMS-now.UnixMilli(), 1000)
	case now.Before(t.notBefore):
		r.Why, r.RetryMs = "no token from WeChat: "+t.last, t.notBefore.Sub(now).Milliseconds()
	case t.refused:
		r.Why, r.RetryMs = "WeChat refused the token, and its next refresh may not be forced yet",
			max(s.ForcedMS+forceApart.Milliseconds()-now.UnixMilli(), 1000)
	default:
		r.Why, r.RetryMs = "there is no token", 1000
	}
}

// leasePermits hands out permits: as many as are wanted and there are, but no more than the node's share, so that the others find
// some.
func (s *accountState) leasePermits(r *messages.AccountLeased, e *messages.AccountLease, now time.Time) {
	c := s.conf
	if c.Rate <= 0 && c.PerMinute <= 0 && c.PerDay <= 0 {
		r.Unlimited = true
		return
	}
	want := int64(e.GetWant())
	if want <= 0 {
		return
	}
	n := min(want, s.Minute.left(int64(c.PerMinute)), s.Day.left(int64(c.PerDay)))
	switch {
	case s.Day.left(int64(c.PerDay)) == 0:
		r.MoreInMs = nextWeChatDay(now).Sub(now).Milliseconds()
	case s.Minute.left(int64(c.PerMinute)) == 0:
		r.MoreInMs = now.Truncate(time.Minute).Add(time.Minute).Sub(now).Milliseconds()
	}
	if c.Rate > 0 {
		s.bucket.fill(c.Rate, now)
		share := max(1, int64(math.Ceil(c.Rate/float64(s.nodesInUse(e.GetNode(), now)))))
		n = min(n, share, int64(s.bucket.level))
		if n < want && r.GetMoreInMs() == 0 {
			s.bucket.level -= float64(n)
			r.MoreInMs = max(s.bucket.next(c.Rate).Milliseconds(), 10)
			s.bucket.level += float64(n)
		}
		s.bucket.level -= float64(n)
	}
	s.Minute.take(n, int64(c.PerMinute))
	s.Day.take(n, int64(c.PerDay))
	r.Permits = int32(min(n, math.MaxInt32))
}

// nodesInUse counts the nodes that hold leases, asker included, and forgets those that let theirs go.
func (s *accountState) nodesInUse(asker string, now time.Time) int {
	n := 1
	for node, l := range s.nodes {
		switch {
		case now.Sub(l.at) > nodeGoneAfter:
			if node != asker {
				delete(s.nodes, node)
			}
		case node != asker:
			n++
		}
	}
	return n
}

// ipsRefresh is when to read the addresses of WeChat's callbacks again.
type ipsRefresh struct {
	fetching  bool
	notBefore time.Time
	asked     bool // somebody wants to know
	doubt     bool // a genuine callback came from elsewhere
}

// ipList answers an ingress.
func (s *accountState) ipList(doubt bool, now time.Time) *messages.CallbackIPList {
	s.ips.asked, s.ips.doubt = true, s.ips.doubt || doubt
	if len(s.IPs) == 0 {
		return &messages.CallbackIPList{}
	}
	return &messages.CallbackIPList{Ranges: s.IPs, AgeMs: max(now.UnixMilli()-s.IPsMS, 0)}
}

// dueIPs reads the list anew about once a day. It is asked for by ingresses alone, which do it where the configuration says so.
func (s *accountState) dueIPs(now time.Time) []accountAction {
	f := &s.ips
	every := ipsEvery - spread(ipsSpread, uint64(s.IPsMS)*0x9e3779b97f4a7c15)
	if f.doubt {
		every = ipsDoubt
	}
	fresh := len(s.IPs) > 0 && now.UnixMilli()-s.IPsMS < every.Milliseconds()
	if !f.asked || f.fetching || fresh || now.Before(f.notBefore) {
		return nil
	}
	f.fetching = true
	return []accountAction{actIPs{token: s.Token, generation: s.Generation}}
}

func (s *accountState) ipsFetched(e ipsFetched, now time.Time) []accountAction {
	s.ips.fetching, s.ips.asked, s.ips.doubt = false, false, false
	s.ips.notBefore = now.Add(ipsRetry)
	s.refusedBy(e.err, e.generation, now)
	if e.err != nil || len(e.ranges) == 0 {
		return []accountAction{actLog{slog.LevelWarn, "the list of WeChat's callback addresses was not read; the one before stays in use",
			[]slog.Attr{slog.Int("known", len(s.IPs)), slog.Any("error", e.err)}}}
	}
	s.IPs, s.IPsMS = make([]string, len(e.ranges)), now.UnixMilli()
	for i, r := range e.ranges {
		s.IPs[i] = r.String()
	}
	return nil
}
