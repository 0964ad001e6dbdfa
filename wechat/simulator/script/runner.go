package script

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hongyan/messages"
	"hongyan/wechat/simulator"
)

// maxLoadInFlight bounds the messages of a load that are under way. Where it is reached the load falls behind its rate, which the
// report shows.
const maxLoadInFlight = 4096

// Runner plays one script once.
type Runner struct {
	script  *Script
	account string // for users that name none
	inboxes map[messages.User]*inbox

	sent, seen, failed, done atomic.Int64 // done: users at their end
	players                  int

	mu       sync.Mutex
	rows     []*row
	failures []Failure
}

// NewRunner prepares a script. account is the one for users that name none.
func NewRunner(s *Script, account string) *Runner {
	r := &Runner{script: s, account: account, inboxes: map[messages.User]*inbox{}}
	for i := range s.Users {
		u := &s.Users[i]
		for n := range u.Count {
			r.inbox(u.Account, u.openID(n))
		}
		r.players += u.Count
	}
	if l := s.Load; l != nil {
		for n := range l.Users {
			r.inbox(l.Account, l.openID(n))
		}
		r.players++
	}
	return r
}

func (u *User) openID(n int) string {
	if u.Count == 1 {
		return u.ID
	}
	return u.ID + "-" + strconv.Itoa(n+1)
}

func (l *Load) openID(n int) string { return l.ID + "-" + strconv.Itoa(n+1) }

func (r *Runner) inbox(account, openID string) *inbox {
	if account == "" {
		account = r.account
	}
	key := messages.User{Account: account, OpenID: openID}
	b := r.inboxes[key]
	if b == nil {
		b = newInbox()
		r.inboxes[key] = b
	}
	return b
}

// Watch takes what users saw from the platform's log. It suits simulator.Options.Watch.
func (r *Runner) Watch(record simulator.Record) {
	s := seen{at: record.At, answer: record.Answer}
	switch {
	case record.Kind == simulator.RecordReceived && record.Outcome == simulator.OutcomeAnswered:
		s.via = ViaPassive
	case record.Kind == simulator.RecordCustom:
		s.via = ViaCustom
	case record.Kind == simulator.RecordEnd && record.Banner:
		s.via, s.answer = viaBanner, nil
	default:
		return
	}
	b := r.inboxes[messages.User{Account: record.Account, OpenID: record.OpenID}]
	if b == nil {
		return
	}
	if s.answer != nil {
		r.seen.Add(1)
	}
	if s.via == ViaCustom {
		if row, since := b.latest(); row != nil {
			r.change(func() { row.custom(time.Since(since)) })
		}
	}
	b.put(s)
}

// Run plays the script to its end, or until ctx ends, and tells how it went. The error is for faults that cannot be injected;
// whatever the back end does is in the report.
func (r *Runner) Run(ctx context.Context, p *simulator.Platform) (*Report, error) {
	started := time.Now()
	for _, f := range r.script.Faults {
		if _, err := p.Inject(f.Fault); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", r.script.file, f.line, err)
		}
	}
	var all sync.WaitGroup
	for i := range r.script.Users {
		u := &r.script.Users[i]
		rows := make([]*row, len(u.Steps))
		for j := range u.Steps {
			rows[j] = r.row(u.ID, u.Steps[j].label(), u.Steps[j].line)
		}
		for n := range u.Count {
			delay := time.Duration(u.Start) + time.Duration(u.Spread)*time.Duration(n)/time.Duration(u.Count)
			player := &player{Runner: r, p: p, user: u, openID: u.openID(n), inbox: r.inbox(u.Account, u.openID(n)), rows: rows}
			all.Go(func() { player.play(ctx, delay) }) // ends with its steps, or with ctx
		}
	}
	if l := r.script.Load; l != nil {
		all.Go(func() { r.load(ctx, p, l) }) // ends with its messages, or with ctx
	}
	all.Wait()
	return r.report(time.Since(started), ctx.Err() != nil), nil
}

// Progress is how far a run is.
type Progress struct {
	Users, Done        int // players, and how many are at their end; a load is one
	Sent, Seen, Failed int // messages, answers on phones, failures
}

// Progress tells how far the run is; it may be asked at any time.
func (r *Runner) Progress() Progress {
	return Progress{r.players, int(r.done.Load()), int(r.sent.Load()), int(r.seen.Load()), int(r.failed.Load())}
}

func (r *Runner) change(edit func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit()
}

func (r *Runner) row(user, label string, line int) *row {
	out := &row{user: user, label: label, line: line}
	r.change(func() { r.rows = append(r.rows, out) })
	return out
}

// fail notes a failure; the report keeps the first ones and counts all.
func (r *Runner) fail(row *row, openID, format string, args ...any) {
	r.failed.Add(1)
	r.change(func() {
		row.failed++
		if len(r.failures) < maxFailures {
			r.failures = append(r.failures, Failure{File: r.script.file, Line: row.line, User: openID, Text: fmt.Sprintf(format, args...)})
		}
	})
}

// send pushes one message and notes what became of it. It returns when the platform is done with it.
func (r *Runner) send(ctx context.Context, p *simulator.Platform, account, openID string, m simulator.Message, row *row, b *inbox, banner bool) {
	if account == "" {
		account = r.account
	}
	r.sent.Add(1)
	r.change(func() { row.sent++ })
	b.began(row)
	result, err := p.Push(ctx, account, openID, m)
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		r.fail(row, openID, "the message was not sent: %v", err)
		return
	}
	r.change(func() { row.add(result) })
	if result.Banner && !banner {
		last := result.Deliveries[len(result.Deliveries)-1]
		r.fail(row, openID, "the user saw the fault banner: %s %s", last.Outcome, last.Detail)
	}
}

// await waits until an expectation is fulfilled by what came from item number from on, or cannot be any more.
func (b *inbox) await(ctx context.Context, e *Expect, from int, started time.Time, fill func(string) string) (fulfilled bool, items []seen) {
	timer := time.NewTimer(time.Duration(e.Within) - time.Since(started))
	defer timer.Stop()
	for over := false; ; {
		items, changed := b.since(from)
		switch {
		case e.Silent && (len(items) > 0 || over):
			return len(items) == 0, items
		case !e.Silent && e.fulfilled(items, fill):
			return true, items
		case over || ctx.Err() != nil:
			return false, items
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-ctx.Done():
		}
	}
}

// player is one user who plays.
type player struct {
	*Runner
	p      *simulator.Platform
	user   *User
	openID string
	inbox  *inbox
	rows   []*row
	pushes sync.WaitGroup
}

func (u *player) play(ctx context.Context, delay time.Duration) {
	defer u.done.Add(1)
	if pause(ctx, delay) {
		for round := 1; round <= u.user.Repeat && ctx.Err() == nil; round++ {
			from, started := u.inbox.size(), time.Now()
			for i := range u.user.Steps {
				step := &u.user.Steps[i]
				if !pause(ctx, time.Duration(step.After)) {
					break
				}
				if step.sends() {
					from, started = u.inbox.size(), time.Now()
				}
				u.step(ctx, step, u.rows[i], round, from, started)
			}
		}
	}
	u.pushes.Wait()
}

// step does one step; from and started are where the newest message of the user began.
func (u *player) step(ctx context.Context, s *Step, row *row, round, from int, started time.Time) {
	for n := 1; n <= s.Count; n++ {
		if n > 1 {
			if !pause(ctx, time.Duration(s.Every)) {
				return
			}
			from, started = u.inbox.size(), time.Now()
		}
		fill := filler(u.openID, n, round)
		u.act(ctx, s, row, fill)
		switch {
		case s.Expect != nil:
			ok, items := u.inbox.await(ctx, s.Expect, from, started, fill)
			u.judge(ctx, s.Expect, row, u.openID, ok, items, fill)
		case s.Wait > 0:
			u.inbox.await(ctx, &Expect{Within: Span(s.Wait), Messages: 1}, from, started, fill)
		}
	}
}

// act pushes what the step sends, in the background: the user's next steps decide what is waited for.
func (u *player) act(ctx context.Context, s *Step, row *row, fill func(string) string) {
	var m simulator.Message
	switch {
	case s.Text != "":
		m = simulator.Message{Type: "text", Content: fill(s.Text)}
	case s.Event.Name != "":
		m = simulator.Message{Type: "event", Event: s.Event.Name, EventKey: s.Event.Key}
	case s.Message != nil:
		m = s.Message.Message
		m.Content = fill(m.Content)
	case s.Receive != nil:
		account := u.user.Account
		if account == "" {
			account = u.account
		}
		if err := u.p.SetReceiving(account, u.openID, *s.Receive); err != nil {
			u.fail(row, u.openID, "%v", err)
		}
		return
	default:
		return
	}
	banner := s.Expect != nil && s.Expect.Banner
	u.pushes.Go(func() { // ends with the push, at the latest with ctx; play waits for it
		u.send(ctx, u.p, u.user.Account, u.openID, m, row, u.inbox, banner)
	})
}

// judge notes an expectation that was not fulfilled, unless the run was stopped meanwhile.
func (r *Runner) judge(ctx context.Context, e *Expect, row *row, openID string, ok bool, items []seen, fill func(string) string) {
	if !ok && !errors.Is(ctx.Err(), context.Canceled) {
		r.fail(row, openID, "expected %s; %s", e.describe(fill), sawText(items))
	}
}

// load sends at its rate, whatever becomes of the messages before.
func (r *Runner) load(ctx context.Context, p *simulator.Platform, l *Load) {
	defer r.done.Add(1)
	row := r.row(l.ID, l.Text, l.line)
	places := make(chan struct{}, maxLoadInFlight)
	var under sync.WaitGroup
	defer under.Wait()
	started := time.Now()
	for n := 1; n <= l.Total; n++ {
		due := time.Duration(float64(n-1) / float64(l.Rate) * float64(time.Second))
		if !pause(ctx, due-time.Since(started)) {
			return
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		openID := l.openID((n - 1) % l.Users)
		b := r.inbox(l.Account, openID)
		under.Go(func() { // ends with the message, at the latest with ctx
			defer func() { <-places }()
			fill := filler(openID, n, 1)
			from, begun := b.size(), time.Now()
			r.send(ctx, p, l.Account, openID, simulator.Message{Type: "text", Content: fill(l.Text)}, row, b, l.Expect != nil && l.Expect.Banner)
			if l.Expect != nil {
				ok, items := b.await(ctx, l.Expect, from, begun, fill)
				r.judge(ctx, l.Expect, row, openID, ok, items, fill)
			}
		})
	}
}

// filler fills {user}, {n} and {round} in.
func filler(openID string, n, round int) func(string) string {
	return strings.NewReplacer("{user}", openID, "{n}", strconv.Itoa(n), "{round}", strconv.Itoa(round)).Replace
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
