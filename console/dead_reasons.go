package console

import (
	"hongyan/actors"
	"hongyan/conversation"
)

// explained is what a reason means and what an operator can do, in plain words. docs/dead-letters.md says the same at length.
type explained struct{ meaning, advice string }

// reasons has every reason that a dead letter may have.
var reasons = map[string]explained{
	actors.ReasonLostKey: {
		"The message came so late that nobody can tell any more whether it was already answered.",
		"Look at the user's conversation (hongyan user show). Re-drive it if it was not answered; else drop it.",
	},
	actors.ReasonDeadly: {
		"A worker died twice while this message alone was being handled.",
		"Find out why before you re-drive it: the worker's log ends at that moment. It may kill the next worker too.",
	},
	actors.ReasonPanic: {
		"The bot, or the engine, panicked over this message again and again.",
		"The worker's log has the stack. Repair what panicked, then re-drive it.",
	},
	actors.ReasonUnknown: {
		"The answer was sent, and nobody can tell whether it reached the user.",
		"Ask, or look into the account's message log. Re-drive it only if the user may get the answer twice; else drop it.",
	},
	actors.ReasonUndecodable: {
		"The log entry is not one that this version can read.",
		"It cannot be re-driven. If a newer version wrote it, the user has to write again after the update. Else something else writes to hy.in: find it.",
	},
	actors.ReasonNoAccount: {
		"The message's account was not in the worker's configuration.",
		"Put the account back into the configuration of every node, start them again, then re-drive it. Drop it if the account is gone for good.",
	},
	actors.ReasonBot: {
		"The bot could not be asked: it failed or took too long.",
		"Repair the bot or what it calls, then re-drive it. The user then gets the answer late.",
	},
	actors.ReasonUnreadable: {
		"The user's stored record cannot be read, so that nothing can be done for this user.",
		"The worker's log says why. Update all nodes to the newest version among them, or reset the user, then re-drive it.",
	},
	conversation.ReasonExpired: {
		"The answer was kept for the user's next message, and the user did not write again in time.",
		"Usually nothing: the user has gone. Re-drive it only if the answer still matters and may be pushed.",
	},
	conversation.ReasonTooMany: {
		"More answers were waiting for this user than are kept; this was the oldest.",
		"Usually nothing. Re-drive it if the user should still get the answer.",
	},
	reasonRefused: {
		"WeChat refused this message for good: too long, not allowed, or a media file that is gone.",
		"The detail has WeChat's code. Repair what the bot answers (a new media file, other words), then re-drive it.",
	},
	reasonNoRight: {
		"The account may not send customer-service messages.",
		"The detail has WeChat's code. Get the right in WeChat's console, or set customer_service: false; then re-drive it.",
	},
	reasonNoUser: {
		"The user takes no messages of the account any more: unfollowed, blocked, or switched off.",
		"Nothing can be delivered. Drop it, or re-drive it once the user follows again.",
	},
}

// Reasons that the delivery by WeChat's API gives.
const (
	reasonRefused = "refused"
	reasonNoRight = "no_right"
	reasonNoUser  = "no_user"
)

// Explain says what a dead letter's reason means and what an operator can do, each in a sentence or two.
func Explain(reason string) (meaning, advice string) {
	if e, ok := reasons[reason]; ok {
		return e.meaning, e.advice
	}
	return "This version does not know the reason.", "Ask a node of the newest version; the detail may tell."
}
