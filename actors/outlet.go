package actors

import (
	"context"
	"time"

	"hongyan/messages"
)

// Outlet is WeChat's API as a user's actor sees it: one customer-service message at a time. It is safe for concurrent use.
//
// Everything that an account's users share is behind it: the token, quotas, rates, the breaker. A user's actor asks Ready before it
// notes that it is about to send, so that a call which cannot be made leaves no trace in the record.
type Outlet interface {
	// Ready tells whether a message of the account may be sent now; it does no I/O. Where it may not, retry is the earliest time to
	// ask again, and why a short reason for people (quota, rate, breaker, token …).
	Ready(account string) (ok bool, retry time.Time, why string)

	// Send makes one call for one part of an answer, which fits WeChat's limits, and tells what became of it. It waits at most until
	// ctx ends; a call that was cut off by that is FateUnknown. It repeats a call by itself only where WeChat said for certain that it
	// did nothing (a token that is not valid any more).
	Send(ctx context.Context, user messages.User, part *messages.Answer) Sent

	// Typing shows or ends the sign that an answer is being written. Nothing depends on it, and its errors are counted alone.
	Typing(ctx context.Context, user messages.User, on bool)
}

// Sent is what became of one call of the send API (DESIGN §3 rule 16).
type Sent struct {
	Fate   Fate
	Retry  time.Time // with FateNotMade: not before then
	Code   int       // WeChat's errcode; 0 for none
	Detail string    // for logs and dead letters: errmsg, rid, or the network's error; no token and no OpenID
}

// Fate says whether a message reached WeChat.
type Fate uint8

// The fates. Only FateUnknown leaves doubt: the call was made, and nobody can tell whether it had its effect.
const (
	FateUnknown    Fate = iota
	FateDelivered       // errcode 0
	FateNotMade         // WeChat did nothing, and the same call may succeed later: no connection, -1, rate, quota, token, breaker
	FateNoWindow        // the user's window is closed or the grant is used up (45015, 45047): not before the user writes again
	FateNoUser          // the user takes no messages: unfollowed, blocked, switched off (48002, 43004, 43019, 50005, 40003)
	FateBadMessage      // this message can never be sent (45002, 40007, 44004, 47001, 45008 …)
	FateNoRight         // the account may not send at all (48001, 48004, 50002, 65400+): an operator must act
)

func (f Fate) String() string {
	return [...]string{"unknown", "delivered", "not_made", "no_window", "no_user", "bad_message", "no_right"}[min(f, FateNoRight)]
}
