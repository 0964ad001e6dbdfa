package actors

import (
	"context"
	"errors"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// A block lasts until the account's actor says that it is over: were it to end by each node's clock, all nodes would try at once. Where
// the actor does not answer, the time is all there is.
func TestBlocksEndByTheActorsWord(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	kinds := []messages.AccountBlock_Kind{messages.AccountBlock_KIND_DAILY_QUOTA, messages.AccountBlock_KIND_MINUTE_RATE, messages.AccountBlock_KIND_NO_RIGHT}
	for _, kind := range kinds {
		var s lineState
		reply := &messages.AccountLeased{
			Token: "t", Generation: 1, ExpiresInMs: 1e6, Unlimited: true, Blocks: []*messages.AccountBlock{{Kind: kind, ForMs: 1000}},
		}
		s.leased(s.leaseRequest("n", now, now), reply, now, now)
		for _, after := range []time.Duration{0, 999 * time.Millisecond, 2 * time.Second} {
			ok, retry, why := s.ready(now.Add(after))
			if ok || why != blockWord(kind) || !retry.After(now.Add(after)) {
				t.Errorf("%v: after %v ready %v, %s, again at %v", kind, after, ok, why, retry)
			}
		}
		later := now.Add(2 * time.Second)
		for range 2 {
			s.unanswered(s.leaseRequest("n", later, later), later, later)
			later = later.Add(leaseDegrade)
		}
		if ok, _, why := s.ready(later); !ok {
			t.Errorf("%v: not ready though nobody answers and its time is over: %s", kind, why)
		}
		reply.Blocks = nil
		s.leased(s.leaseRequest("n", later, later), reply, later, later)
		if ok, _, why := s.ready(later); !ok {
			t.Errorf("%v: not ready though the actor says that it is over: %s", kind, why)
		}
	}
}

// The right to try one message belongs to a node for a few seconds; after that it may be another one's.
func TestProbeIsMadeSoonOrNot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s lineState
	leased := func(probe bool) {
		s.leased(s.leaseRequest("n", now, now), &messages.AccountLeased{
			Token: "t", Generation: 1, ExpiresInMs: 1e6, Unlimited: true, Probe: probe,
			Blocks: []*messages.AccountBlock{{Kind: messages.AccountBlock_KIND_NO_RIGHT, ForMs: 60000}},
		}, now, now)
	}
	leased(true)
	if ok, _, why := s.ready(now.Add(time.Second)); !ok {
		t.Errorf("the probe may not be made: %s", why)
	}
	now = now.Add(probeFor)
	leased(false)
	if ok, _, _ := s.ready(now); ok {
		t.Error("a probe that was not made may be made late")
	}
	leased(true)
	if _, ok, _, why := s.admit(now); !ok {
		t.Errorf("the probe is not admitted: %s", why)
	}
	if _, ok, _, _ := s.admit(now); ok {
		t.Error("a second one is admitted")
	}
}

// What users' actors are told about each error, and what it does to the account.
func TestFates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 20, 0, time.UTC)
	cases := []struct {
		err   error
		fate  Fate
		retry time.Duration // at least
		block messages.AccountBlock_Kind
	}{
		{nil, FateDelivered, 0, 0},
		{&api.Error{Class: api.Unknown, Status: 502}, FateUnknown, 0, 0},
		{errors.New("not the client's"), FateUnknown, 0, 0},
		{context.DeadlineExceeded, FateUnknown, 0, 0},
		{&api.Error{Class: api.Unsent, Unsent: true}, FateNotMade, time.Second, 0},
		{refused("send", -1, api.Busy), FateNotMade, time.Second, 0},
		{&api.Error{Class: api.Refused, Status: 403}, FateNotMade, time.Second, 0},
		{refused("send", 40001, api.TokenInvalid), FateNotMade, time.Second, 0},
		{refused("send", 61004, api.Config), FateNotMade, time.Minute, 0},
		{refused("send", 45009, api.DailyQuota), FateNotMade, 9 * time.Minute, messages.AccountBlock_KIND_DAILY_QUOTA},
		{refused("send", 45011, api.MinuteRate), FateNotMade, 40 * time.Second, messages.AccountBlock_KIND_MINUTE_RATE},
		{refused("send", 48001, api.NoRight), FateNoRight, 0, messages.AccountBlock_KIND_NO_RIGHT},
		{refused("send", 48004, api.NoRight), FateNoRight, 0, messages.AccountBlock_KIND_NO_RIGHT},
		{refused("send", 50002, api.NoRight), FateNoRight, 0, messages.AccountBlock_KIND_NO_RIGHT},
		{refused("send", 65401, api.NoRight), FateNoRight, 0, 0},
		{refused("send", 61451, api.NoRight), FateNoRight, 0, 0},
		{refused("send", 45015, api.NoWindow), FateNoWindow, 0, 0},
		{refused("send", 45047, api.NoWindow), FateNoWindow, 0, 0},
		{refused("send", 43004, api.NoUser), FateNoUser, 0, 0},
		{refused("send", 45002, api.BadMessage), FateBadMessage, 0, 0},
	}
	for _, c := range cases {
		sent := sentOf(c.err, now, 12345)
		if sent.Fate != c.fate {
			t.Errorf("%v: fate %v, want %v", c.err, sent.Fate, c.fate)
		}
		if c.retry > 0 && sent.Retry.Sub(now) < c.retry || c.retry == 0 && !sent.Retry.IsZero() {
			t.Errorf("%v: retry in %v, want at least %v", c.err, sent.Retry.Sub(now), c.retry)
		}
		if kind, until := blockOf(c.err, now, 12345); kind != c.block || kind != 0 && !until.After(now) {
			t.Errorf("%v: block %v until %v, want %v", c.err, kind, until, c.block)
		}
	}
}

// After an outage messages go out one at a time, until the first one got through; one that fails ends the trial at once.
func TestBreakerTrial(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var b breaker
	outage := func() {
		t.Helper()
		for range breakAfter {
			b.learn(api.Unknown, now, 0)
		}
		if ok, retry := b.ready(now, 0); ok || !retry.After(now) || b.probeDue(now) {
			t.Fatalf("ready %v, again at %v, probe due %v", ok, retry, b.probeDue(now))
		}
		now = now.Add(breakMost)
		if !b.probeDue(now) {
			t.Fatal("no harmless call is due")
		}
		b.learn(classOK, now, 0) // a call that was under way
		if ok, _ := b.ready(now, 0); ok {
			t.Fatal("a call that was under way when the breaker opened closed it")
		}
		b.probed(classOK, now, 0)
		if ok, _ := b.ready(now, 0); !ok {
			t.Fatal("no message may be tried")
		}
		if ok, _ := b.ready(now, 1); ok {
			t.Fatal("two messages may be tried at a time")
		}
	}
	outage()
	b.learn(api.Unknown, now, 0)
	if ok, _ := b.ready(now, 0); ok {
		t.Error("a failed trial left the breaker closed")
	}
	b = breaker{}
	outage()
	b.learn(api.NoWindow, now, 0) // WeChat answered
	if ok, _ := b.ready(now, 100); !ok {
		t.Error("still one at a time after one got through")
	}
}
