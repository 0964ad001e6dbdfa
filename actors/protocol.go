package actors

import (
	"time"

	"hongyan/messages"
	"hongyan/stream"
)

// Messages between a partition, its users and the goroutines that work for them. What crosses nodes is protobuf
// (messages.Activate, messages.Inspect); these never leave the process.
type (
	// Release asks a partition's actor for an orderly end: stop reading, let turns finish, write the checkpoint, stop.
	// The cluster sends it before it gives up the lease.
	Release struct{}

	// received is an entry that the pump read. gap is the one before it, where the log may have lost something in between.
	received struct {
		rec stream.Received
		gap stream.Mark
	}
	// pumpEnded says that the pump cannot go on.
	pumpEnded struct{ err error }
	// tick drives everything that is due by time.
	tick struct{}
	// checkpointed is the outcome of a checkpoint's commit.
	checkpointed struct{ result checkpointResult }
	// replaced says that an entry which was read is not in the log any more (rule 4).
	replaced struct{ mark stream.Mark }
	// logTrouble says that the log did not work a moment ago.
	logTrouble struct{}
	// caughtUp says that everything that stood in the log at that time was read.
	caughtUp struct{ at time.Time }

	// deliver hands an entry to its user's actor. dead is a reason to bury it instead of answering.
	deliver struct {
		rec   stream.Received
		dead  string
		busy  bool // the partition is more than half full: slow turns take the fallback
		again bool // a former activation of this tenure was given it
	}
	// windowOver tells a user's actor that everything of the log up to then was read, and when the log last refused to work: what
	// WeChat delivered then may not stand in it.
	windowOver struct{ readUpTo, troubled time.Time }
	// alarm tells a user's actor, by itself, that something of it is due.
	alarm struct{}
	// sent is what became of a call of WeChat's API.
	sent struct {
		call uint64
		sent Sent
	}
	// hurry tells a user's actor that its running turn holds up a partition that is more than half full.
	hurry struct{}
	// endFlood tells a user's actor, by itself, to record what a flood pushed out: it comes behind all that waits in the mailbox.
	endFlood struct{}
	// depart tells a user's actor that the partition is released, and waits no longer for the bot or for WeChat.
	depart struct{}
	// compare tells a user's actor that the store has lost writes (rule 9).
	compare struct{}

	// settled tells the partition that its user is done with the entries, and when the user must be looked at; zero: never.
	settled struct {
		user messages.User
		seqs []uint64
		due  time.Time
	}
	// waiting asks the partition for windowOver once everything up to until was read.
	waiting struct {
		user  messages.User
		until time.Time
	}
	// parked tells the partition that a user's first message waits for WeChat's API, or at a release for anything else, or does no more.
	parked struct {
		user messages.User
		on   bool
	}
	// unreadable tells the partition that a user's record is there and cannot be read.
	unreadable struct {
		user messages.User
		err  error
	}
	// behind tells the partition that the store had lost a user's record.
	behind struct{}
	// evicted tells the partition that a later owner has written: this one must step down.
	evicted struct{ err error }
	// panicked tells the partition which entry a user's actor failed over.
	panicked struct {
		user messages.User
		seq  uint64
	}

	// answered is the bot's word about a turn.
	answered struct {
		turn uint64
		said saidOrError
	}
)
