package actors

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
)

// user is the actor of one user: the only place where this user's messages are applied. It runs one turn at a time, in the order
// of the log. Anything that leaves its record in doubt ends the activation; the partition starts another, which loads what is
// committed and is fed the same entries again.
type user struct {
	*shared
	name    messages.User
	account Account
	pid     *actor.PID

	rec state.Record       // as committed
	st  conversation.State // rec's value, and what needs no commit of its own

	queue   []*item            // in the order of the log; queue[0] is the turn that runs
	dropped []*item            // beyond the queue, on their way out
	turn    uint64             // counts the bot's calls, so that a late result is known
	cancel  context.CancelFunc // ends the running call; nil when there is none
	synced  bool               // the record as it was loaded is behind the barrier
	proven  bool               // this activation has won a compare-and-set: what it knows of the record is all that there is
	call    uint64             // the call of WeChat's API that is under way; 0: none
	retry   time.Time          // not before then is the next one made
	waiting time.Time          // since when the push waits for WeChat's API; zero: it does not
	parked  bool               // the partition knows of that
	clock   clock
	mails   uint64 // counts the messages of the mailbox
	fenced  uint64 // the one in which the record was last committed
	stopped bool
}

// item is one message on its way through the actor, with all its deliveries.
type item struct {
	key        messages.Key
	in         *messages.Inbound
	arrival    conversation.Arrival
	deliveries []delivery
	phase      phase
	reply      *messages.Answer // of a committed turn; nil is `success`
	outcome    messages.Outcome
	former     bool      // committed by a former owner, or a former activation
	readFrom   time.Time // of a former one's: the log must be read up to here before its answer is given up
	dead       string    // reason to bury it
	began      time.Time
	hurried    bool

	source  messages.Source
	letter  string       // SOURCE_REDRIVE: the dead letter
	entry   string       // SOURCE_REDRIVE: the entry's own id
	attempt int32        // SOURCE_REDRIVE: which one, from 1
	taken   bool         // the letter is this entry's
	late    time.Time    // when its path becomes push, if no answer was committed by then; zero: never
	push    bool         // its path is push: every delivery gets `success`
	pushKey messages.Key // in phasePushing: the push that it brings forward
	asked   time.Time    // when the bot was asked
	typed   time.Time    // when the user was last shown that an answer is being written
	limited string       // over whose rate it came (limitedBy…); empty: over none
	kind    messages.Kind
	tokens  int64 // spent on it up to now
}

// delivery is one of WeChat's deliveries of a message.
type delivery struct {
	seq     uint64
	logTime time.Time
	slot    *messages.Slot
	tried   bool
	unknown bool // an offer was sent and nobody can tell what became of it
}

// phase is where a message stands.
type phase uint8

const (
	phaseQueued    phase = iota // waits for its turn
	phaseAsking                 // the bot is at work
	phaseCommitted              // the outcome is in the store; the answer is on its way out
	phasePushing                // so it is, through WeChat's API
)

func newUser(s *shared, name messages.User) *user {
	return &user{shared: s, name: name, account: s.Accounts[name.Account]}
}

// Receive is the user's mailbox.
func (u *user) Receive(ctx actor.Context) {
	if u.stopped {
		return // what comes now is fed to the next activation
	}
	defer u.recover(ctx)
	u.mails++
	switch m := ctx.Message().(type) {
	case *actor.Started:
		u.pid = ctx.Self()
		u.load(ctx)
	case *deliver:
		u.arrive(ctx, m)
		u.advance(ctx)
	case *answered:
		u.heard(ctx, m)
		u.advance(ctx)
	case *windowOver:
		u.windowOver(ctx, m)
		u.advance(ctx)
	case *alarm:
		u.alarm(ctx)
		u.advance(ctx)
	case *sent:
		u.called(ctx, m)
		u.advance(ctx)
	case *hurry:
		u.hurry()
	case *endFlood:
		u.endFlood(ctx)
	case *depart:
		u.depart(ctx)
		u.advance(ctx)
	case *compare:
		u.compareRecord(ctx)
	case *messages.Inspect:
		ctx.Respond(u.view())
	case *actor.Stopping:
		u.stopped = true
		u.stopAsking()
		u.dropCall()
	}
	u.setAlarm()
}

// recover turns a panic into the end of this activation, and tells the partition which entry it came over.
func (u *user) recover(ctx actor.Context) {
	r := recover()
	if r == nil {
		return
	}
	seq := uint64(0)
	if m, ok := ctx.Message().(*deliver); ok && len(u.queue) == 0 {
		seq = m.rec.Sequence
	} else if len(u.queue) > 0 {
		seq = u.queue[0].deliveries[0].seq
	}
	u.Logger.Error("handling a message panicked; the user's actor starts again", "user", u.name.Hash(), "account", u.name.Account,
		"sequence", seq, "panic", r, "stack", string(debug.Stack()))
	u.metrics.panics.Inc()
	ctx.Send(u.shared.pid, &panicked{user: u.name, seq: seq})
	u.end(ctx)
}

// end stops this activation.
func (u *user) end(ctx actor.Context) {
	u.stopped = true
	u.stopAsking()
	u.dropCall()
	u.clock.stop()
	ctx.Stop(ctx.Self())
}

func (u *user) stopAsking() {
	if u.cancel != nil {
		u.cancel()
		u.cancel = nil
	}
}

// load reads the user's record: one read for a user who was not resident.
func (u *user) load(ctx actor.Context) {
	within, cancel := context.WithTimeout(u.ctx, opTimeout)
	defer cancel()
	rec, err := u.Store.Load(within, u.key())
	switch {
	case errors.Is(err, state.ErrNotFound):
		return
	case errors.Is(err, state.ErrCorrupt):
		ctx.Send(u.shared.pid, &unreadable{user: u.name, err: err})
		u.fail(ctx, "load the record", err)
		return
	case err != nil:
		u.fail(ctx, "load the record", err)
		return
	case rec.Version.Epoch > u.tenure.Epoch:
		ctx.Send(u.shared.pid, &evicted{err: state.ErrStaleEpoch})
		u.end(ctx)
		return
	}
	st, err := conversation.Decode(rec.Value)
	if err != nil {
		ctx.Send(u.shared.pid, &unreadable{user: u.name, err: err})
		u.fail(ctx, "decode the record", err)
		return
	}
	u.rec, u.st, u.synced = rec, st, u.Barrier == nil
	u.rec.Value = nil // it is in u.st
}

// fail ends the activation over an error of the store or the log. The partition feeds the entries to another one.
func (u *user) fail(ctx actor.Context, doing string, err error) {
	if u.stopped {
		return
	}
	if errors.Is(err, state.ErrStaleEpoch) {
		u.metrics.staleWrites.Inc()
		ctx.Send(u.shared.pid, &evicted{err: err})
	}
	if u.ctx.Err() == nil {
		u.Logger.Warn("the user's actor starts again", "user", u.name.Hash(), "account", u.name.Account,
			"partition", u.tenure.Partition, "failed_to", doing, "error", err)
	}
	u.end(ctx)
}

func (u *user) key() state.Key { return state.Key{Partition: u.tenure.Partition, User: u.name} }

// arrive sorts an entry: a delivery of a message that is queued or runs joins it; a message whose outcome is known gets it; a
// new one is queued (DESIGN §2 step 6).
func (u *user) arrive(ctx actor.Context, m *deliver) {
	in := m.rec.Entry.GetInbound()
	d := delivery{seq: m.rec.Sequence, logTime: m.rec.LogTime, slot: m.rec.Entry.GetSlot()}
	a := conversation.Arrival{
		Key:     messages.KeyOf(in),
		At:      messages.Position{Generation: u.generation, Sequence: m.rec.Sequence},
		LogTime: m.rec.LogTime, CreateTime: in.GetCreateTime(),
	}
	source, redrive := m.rec.Entry.GetSource(), m.rec.Entry.GetRedrive()
	switch source {
	case messages.Source_SOURCE_WAKE:
		a.Key, a.Late = wakeKey(a.At), true
	case messages.Source_SOURCE_REDRIVE:
		a.Key, a.CreateTime, a.Late = messages.AttemptKey(a.Key, redrive.GetLetter(), redrive.GetAttempt()), 0, true
	default:
	}
	if it := u.find(a.Key); it != nil {
		if !slices.ContainsFunc(it.deliveries, func(have delivery) bool { return have.seq == d.seq }) {
			it.deliveries = append(it.deliveries, d)
			u.trace(messages.StageJoined, it, d, "")
		}
		if it.push {
			u.endSlots(it)
		}
		if m.dead != "" && it.phase == phaseQueued {
			it.dead = m.dead
		}
		return
	}
	if i := slices.IndexFunc(u.dropped, func(it *item) bool { return it.key == a.Key }); i >= 0 {
		u.dropped[i].deliveries = append(u.dropped[i].deliveries, d)
		return
	}

	it := &item{key: a.Key, in: in, arrival: a, deliveries: []delivery{d}, dead: m.dead, began: u.Now(), hurried: m.busy,
		source: source, letter: redrive.GetLetter(), entry: redrive.GetEntry(), attempt: redrive.GetAttempt()}
	if source == messages.Source_SOURCE_WAKE {
		u.queue = append(u.queue, it)
		return
	}
	class, outcome := u.st.Classify(a, u.account.Limits, it.began)
	switch class {
	case conversation.Known:
		u.known(ctx, it, outcome)
	case conversation.Expired:
		u.finish(ctx, it, "expired")
	case conversation.Lost:
		it.dead = ReasonLostKey
		u.queue = append(u.queue, it)
	case conversation.Fresh, conversation.Doubtful:
		if len(u.queue) >= maxQueued && m.dead == "" && source == messages.Source_SOURCE_CALLBACK {
			u.drop(ctx, it)
			return
		}
		if class == conversation.Fresh {
			if it.limited = u.overRate(it, m.again); it.limited != "" {
				u.drop(ctx, it)
				return
			}
		}
		if class == conversation.Doubtful {
			it.dead = ReasonLostKey
		}
		u.queue = append(u.queue, it)
		u.expectPush(ctx, it, m.rec)
	}
}

// known handles a message whose outcome is committed.
func (u *user) known(ctx actor.Context, it *item, outcome messages.Outcome) {
	if !u.durable(ctx) || !u.publishBurials(ctx, it) {
		return
	}
	it.outcome, it.phase, it.former = outcome, phaseCommitted, true
	if p, ok := u.st.Pushing(it.key); ok && p.Answered && !u.drives(it.key) {
		u.queue = append(u.queue, it)
		u.goPush(it, it.key)
		return
	}
	recorded, ok := u.st.Recorded(it.key)
	settled := ok && recorded.SettledBefore(it.arrival.At)
	if settled && it.began.UnixMilli()-recorded.AtMS > conversation.AnswerRetention.Milliseconds() {
		ok = false
	}
	if !ok { // answered long ago, kept for later, or never to be answered: `success`
		u.say(it.deliveries[0], it.key, nil)
		u.finish(ctx, it, "repeated")
		return
	}
	reply, err := recorded.Answer.Open()
	if err != nil {
		u.fail(ctx, "open the recorded answer", err)
		return
	}
	it.reply = reply
	if settled { // WeChat asks again, so it did not get what was written
		if u.fence(ctx) {
			u.repeat(ctx, it, recorded)
		}
		return
	}
	it.readFrom = it.began
	u.queue = append(u.queue, it) // its answer keeps its place in the order
}

// find returns the message if it is queued or runs.
func (u *user) find(key messages.Key) *item {
	for _, it := range u.queue {
		if it.key == key {
			return it
		}
	}
	return nil
}

// advance brings the first message as far as it goes without waiting, then the next.
func (u *user) advance(ctx actor.Context) {
	for len(u.queue) > 0 && !u.stopped {
		it := u.queue[0]
		if it.phase == phaseQueued {
			u.start(ctx, it)
		}
		if u.stopped || it.phase <= phaseAsking {
			return
		}
		if it.phase == phasePushing && !u.push(ctx, it) || it.phase == phaseCommitted && !u.answer(ctx, it) {
			return
		}
		u.queue = u.queue[1:]
		u.finish(ctx, it, "")
	}
	if len(u.queue) == 0 {
		u.queue = nil
	}
}

// finish settles a message that reached its end, with all its deliveries. note stands in place of the outcome in the log.
func (u *user) finish(ctx actor.Context, it *item, note string) {
	if u.stopped {
		return
	}
	// A stale owner may still have written behind our load: an answer to be kept, whose row in the due index nobody would make. From a
	// compare-and-set of ours on it cannot (DESIGN §3 rule 8).
	if !u.proven && u.rec.Version != (state.Version{}) && !u.write(ctx, u.st) {
		return
	}
	if note == "" && it.source == messages.Source_SOURCE_WAKE {
		note = "woken"
	}
	seqs := make([]uint64, len(it.deliveries))
	for i, d := range it.deliveries {
		seqs[i] = d.seq
	}
	ctx.Send(u.shared.pid, &settled{user: u.name, seqs: seqs, due: u.st.Due(u.account.Limits)})
	if u.Trace != nil {
		u.trace(messages.StageSettled, it, it.deliveries[len(it.deliveries)-1], note)
	}
	outcome := note
	if outcome == "" {
		outcome = conversation.OutcomeWord(it.outcome)
	}
	elapsed := u.Now().Sub(it.began)
	u.metrics.message(u.name.Account, outcome, elapsed)
	u.Logger.LogAttrs(u.ctx, slog.LevelInfo, "message done", slog.String("account", u.name.Account), slog.String("user", u.name.Hash()),
		slog.String("key", it.key.String()), slog.String("outcome", outcome), slog.Int("deliveries", len(it.deliveries)),
		slog.Uint64("sequence", it.arrival.At.Sequence), slog.Duration("elapsed", elapsed))
}

// view is the answer to messages.Inspect.
func (u *user) view() *messages.UserView {
	v := &messages.UserView{
		Account: u.name.Account, OpenId: u.name.OpenID, Partition: int32(u.tenure.Partition), Node: u.Node, Epoch: u.tenure.Epoch,
		Found: u.rec.Version.Number > 0 || len(u.queue) > 0, Incarnation: u.rec.Version.Incarnation, Version: u.rec.Version.Number,
		Queued: int32(len(u.queue)),
	}
	if len(u.queue) > 0 {
		v.Running = u.queue[0].key.String()
	}
	b, err := u.st.Encode()
	if err != nil {
		v.Error = err.Error()
	}
	v.State = b
	return v
}

// trace tells whoever watches.
func (u *user) trace(stage messages.Stage, it *item, d delivery, detail string) {
	if u.Trace == nil {
		return
	}
	u.Trace(messages.TraceEvent{
		At: u.Now(), Stage: stage, Account: u.name.Account, OpenID: u.name.OpenID, MsgID: it.in.GetMsgId(), Key: it.key.String(),
		Slot: d.slot.GetId(), Partition: u.tenure.Partition, Sequence: d.seq, Version: u.rec.Version.Number,
		Delivery: len(it.deliveries), Elapsed: u.Now().Sub(it.began), Detail: detail,
	})
}
