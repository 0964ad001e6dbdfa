// Package bots turns (message, conversation, session) into answers: a chain of links per account, the first that answers
// wins, and the account's fallback text at the end (DESIGN §6).
package bots

import (
	"context"
	"errors"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
)

// Request is one turn as a bot sees it. Bots must not change what it refers to.
type Request struct {
	// ID names the turn: 32 hex digits, the same where it is asked again because a node died over it. Who acts outside the engine
	// can tell a repetition by it.
	ID      string
	Message *messages.Inbound
	History []conversation.Turn // oldest first, without Message itself
	Session map[string]string   // the bot's own values from earlier turns
	Now     time.Time
	// Hurry says that the partition is behind (DESIGN §3 rule 6): a link that would take long passes on at once.
	Hurry bool
	// Resting says that the user's own breaker is open: the turns before failed again and again. No remote link is asked.
	Resting bool
	// TokensLeft is how many model tokens may still be spent today, by this user and by the account; Unbounded: as many as it takes.
	TokensLeft int64
	// Media fetches what the message, or one before it, refers to by a media id. Nil where the account cannot call WeChat's API.
	Media MediaSource
}

// Unbounded is the TokensLeft of an account without a budget.
const Unbounded int64 = -1

// MediaSource fetches temporary media from WeChat (wechat-protocol §5.3). It is safe for concurrent use.
type MediaSource interface {
	// Fetch returns the bytes and their content type. It waits for a token for a moment, and at most until ctx ends.
	Fetch(ctx context.Context, account, mediaID string) (Media, error)
}

// Media is a picture, a voice message, a video.
type Media struct {
	Bytes []byte
	Type  string // content type, e.g. image/jpeg
}

// Response is a link's word about a turn.
type Response struct {
	// Handled is false where the link has nothing to say and the next one is asked.
	Handled bool
	// Answers are what the user gets, in order; none with Handled is deliberate silence. Several leave as messages of their own where
	// the account may push, else joined, or one by one as the user asks for more (DESIGN §5).
	Answers []*messages.Answer
	// HandOver hands the user over to WeChat's support agents. There are no Answers then.
	HandOver *HandOver
	// Session holds values to set; an empty value removes its key.
	Session map[string]string
	// Forget ends the conversation: its history, this turn's part in it, and the session values of all links. Session is set behind it.
	Forget bool
	// Tokens is how many model tokens the turn cost. It counts beside an error too.
	Tokens int64

	// The chain sets these.
	Link     string                // who handled the turn, for counters and traces
	Tried    []Tried               // every link that was looked at, in order
	Upstream conversation.Upstream // how the remote links fared over this very turn: the user's breaker counts it
}

// HandOver says to whom a user is handed over.
type HandOver struct {
	Account string // a support agent, name@account; empty: whoever is free
}

// Tried is what came of one link.
type Tried struct {
	Link   string
	Result string // answered, silent, passed, skipped, unavailable, timeout, panic, error; handed_over
	Took   time.Duration
}

// ErrUnavailable is in the error of a remote link that could not ask its upstream now: its breaker is open, all its places are taken, or
// it is over its rate. It is not the turn's fault, and the user's breaker does not count it.
var ErrUnavailable = errors.New("the upstream cannot be asked now")

// AtHand is a remote Bot that answers some requests by itself, without its upstream: those are answered in a hurry too, and while the
// user's breaker is open.
type AtHand interface {
	// AtHand tells whether Answer, with the same request, would ask nobody. It returns at once.
	AtHand(req *Request) bool
}

// Bot is one link of a chain. Answer may be called from many goroutines at once, takes as long as it needs within ctx, and
// must return soon after ctx ends.
type Bot interface {
	Name() string
	Answer(ctx context.Context, req *Request) (Response, error)
}
