package simulator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"hongyan/messages"
)

// Bounds of what the phone keeps in memory.
const (
	maxUsers     = 100 // per account
	maxExchanges = 200 // per user; the oldest finished ones go first
	maxTrace     = 64  // stations per exchange
	maxInFlight  = 256 // pushes of the phone that are under way
)

// Errors of the phone that its API tells apart.
var (
	errUnknownUser  = errors.New("the phone has no such user; add it first")
	errNotFollowing = errors.New("this user does not follow the account; follow it first")
	errTooMany      = errors.New("too much at once; wait for what is under way")
	errOpenID       = errors.New("an openid has 1 to 64 letters, digits, - and _")
)

var openIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// phone is what the page shows: users, and per user the exchanges with the account. It lives in memory, so that a reload of the
// page loses nothing and a restart of the platform begins anew.
type phone struct {
	mu       sync.Mutex
	users    map[messages.User]*phoneUser
	order    map[string][]*phoneUser    // by account, as added
	byKey    map[string]*exchange       // by the engine's dedupe key; the newest wins
	byMsgID  map[exchangeName]*exchange // for trace events without that key
	serial   uint64                     // last exchange id
	inFlight int
	hub      hub
	media    mediaShelf
}

type exchangeName struct {
	user  messages.User
	msgID string
}

type phoneUser struct {
	Account   string `json:"account"`
	OpenID    string `json:"openid"`
	Number    int    `json:"number"` // from 1, for the nickname
	Following bool   `json:"following"`

	exchanges []*exchange
	shown     []*shown
}

// exchange is one thing that a user did and all that came of it.
type exchange struct {
	ID         uint64                `json:"id"`
	Rev        uint64                `json:"rev"` // rises with every change
	Account    string                `json:"account"`
	OpenID     string                `json:"openid"`
	At         time.Time             `json:"at"`
	Message    Message               `json:"message"`
	Deliveries []phoneDelivery       `json:"deliveries"`
	Trace      []messages.TraceEvent `json:"trace"`
	Answer     *Answer               `json:"answer,omitempty"`
	Banner     bool                  `json:"banner,omitempty"`
	Silent     bool                  `json:"silent,omitempty"`
	Done       bool                  `json:"done"`
	DoneAt     time.Time             `json:"done_at,omitzero"`

	key string
}

// phoneDelivery is a Delivery as the page shows it, from its first byte on; Outcome is empty while it is under way.
type phoneDelivery struct {
	Number    int       `json:"number"`
	At        time.Time `json:"at"`
	Outcome   Outcome   `json:"outcome,omitempty"`
	Status    int       `json:"status,omitempty"`
	ElapsedMS float64   `json:"elapsed_ms,omitempty"`
	Detail    string    `json:"detail,omitempty"`
}

// newPhone has three users per account; the first two follow it already. Exchange ids go up from the time of day, so that a page
// that outlives the platform does not take new exchanges for old ones.
func newPhone(accounts []string, now time.Time) *phone {
	ph := &phone{
		users:   map[messages.User]*phoneUser{},
		order:   map[string][]*phoneUser{},
		byKey:   map[string]*exchange{},
		byMsgID: map[exchangeName]*exchange{},
		serial:  uint64(now.UnixMicro()),
	}
	for _, account := range accounts {
		for n := 1; n <= 3; n++ {
			u := &phoneUser{Account: account, OpenID: fmt.Sprintf("u%d", n), Number: n, Following: n <= 2}
			ph.add(u)
		}
	}
	return ph
}

func (ph *phone) add(u *phoneUser) {
	ph.users[messages.User{Account: u.Account, OpenID: u.OpenID}] = u
	ph.order[u.Account] = append(ph.order[u.Account], u)
}

func (ph *phone) close() { ph.hub.close() }

// addUser adds a user who does not follow yet; an empty openID takes the next free u<N>.
func (p *Platform) addUser(account, openID string) (phoneUser, error) {
	if _, err := p.account(account); err != nil {
		return phoneUser{}, err
	}
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	number := len(ph.order[account]) + 1
	if number > maxUsers {
		return phoneUser{}, fmt.Errorf("%w: %d users are enough for one phone", errTooMany, maxUsers)
	}
	for n := number; openID == ""; n++ {
		if id := fmt.Sprintf("u%d", n); ph.users[messages.User{Account: account, OpenID: id}] == nil {
			openID = id
		}
	}
	if !openIDForm.MatchString(openID) {
		return phoneUser{}, errOpenID
	}
	if u := ph.users[messages.User{Account: account, OpenID: openID}]; u != nil {
		return *u, nil
	}
	u := &phoneUser{Account: account, OpenID: openID, Number: number}
	ph.add(u)
	ph.hub.send("user", u)
	return *u, nil
}

// say pushes what a user does on the phone and returns once the platform has it; deliveries, answer and trace reach the page
// through its event stream. Close ends and awaits what is under way.
func (p *Platform) say(account, openID string, m Message) (uint64, error) {
	a, err := p.account(account)
	if err != nil {
		return 0, err
	}
	if m, err = p.complete(m); err != nil {
		return 0, err
	}
	if !p.begin() {
		return 0, ErrClosed
	}
	x, err := p.phone.open(account, openID, m, p.now())
	if err != nil {
		p.run.Done()
		return 0, err
	}
	go func() { // ends with the push, at the latest when Close cancels p.ctx; Close waits for it
		defer p.run.Done()
		result, err := p.push(p.ctx, a, openID, m, progress{
			sent: func(number int, at time.Time) {
				p.phone.change(x, func() { x.Deliveries = append(x.Deliveries, phoneDelivery{Number: number, At: at}) })
			},
			received: func(d Delivery) {
				p.phone.change(x, func() {
					x.Deliveries[len(x.Deliveries)-1] = phoneDelivery{
						Number: d.Number, At: d.At, Outcome: d.Outcome, Status: d.Status, ElapsedMS: milliseconds(d.Elapsed), Detail: d.Detail,
					}
				})
			},
		})
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			p.log.Error("the phone's message was not pushed", "account", account,
				"user", messages.User{Account: account, OpenID: openID}.Hash(), "error", err)
		}
		p.phone.finish(x, result, p.now())
	}()
	return x.ID, nil
}

// open notes a new exchange under its user and follows subscribe and unsubscribe.
func (ph *phone) open(account, openID string, m Message, at time.Time) (*exchange, error) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	user := messages.User{Account: account, OpenID: openID}
	u := ph.users[user]
	switch {
	case u == nil:
		return nil, errUnknownUser
	case ph.inFlight >= maxInFlight:
		return nil, errTooMany
	case !u.Following && (!m.IsEvent() || m.Event != "subscribe"):
		return nil, errNotFollowing
	}
	if m.IsEvent() && (m.Event == "subscribe" || m.unsubscribes()) {
		u.Following = m.Event == "subscribe"
		ph.hub.send("user", u)
	}
	ph.serial++
	x := &exchange{
		ID: ph.serial, Rev: 1, Account: account, OpenID: openID, At: at, Message: m,
		Deliveries: []phoneDelivery{}, Trace: []messages.TraceEvent{}, key: m.key(account, openID),
	}
	ph.inFlight++
	u.exchanges = append(u.exchanges, x)
	ph.byKey[x.key] = x
	if m.MsgID != "" {
		ph.byMsgID[exchangeName{user, m.MsgID}] = x
	}
	for len(u.exchanges) > maxExchanges && ph.forget(u) {
	}
	ph.hub.send("exchange", x)
	return x, nil
}

// forget drops the user's oldest exchange that is done, if there is one.
func (ph *phone) forget(u *phoneUser) bool {
	i := slices.IndexFunc(u.exchanges, func(x *exchange) bool { return x.Done })
	if i < 0 {
		return false
	}
	x := u.exchanges[i]
	u.exchanges = slices.Delete(u.exchanges, i, i+1)
	if ph.byKey[x.key] == x {
		delete(ph.byKey, x.key)
	}
	name := exchangeName{messages.User{Account: x.Account, OpenID: x.OpenID}, x.Message.MsgID}
	if ph.byMsgID[name] == x {
		delete(ph.byMsgID, name)
	}
	return true
}

// change applies edit under the phone's lock and tells the pages.
func (ph *phone) change(x *exchange, edit func()) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	edit()
	x.Rev++
	ph.hub.send("exchange", x)
}

func (ph *phone) finish(x *exchange, r Result, at time.Time) {
	ph.change(x, func() {
		ph.inFlight--
		x.Answer, x.Banner, x.Silent, x.Done, x.DoneAt = r.Answer, r.Banner, r.Silent, true, at
	})
}

// Trace takes one station of a message's way through the engine and shows it under the bubble that it belongs to; what the phone
// did not send is passed over. It never blocks on a page and suits messages.TraceFunc.
func (p *Platform) Trace(e messages.TraceEvent) {
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	x := ph.byKey[e.Key]
	if x == nil && e.MsgID != "" {
		x = ph.byMsgID[exchangeName{messages.User{Account: e.Account, OpenID: e.OpenID}, e.MsgID}]
	}
	if x == nil || len(x.Trace) >= maxTrace {
		return
	}
	x.Trace = append(x.Trace, e)
	x.Rev++
	ph.hub.send("exchange", x)
}

// phoneAccount is what the page may know of an account: no secrets.
type phoneAccount struct {
	ID         string `json:"id"`
	OriginalID string `json:"original_id"`
	Mode       string `json:"mode"`
	Format     string `json:"format"`
}

// phoneState is the page's first question: everything but the exchanges.
type phoneState struct {
	Now        time.Time      `json:"now"`
	CutoffMS   int64          `json:"cutoff_ms"`
	Deliveries int            `json:"deliveries"`
	Accounts   []phoneAccount `json:"accounts"`
	Users      []listedUser   `json:"users"`
	Nodes      bool           `json:"nodes"` // whether there is a panel of nodes
	Model      bool           `json:"model"` // whether there is a panel of the model
}

type listedUser struct {
	phoneUser
	Last *exchange `json:"last,omitempty"` // newest exchange
}

// state and history answer as JSON, made under the phone's lock: an exchange changes while it is shown.
func (p *Platform) state() []byte {
	s := phoneState{Now: p.now(), CutoffMS: p.cutoff.Milliseconds(), Deliveries: p.deliveries, Nodes: p.nodes != nil, Model: p.model != nil}
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	for _, id := range p.order {
		a := p.accounts[id]
		s.Accounts = append(s.Accounts, phoneAccount{ID: id, OriginalID: a.OriginalID, Mode: a.Mode, Format: a.Format})
		for _, u := range ph.order[id] {
			listed := listedUser{phoneUser: *u}
			if n := len(u.exchanges); n > 0 {
				listed.Last = u.exchanges[n-1]
			}
			s.Users = append(s.Users, listed)
		}
	}
	return mustJSON(s)
}

func (p *Platform) history(account, openID string) ([]byte, error) {
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	u := ph.users[messages.User{Account: account, OpenID: openID}]
	if u == nil {
		return nil, errUnknownUser
	}
	return mustJSON(struct {
		Exchanges []*exchange `json:"exchanges"`
		Shown     []*shown    `json:"shown"`
	}{append([]*exchange{}, u.exchanges...), append([]*shown{}, u.shown...)}), nil
}
