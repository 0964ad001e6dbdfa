package simulator

import (
	"strings"
	"time"
)

// Trigger is what opens a grant: the right to send a user a few customer-service messages for a while.
type Trigger string

// The triggers, as WeChat's table of customer-service messages has them since 2023.
const (
	TriggerMessage   Trigger = "message"   // the user wrote: 5 messages in 48 hours
	TriggerMenu      Trigger = "menu"      // CLICK, scancode_push, scancode_waitmsg: 3 in a minute
	TriggerSubscribe Trigger = "subscribe" // 3 in a minute
	TriggerScan      Trigger = "scan"      // 3 in a minute
)

const interactionWindow = 30 * time.Second // how long after a user did something the account may show that it is typing

// grant is one open right.
type grant struct {
	trigger Trigger
	left    int
	until   time.Time
}

// follower is a user as the account's API sees him. Users are known from what they did; whoever only unfollowed is known, too.
type follower struct {
	following   bool
	since       time.Time // of following
	scene       string    // of the QR code by which he came
	refuses     bool      // switched off receiving
	acted       time.Time // when he last did something
	typingUntil time.Time
	grants      []grant
	accepted    map[string]int // subscription messages that he still takes, by template
}

// opens tells which grant m opens.
func (m Message) opens() (trigger Trigger, count int, valid time.Duration, ok bool) {
	if !m.IsEvent() {
		return TriggerMessage, 5, 48 * time.Hour, true
	}
	switch strings.ToLower(m.Event) {
	case "click", "scancode_push", "scancode_waitmsg":
		return TriggerMenu, 3, time.Minute, true
	case "subscribe":
		return TriggerSubscribe, 3, time.Minute, true
	case "scan":
		return TriggerScan, 3, time.Minute, true
	}
	return "", 0, 0, false
}

// open sets the trigger's grant afresh; the grants of other triggers stay as they are.
func (f *follower) open(trigger Trigger, count int, until time.Time) {
	fresh := grant{trigger, count, until}
	for i := range f.grants {
		if f.grants[i].trigger == trigger {
			f.grants[i] = fresh
			return
		}
	}
	f.grants = append(f.grants, fresh)
}

// take uses one message of the open grant that ends first. It fails with 45047 where grants are open but used up, and with 45015
// where none is open.
func (f *follower) take(now time.Time) (grant, error) {
	var best *grant
	open := false
	for i := range f.grants {
		g := &f.grants[i]
		if !now.Before(g.until) {
			continue
		}
		open = true
		if g.left > 0 && (best == nil || g.until.Before(best.until)) {
			best = g
		}
	}
	switch {
	case best != nil:
		best.left--
		return *best, nil
	case open:
		return grant{}, fail(CodeGrantUsed)
	}
	return grant{}, fail(CodeWindowClosed)
}

// results are events that tell of a job, not of something that the user did.
func (m Message) results() bool {
	return m.IsEvent() && (strings.HasSuffix(strings.ToUpper(m.Event), "JOBFINISH") || strings.EqualFold(m.Event, EventSubscribeSent))
}

// interact notes what a user did before it is pushed: whether he follows, what it grants, and the media that he sent.
func (p *Platform) interact(a *account, openID string, m Message) {
	if m.results() {
		return
	}
	now := p.now()
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	l := p.api.ledgers[a.ID]
	f := l.follower(openID, now)
	f.acted, f.typingUntil = now, time.Time{}
	switch {
	case m.unsubscribes():
		f.following, f.grants, f.accepted = false, nil, nil
		return
	case m.IsEvent() && strings.EqualFold(m.Event, "subscribe"):
		f.following, f.since, f.scene = true, now, strings.TrimPrefix(m.EventKey, "qrscene_")
	case m.IsEvent() && strings.EqualFold(m.Event, EventSubscribePopup):
		f.answerPopup(m)
	}
	for _, id := range []string{m.MediaID, m.ThumbMediaID} {
		if id != "" {
			l.media.know(id, now.Add(mediaLife))
		}
	}
	if trigger, count, valid, ok := m.opens(); ok {
		f.open(trigger, count, now.Add(valid))
	}
}

// answerPopup notes which subscription messages the user takes: each consent is good for one message.
func (f *follower) answerPopup(m Message) {
	if m.TemplateID == "" {
		return
	}
	if m.Status == "accept" {
		if f.accepted == nil {
			f.accepted = map[string]int{}
		}
		f.accepted[m.TemplateID]++
		return
	}
	delete(f.accepted, m.TemplateID)
}

// follower is the user with that OpenID; one who was not known follows from now on.
func (l *ledger) follower(openID string, now time.Time) *follower {
	f := l.followers[openID]
	if f == nil {
		f = &follower{following: true, since: now}
		l.followers[openID] = f
	}
	return f
}

// know makes a user known to the API without anything that he did.
func (p *Platform) know(account, openID string, following bool) {
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	l := p.api.ledgers[account]
	if l.followers[openID] == nil {
		l.followers[openID] = &follower{following: following, since: p.now()}
	}
}

// SetReceiving switches a user's receiving of the account's messages on or off, as he may in WeChat: while it is off,
// customer-service messages fail with 48002, and template messages end as blocked by the user. It makes the user known.
func (p *Platform) SetReceiving(account, openID string, on bool) error {
	if _, err := p.account(account); err != nil {
		return err
	}
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	p.api.ledgers[account].follower(openID, p.now()).refuses = !on
	return nil
}
