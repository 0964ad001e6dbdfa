package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// load is a number of users who write without waiting for answers: each has up to window messages under way at a time.
type load struct {
	t        *testing.T
	platform *simulator.Platform
	users    []string
	window   int
	stopped  atomic.Bool
	inFlight atomic.Int64
	serial   atomic.Int64
	senders  sync.WaitGroup
}

// newLoad names the users after the test's account; their OpenIDs look like WeChat's.
func newLoad(t *testing.T, p *simulator.Platform, users, window int) *load {
	t.Helper()
	l := &load{t: t, platform: p, window: window}
	for i := range users {
		l.users = append(l.users, fmt.Sprintf("o9AgO5Kd5ggOC-bXrbNODIiE%04d", i))
	}
	return l
}

// start lets them write until stop.
func (l *load) start() {
	for _, openID := range l.users {
		for range l.window {
			l.senders.Go(func() { // ended by stop, and by the end of the test
				for !l.stopped.Load() && l.t.Context().Err() == nil {
					l.say(openID)
				}
			})
		}
	}
	l.t.Cleanup(func() { l.stopped.Store(true) })
}

// say sends one question, which no message before had, and returns when the platform is done with it.
func (l *load) say(openID string) simulator.Result {
	l.inFlight.Add(1)
	defer l.inFlight.Add(-1)
	text := checker.Question(fmt.Sprintf("%s-%d", openID[len(openID)-4:], l.serial.Add(1)))
	result, err := l.platform.Push(l.t.Context(), "demo", openID, simulator.Message{Type: "text", Content: text})
	if err != nil && l.t.Context().Err() == nil {
		l.t.Errorf("push: %v", err)
	}
	return result
}

// stop ends the load and returns when nothing is under way any more.
func (l *load) stop() {
	l.stopped.Store(true)
	l.senders.Wait()
}

// under returns what is under way on the platform: messages without an end, by user and MsgId, with the number of the
// delivery that they are at.
func under(records []simulator.Record) map[string]int {
	out := make(map[string]int)
	for _, r := range records {
		switch id := r.OpenID + "/" + r.MsgID; r.Kind {
		case simulator.RecordPush:
			out[id] = 0
		case simulator.RecordSent:
			out[id] = r.Number
		case simulator.RecordEnd:
			delete(out, id)
		default:
		}
	}
	return out
}

// settleDown ends the load: everything under way comes to its end, and users whose answers were kept write until they have
// them all.
func (l *load) settleDown(n *node) map[string]checker.User {
	l.t.Helper()
	l.stop()
	users := make(map[string]checker.User)
	for _, openID := range l.users {
		for range 10 {
			eventually(l.t, 30*time.Second, "the user's messages are all settled", func() bool {
				users[openID] = n.show(openID)
				return users[openID].Queued == 0
			})
			if len(users[openID].Kept) == 0 {
				break
			}
			l.say(openID)
		}
	}
	return users
}
