package actors

import (
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// ledgered is a state machine with a token of the second generation, and the moment it is in.
func ledgered(t *testing.T, change func(rec *accountRecord, conf *AccountSettings)) (*accountState, time.Time) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	conf := AccountSettings{ID: account, AppID: "wxapp", AppSecret: "secret", API: &weixin{}}
	rec := accountRecord{
		Schema: accountSchema, AppID: conf.AppID, Secret: fingerprint(conf.AppID, conf.AppSecret), Token: "t2", Generation: 2,
		ObtainedMS: now.Add(-time.Hour).UnixMilli(), ExpiresMS: now.Add(time.Hour).UnixMilli(),
	}
	if change != nil {
		change(&rec, &conf)
	}
	return newAccountState(rec, conf, now, 12345), now
}

// leased asks for a node, and returns the answer and the fetch that it led to.
func (s *accountState) leased(now time.Time, ask *messages.AccountLease) (*messages.AccountLeased, *actFetch) {
	reply, do := s.step(ask, now, 12345)
	for _, act := range do {
		if fetch, ok := act.(actFetch); ok {
			return reply.(*messages.AccountLeased), &fetch
		}
	}
	return reply.(*messages.AccountLeased), nil
}

// A node that was refused with a token which is gone long since gets the one in use, and nobody fetches another.
func TestRefusalOfAnOldGeneration(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, nil)
	r, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1, Refused: 1})
	if fetch != nil || r.GetToken() != "t2" || r.GetHeld() {
		t.Errorf("fetch %v, token %q, held %v; want the token in use", fetch, r.GetToken(), r.GetHeld())
	}
	if _, fetch = s.leased(now, &messages.AccountLease{Node: "a", Serial: 2, Need: true, Want: 1, Refused: 2}); fetch == nil {
		t.Error("the token in use was refused and nobody asks for another")
	}
}

// A token that WeChat refused is used by no node until it is known what to think of it.
func TestRefusedTokenIsHeld(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, nil)
	_, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1, Refused: 2})
	if fetch == nil || fetch.force {
		t.Fatalf("fetch %+v, want one without force", fetch)
	}
	if r, _ := s.leased(now, &messages.AccountLease{Node: "b", Serial: 1, Need: true, Want: 1}); !r.GetHeld() {
		t.Error("another node may use the token that was refused")
	}
	e := tokenFetched{number: fetch.number, began: now}
	e.token.Value, e.token.ExpiresIn = "t3", 2*time.Hour
	s.step(e, now, 12345)
	if r, _ := s.leased(now, &messages.AccountLease{Node: "b", Serial: 2, Need: true, Want: 1}); r.GetHeld() || r.GetToken() != "t3" || r.GetGeneration() != 3 {
		t.Errorf("token %q of generation %d, held %v", r.GetToken(), r.GetGeneration(), r.GetHeld())
	}
}

// A call that ends the token in use stands in the record before it is made; who finds it there does not know whether it was made, and
// asks at once, without force.
func TestIntentStandsInTheRecord(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, nil)
	_, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1, Refused: 2})
	if s.Intent {
		t.Error("a call without force ends no token")
	}
	e := tokenFetched{number: fetch.number, began: now}
	e.token.Value, e.token.ExpiresIn = "t2", time.Hour // the very same one: now it is forced out
	_, do := s.step(e, now, 12345)
	forced := false
	for _, act := range do {
		fetch, ok := act.(actFetch)
		forced = forced || ok && fetch.force
	}
	if !forced {
		t.Fatal("the token that WeChat refuses and gives again is not forced out")
	}
	b, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := decodeAccount(b)
	if err != nil || !rec.Intent {
		t.Fatalf("intent %v, error %v: it must stand in what is committed before the call", rec.Intent, err)
	}
	next := newAccountState(rec, s.conf, now, 12345)
	r, fetch := next.leased(now, &messages.AccountLease{Node: "a", Serial: 2, Need: true, Want: 1})
	if fetch == nil || fetch.force {
		t.Errorf("the next owner fetches %+v, want a call without force", fetch)
	}
	if r.GetToken() != "t2" {
		t.Errorf("the next owner serves %q meanwhile, want the token of the record", r.GetToken())
	}
}

// A token of another app is no token of this one; its generation goes on, so that no node takes an old token for a new one.
func TestTokenOfAnotherApp(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, func(rec *accountRecord, _ *AccountSettings) { rec.AppID = "wxformer" })
	r, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1})
	if r.GetToken() != "" || fetch == nil || s.Generation != 2 {
		t.Errorf("token %q, fetch %v, generation %d", r.GetToken(), fetch, s.Generation)
	}
}

// A question may be delivered more than once: its permits are handed out once, and what it reports counts once.
func TestLeaseThatComesTwice(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, func(_ *accountRecord, conf *AccountSettings) { conf.PerDay = 100 })
	ask := &messages.AccountLease{Node: "a", Serial: 7, Need: true, Want: 10, Sent: 3}
	for range 3 {
		if r, _ := s.leased(now, ask); r.GetPermits() != 10 {
			t.Errorf("%d permits, want the same 10", r.GetPermits())
		}
	}
	if s.Day.granted != 10 || s.sent.Count != 3 {
		t.Errorf("%d permits handed out and %d messages sent, want 10 and 3", s.Day.granted, s.sent.Count)
	}
	s.leased(now, &messages.AccountLease{Node: "a", Serial: 8, Need: true, Want: 10, Returned: 4})
	if s.Day.granted != 16 {
		t.Errorf("%d permits handed out, want 16", s.Day.granted)
	}
}

// While the next token is fetched the one before is served: it is good until its end, and nobody has to wait.
func TestTokenIsServedWhileTheNextIsFetched(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, func(rec *accountRecord, _ *AccountSettings) { rec.ExpiresMS -= (56 * time.Minute).Milliseconds() })
	now = now.Add(askAgain)
	r, fetch := s.leased(now, &messages.AccountLease{Node: "a", Serial: 1, Need: true, Want: 1})
	if fetch == nil {
		t.Fatal("a token with less than four minutes left is not renewed")
	}
	if r.GetToken() != "t2" || r.GetHeld() || !r.GetPending() {
		t.Errorf("token %q, held %v, pending %v", r.GetToken(), r.GetHeld(), r.GetPending())
	}
}

// However many nodes ask, and whatever they were refused with, one fetch is under way at a time.
func TestOneFetchAtATime(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, nil)
	fetches := 0
	for serial := range uint64(4) {
		for _, node := range []string{"a", "b", "c"} {
			if _, fetch := s.leased(now, &messages.AccountLease{Node: node, Serial: serial + 1, Need: true, Want: 1, Refused: 2}); fetch != nil {
				fetches++
			}
			now = now.Add(time.Second)
		}
	}
	if fetches != 1 {
		t.Errorf("%d fetches under way at the same time", fetches)
	}
}

// What only an operator can mend is tried once a minute, whoever asks.
func TestAlarmIsTriedOnceAMinute(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, func(rec *accountRecord, _ *AccountSettings) { rec.Token = "" })
	fetches := 0
	for second := range uint64(181) {
		at := now.Add(time.Duration(second) * time.Second)
		if _, fetch := s.leased(at, &messages.AccountLease{Node: "a", Serial: second + 1, Need: true, Want: 1}); fetch != nil {
			fetches++
			s.step(tokenFetched{number: fetch.number, began: at, err: refused("stable_token", 40125, api.Config)}, at, 12345)
		}
	}
	if fetches != 4 {
		t.Errorf("%d token calls in three minutes, want one at once and one a minute", fetches)
	}
	if s.Alarm.Reason != AlarmAppSecret {
		t.Errorf("the alarm is %q", s.Alarm.Reason)
	}
}

// A day's quota that is used up is looked at once a minute, whoever asks.
func TestQuotaIsLookedAtOnceAMinute(t *testing.T) {
	t.Parallel()
	s, now := ledgered(t, nil)
	looks := 0
	for second := range uint64(200) {
		at := now.Add(time.Duration(second) * time.Second)
		ask := &messages.AccountLease{Node: "a", Serial: second + 1, Need: true, Want: 1}
		if second == 0 {
			ask.Troubles = []*messages.AccountTrouble{{Kind: messages.AccountBlock_KIND_DAILY_QUOTA, Code: 45009}}
		}
		_, do := s.step(ask, at, 12345)
		for _, act := range do {
			if look, ok := act.(actQuota); ok {
				looks++
				s.step(quotaRead{generation: look.generation}, at, 12345)
			}
		}
	}
	if looks != 3 {
		t.Errorf("%d looks in 200 s, want one a minute", looks)
	}
}
