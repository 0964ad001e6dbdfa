package actors

import (
	"slices"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// How a node uses an account (see lineState).
const (
	leaseEvery   = time.Second           // while in use
	leaseFresh   = 3 * time.Second       // an older lease may miss what other nodes learned
	leaseDegrade = 2 * time.Second       // when nobody answers for so long, the token that is there is used as it is
	leaseSoon    = 50 * time.Millisecond // asked again while something is under way
	lineInUse    = 10 * time.Second      // after the last question whether something may be sent
	permitsFor   = 3 * time.Second       // unused permits go back
	probeFor     = 5 * time.Second
	maxWant      = 1000                   // permits of one lease
	maxInFlight  = 256                    // sends of one node and account
	disbelief    = 30 * time.Second       // for a token that is refused though WeChat says that it is good
	lookAgain    = 10 * time.Minute       // at the most; a block may end before its time
	slowDown     = 100 * time.Millisecond // before a send that found no room is tried again
)

// lineState is one node's line to WeChat for one account: what it leased from the account's actor, what it learned since, and the
// breaker. It is a value: its methods are pure but for their receiver, so that a copy can be looked at by anybody at any time.
type lineState struct {
	token      string
	generation uint64
	tokenUntil time.Time
	held       bool // somebody was refused with it; another one is under way
	holdUntil  time.Time
	why        string // there is no usable token, for people
	whyUntil   time.Time

	unlimited bool
	permits   int
	permitsAt time.Time // when they were last changed
	moreAt    time.Time
	demand    int // sends asked for since the last lease

	blocks []heldBlock // never changed in place
	probe  time.Time   // until then one message may go out in spite of KIND_NO_RIGHT

	leasedAt     time.Time // of the last reply
	failingSince time.Time // when the first of the unanswered leases was asked for
	nextLease    time.Time
	renewing     bool
	serial       uint64

	refused        uint64 // the generation that this node was refused with
	troubles       []*messages.AccountTrouble
	returned, sent int // to be reported

	inFlight int
	breaker  breaker

	fetchOnly bool // nothing is sent: no permits are needed
}

// heldBlock is a block on the node's own clock.
type heldBlock struct {
	kind  messages.AccountBlock_Kind
	until time.Time // when to ask again
}

// ready tells whether a message may be sent; see Outlet.Ready.
func (s *lineState) ready(now time.Time) (ok bool, retry time.Time, why string) {
	switch {
	case s.leasedAt.IsZero() && !s.degraded(now):
		return false, now.Add(leaseSoon), "the account's actor was not asked yet"
	case !s.fresh(now):
		if _, _, why = s.tokenReady(now); why == "" {
			why = "the account's actor has to be asked again"
		}
		return false, now.Add(leaseSoon), why
	}
	if ok, retry, why = s.tokenReady(now); !ok {
		return ok, retry, why
	}
	for _, b := range s.blocks {
		if s.holds(b, now) && (b.kind != messages.AccountBlock_KIND_NO_RIGHT || !s.mayProbe(now)) {
			return false, latest(earliest(b.until, now.Add(lookAgain)), now.Add(leaseSoon)), blockWord(b.kind)
		}
	}
	if ok, retry = s.breaker.ready(now, s.inFlight); !ok {
		return false, retry, "breaker"
	}
	if !s.unlimited && s.permits <= 0 {
		return false, latest(earliest(s.moreAt, now.Add(lookAgain)), now.Add(leaseSoon)), "rate"
	}
	if s.inFlight >= maxInFlight {
		return false, now.Add(slowDown), "too many calls at a time"
	}
	return true, time.Time{}, ""
}

func (s *lineState) tokenReady(now time.Time) (ok bool, retry time.Time, why string) {
	switch {
	case s.token == "" || !now.Before(s.tokenUntil):
		return false, latest(s.whyUntil, now.Add(leaseSoon)), "token: " + s.why
	case s.held || s.refused == s.generation:
		return false, latest(s.whyUntil, now.Add(leaseSoon)), "token: WeChat refused it, another one is under way"
	case now.Before(s.holdUntil):
		return false, s.holdUntil, "token: WeChat refuses it and says that it is good"
	}
	return true, time.Time{}, ""
}

// fresh tells whether the lease is as young as it has to be. Where nobody answers, a token is better than none: WeChat itself says
// when it is not good any more. Permits are not made up.
func (s *lineState) fresh(now time.Time) bool {
	return now.Sub(s.leasedAt) <= leaseFresh || s.degraded(now)
}

func (s *lineState) degraded(now time.Time) bool {
	return !s.failingSince.IsZero() && now.Sub(s.failingSince) >= leaseDegrade
}

// admission is the right to make one call.
type admission struct {
	token      string
	generation uint64
	probe      bool // in spite of KIND_NO_RIGHT
}

// admit takes what one call needs, or tells when to ask again.
func (s *lineState) admit(now time.Time) (a admission, ok bool, retry time.Time, why string) {
	s.demand++
	if ok, retry, why = s.ready(now); !ok {
		if why == "rate" {
			s.nextLease = earliest(s.nextLease, latest(s.moreAt, now))
		}
		return admission{}, false, retry, why
	}
	a = admission{token: s.token, generation: s.generation}
	if s.blocked(messages.AccountBlock_KIND_NO_RIGHT, now) {
		a.probe, s.probe = true, time.Time{}
	}
	if !s.unlimited {
		s.permits--
		s.permitsAt = now
		if s.permits == 0 {
			s.nextLease = earliest(s.nextLease, latest(s.moreAt, now))
		}
	}
	s.inFlight++
	return a, true, time.Time{}, ""
}

func (s *lineState) blocked(kind messages.AccountBlock_Kind, now time.Time) bool {
	return slices.ContainsFunc(s.blocks, func(b heldBlock) bool { return b.kind == kind && s.holds(b, now) })
}

// holds tells whether a block is still there. The account's actor says so with each lease; its time only tells when to ask again, lest
// all nodes try at once when it is over. Where the actor does not answer, the time is all there is.
func (s *lineState) holds(b heldBlock, now time.Time) bool {
	return now.Before(b.until) || !s.degraded(now)
}

// mayProbe tells whether this node may try a message in spite of KIND_NO_RIGHT. A try that it did not make soon is another one's.
func (s *lineState) mayProbe(now time.Time) bool { return now.Before(s.probe) }

// learn takes the outcome of a call that was admitted. more: the same admission makes another call.
func (s *lineState) learn(a admission, err error, more bool, now time.Time, chance uint64) {
	if !more {
		s.inFlight--
	}
	if err == nil {
		s.sent++
	}
	class := classOf(err)
	s.breaker.learn(class, now, chance)
	switch class {
	case classOK, api.NoWindow, api.NoUser, api.BadMessage:
		if a.probe { // WeChat let the account through
			s.report(&messages.AccountTrouble{Kind: messages.AccountBlock_KIND_NO_RIGHT}, now)
			s.blocks = slices.DeleteFunc(slices.Clone(s.blocks), func(b heldBlock) bool { return b.kind == messages.AccountBlock_KIND_NO_RIGHT })
		}
	case api.TokenInvalid:
		s.refusal(a.generation, now)
	default:
	}
	if kind, until := blockOf(err, now, chance); kind != messages.AccountBlock_KIND_NONE {
		fresh := !s.blocked(kind, now)
		if fresh {
			s.blocks = append(slices.Clip(s.blocks), heldBlock{kind: kind, until: until})
		}
		if fresh || a.probe { // of many calls that fail at once the first one tells it all
			code, detail := detailOf(err)
			s.report(&messages.AccountTrouble{Kind: kind, Code: int32(code), Detail: detail}, now)
		}
	}
}

// refusal notes that WeChat refused the token of a generation; the account's actor hears of it at once.
func (s *lineState) refusal(generation uint64, now time.Time) {
	if generation == s.generation && s.refused != generation && !s.held {
		s.refused, s.nextLease = generation, now
	}
}

func (s *lineState) report(t *messages.AccountTrouble, now time.Time) {
	s.troubles = append(slices.Clip(s.troubles), t)
	s.nextLease = now
}

// classOK is the class of no error.
const classOK = api.Class(255)

func classOf(err error) api.Class {
	if err == nil {
		return classOK
	}
	return api.ClassOf(err)
}

// leaseDue tells whether the account's actor is to be asked. used is when the line was last of use to somebody.
func (s *lineState) leaseDue(now, used time.Time) bool {
	inUse := now.Sub(used) < lineInUse
	if s.permits > 0 && now.Sub(s.permitsAt) >= permitsFor {
		s.returned += s.permits
		s.permits = 0
	}
	reports := s.returned > 0 || s.sent > 0 || len(s.troubles) > 0
	return !s.renewing && (inUse || reports) && !now.Before(s.nextLease)
}

// leaseRequest is the next question, and what it reports is not reported again.
func (s *lineState) leaseRequest(node string, now, used time.Time) *messages.AccountLease {
	s.renewing = true
	s.serial++
	inUse := now.Sub(used) < lineInUse
	ask := &messages.AccountLease{
		Node: node, Serial: s.serial, Need: inUse, Returned: int32(s.returned), Sent: int32(s.sent), Troubles: s.troubles,
	}
	if s.refused == s.generation {
		ask.Refused = s.refused
	}
	if inUse && !s.fetchOnly {
		ask.Want = int32(max(min(s.demand+s.demand/4+1, maxWant)-s.permits, 0))
	}
	s.returned, s.sent, s.demand, s.troubles = 0, 0, 0, nil
	s.nextLease = now.Add(leaseEvery)
	return ask
}

// leased takes the reply to a question that was asked at began.
func (s *lineState) leased(ask *messages.AccountLease, r *messages.AccountLeased, began, now time.Time) {
	s.renewing, s.leasedAt, s.failingSince = false, began, time.Time{}
	in := func(ms int64) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	if r.GetGeneration() != s.generation {
		s.holdUntil = time.Time{}
	}
	s.token, s.generation, s.held = r.GetToken(), r.GetGeneration(), r.GetHeld()
	s.tokenUntil = in(r.GetExpiresInMs())
	s.why, s.whyUntil = r.GetWhy(), in(r.GetRetryMs())
	if s.refused != 0 && ask.GetRefused() == s.refused {
		if s.refused == s.generation && !s.held { // refused a moment ago, and WeChat said not long before that it is good
			s.holdUntil = now.Add(disbelief)
		}
		s.refused = 0
	}
	s.unlimited = r.GetUnlimited() || s.fetchOnly
	if n := int(r.GetPermits()); n > 0 {
		s.permits += n
		s.permitsAt = now
	}
	s.moreAt = in(r.GetMoreInMs())
	if r.GetProbe() {
		s.probe = now.Add(probeFor)
	}
	s.blocks = nil
	for _, b := range r.GetBlocks() {
		s.blocks = append(s.blocks, heldBlock{kind: b.GetKind(), until: in(b.GetForMs())})
	}
	for _, t := range s.troubles { // learned while the question was under way
		if t.GetCode() != 0 {
			s.blocks = append(s.blocks, heldBlock{kind: t.GetKind(), until: now.Add(leaseEvery)})
		}
	}
	switch {
	case len(s.troubles) > 0 || s.refused == s.generation && s.refused != 0:
		s.nextLease = now
	case r.GetPending():
		s.nextLease = now.Add(leaseSoon)
	case s.why != "":
		s.nextLease = latest(now.Add(leaseSoon), earliest(s.whyUntil, now.Add(leaseEvery)))
	case !s.unlimited && s.permits == 0:
		s.nextLease = latest(now.Add(leaseSoon), earliest(s.moreAt, now.Add(leaseEvery)))
	}
}

// unanswered takes the failure of a question, and puts back what it reported.
func (s *lineState) unanswered(ask *messages.AccountLease, began, now time.Time) {
	s.renewing = false
	if s.failingSince.IsZero() {
		s.failingSince = began
	}
	s.returned += int(ask.GetReturned())
	s.sent += int(ask.GetSent())
	s.demand += int(ask.GetWant())
	s.troubles = append(slices.Clone(ask.GetTroubles()), s.troubles...)
	s.nextLease = now.Add(leaseEvery / 4)
	if s.refused != 0 && s.degraded(now) && !s.held { // nobody can be told; WeChat is asked again in a while
		s.holdUntil, s.refused = now.Add(disbelief), 0
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
