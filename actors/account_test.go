package actors

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// Nothing waits for a token: the first message that has to be sent fetches it, once, and it is served by a successor without a call.
func TestFirstNeedFetchesAndSuccessorServesRecordedToken(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		time.Sleep(10 * time.Second)
		if n := o.platform.fetches(); n != 0 {
			t.Fatalf("%d tokens were fetched though nobody had anything to send", n)
		}
		began := time.Now()
		if sent := pushUntil(t, s, "u1", "one", 5*time.Second); sent.Fate != FateDelivered {
			t.Fatalf("the first message: %+v", sent)
		}
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("the first message took %v", took)
		}
		o.stop()
		o.start()
		if sent := pushUntil(t, s, "u1", "two", 5*time.Second); sent.Fate != FateDelivered {
			t.Fatalf("after the takeover: %+v", sent)
		}
		if sent := pushUntil(t, o.node("n2"), "u1", "three", 5*time.Second); sent.Fate != FateDelivered {
			t.Fatalf("on another node after the takeover: %+v", sent)
		}
		if n := o.platform.fetches(); n != 1 {
			t.Errorf("%d tokens were fetched; the recorded one was good", n)
		}
		if r := o.record(); r.Generation != 1 || r.Token != "token1" {
			t.Errorf("the record has generation %d", r.Generation)
		}
	})
}

// Eight nodes send when the token is killed: WeChat is asked for a token once, and no message is lost or shown twice.
func TestStormOf40001OverEightNodesFetchesOnce(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.platform.slow = 30 * time.Millisecond
		o.start()
		const nodes, each = 8, 50
		var sending sync.WaitGroup
		for n := range nodes {
			s := o.node(fmt.Sprint("n", n))
			if sent := pushUntil(t, s, "warm", fmt.Sprint("warm", n), 5*time.Second); sent.Fate != FateDelivered {
				t.Fatalf("%+v", sent)
			}
			for u := range 4 {
				sending.Go(func() {
					for i := range each {
						text := fmt.Sprintf("n%d u%d %d", n, u, i)
						if sent := pushUntil(t, s, fmt.Sprint("u", u), text, time.Minute); sent.Fate != FateDelivered {
							t.Errorf("%s: %+v", text, sent)
						}
					}
				})
			}
		}
		time.Sleep(500 * time.Millisecond)
		before := o.platform.fetches()
		o.platform.kill()
		sending.Wait()
		if n := o.platform.fetches() - before; before != 1 || n != 1 {
			t.Errorf("%d fetches before the storm and %d for it, want 1 and 1", before, n)
		}
		shown := slices.Sorted(slices.Values(o.platform.shown))
		if n, unique := len(shown), len(slices.Compact(slices.Clone(shown))); n != unique || n != nodes*(4*each+1) {
			t.Errorf("users saw %d messages, %d different ones, want %d", n, unique, nodes*(4*each+1))
		}
	})
}

// A token that WeChat gives again though it refuses it is forced out, not more often than WeChat allows.
func TestStubbornTokenIsForced(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		bad := "token1"
		o.platform.behave(func(p *weixin) {
			p.refuse = func(call string, _ int) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				if call == "send" && p.token == bad {
					return refused(call, 40001, api.TokenInvalid)
				}
				return nil
			}
		})
		if sent := pushUntil(t, s, "u", "second", 10*time.Second); sent.Fate != FateDelivered {
			t.Fatalf("%+v", sent)
		}
		if p := o.platform; p.stable != 2 || p.forced != 1 {
			t.Errorf("%d calls without force and %d with it, want 2 and 1", p.stable, p.forced)
		}
		o.platform.behave(func(*weixin) { bad = "token2" }) // again, before a forced refresh is heeded
		began := time.Now()
		if sent := pushUntil(t, s, "u", "third", 2*time.Minute); sent.Fate != FateDelivered {
			t.Fatalf("%+v", sent)
		}
		if took := time.Since(began); took < 29*time.Second || took > 45*time.Second {
			t.Errorf("it took %v; a forced refresh is heeded after 30 s", took)
		}
		if p := o.platform; p.forced != 2 || p.stable > 3 {
			t.Errorf("%d calls without force and %d with it", p.stable, p.forced)
		}
		// Now every token is refused, until the forced refreshes are used up and on.
		o.platform.behave(func(p *weixin) {
			p.refuse = func(call string, _ int) error {
				if call == "send" {
					return refused(call, 40001, api.TokenInvalid)
				}
				return nil
			}
		})
		forced, sends, stable := o.platform.forced, o.platform.count("send"), o.platform.stable
		pushUntil(t, s, "u", "never", 13*time.Minute)
		if n := o.platform.forced - forced; n != forcesPerDay-2 {
			t.Errorf("%d more forced refreshes, want the rest of the day's %d", n, forcesPerDay)
		}
		if n := o.platform.count("send") - sends; n > 13*4 {
			t.Errorf("%d calls in 13 minutes with tokens that are refused", n)
		}
		if n := o.platform.stable - stable; n > 13*2+2 {
			t.Errorf("%d token calls in 13 minutes", n)
		}
	})
}

// The token is renewed before it ends, and the one before is served until the next one is there: nobody waits.
func TestRenewalLeavesNoGap(t *testing.T) {
	for _, classic := range []bool{false, true} {
		t.Run(fmt.Sprint("classic=", classic), func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				o.settings.Classic, o.platform.life = classic, 16*time.Minute
				o.start()
				s := o.node("n1")
				pushUntil(t, s, "u", "first", time.Second)
				for range 21 * 60 / 2 { // 21 minutes, a message every two seconds
					time.Sleep(2 * time.Second)
					if ok, _, why := s.Ready(account); !ok {
						t.Fatalf("not ready after %d messages: %s", len(o.platform.shown), why)
					}
					if sent := s.Send(t.Context(), messages.User{Account: account, OpenID: "u"}, textAnswer("x")); sent.Fate != FateDelivered {
						t.Fatalf("after %d messages: %+v", len(o.platform.shown), sent)
					}
				}
				if r := o.record(); r.Generation != 2 {
					t.Errorf("generation %d after 21 minutes, want 2", r.Generation)
				}
				if n := o.platform.fetches(); n > 4 || classic && n != 2 {
					t.Errorf("%d token calls in 21 minutes", n)
				}
			})
		})
	}
}

// An account that nobody uses keeps quiet, and is there again when it is needed.
func TestIdleAccountFetchesNothing(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.platform.life = 4 * time.Minute
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		before := o.looked()
		time.Sleep(5 * time.Minute)
		if n := o.looked() - before; n > 5*60*5 {
			t.Errorf("an idle node looked %d times at its clock in five minutes", n)
		}
		if n := o.platform.fetches(); n != 1 {
			t.Errorf("%d token calls of an idle account", n)
		}
		if sent := pushUntil(t, s, "u", "second", time.Second); sent.Fate != FateDelivered {
			t.Errorf("%+v", sent)
		}
	})
}

// What only an operator can mend stops the fetching: one alarm that says what to do, a try a minute, and at once after a change.
func TestAlarm(t *testing.T) {
	cases := []struct {
		code   int
		reason string
		says   string
	}{
		{40001, AlarmAppSecret, "app_secret"}, {40125, AlarmAppSecret, "app_secret"}, {40013, AlarmAppID, "app_id"},
		{40164, AlarmIP, "1.2.3.4"}, {61004, AlarmIP, "1.2.3.4"}, {40243, AlarmFrozen, "unfreeze"}, {89503, AlarmConfig, "refused"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				o.platform.refuse = func(call string, _ int) error {
					if call != "stable_token" {
						return nil
					}
					return &api.Error{Call: call, Code: c.code, Class: api.Config, Msg: "refused", SeenIP: seenIP}
				}
				o.start()
				s := o.node("n1")
				if sent := pushUntil(t, s, "u", "x", 3*time.Minute+30*time.Second); sent.Fate != FateNotMade || !strings.Contains(sent.Detail, c.says) {
					t.Errorf("the message: %+v", sent)
				}
				if n := o.platform.fetches(); n != 4 {
					t.Errorf("%d token calls in three minutes and a half, want one a minute", n)
				}
				if lines := o.lines.with("ERROR"); len(lines) != 1 || !strings.Contains(lines[0], c.says) {
					t.Errorf("errors in the log: %q", lines)
				}
				if n := gauge(t, o.reg, "hongyan_account_alarm", c.reason); n != 1 {
					t.Errorf("hongyan_account_alarm of %s is %v", c.reason, n)
				}
				before := o.platform.fetches()
				o.stop() // a new owner knows of it
				o.start()
				pushUntil(t, s, "u", "x", 20*time.Second)
				if n := o.platform.fetches() - before; n > 1 {
					t.Errorf("%d token calls within 20 s of a takeover", n)
				}
				if lines := o.lines.with("ERROR"); len(lines) != 1 {
					t.Errorf("errors in the log: %q", lines)
				}
				time.Sleep(30 * time.Second)
				o.stop() // the operator mends it and starts the workers anew
				o.platform.behave(func(p *weixin) { p.refuse = nil })
				o.settings.AppSecret = "another"
				o.start()
				if sent := pushUntil(t, s, "u", "x", 10*time.Second); sent.Fate != FateDelivered {
					t.Errorf("after the configuration changed: %+v", sent)
				}
				if n := gauge(t, o.reg, "hongyan_account_alarm", c.reason); n != 0 {
					t.Errorf("hongyan_account_alarm of %s is %v", c.reason, n)
				}
			})
		})
	}
}

// gauge is the value of a metric of the account with a reason.
func gauge(t *testing.T, reg *prometheus.Registry, name, reason string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "reason" && l.GetValue() == reason {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return 0
}

// Tokens never stand in a log line.
func TestAccountLogsNoToken(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "x", time.Second)
		o.platform.kill()
		pushUntil(t, s, "u", "x", time.Minute)
		if lines := o.lines.with("the account has a new token"); len(lines) != 2 {
			t.Errorf("%d lines about new tokens, want 2", len(lines))
		}
		for _, secret := range []string{"token1", "token2", "secret"} {
			if lines := o.lines.with(secret); len(lines) > 0 {
				t.Errorf("%q stands in %q", secret, lines)
			}
		}
	})
}

// An owner that was replaced does not end the token that its successor serves: the intent to do so is refused first.
func TestStaleOwnerForcesNoToken(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "x", time.Second)
		stalePID, staleGone, staleSystem := o.pid, o.gone, o.system
		o.start() // its successor; the first one does not know
		o.lease(&messages.AccountLease{Node: "n2", Serial: 1, Troubles: []*messages.AccountTrouble{
			{Kind: messages.AccountBlock_KIND_MINUTE_RATE, Code: 45011},
		}})
		if r := o.record(); len(r.Blocks) != 1 {
			t.Fatalf("the successor wrote %d blocks, want 1", len(r.Blocks))
		}
		freshPID, freshSystem := o.pid, o.system
		o.become(stalePID, staleSystem)
		reply, err := o.ask(t.Context(), messages.AccountActor(account), &messages.AccountLease{Node: "n9", Serial: 1, Need: true, Refused: 1})
		if err != nil || reply.(*messages.AccountLeased).GetGeneration() != 1 {
			t.Fatalf("the stale owner: %v %v", reply, err)
		}
		<-staleGone // it steps down
		staleSystem.Shutdown()
		o.become(freshPID, freshSystem)
		if o.platform.forced != 0 || o.platform.stable != 2 {
			t.Errorf("%d forced and %d other token calls, want 0 and 2", o.platform.forced, o.platform.stable)
		}
		if sent := pushUntil(t, s, "u", "y", 2*time.Minute); sent.Fate != FateDelivered {
			t.Errorf("the successor's message: %+v", sent)
		}
	})
}

var (
	seenIP         = netip.MustParseAddr("1.2.3.4")
	callbackRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("203.0.113.0/24")}
)
