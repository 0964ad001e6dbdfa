package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state/memory"
)

// limited starts a world whose users may write three messages at once, and then one a second.
func limited(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		limits := conversation.Limits{UserEvery: time.Second, UserBurst: 3}
		w.opts.Accounts = map[string]Account{account: {Limited: tooFast, Busy: "busy", Limits: limits}}
		w.start()
		f(t, w)
	})
}

func (w *world) wantLimited(by string, n float64) {
	w.t.Helper()
	if got := testutil.ToFloat64(w.engine.metrics.limited.WithLabelValues(account, by)); got != n {
		w.t.Errorf("%v messages were limited by the %s's rate, want %v", got, by, n)
	}
}

// Over the rate one message is told so, the others get success until there is room, and all are committed as limited: no bot is asked.
func TestUserRate(t *testing.T) {
	limited(t, func(t *testing.T, w *world) {
		ins, slots := w.pour("u1", "a", 6, never)
		for i, s := range slots[:3] {
			if s.text() != "re: a"+string(rune('0'+i)) {
				t.Errorf("message %d got %q", i, s.text())
			}
		}
		if got := told(t, slots[3:]); len(got) != 1 || got[0] != 0 {
			t.Errorf("told at %v", got)
		}
		w.wantSaid("u1", "a0", "a1", "a2")
		w.wantLimited("user", 3)
		st, _ := w.state("u1")
		for i, want := range []string{"answered", "answered", "answered", "limited", "limited", "limited"} {
			k, _ := st.Keys.Find(messages.KeyOf(ins[i]))
			if got := conversation.OutcomeWord(k.Outcome); got != want {
				t.Errorf("message %d ended as %s, want %s", i, got, want)
			}
		}
		if s := w.deliver(ins[4]); !s.isDone() || s.got() != nil { // P2: WeChat asks again
			t.Errorf("a later delivery of a limited message: done %v, answer %q", s.isDone(), s.text())
		}
		time.Sleep(time.Second)
		_, later := w.pour("u1", "b", 2, never)
		if later[0].text() != "re: b0" || !later[1].isDone() || later[1].got() != nil {
			t.Errorf("a second later: %q and %q, want an answer and silence", later[0].text(), later[1].text())
		}
		if s := w.deliver(w.message("u2", "x", "hello")); s.text() != "re: hello" {
			t.Errorf("another user got %q", s.text())
		}
	})
}

// A message over the rate waits for no turn: the slow one in front of it holds up nobody's notice.
func TestLimitedBesideASlowTurn(t *testing.T) {
	limited(t, func(t *testing.T, w *world) {
		w.bot.slow("stubborn", time.Hour)
		w.deliver(w.message("u1", "0", "stubborn"))
		_, slots := w.pour("u1", "a", 4, never)
		if slots[2].text() != tooFast || !slots[3].isDone() {
			t.Errorf("got %q, and %v, while the first message is slow", slots[2].text(), slots[3].isDone())
		}
	})
}

// WeChat's further deliveries of a message are no further messages.
func TestRedeliveriesAreNotCounted(t *testing.T) {
	limited(t, func(t *testing.T, w *world) {
		w.bot.slow("slow", time.Second)
		in := w.message("u1", "0", "slow")
		for range 3 {
			w.deliver(in)
		}
		_, slots := w.pour("u1", "a", 2, never)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if slots[1].text() != "re: a1" {
			t.Errorf("the third message got %q", slots[1].text())
		}
		w.wantLimited("user", 0)
	})
}

// What a user's phone reports by itself is no message of the user: a place every few seconds locks nobody out.
func TestEventsAreNotLimited(t *testing.T) {
	limited(t, func(t *testing.T, w *world) {
		for i := range 20 {
			in := &messages.Inbound{
				Account: account, OpenId: "u1", MsgType: "event", Kind: messages.Kind_KIND_LOCATION_REPORT, CreateTime: time.Now().Unix() + int64(i),
				Body: &messages.Inbound_Event{Event: &messages.Event{Name: "LOCATION"}},
			}
			k := messages.DedupeKey(in)
			in.Key = k[:]
			w.deliver(in)
		}
		w.wantLimited("user", 0)
		if s := w.deliver(w.message("u1", "1", "hello")); s.text() != "re: hello" {
			t.Errorf("the user got %q", s.text())
		}
	})
}

// A message that was let in, and whose owner died over it, is not counted again by the next owner; one that was not let in stays out.
func TestRateOverATakeover(t *testing.T) {
	limited(t, func(t *testing.T, w *world) {
		w.bot.slow("a0", 3*time.Second)
		ins, _ := w.pour("u1", "a", 5, never)
		w.wantLimited("user", 2)
		w.kill()
		w.start()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		w.wantSaid("u1", "a0", "a1", "a2")
		w.wantLimited("user", 0)
		for _, in := range ins[3:] {
			if s := w.deliver(in); !s.isDone() || s.got() != nil {
				t.Errorf("a limited message got %q from the next owner", s.text())
			}
		}
	})
}

// The account's rate is shared out by partitions: this one of two has half of it, in windows of ten seconds.
func TestAccountRate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Busy: tooFast, Rate: 2}}
		w.opts.Partitions = 2
		w.start()
		if share := w.engine.Share(); share != 0.5 {
			t.Errorf("the node's share is %v", share)
		}
		n := 0
		ask := func(messages, answered int) {
			t.Helper()
			got := 0
			for range messages {
				n++
				if s := w.deliver(w.message(fmt.Sprint("u", n), "1", "hello")); s.text() == "re: hello" {
					got++
				} else if s.text() != tooFast {
					t.Errorf("message %d got %q", n, s.text())
				}
			}
			if got != answered {
				t.Errorf("%d of %d at once were answered, want %d", got, messages, answered)
			}
		}
		ask(15, 10)
		time.Sleep(rateWindow)
		ask(12, 10)
		w.wantLimited("account", 7)
		engine := w.engine
		w.stop()
		if share := engine.Share(); share != 0 {
			t.Errorf("without its partition the node's share is %v", share)
		}
	})
}

// What waited while nobody read the log, or ran when its owner died, is judged by when it came, not by when it is read.
func TestAccountRateOfABacklog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Busy: tooFast, Rate: 2}}
		w.opts.Partitions = 1
		w.start()
		for i := range 40 { // their turns run when the owner dies
			w.bot.slow(fmt.Sprint("m", i), time.Minute)
			w.deliver(w.message(fmt.Sprint("u", i), "1", fmt.Sprint("m", i)))
			time.Sleep(500 * time.Millisecond)
		}
		w.kill()
		for i := range 60 { // nobody reads these for half a minute
			in := w.message(fmt.Sprint("v", i), "1", "hello")
			w.accept(in, w.door.open(in))
			time.Sleep(500 * time.Millisecond)
		}
		w.start()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.wantLimited("account", 0)
		for i := range 40 {
			w.wantSaid(fmt.Sprint("u", i), fmt.Sprint("m", i))
		}
	})
}

// The user's breaker opens after failed turns in a row, lets one through when its time is over, and goes with the user's record.
func TestUserBreaker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Limits: conversation.Limits{BreakAfter: 2, RestFor: 30 * time.Second}}}
		w.start()
		sorry := bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text("sorry")}, Upstream: conversation.UpstreamFailed}
		fine := bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text("fine")}, Upstream: conversation.UpstreamOK}
		w.bot.says = map[string]bots.Response{"bad": sorry, "good": fine}
		n := 0
		ask := func(text string, resting bool) {
			t.Helper()
			n++
			w.deliver(w.message("u1", string(rune('a'+n)), text))
			if got := w.bot.last.Resting; got != resting {
				t.Errorf("message %d (%s): the user's breaker is open: %v, want %v", n, text, got, resting)
			}
		}
		ask("bad", false)
		ask("good", false) // in a row, that is
		ask("bad", false)
		ask("bad", false)
		ask("hello", true)
		w.kill()
		w.start()
		ask("hello", true)
		time.Sleep(30 * time.Second)
		ask("bad", false) // the probe
		ask("hello", true)
		time.Sleep(30 * time.Second)
		ask("good", false)
		ask("bad", false)
		ask("hello", false)
	})
}

// purse is a budget that is spent.
type purse struct {
	mu   sync.Mutex
	left int64
}

func (p *purse) Left(string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}

func (p *purse) Spend(_ string, tokens int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left -= tokens
}

// A turn may spend what is left of the user's budget and of the account's, and what it cost counts for both.
func TestBudgets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		account1 := &purse{left: 150}
		w.opts.Accounts = map[string]Account{account: {Limits: conversation.Limits{UserTokens: 100}}}
		w.opts.Tokens = account1
		w.start()
		w.bot.says = map[string]bots.Response{"dear": {Handled: true, Answers: []*messages.Answer{bots.Text("there")}, Tokens: 80}}
		n := 0
		ask := func(user string, left int64) {
			t.Helper()
			n++
			w.deliver(w.message(user, string(rune('a'+n)), "dear"))
			if got := w.bot.last.TokensLeft; got != left {
				t.Errorf("turn %d: %d tokens are left, want %d", n, got, left)
			}
		}
		ask("u1", 100)
		ask("u1", 20)
		ask("u2", -10) // the account's own is overdrawn
		w.kill()
		w.opts.Tokens = nil
		w.start()
		ask("u1", 0)
		ask("u2", 20)
		w.stop() // a day of the partition's ticks is long, also in virtual time
		time.Sleep(24 * time.Hour)
		w.start()
		ask("u1", 100)
	})
}

// What a call cost that was broken off counts too: the partition was behind, and the bot is asked once more in a hurry.
func TestTokensOfABrokenCall(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		spent := &purse{left: 1000}
		w.opts.Tokens = spent
		w.start()
		w.engine.Accounts[account] = Account{ID: account, Bot: costly{}, Limits: conversation.DefaultLimits(), Deliveries: 3}
		if s := w.deliver(w.message("u1", "1", "x")); s.text() != "at hand" {
			t.Fatalf("got %q", s.text())
		}
		st, _ := w.state("u1")
		if left := spent.Left(account); left != 965 || st.Spent.Tokens != 35 {
			t.Errorf("the account spent %d, the user %d; want 35 of both", 1000-left, st.Spent.Tokens)
		}
	})
}

// costly fails after 30 tokens, and has an answer for 5 in a hurry.
type costly struct{}

func (costly) Name() string { return "costly" }

func (costly) Answer(_ context.Context, req *bots.Request) (bots.Response, error) {
	if !req.Hurry {
		return bots.Response{Tokens: 30}, errors.New("broken off")
	}
	return bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text("at hand")}, Tokens: 5}, nil
}

// A bot may start the conversation afresh: what was said and noted before is gone for the next turn.
func TestForget(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		noted := bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text("noted")}, Session: map[string]string{"a.b": "c"}}
		fresh := bots.Response{Handled: true, Answers: []*messages.Answer{bots.Text("anew")}, Forget: true}
		w.bot.says = map[string]bots.Response{"note": noted, "/new": fresh}
		w.deliver(w.message("u1", "1", "note"))
		w.deliver(w.message("u1", "2", "/new"))
		w.deliver(w.message("u1", "3", "hello"))
		w.wantSaid("u1", "hello")
		if len(w.bot.last.History) != 0 || len(w.bot.last.Session) != 0 {
			t.Errorf("the next turn saw %v, %v", w.bot.last.History, w.bot.last.Session)
		}
	})
}

// Only a passive reply hands a user over. Where no exchange is open for it the user is told, and the next message is handed over, without
// a bot, whoever owns the user by then.
func TestHandOverWithTheNextMessage(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Limits: conversation.Limits{HandOver: "write again"}}}
		transfer := &messages.Answer{Content: &messages.Answer_Transfer{Transfer: &messages.TransferAnswer{KfAccount: "kf@demo"}}}
		w.start()
		w.bot.says = map[string]bots.Response{"agent": {Handled: true, Answers: []*messages.Answer{transfer}}}
		if s := w.deliver(w.message("u1", "1", "agent")); s.got().GetTransfer().GetKfAccount() != "kf@demo" {
			t.Errorf("in time it is the passive reply: got %v", s.got())
		}
		w.slowly("first", 10*time.Second) // its answer is late, and that of the message behind it with it
		w.deliver(w.message("u1", "2", "first"))
		late := w.deliver(w.message("u1", "3", "agent"))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !late.isDone() || late.got() != nil {
			t.Errorf("the late one got %v", late.got())
		}
		w.line.want(t, "re: first", "write again")
		w.kill()
		w.start()
		if s := w.deliver(w.message("u1", "4", "继续")); s.got().GetTransfer().GetKfAccount() != "kf@demo" {
			t.Errorf("the next message got %v", s.got())
		}
		if n := w.bot.count("继续"); n != 0 {
			t.Errorf("a bot was asked %d times about it", n)
		}
		if s := w.deliver(w.message("u1", "5", "hello")); s.text() != "re: hello" {
			t.Errorf("the one behind it got %q, %v", s.text(), s.got())
		}
		w.wantDead()
	})
}

// An entry that an activation had in hand when it ended, because the store was away for a while, is not counted once more.
func TestAccountRateOverLostActivations(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Busy: tooFast, Rate: 1}}
		w.opts.Partitions = 1
		w.start()
		w.breakStore(func(c memory.Call) memory.Fault {
			if c.Op == memory.Commit && !c.Key.IsCheckpoint() {
				return memory.Unreached
			}
			return memory.None
		})
		for i := range 8 {
			w.deliver(w.message(fmt.Sprint("u", i), "1", "hello"))
		}
		time.Sleep(8 * time.Second) // each of them ends and starts again a few times
		w.fault.Store(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		w.wantLimited("account", 0)
	})
}

// A letter that is re-driven is answered: it is no message of the user, and cannot be handed over.
func TestRedriveOfAUserWhoIsOwedAnAgent(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Limits: conversation.Limits{HandOver: "write again"}}}
		transfer := &messages.Answer{Content: &messages.Answer_Transfer{Transfer: &messages.TransferAnswer{}}}
		w.bot.panics = map[string]bool{"boom": true}
		w.bot.says = map[string]bots.Response{"agent": {Handled: true, Answers: []*messages.Answer{transfer}}}
		w.start()
		w.deliver(w.message("u1", "1", "boom"))
		time.Sleep(10 * time.Second)
		w.slowly("first", 10*time.Second)
		w.deliver(w.message("u1", "2", "first"))
		w.deliver(w.message("u1", "3", "agent"))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		w.line.want(t, "re: first", "write again")
		w.bot.mu.Lock()
		w.bot.panics = nil
		w.bot.mu.Unlock()
		for id, letter := range w.log.Letters() {
			w.redrive(id, letter)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		w.line.want(t, "re: first", "write again", "re: boom")
	})
}

// A planned release does not wait for a slow bot: the next owner asks it again.
func TestReleaseBesideASlowBot(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.bot.slow("slow", 20*time.Second)
		w.deliver(w.message("u1", "1", "slow"))
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > askingWithin+time.Second {
			t.Errorf("the release took %v", took)
		}
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.wantSaid("u1", "slow")
		if n := w.bot.count("slow"); n != 2 {
			t.Errorf("the bot was asked %d times", n)
		}
	})
}

// An answer that its only delivery refused is kept before a planned release: the next owner could not tell a refusal from a delivery, and
// WeChat, which was told to wait by a stopping ingress, does not ask again.
func TestReleaseKeepsARefusedAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.slow("a", time.Second)
		w.start()
		in := w.message("u1", "1", "a")
		s := w.door.open(in)
		w.accept(in, s)
		synctest.Wait()
		w.door.close(s)
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		w.stop()
		w.door.behave(func(d *door) { d.gone = true })
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.door.behave(func(d *door) { d.gone = false })
		if next := w.deliver(w.message("u1", "2", "b")); next.text() != "re: a\n\nre: b" {
			t.Errorf("the user's next message got %q", next.text())
		}
	})
}
