package actors

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state/memory"
)

// Rule 14: the exchange is told push only after that stands in the record, half a second before its deadline, and the answer leaves by
// push alone.
func TestPushPath(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 8*time.Second)
		w.start()
		began := time.Now()
		in := w.message("u1", "1", "slow")
		s := w.deliver(in)
		time.Sleep(4 * time.Second)
		if s.isDone() {
			t.Fatal("the exchange ended before its deadline")
		}
		time.Sleep(200 * time.Millisecond)
		w.wantQuiet(s, 4100*time.Millisecond, 4200*time.Millisecond, began)
		if st, _ := w.state("u1"); len(st.Pushes) != 1 || st.Pushes[0].Answered {
			t.Errorf("the record has %+v, want the path alone", st.Pushes)
		}
		if got := w.order.take(); !slices.Equal(got, []string{"commit", "offer"}) {
			t.Errorf("%q, want the commit before the exchange is told", got)
		}
		late := w.deliver(in) // another delivery, though the first one was ended with success
		time.Sleep(10 * time.Second)
		if !late.isDone() || late.got() != nil {
			t.Errorf("a later delivery got %q, want a bare success", late.text())
		}
		w.line.want(t, "re: slow")
		w.wantSaid("u1", "slow")
		if st, _ := w.state("u1"); len(st.Pushes) != 0 || len(st.Answers) != 0 || len(st.Kept) != 0 {
			t.Errorf("left over: %+v", st)
		}
		w.wantDead()
	})
}

// An answer that is there in time is passive.
func TestPushNotNeeded(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("soon", 4*time.Second)
		w.start()
		s := w.deliver(w.message("u1", "1", "soon"))
		time.Sleep(10 * time.Second)
		if s.text() != "re: soon" {
			t.Errorf("got %q", s.text())
		}
		w.line.want(t)
	})
}

// Messages behind a slow one have deadlines of their own, and all answers keep their order.
func TestPushQueue(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 20*time.Second)
		w.line.slow = 300 * time.Millisecond
		w.start()
		w.deliver(w.message("u1", "1", "slow"))
		time.Sleep(3 * time.Second)
		began := time.Now()
		second := w.deliver(w.message("u1", "2", "b"))
		third := w.deliver(w.message("u1", "3", "c"))
		time.Sleep(12 * time.Second)
		w.wantQuiet(second, 4*time.Second, 4300*time.Millisecond, began)
		w.wantQuiet(third, 4*time.Second, 4300*time.Millisecond, began)
		last := w.deliver(w.message("u1", "4", "d"))
		time.Sleep(10 * time.Second)
		w.line.want(t, "re: slow", "re: b", "re: c", "re: d")
		if !last.isDone() || last.got() != nil {
			t.Errorf("the last exchange got %q, want success: it waited longer than its deadline", last.text())
		}
		w.wantSaid("u1", "slow", "b", "c", "d")
	})
}

// The path survives its owner: the next one asks the bot again and pushes; a delivery that comes all the same gets success.
func TestPushPathSurvives(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.slowly("slow", 8*time.Second)
		w.start()
		in := w.message("u1", "1", "slow")
		w.deliver(in)
		time.Sleep(5 * time.Second)
		w.kill()
		w.start()
		again := w.deliver(in)
		time.Sleep(15 * time.Second)
		if !again.isDone() || again.got() != nil {
			t.Errorf("the delivery got %q, want success", again.text())
		}
		w.line.want(t, "re: slow")
		w.wantSaid("u1", "slow")
	})
}

// Rule 16: the record says `sending` before the call, so whoever finds it without a result knows that nobody knows. By default it is
// never repeated.
func TestSendingBeforeSend(t *testing.T) {
	for name, tt := range map[string]struct {
		unknown UnknownPolicy
		shown   []string
		dead    []string
	}{
		"never": {UnknownNever, []string{"one", "two", "three"}, []string{ReasonUnknown}},
		"once":  {UnknownOnce, []string{"one", "two", "two", "three"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inPushWorld(t, func(t *testing.T, w *world) {
				w.opts.Accounts = map[string]Account{account: {Unknown: tt.unknown}}
				w.answers("many", "one", "two", "three")
				w.line.slow = time.Second
				w.start()
				s := w.deliver(w.message("u1", "1", "many"))
				time.Sleep(1500 * time.Millisecond) // the second part is on its way
				if !s.isDone() || s.got() != nil {
					t.Errorf("the exchange got %q, want success: several parts are pushed", s.text())
				}
				w.kill()
				time.Sleep(2 * time.Second) // the call went out all the same
				w.start()
				time.Sleep(10 * time.Second)
				w.line.want(t, tt.shown...)
				w.wantDead(tt.dead...)
				if st, _ := w.state("u1"); len(st.Pushes) != 0 {
					t.Errorf("left over: %+v", st.Pushes)
				}
			})
		})
	}
}

// Five messages for one of the user's: the rest comes with the next message, joined in one reply.
func TestPushGrant(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		var parts []string
		for i := range 9 {
			parts = append(parts, fmt.Sprint("part ", i+1))
		}
		w.answers("many", parts...)
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.line.want(t, parts[:5]...)
		next := w.deliver(w.message("u1", "2", "next"))
		time.Sleep(time.Second)
		if want := strings.Join(append(slices.Clone(parts[5:]), "re: next"), "\n\n"); next.text() != want {
			t.Errorf("the next reply is %q, want %q", next.text(), want)
		}
		w.line.want(t, parts[:5]...)
		w.wantDead()
	})
}

// What WeChat answers decides: try again later, keep for the user's next message, give up one part, or all of them.
func TestPushFates(t *testing.T) {
	for name, tt := range map[string]struct {
		fates []Sent
		shown []string
		kept  int
		dead  []string
	}{
		"busy":        {[]Sent{{Fate: FateNotMade}, {Fate: FateNotMade}}, []string{"one", "two"}, 0, nil},
		"window":      {[]Sent{{Fate: FateDelivered}, {Fate: FateNoWindow, Code: 45047}}, []string{"one"}, 1, nil},
		"no right":    {[]Sent{{Fate: FateNoRight, Code: 48001}}, nil, 2, nil},
		"bad message": {[]Sent{{Fate: FateBadMessage, Code: 45002}}, []string{"two"}, 0, []string{ReasonRefused}},
		"no user":     {[]Sent{{Fate: FateNoUser, Code: 48002}}, nil, 0, []string{ReasonNoUser, ReasonNoUser}},
		"unknown":     {[]Sent{{Fate: FateUnknown}}, []string{"two"}, 0, []string{ReasonUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			inPushWorld(t, func(t *testing.T, w *world) {
				w.answers("many", "one", "two")
				w.line.fates = tt.fates
				w.start()
				w.deliver(w.message("u1", "1", "many"))
				time.Sleep(30 * time.Second)
				w.line.want(t, tt.shown...)
				w.wantDead(tt.dead...)
				if st, _ := w.state("u1"); len(st.Kept) != tt.kept || len(st.Pushes) != 0 {
					t.Errorf("kept %d, pushes %d; want %d and none", len(st.Kept), len(st.Pushes), tt.kept)
				}
			})
		})
	}
}

// An answer that cannot be sent now does not stand in the way of the next message: it goes in front of that reply.
func TestPushMakesRoom(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.until = time.Now().Add(40 * time.Second)
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		next := w.deliver(w.message("u1", "2", "b"))
		time.Sleep(time.Second)
		if next.text() != "one\n\ntwo\n\nre: b" {
			t.Errorf("the next reply is %q", next.text())
		}
		time.Sleep(time.Minute)
		w.line.want(t)
	})
}

// Rule 18: a wait of more than a minute is a row in the due index, written before the entry is settled, and loaded at takeover.
func TestDueIndex(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.until = time.Now().Add(10 * time.Minute)
		w.start()
		var broken bool
		w.breakStore(func(c memory.Call) memory.Fault {
			if broken && c.Op == memory.Commit && c.Key.User.Reserved() {
				return memory.Unreached
			}
			return memory.None
		})
		broken = true
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor != 0 || len(c.Above) != 0 {
			t.Errorf("the entry is settled (floor %d) and its row is not in the store", c.Floor)
		}
		w.breakStore(func(memory.Call) memory.Fault { return memory.None })
		time.Sleep(5 * time.Second)
		if c := w.checkpoint(); c.Floor == 0 || c.Due == 0 {
			t.Errorf("floor %d, shards %b: want the entry settled and the row's shard known", c.Floor, c.Due)
		}
		w.kill()
		w.start()
		time.Sleep(9 * time.Minute)
		w.line.want(t)
		time.Sleep(2 * time.Minute)
		w.line.want(t, "one", "two")
		if st, _ := w.state("u1"); len(st.Kept) != 0 {
			t.Errorf("kept: %+v", st.Kept)
		}
		time.Sleep(5 * time.Minute)
		w.line.want(t, "one", "two")
		w.wantDead()
	})
}

// Rule 18: kept answers become dead letters when their time is over, though the user never writes again.
func TestKeptAnswersExpire(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Limits: conversation.Limits{KeptFor: 10 * time.Minute}}}
		w.start()
		s := w.door.open(w.message("u1", "1", "a"))
		w.door.close(s)
		in := w.message("u1", "1", "a")
		w.accept(in, s)
		time.Sleep(time.Minute)
		if st, _ := w.state("u1"); len(st.Kept) != 1 {
			t.Fatalf("kept: %+v", st.Kept)
		}
		w.kill()
		w.start()
		time.Sleep(8 * time.Minute)
		w.wantDead()
		time.Sleep(2 * time.Minute)
		w.wantDead(conversation.ReasonExpired)
		if st, _ := w.state("u1"); len(st.Kept) != 0 || len(st.Burials) != 0 {
			t.Errorf("left over: %+v %+v", st.Kept, st.Burials)
		}
	})
}

// Rule 19: a dead letter is run once, however many entries re-drive it, and its answer is never passive.
func TestRedrive(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.fates = []Sent{{Fate: FateUnknown}}
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(5 * time.Second)
		w.line.want(t, "two")
		w.wantDead(ReasonUnknown)
		for id, letter := range w.log.Letters() {
			for range 3 {
				entry := &messages.Entry{Source: messages.Source_SOURCE_REDRIVE, Inbound: letter.GetInbound(),
					Redrive: &messages.Redrive{Letter: "0." + account + "." + id, Attempt: letter.GetAttempt() + 1}}
				if _, err := w.log.Accept(t.Context(), entry); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(5 * time.Second)
		w.kill()
		w.start()
		time.Sleep(30 * time.Second)
		w.line.want(t, "two", "one")
		w.wantSaid("u1", "many")
	})
}

// A user who waits for a model is shown that an answer is being written.
func TestPushTyping(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.opts.Accounts = map[string]Account{account: {Typing: true}}
		w.slowly("slow", 20*time.Second)
		w.slowly("quick", time.Second)
		w.start()
		w.deliver(w.message("u1", "1", "quick"))
		time.Sleep(5 * time.Second)
		w.line.behave(func(l *hotline) {
			if l.typed != 0 {
				t.Errorf("%d signs for a quick answer", l.typed)
			}
		})
		w.deliver(w.message("u1", "2", "slow"))
		time.Sleep(30 * time.Second)
		w.line.behave(func(l *hotline) {
			if l.typed != 3 { // after 2 s, 10 s, 18 s
				t.Errorf("%d signs within 20 s, want 3", l.typed)
			}
		})
	})
}

// An outage of unknown length: for a minute the entry waits unsettled, then the answer is kept, woken again and again, and pushed once
// the API is back.
func TestPushOutage(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.until, w.line.again = time.Now().Add(10*time.Minute), 2*time.Second
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(30 * time.Second)
		if c := w.checkpoint(); c.Floor != 0 {
			t.Error("the entry was settled within the first minute")
		}
		time.Sleep(40 * time.Second)
		if st, _ := w.state("u1"); len(st.Kept) != 2 || st.Kept[0].PushMS == 0 {
			t.Errorf("kept: %+v, want both parts with a time", st.Kept)
		}
		if c := w.checkpoint(); c.Floor == 0 {
			t.Error("the entry still waits after the first minute")
		}
		time.Sleep(529 * time.Second)
		w.line.want(t)
		time.Sleep(time.Minute)
		w.line.want(t, "one", "two")
		w.wantDead()
		w.wantSaid("u1", "many")
	})
}

// A planned handover waits for a call that is under way, so that its outcome is known, and not for what only waits for the API.
func TestPushRelease(t *testing.T) {
	inPushWorld(t, func(t *testing.T, w *world) {
		w.answers("many", "one", "two")
		w.line.slow = 7 * time.Second
		w.start()
		w.deliver(w.message("u1", "1", "many"))
		time.Sleep(time.Second)
		w.stop()
		w.line.behave(func(l *hotline) { l.slow, l.until, l.again = 0, time.Now().Add(time.Hour), time.Second })
		w.start()
		time.Sleep(3 * time.Second)
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the release took %v though everything only waits", took)
		}
		w.line.behave(func(l *hotline) { l.until = time.Time{} })
		w.start()
		time.Sleep(5 * time.Second)
		w.line.want(t, "one", "two")
		w.wantDead()
	})
}
