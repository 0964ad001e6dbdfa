package simulator

import (
	"time"

	"hongyan/messages"
)

// maxShown is how many messages of the API a phone keeps per user; the oldest go first.
const maxShown = 200

// ShownKind is how a message of the API came to the phone.
type ShownKind string

// The kinds of messages that come by the API.
const (
	ShownCustom   ShownKind = "custom"
	ShownTemplate ShownKind = "template"
)

// shown is one message of the API on a phone.
type shown struct {
	ID      uint64    `json:"id"` // one order with the exchanges
	Account string    `json:"account"`
	OpenID  string    `json:"openid"`
	At      time.Time `json:"at"`
	Kind    ShownKind `json:"kind"`
	Answer  *Answer   `json:"answer"`
}

// typingSign tells the pages that an answer is being written, or is no more.
type typingSign struct {
	Account string `json:"account"`
	OpenID  string `json:"openid"`
	On      bool   `json:"on"`
	ForMS   int64  `json:"for_ms"`
}

// show puts a message of the API on the phone, if it has that user.
func (ph *phone) show(account, openID string, kind ShownKind, answer *Answer, at time.Time) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	u := ph.users[messages.User{Account: account, OpenID: openID}]
	if u == nil {
		return
	}
	ph.serial++
	s := &shown{ID: ph.serial, Account: account, OpenID: openID, At: at, Kind: kind, Answer: answer}
	if u.shown = append(u.shown, s); len(u.shown) > maxShown {
		u.shown = append([]*shown(nil), u.shown[len(u.shown)-maxShown:]...)
	}
	ph.hub.send("shown", s)
}

func (ph *phone) typing(account, openID string, on bool) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	if ph.users[messages.User{Account: account, OpenID: openID}] != nil {
		ph.hub.send("typing", typingSign{Account: account, OpenID: openID, On: on, ForMS: typingLife.Milliseconds()})
	}
}
