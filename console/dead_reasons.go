package console

// explained is what a reason means and what an operator can do, in plain words. docs/dead-letters.md says the same at length.
type explained struct{ meaning, advice string }

// reasons has every reason that a dead letter may have; a test compares it with the constants of actors and conversation.
var reasons = map[string]explained{
	"lost_key": {
		"The message came so late that nobody can tell any more whether it was already answered.",
		"Look at the user's conversation (hongyan user show). Re-drive it if it was not answered; else drop it.",
	},
	"deadly": {
		"A worker died twice while this message alone was being handled.",
		"Find out why before you re-drive it: the worker's log ends at that moment. It may kill the next worker too.",
	},
	"panic": {
		"The bot, or the engine, panicked over this message again and again.",
		"The worker's log has the stack. Repair what panicked, then re-drive it.",
	},
	"unknown": {
		"The answer was sent, and nobody can tell whether it reached the user.",
		"Ask, or look into the account's message log. Re-drive it only if the user may get the answer twice; else drop it.",
	},
	"undecodable": {
		"The log entry is not one that this version can read.",
		"It cannot be re-driven. If a newer version wrote it, the user has to write again. Else find out what writes to hy.in.",
	},
	"no_account": {
		"The message's account was not in the worker's configuration.",
		"Put the account back into the configuration of every node, start them again, then re-drive it. Drop it if the account is gone for good.",
	},
	"bot": {
		"The bot could not be asked: it failed or took too long.",
		"Repair the bot or what it calls, then re-drive it. The user then gets the answer late.",
	},
	"unreadable": {
		"The user's stored record cannot be read, so that nothing can be done for this user.",
		"The worker's log says why. Update all nodes to the newest version among them, then re-drive it.",
	},
	"expired": {
		"The answer was kept for the user's next message, and the user did not write again in time.",
		"Usually nothing: the user has gone. Re-drive it only if the answer still matters and may be pushed.",
	},
	"too_many": {
		"More answers were waiting for this user than are kept; this was the oldest.",
		"Usually nothing. Re-drive it if the user should still get the answer.",
	},
	"refused": {
		"WeChat refused this message for good: too long, not allowed, or a media file that is gone.",
		"The detail has WeChat's code. Repair what the bot answers (a new media file, other words), then re-drive it.",
	},
	"no_right": {
		"The account may not send customer-service messages.",
		"The detail has WeChat's code. Get the right in WeChat's console, or set customer_service: false; then re-drive it.",
	},
	"no_push": {
		"The answer could only be delivered by a customer-service message, and the account may not send any now.",
		"Set customer_service: true once the account has the right, then re-drive it; else drop it.",
	},
	"no_user": {
		"The user takes no messages of the account any more: unfollowed, blocked, or switched off.",
		"Nothing can be delivered. Drop it, or re-drive it once the user follows again.",
	},
}

// Explain says what a dead letter's reason means and what an operator can do, each in a sentence or two.
func Explain(reason string) (meaning, advice string) {
	if e, ok := reasons[reason]; ok {
		return e.meaning, e.advice
	}
	return "This version does not know the reason.", "Ask a node of the newest version; the detail may tell."
}
