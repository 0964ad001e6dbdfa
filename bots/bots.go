// Package bots turns (message, conversation, session) into answers: a chain of links per account, the first that answers
// wins, and the account's fallback text at the end (DESIGN §6).
package bots

import (
	"context"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
)

// Request is one turn as a bot sees it. Bots must not change what it refers to.
type Request struct {
	Message *messages.Inbound
	History []conversation.Turn // oldest first, without Message itself
	Session map[string]string   // the bot's own values from earlier turns
	Now     time.Time
	// Hurry says that the partition is behind (DESIGN §3 rule 6): a link that would take long passes on at once.
	Hurry bool
}

// Response is a link's word about a turn.
type Response struct {
	// Handled is false where the link has nothing to say and the next one is asked.
	Handled bool
	// Answers are what the user gets, in order; none with Handled is deliberate silence. Several leave as messages of their own where
	// the account may push, else joined, or one by one as the user asks for more (DESIGN §5).
	Answers []*messages.Answer
	// Session holds values to set; an empty value removes its key.
	Session map[string]string
	// Link names who handled the turn, for counters and traces.
	Link string
}

// Bot is one link of a chain. Answer may be called from many goroutines at once, takes as long as it needs within ctx, and
// must return soon after ctx ends.
type Bot interface {
	Name() string
	Answer(ctx context.Context, req *Request) (Response, error)
}
