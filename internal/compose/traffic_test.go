//go:build compose

package compose

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

const (
	users = 40
	pace  = 200 * time.Millisecond // between an answer and the user's next message

	notReceived = "抱歉，刚才的消息没有收到，请再发送一次。" // reply.not_received, as it is by default
)

// sent is one message and what became of it.
type sent struct {
	at       time.Time
	elapsed  time.Duration
	repeated bool   // answered by a redelivery
	refused  bool   // the log was away at every delivery, and the user was told to send it again (P6)
	fault    string // empty: it got its own answer, or was refused
}

// traffic is users who write one message after the other, through nginx, for as long as it runs. The simulated platform signs,
// encrypts, hangs up after five seconds and delivers again, as WeChat does.
type traffic struct {
	platform *simulator.Platform
	stop     context.CancelFunc
	ended    sync.WaitGroup

	mu      sync.Mutex
	all     []sent
	count   map[string]int // messages by user
	refused map[string]int // of them, those that were refused
}

func startTraffic(t *testing.T) *traffic {
	t.Helper()
	platform, err := simulator.New(simulator.Options{Accounts: []simulator.Account{{
		ID: account, AppID: appID, Token: token, AESKey: aesKey, Mode: simulator.ModeSafe,
		CallbackURL: "http://" + callback + "/wechat/callback/" + account,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.Handshake(t.Context(), account); err != nil {
		t.Fatalf("the callback is not confirmed through nginx: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l := &traffic{platform: platform, stop: stop, count: make(map[string]int), refused: make(map[string]int)}
	for i := range users {
		l.ended.Go(func() { l.user(ctx, fmt.Sprintf("o-compose-%02d", i)) }) // ends when stop is called
	}
	return l
}

// user writes until ctx ends; the message under way is finished first.
func (l *traffic) user(ctx context.Context, openID string) {
	for number := 1; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
		want := fmt.Sprintf("%s/%d", openID, number)
		at := time.Now()
		result, err := l.platform.Push(context.WithoutCancel(ctx), account, openID, simulator.Message{Type: "text", Content: "echo " + want})
		s := sent{at: at, elapsed: time.Since(at), repeated: len(result.Deliveries) > 1}
		s.refused = result.Answered && result.Answer.Content == notReceived
		if !s.refused {
			s.fault = judge(result, err, want)
		}
		l.note(openID, s)
	}
}

// judge says what is wrong with a result; nothing where the user got the one right answer.
func judge(r simulator.Result, err error, want string) string {
	switch {
	case err != nil:
		return err.Error()
	case r.Answered && (r.Answer.Content == want || strings.HasSuffix(r.Answer.Content, "\n"+want)): // behind answers that had to wait
		return ""
	case r.Answered:
		return fmt.Sprintf("answered %q, want %q", r.Answer.Content, want)
	default:
		var tries []string
		for _, d := range r.Deliveries {
			tries = append(tries, fmt.Sprintf("%s %d %s", d.Outcome, d.Status, d.Detail))
		}
		return fmt.Sprintf("%s has no answer: %q", want, tries)
	}
}

func (l *traffic) note(openID string, s sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
	l.count[openID]++
	if s.refused {
		l.refused[openID]++
	}
}

// since are the messages that were written from then on and have ended.
func (l *traffic) since(from time.Time) []sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []sent
	for _, s := range l.all {
		if !s.at.Before(from) {
			out = append(out, s)
		}
	}
	return out
}

// end stops the users and waits for their last answers.
func (l *traffic) end() {
	l.stop()
	l.ended.Wait()
	l.platform.Close()
}
