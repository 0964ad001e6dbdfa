package actors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hongyan/messages"
	"hongyan/stream"
)

// desk is the account of a simulation that may push; account may not.
const desk = "desk"

// accountOf tells whose user it is by the name: p… writes to desk, u… to the other one.
func accountOf(user string) string {
	if strings.HasPrefix(user, "p") {
		return desk
	}
	return account
}

// hall is WeChat's send API: what users did gives leave to send, each call takes of it, and what it showed is noted. Quotas and outages
// are of the account as a whole.
type hall struct {
	sim   *sim
	mu    sync.Mutex
	leave map[string]*leave // by user
	quota time.Time         // WeChat sends nothing before then, and says so
	down  time.Time         // nobody reaches it before then
	calls int
}

// leave is what WeChat lets the account send to a user.
type leave struct {
	until time.Time
	left  int
}

// opened notes that the user wrote.
func (h *hall) opened(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave[user] = &leave{until: time.Now().Add(48 * time.Hour), left: 5}
}

func (h *hall) setQuota(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quota = until
}

func (h *hall) setDown(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = until
}

func (h *hall) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.down)
}

func (h *hall) quotaUntil() (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.quota, time.Now().Before(h.quota)
}

// take is one call as WeChat sees it.
func (h *hall) take(call int, user, text string) Sent {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch l := h.leave[user]; {
	case now.Before(h.quota):
		return Sent{Fate: FateNotMade, Code: 45009, Retry: h.quota}
	case l == nil || !now.Before(l.until):
		return Sent{Fate: FateNoWindow, Code: 45015}
	case l.left == 0:
		return Sent{Fate: FateNoWindow, Code: 45047}
	default:
		l.left--
		h.sim.watch.pushed(call, user, text, now)
		return Sent{Fate: FateDelivered}
	}
}

// nodeOutlet is WeChat's API as a node reaches it.
type nodeOutlet struct{ n *node }

// Ready knows of a quota on some nodes at once, and on others only by what their calls come to.
func (o nodeOutlet) Ready(string) (ok bool, retry time.Time, why string) {
	s := o.n.sim
	if until, used := s.hall.quotaUntil(); used && s.chance.fixed(3, fmt.Sprint(o.n.id, until.UnixNano())) > 0 {
		return false, until.Add(o.n.skew), "quota"
	}
	if s.chance.roll(200, o.n.id+"ready") < s.weather.Load().send {
		return false, time.Now().Add(o.n.skew + time.Millisecond + s.chance.upTo(5*time.Second, o.n.id+"ready")), "rate"
	}
	return true, time.Time{}, ""
}

func (o nodeOutlet) Typing(context.Context, messages.User, bool) {}

// Send is a call that gets lost before WeChat, is refused, takes its time, or whose answer gets lost.
func (o nodeOutlet) Send(ctx context.Context, user messages.User, part *messages.Answer) Sent {
	s, text := o.n.sim, part.GetText().GetContent()
	if o.n.pass() != nil {
		return Sent{Fate: FateUnknown, Detail: "this process is dead"}
	}
	s.hall.mu.Lock()
	s.hall.calls++
	call := s.hall.calls
	s.hall.mu.Unlock()
	w, place := s.weather.Load(), o.n.id+"send"+user.OpenID
	fate := -1
	if s.chance.roll(100, place) < w.send {
		fate = s.chance.roll(24, "fate"+place)
	}
	if s.hall.isDown() {
		fate = s.chance.roll(2, "down"+place)
	}
	refused := func(f Fate) Sent { return Sent{Fate: f, Detail: "simulated"} }
	soon := o.now().Add(time.Second + s.chance.upTo(time.Second, place))
	switch fate {
	case 0, 1, 2, 3: // no connection, -1
		return Sent{Fate: FateNotMade, Retry: soon}
	case 4, 5:
		return refused(FateNoWindow) // WeChat counts otherwise than we do
	case 6:
		return refused(FateBadMessage)
	case 7:
		return refused(FateNoUser)
	case 8:
		return refused(FateNoRight)
	case 9, 10, 11: // the request gets lost
		return Sent{Fate: FateUnknown}
	case 12:
		return Sent{Fate: FateNotMade} // and nothing said about when
	}
	s.watch.calling(call, user.OpenID, text)
	delay := time.Millisecond + o.n.delay(w.sendSlow, 12*time.Second, place)
	sent, ok := travel(ctx, o.n, delay, sendTimeout, func() Sent { return s.hall.take(call, user.OpenID, text) })
	if !ok || fate >= 0 {
		return Sent{Fate: FateUnknown}
	}
	s.watch.told(call)
	return sent
}

func (o nodeOutlet) now() time.Time { return time.Now().Add(o.n.skew) }

// Accept writes an entry of the engine's own.
func (l nodeLog) Accept(ctx context.Context, e *messages.Entry) (messages.Position, error) {
	if err := l.reach(ctx, "accept"); err != nil {
		return messages.Position{}, err
	}
	err := l.n.sim.appendEntry(e, "")
	if l.n.sim.chance.roll(100, l.n.id+"accepted") < l.n.sim.weather.Load().log {
		return messages.Position{}, fmt.Errorf("accept: %w", stream.ErrUnknown)
	}
	return messages.Position{}, err
}

func (l nodeLog) Letter(ctx context.Context, id string) (*messages.DeadLetter, uint64, error) {
	if err := l.reach(ctx, "letter"+id); err != nil {
		return nil, 0, err
	}
	return l.n.sim.log.Letter(ctx, id)
}

func (l nodeLog) TakeUp(ctx context.Context, id string, r *messages.Redriven) (bool, error) {
	if err := l.reach(ctx, "take"+id); err != nil {
		return false, err
	}
	taken, err := l.n.sim.log.TakeUp(ctx, id, r)
	if l.n.sim.chance.roll(100, l.n.id+"taken"+id) < l.n.sim.weather.Load().log {
		return false, fmt.Errorf("take up: %w", stream.ErrUnknown)
	}
	return taken, err
}

// redrive is an operator who runs dead letters again, some of them several times at once.
func (s *sim) redrive(every int) {
	letters := s.log.Letters()
	for _, id := range slices.Sorted(maps.Keys(letters)) {
		letter := letters[id]
		in := letter.GetInbound()
		if letter.GetRedriven() != nil || in.GetMsgId() == s.deadly && s.deadly != "" ||
			strings.Contains(in.GetMsgId(), "flood") || s.chance.roll(every, "redrive"+id) > 0 {
			continue
		}
		user := messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}
		letterID := stream.LetterID(user.Partition(s.partitions), user.Account, id)
		for n := range 1 + s.chance.roll(3, "times"+id) {
			entry := &messages.Entry{Source: messages.Source_SOURCE_REDRIVE, Inbound: in,
				Redrive: &messages.Redrive{Letter: letterID, Attempt: letter.GetAttempt() + 1,
					Entry: fmt.Sprint(id, ".", n, ".", time.Now().UnixNano())}}
			wait := time.Duration(n)*s.chance.upTo(3*time.Second, "again"+id) + time.Duration(s.chance.fixed(1000, id))*time.Millisecond
			s.wechat.open.Go(func() {
				time.Sleep(wait)
				if s.appendEntry(entry, id) == nil {
					s.watch.redriven(id, in.GetMsgId(), letter.GetAnswer() == nil)
				}
			})
		}
	}
}
