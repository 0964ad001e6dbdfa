package actors

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/stream"
)

// Log is what a partition needs of the durable log. stream.Log implements it.
type Log interface {
	Read(ctx context.Context, partition int, from stream.Start) (stream.Source, error)
	Holds(ctx context.Context, partition int, m stream.Mark) (bool, error)
	End(ctx context.Context, partition int) (uint64, error)
	HasEntries(ctx context.Context, partition int) (bool, error)
	Purge(ctx context.Context, partition int, below uint64) error
}

// Graveyard takes dead letters. stream.Log implements it. An id is stored once, however often it is published.
type Graveyard interface {
	Bury(ctx context.Context, partition int, account, id string, letter *messages.DeadLetter) error
}

// Offers carries an answer to the HTTP exchange that waits for it, and bounds each offer by itself. stream.Offers implements it.
type Offers interface {
	Offer(ctx context.Context, ingress string, o *messages.Offer) (*messages.OfferReply, error)
}

// Wakes writes entries of the engine's own into the log. stream.Log implements it.
type Wakes interface {
	Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error)
}

// Letters is how an entry takes up the dead letter that it re-drives. stream.Log implements it.
type Letters interface {
	// Letter is the newest version of a letter.
	Letter(ctx context.Context, id string) (letter *messages.DeadLetter, revision uint64, err error)
	// TakeUp tells whether the entry named in r is the one that takes the letter up: one entry at most ever is.
	TakeUp(ctx context.Context, id string, r *messages.Redriven) (taken bool, err error)
}

// UnknownPolicy says what becomes of an answer of which nobody can tell whether its last delivery reached the user.
type UnknownPolicy uint8

// The values of reply.unknown.
const (
	UnknownNever UnknownPolicy = iota // never repeat it: a dead letter
	UnknownOnce                       // give it once more, with the user's next message
)

// Account is what the actors need of one Official Account.
type Account struct {
	ID         string
	Bot        bots.Bot
	Limits     conversation.Limits
	Deliveries int // how often WeChat delivers one message altogether
	Unknown    UnknownPolicy
	PushAfter  time.Duration // how long the first delivery waits before the answer's path becomes push; with Limits.Push alone
	Typing     bool          // show that an answer is being written; with Limits.Push alone
	Flooded    string        // told once a minute to a user whose messages are dropped (DESIGN §3 rule 6); empty: nothing is said
	Limited    string        // the same to a user who is over Limits.UserEvery
	Rate       float64       // messages a second that bots are asked about, over the whole cluster; 0: no limit
	Busy       string        // told, once a minute each, to users whose messages came in over Rate; empty: nothing is said
}

// Tokens is the day's budget of model tokens of every account, over all nodes. It is safe for concurrent use, and does no I/O.
type Tokens interface {
	// Left is what the account may still spend today; bots.Unbounded where it has no budget.
	Left(account string) int64
	// Spend counts what a turn cost.
	Spend(account string, tokens int64)
}

// Options are shared by all partitions of a node.
type Options struct {
	Node       string
	Accounts   map[string]Account
	Official   map[string]AccountSettings // those that may call WeChat's API
	Log        Log
	Graveyard  Graveyard
	Store      state.Store
	Offers     Offers
	Outlet     Outlet           // nil: no account may push
	Tokens     Tokens           // nil: no account has a budget
	Partitions int              // of the whole cluster; rates are shared out by how many of them a node owns. 0: rates are this node's own
	Wakes      Wakes            // nil: nobody is woken, and what is due waits for the user's next message
	Letters    Letters          // nil: no dead letter can be re-driven
	Barrier    stream.Barrier   // nil with durability os
	Now        func() time.Time // wall clock
	Random     func() uint64    // uniformly random, for incarnations and write ids; called by many goroutines
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Trace      messages.TraceFunc // nil: nobody watches

	LogFull func() bool // the log refuses entries for want of space; nil: never

	PassivateAfter time.Duration // a user's actor that was idle for so long is stopped; 10 min when 0
	KeepSettled    time.Duration // settled entries stay in the log for so long, to be looked at; 0: none does
}

// Bounds of DESIGN §3: the checkpoint's batches, and rule 6.
const (
	tickEvery          = 100 * time.Millisecond
	checkpointEvery    = 1000  // settlements
	maxUnsettled       = 4096  // entries of a partition under way
	maxAboveFloor      = 65536 // entries above a partition's floor
	maxQueued          = 200   // messages of one user that wait for their turn
	opTimeout          = 3 * time.Second
	releaseWithin      = 5 * time.Second        // for turns under way at a planned release
	askingWithin       = 250 * time.Millisecond // of that, for bots and for WeChat's next delivery: the partition stands still meanwhile
	respawnAfter       = 200 * time.Millisecond
	generationEvery    = time.Second
	purgeEvery         = 5 * time.Second // and staggered: a purge looks at every entry of the log under its lock, so it must find few
	purgeAtLeast       = 256             // settled entries since the last purge
	platformRetryEvery = 5 * time.Second
	retryMargin        = 1500 * time.Millisecond
)

// Reasons of dead letters; append-only, they stand on the wire.
const (
	ReasonLostKey     = "lost_key"                 // its key is not known, and may have been: applied or not, nobody can tell (rules 2 and 10)
	ReasonDeadly      = "deadly"                   // named alone at two deaths of its owner (rule 5)
	ReasonPanic       = "panic"                    // handling it panicked again and again
	ReasonUnknown     = conversation.ReasonUnknown // nobody can tell whether it reached the user (rules 13 and 16)
	ReasonRefused     = "refused"                  // WeChat refused this message for good
	ReasonNoUser      = "no_user"                  // the user takes no messages
	ReasonUndecodable = "undecodable"              // the log entry is no entry
	ReasonNoAccount   = "no_account"               // its account is not configured any more
	ReasonBot         = "bot"                      // the bot could not be asked
	ReasonUnreadable  = "unreadable"               // its user's record cannot be read
)
