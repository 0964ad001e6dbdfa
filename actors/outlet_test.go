package actors

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// crowd sends text after text from many nodes for a while, as users' actors do, and says what became of them.
func crowd(t *testing.T, o *office, nodes int, lasts time.Duration) map[Fate]int {
	t.Helper()
	var mu sync.Mutex
	fates := make(map[Fate]int)
	var sending sync.WaitGroup
	for n := range nodes {
		s := o.node(fmt.Sprint("crowd", n))
		for u := range 3 {
			sending.Go(func() {
				until := time.Now().Add(lasts)
				for i := 0; time.Now().Before(until); i++ {
					sent := pushUntil(t, s, fmt.Sprintf("n%du%d", n, u), fmt.Sprintf("n%du%d.%d", n, u, i), time.Until(until))
					mu.Lock()
					fates[sent.Fate]++
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	sending.Wait()
	synctest.Wait()
	return fates
}

// The day's quota is used up: nothing is sent on any node, WeChat is asked once a minute whether there is some again, and as soon as
// there is, all goes on.
func TestDailyQuota(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		quota := true
		o.platform.refuse = func(call string, n int) error {
			o.platform.mu.Lock()
			defer o.platform.mu.Unlock()
			if call == "send" && quota && n > 30 {
				return refused(call, 45009, api.DailyQuota)
			}
			return nil
		}
		o.start()
		crowd(t, o, 8, time.Second)
		for range 4 * 60 { // users' actors ask, now and then
			for _, s := range o.senders {
				if ok, _, _ := s.Ready(account); ok {
					t.Fatal("ready without quota")
				}
			}
			time.Sleep(time.Second)
		}
		if n := o.platform.count("send"); n < 31 || n > 31+8*3 { // what was under way when it came
			t.Errorf("%d calls of the send API", n)
		}
		if n := o.platform.count("quota"); n != 4 {
			t.Errorf("%d looks at the quota in four minutes, want 4", n)
		}
		if r := o.record(); len(r.Blocks) != 1 || r.Blocks[0].Kind != messages.AccountBlock_KIND_DAILY_QUOTA ||
			time.UnixMilli(r.Blocks[0].UntilMS).In(wechatZone).Hour() != 0 {
			t.Errorf("the blocks: %+v", r.Blocks)
		}
		o.platform.behave(func(p *weixin) { quota, p.remain = false, 1000 })
		if sent := pushUntil(t, o.senders[0], "u", "again", 12*time.Minute); sent.Fate != FateDelivered {
			t.Errorf("after the quota came back: %+v", sent)
		}
	})
}

// Too many calls in a minute: nothing more is sent until the next one, by no node, and then all goes on.
func TestMinuteRate(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		const limit = 200
		perMinute, refusals := make(map[int64]int), make(map[int64]int)
		o.platform.refuse = func(call string, _ int) error {
			o.platform.mu.Lock()
			defer o.platform.mu.Unlock()
			minute := time.Now().Unix() / 60
			if call != "send" {
				return nil
			}
			if perMinute[minute]++; perMinute[minute] > limit {
				refusals[minute]++
				return refused(call, 45011, api.MinuteRate)
			}
			return nil
		}
		o.start()
		fates := crowd(t, o, 8, 3*time.Minute)
		for minute, n := range refusals {
			if n > 8*3 {
				t.Errorf("%d calls in minute %d went beyond the limit", n, minute)
			}
		}
		if fates[FateDelivered] != 3*limit {
			t.Errorf("%d delivered in three minutes, want %d; %v", fates[FateDelivered], 3*limit, fates)
		}
	})
}

// The account may not send: one message a minute finds out, over all nodes, whether it may again.
func TestNoRightIsProbedOnceAMinute(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		right := false
		o.platform.refuse = func(call string, _ int) error {
			o.platform.mu.Lock()
			defer o.platform.mu.Unlock()
			if call == "send" && !right {
				return refused(call, 48001, api.NoRight)
			}
			return nil
		}
		o.start()
		fates := crowd(t, o, 8, 30*time.Second)
		first := o.platform.count("send")
		if first > 8*3 {
			t.Errorf("%d calls before all nodes knew", first)
		}
		if fates[FateNoRight] != first {
			t.Errorf("%d messages ended as no_right of %d calls: %v", fates[FateNoRight], first, fates)
		}
		crowd(t, o, 2, 3*time.Minute)
		if n := o.platform.count("send") - first; n < 2 || n > 4 {
			t.Errorf("%d calls in three minutes, want one a minute", n)
		}
		if lines := o.lines.with("ERROR"); len(lines) != 1 {
			t.Errorf("errors in the log: %q", lines)
		}
		o.platform.behave(func(*weixin) { right = true })
		if sent := pushUntil(t, o.senders[0], "u", "again", 2*time.Minute); sent.Fate != FateDelivered {
			t.Errorf("after the right came back: %+v", sent)
		}
		if fates := crowd(t, o, 2, 5*time.Second); fates[FateDelivered] < 100 {
			t.Errorf("then: %v", fates)
		}
	})
}

// A message that was refused only for its token is sent again by the same call.
func TestRefusedTokenCostsNoSecondCall(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		o.platform.kill()
		sent := s.Send(t.Context(), messages.User{Account: account, OpenID: "u"}, textAnswer("second"))
		if sent.Fate != FateDelivered || o.platform.count("send") != 3 {
			t.Errorf("%+v after %d calls", sent, o.platform.count("send"))
		}
		o.platform.kill()
		o.setDeaf(true) // nobody has another one: the message is not lost, and not sent for ever
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		sent = s.Send(ctx, messages.User{Account: account, OpenID: "u"}, textAnswer("third"))
		if sent.Fate != FateNotMade || sent.Code != 40001 || o.platform.count("send") != 4 || time.Since(began) > refreshPatient {
			t.Errorf("%+v after %d calls and %v", sent, o.platform.count("send"), time.Since(began))
		}
		if ok, _, _ := s.Ready(account); ok {
			t.Error("ready with a token that was refused")
		}
	})
}

// Rates and quotas of the configuration hold over all nodes together, and the nodes share them.
func TestPermitsOverTheCluster(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.settings.Rate, o.settings.PerDay = 20, 900
		o.start()
		began := time.Now()
		perSecond, worst := make(map[int64]int), 0
		o.platform.refuse = func(call string, _ int) error {
			o.platform.mu.Lock()
			defer o.platform.mu.Unlock()
			if call == "send" {
				perSecond[time.Now().Unix()]++
				worst = max(worst, perSecond[time.Now().Unix()])
			}
			return nil
		}
		fates := crowd(t, o, 4, 30*time.Second)
		if n := fates[FateDelivered]; n < 450 || n > 20*31+20 {
			t.Errorf("%d delivered in %v at 20/s", n, time.Since(began))
		}
		if worst > 45 { // a second's worth that was saved, a second's worth that is due
			t.Errorf("%d in one second", worst)
		}
		if fates = crowd(t, o, 4, 40*time.Second); o.platform.count("send") > 900 {
			t.Errorf("%d calls, the day has 900; %v", o.platform.count("send"), fates)
		}
		sent := o.platform.count("send")
		if sent < 850 {
			t.Errorf("only %d of the day's 900 were used", sent)
		}
		o.stop() // a new owner hands out nothing that was handed out before
		o.start()
		crowd(t, o, 2, 20*time.Second)
		if n := o.platform.count("send"); n > 900 {
			t.Errorf("%d calls after the takeover, the day has 900", n)
		}
	})
}

// WeChat's API hangs: after a few messages of which nobody knows the outcome no further one is risked. A harmless call finds out
// when it works again, and everything goes out soon after that.
func TestBreakerRisksNoMessage(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		down := false
		o.platform.refuse = func(call string, _ int) error {
			o.platform.mu.Lock()
			defer o.platform.mu.Unlock()
			if down && (call == "send" || call == "domain_ips") {
				return &api.Error{Call: call, Class: api.Unknown, Status: 502, Msg: "bad gateway"}
			}
			return nil
		}
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		o.platform.behave(func(*weixin) { down = true })
		fates := make(map[Fate]int)
		var waiting sync.WaitGroup
		var mu sync.Mutex
		for i := range 100 {
			time.Sleep(20 * time.Millisecond)
			waiting.Go(func() {
				sent := pushUntil(t, s, fmt.Sprint("u", i), fmt.Sprint(i), 5*time.Minute)
				mu.Lock()
				defer mu.Unlock()
				fates[sent.Fate]++
			})
		}
		time.Sleep(2 * time.Minute)
		if n := o.platform.count("send") - 1; n != breakAfter {
			t.Errorf("%d messages were risked, want %d", n, breakAfter)
		}
		if n := o.platform.count("domain_ips"); n < 20 || n > 60 {
			t.Errorf("%d harmless calls in two minutes", n)
		}
		back := time.Now()
		o.platform.behave(func(*weixin) { down = false })
		waiting.Wait()
		if took := time.Since(back); took > 20*time.Second {
			t.Errorf("all was delivered %v after the API worked again", took)
		}
		if fates[FateDelivered] != 100-breakAfter || fates[FateUnknown] != breakAfter {
			t.Errorf("the fates: %v", fates)
		}
	})
}

// While the account's actor cannot be asked, what it handed out is used on; without permits nothing is sent.
func TestNobodyAnswersForTheAccount(t *testing.T) {
	for _, rate := range []float64{0, 10} {
		t.Run(fmt.Sprint("rate=", rate), func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				o.settings.Rate = rate
				o.start()
				s := o.node("n1")
				pushUntil(t, s, "u", "first", time.Second)
				o.setDeaf(true)
				time.Sleep(5 * time.Second)
				for i := range 10 {
					sent := pushUntil(t, s, "u", fmt.Sprint(i), 8*time.Second)
					if want := map[bool]Fate{true: FateDelivered, false: FateNotMade}[rate == 0]; sent.Fate != want {
						t.Fatalf("message %d while nobody answers: %+v", i, sent)
					}
				}
				o.setDeaf(false)
				if sent := pushUntil(t, s, "u", "last", 3*time.Second); sent.Fate != FateDelivered {
					t.Errorf("when it answers again: %+v", sent)
				}
			})
		})
	}
}

// A node makes no more than so many calls at a time for an account.
func TestCallsAtATimeAreBounded(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		o.platform.behave(func(p *weixin) { p.slow = 3 * time.Second })
		var sending sync.WaitGroup
		for i := range 2 * maxInFlight {
			sending.Go(func() {
				if sent := pushUntil(t, s, fmt.Sprint("u", i), "x", time.Minute); sent.Fate != FateDelivered {
					t.Errorf("%+v", sent)
				}
			})
		}
		time.Sleep(2 * time.Second)
		if n := o.platform.count("send"); n != 1+maxInFlight {
			t.Errorf("%d calls under way, want %d", n-1, maxInFlight)
		}
		sending.Wait()
	})
}

// Before the sender runs and after it has ended, nothing is sent and nobody waits for ever; nor does a call whose time is over.
func TestSenderOutsideItsLife(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		o.stops[0]()
		o.stops = nil
		sent := s.Send(t.Context(), messages.User{Account: account, OpenID: "u"}, textAnswer("late"))
		if sent.Fate != FateNotMade || o.platform.count("send") != 1 {
			t.Errorf("after its end: %+v, %d calls", sent, o.platform.count("send"))
		}
		if sent := s.Send(t.Context(), messages.User{Account: "other", OpenID: "u"}, textAnswer("x")); sent.Fate != FateNoRight {
			t.Errorf("an account without secret: %+v", sent)
		}
		s.Typing(t.Context(), messages.User{Account: account, OpenID: "u"}, true) // returns
	})
}

// The sign of typing needs a token, and tells when it is not good any more.
func TestTyping(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		u := messages.User{Account: account, OpenID: "u"}
		s.Typing(t.Context(), u, true) // no lease yet: it is not shown, and asks for one
		time.Sleep(time.Second)
		s.Typing(t.Context(), u, true)
		if n := o.platform.count("typing"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		o.platform.kill()
		s.Typing(t.Context(), u, true)
		time.Sleep(time.Second)
		if n := o.platform.fetches(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// Ingresses learn where WeChat calls from; the list is read about once a day, and a new owner has it.
func TestCallbackIPs(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.platform.ips = callbackRanges
		o.start()
		ask := func() *messages.CallbackIPList {
			reply, err := o.ask(t.Context(), messages.AccountActor(account), &messages.CallbackIPs{})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return reply.(*messages.CallbackIPList)
		}
		if l := ask(); len(l.GetRanges()) != 0 {
			t.Errorf("a list out of nothing: %v", l)
		}
		if l := ask(); len(l.GetRanges()) != 2 || l.GetRanges()[1] != "203.0.113.0/24" {
			t.Errorf("the list: %v", l)
		}
		o.stop()
		o.start()
		for range 3 {
			if l := ask(); len(l.GetRanges()) != 2 {
				t.Errorf("after the takeover: %v", l)
			}
			time.Sleep(time.Minute)
		}
		if n := o.platform.count("callback_ips"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		for range 30 { // a genuine callback from elsewhere, again and again
			if _, err := o.ask(t.Context(), messages.AccountActor(account), &messages.CallbackIPs{Doubt: true}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		}
		if n := o.platform.count("callback_ips"); n != 2 {
			t.Errorf("%d calls after a quarter of an hour of doubts, want 2", n)
		}
	})
}
