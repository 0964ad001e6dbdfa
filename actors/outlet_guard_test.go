package actors

import (
	"strings"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/wechat/api"
)

// A node that has not heard of the account for a while sends nothing: it may have missed that the others were refused.
func TestLeaseGrowsOld(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s lineState
	s.leased(s.leaseRequest("n", now, now), &messages.AccountLeased{Token: "t", Generation: 1, ExpiresInMs: 1e6, Unlimited: true}, now, now)
	if ok, _, why := s.ready(now.Add(leaseFresh)); !ok {
		t.Errorf("not ready with a fresh lease: %s", why)
	}
	if ok, retry, _ := s.ready(now.Add(leaseFresh + time.Second)); ok || !retry.After(now.Add(leaseFresh+time.Second)) {
		t.Errorf("ready %v, again at %v, with an old one", ok, retry)
	}
}

// What a node learned reaches the account's actor, also where the question that brought it was not answered.
func TestReportsSurviveAnUnansweredQuestion(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s lineState
	s.leased(s.leaseRequest("n", now, now), &messages.AccountLeased{Token: "t", Generation: 1, ExpiresInMs: 1e6, Unlimited: true}, now, now)
	for _, err := range []error{nil, refused("send", 45009, api.DailyQuota)} {
		a, ok, _, why := s.admit(now)
		if !ok {
			t.Fatalf("not admitted: %s", why)
		}
		s.learn(a, err, false, now, 0)
	}
	lost := s.leaseRequest("n", now, now)
	s.unanswered(lost, now, now)
	again := s.leaseRequest("n", now, now)
	if len(again.GetTroubles()) != 1 || again.GetTroubles()[0].GetCode() != 45009 || again.GetSent() != 1 {
		t.Errorf("%d troubles and %d messages are reported again, want 1 and 1", len(again.GetTroubles()), again.GetSent())
	}
	if last := s.leaseRequest("n", now, now); len(last.GetTroubles()) != 0 || last.GetSent() != 0 {
		t.Errorf("%d troubles and %d messages are reported twice", len(last.GetTroubles()), last.GetSent())
	}
}

// An account's record that cannot be read is never taken for an empty one: another version may be able to read it.
func TestUnreadableAccountRecord(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		key := state.Key{User: messages.AccountActor(account)}
		before, err := o.store.Commit(t.Context(), key, state.Record{}, state.Write{Epoch: 1, WriteID: 1, Incarnation: 1, Value: []byte{0xff}})
		if err != nil {
			t.Fatal(err)
		}
		o.start()
		for serial := range uint64(3) {
			r := o.lease(&messages.AccountLease{Node: "n1", Serial: serial + 1, Need: true, Want: 1})
			if r.GetToken() != "" || !strings.Contains(r.GetWhy(), "cannot be read") || r.GetRetryMs() <= 0 {
				t.Errorf("the answer is %v", r)
			}
			time.Sleep(time.Second)
		}
		if n := o.platform.fetches(); n != 0 {
			t.Errorf("%d tokens were fetched", n)
		}
		if after, err := o.store.Load(t.Context(), key); err != nil || after.Version != before.Version {
			t.Errorf("the record has version %+v (%v), want %+v", after.Version, err, before.Version)
		}
	})
}
