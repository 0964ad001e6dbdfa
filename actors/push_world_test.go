package actors

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"hongyan/messages"
)

const pushAfter = 4100 * time.Millisecond

// hotline is WeChat's send API: what reached the user, and what the next calls come to.
type hotline struct {
	order *order
	mu    sync.Mutex
	shown []string
	fates []Sent        // of the next calls, in order; delivered behind them
	slow  time.Duration // what a call takes
	again time.Duration
	until time.Time   // not ready before then
	at    []time.Time // of shown
	begun []time.Time // of all calls
	typed int
}

func (l *hotline) Ready(string) (bool, time.Time, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		if l.again > 0 {
			return false, time.Now().Add(l.again), "breaker"
		}
		return false, l.until, "quota"
	}
	return true, time.Time{}, ""
}

func (l *hotline) Send(ctx context.Context, _ messages.User, part *messages.Answer) Sent {
	l.mu.Lock()
	l.begun = append(l.begun, time.Now())
	slow, r := l.slow, Sent{Fate: FateDelivered}
	if len(l.fates) > 0 {
		r, l.fates = l.fates[0], l.fates[1:]
	}
	l.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return Sent{Fate: FateUnknown}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Fate == FateDelivered || r.Detail == "shown all the same" {
		l.shown, l.at = append(l.shown, part.GetText().GetContent()), append(l.at, time.Now())
		l.order.add("sent")
	}
	return r
}

func (l *hotline) Typing(context.Context, messages.User, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.typed++
}

func (l *hotline) want(t *testing.T, texts ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.shown, texts) {
		t.Errorf("WeChat showed %q, want %q", l.shown, texts)
	}
}

func (l *hotline) behave(f func(*hotline)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// inPushWorld is inWorld with an account that may push.
func inPushWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.line = &hotline{order: w.order}
		f(t, w)
	})
}

// slowly lets the bot think about a text.
func (w *world) slowly(text string, delay time.Duration) {
	w.bot.mu.Lock()
	defer w.bot.mu.Unlock()
	if w.bot.delay == nil {
		w.bot.delay = make(map[string]time.Duration)
	}
	w.bot.delay[text] = delay
}

func (w *world) answers(text string, answers ...string) {
	w.bot.mu.Lock()
	defer w.bot.mu.Unlock()
	if w.bot.several == nil {
		w.bot.several = make(map[string][]string)
	}
	w.bot.several[text] = answers
}

func (w *world) wantQuiet(s *slot, from, to time.Duration, began time.Time) {
	w.t.Helper()
	if !s.isDone() || s.got() != nil {
		w.t.Fatalf("the exchange got %q (ended: %v), want a bare success", s.text(), s.isDone())
	}
	if after := s.when().Sub(began); after < from || after > to {
		w.t.Errorf("the exchange ended after %v, want %v to %v", after, from, to)
	}
}

// letters are the reasons of the dead letters, in no order.
func (w *world) wantDead(reasons ...string) {
	w.t.Helper()
	var got []string
	for _, l := range w.log.Letters() {
		got = append(got, l.GetReason())
	}
	slices.Sort(got)
	slices.Sort(reasons)
	if !slices.Equal(got, reasons) {
		w.t.Errorf("dead letters %q, want %q", got, reasons)
	}
}
