package actors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/wechat"
)

// errHurry ends a call of the bot that holds up the partition.
var errHurry = errors.New("the partition is behind: only what is at hand")

// saidOrError is a bot's word, or why there is none.
type saidOrError struct {
	said  conversation.Said
	link  string
	tried []bots.Tried
	err   error
}

// start begins the turn of the first message: asks the bot, or ends it at once where no bot is needed.
func (u *user) start(ctx actor.Context, it *item) {
	now := u.Now()
	u.metrics.queue.Observe(now.Sub(it.arrival.LogTime).Seconds())
	switch {
	case it.dead == ReasonLostKey && it.source == messages.Source_SOURCE_REDRIVE: // the letter is as it was, and needs no other one
		u.refuse(it, "nobody can tell whether this entry was run before")
	case it.dead != "":
		inOrder := it.dead != ReasonLostKey
		next := u.st.Bury(it.arrival, inOrder, it.dead, "", u.account.Limits, now)
		it.outcome = messages.Outcome_OUTCOME_DEAD
		if u.commit(ctx, next) {
			it.phase = phaseCommitted
			u.trace(messages.StageDead, it, it.deliveries[0], it.dead)
		}
	case it.source == messages.Source_SOURCE_WAKE:
		u.wake(ctx, it)
	case it.source == messages.Source_SOURCE_REDRIVE && !it.taken:
		u.redrive(ctx, it)
	case u.st.AsksForMore(it.in):
		u.apply(ctx, it, conversation.Said{})
	case u.handsOver(ctx, it):
	default:
		u.ask(it, it.hurried)
	}
}

// handsOver ends the turn of a message that is handed over to an agent, as one before it could not be.
func (u *user) handsOver(ctx actor.Context, it *item) bool {
	transfer, ok := u.st.HandsOver(it.in, u.account.Limits, u.Now())
	if ok = ok && it.source == messages.Source_SOURCE_CALLBACK; ok {
		u.apply(ctx, it, conversation.Said{Answers: []*messages.Answer{transfer}})
	}
	return ok
}

// tokensLeft is what the turn may spend: of the user's budget of the day, and of the account's.
func (u *user) tokensLeft(now time.Time) int64 {
	left := bots.Unbounded
	if u.Tokens != nil {
		left = u.Tokens.Left(u.name.Account)
	}
	if own, bounded := u.st.TokensLeft(u.account.Limits, now); bounded && (left == bots.Unbounded || own < left) {
		left = own
	}
	return left
}

// ask hands the turn to the bot, beside the mailbox: a model that takes 20 s blocks nobody, and its word comes as a message.
func (u *user) ask(it *item, hurry bool) {
	it.phase = phaseAsking
	u.turn++
	turn, now := u.turn, u.Now()
	it.asked = now
	req := &bots.Request{
		ID:         it.key.String(),
		Message:    it.in,
		History:    u.st.History(u.account.Limits, now),
		Session:    u.st.SessionAt(u.account.Limits, now),
		Now:        now,
		Hurry:      hurry,
		Resting:    u.st.Resting(u.account.Limits, now),
		TokensLeft: u.tokensLeft(now),
	}
	asking, cancel := context.WithCancelCause(u.ctx)
	u.cancel = func() { cancel(errHurry) }
	u.trace(messages.StageTurn, it, it.deliveries[0], "")
	self, root := u.pid, u.root
	go func() { // ended by the bot, which must return soon after u.cancel
		resp, err := safely(asking, u.account.Bot, req)
		cancel(nil)
		u.metrics.bot.Observe(u.Now().Sub(now).Seconds())
		root.Send(self, &answered{turn: turn, said: saidOrError{
			said: conversation.Said{
				Answers: resp.Answers, Session: resp.Session, Forget: resp.Forget, Tokens: resp.Tokens, Upstream: resp.Upstream,
			},
			link: resp.Link, tried: resp.Tried, err: err,
		}})
	}()
}

// safely makes a panic of the bot its error.
func safely(ctx context.Context, bot bots.Bot, req *bots.Request) (resp bots.Response, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &botPanic{value: r}
		}
	}()
	return bot.Answer(ctx, req)
}

// heard takes up the bot's word and commits the turn.
func (u *user) heard(ctx actor.Context, m *answered) {
	if m.turn != u.turn || len(u.queue) == 0 || u.queue[0].phase != phaseAsking {
		return // a call that was given up
	}
	it := u.queue[0]
	u.cancel = nil
	u.park(ctx, false)
	u.spent(it, m.said.said.Tokens)
	if u.Trace != nil {
		u.trace(messages.StageBot, it, it.deliveries[0], triedWords(m.said.tried))
	}
	if m.said.err != nil {
		if !it.hurried { // once more, with what is at hand: the account's fallback at the least
			it.hurried = true
			u.ask(it, true)
			return
		}
		u.Logger.Error("the bot failed; the message ends without an answer", "account", u.name.Account, "user", u.name.Hash(),
			"key", it.key.String(), "error", m.said.err)
		it.dead = ReasonPanic
		if _, ok := errors.AsType[*botPanic](m.said.err); !ok {
			it.dead = ReasonBot
		}
		u.start(ctx, it)
		return
	}
	if slices.ContainsFunc(m.said.said.Answers, func(a *messages.Answer) bool { return a.GetContent() != nil && !wechat.Shows(a) }) {
		u.Logger.Warn("an answer of the bot has nothing that WeChat would show, and is left out", "account", u.name.Account,
			"user", u.name.Hash(), "key", it.key.String(), "link", m.said.link)
	}
	said := m.said.said
	said.Tokens = it.tokens
	if kept, cut := conversation.Bounded(said.Answers); cut {
		said.Answers = kept
		u.metrics.answersCut.WithLabelValues(u.name.Account).Inc()
		u.Logger.Warn("what the bot said was too long for one turn and is cut", "account", u.name.Account, "user", u.name.Hash(),
			"key", it.key.String(), "link", m.said.link, "limit", conversation.AnswerBytes)
	}
	u.apply(ctx, it, said)
}

// spent counts what a call of the bot cost, whatever became of it.
func (u *user) spent(it *item, tokens int64) {
	it.tokens += tokens
	if tokens > 0 && u.Tokens != nil {
		u.Tokens.Spend(u.name.Account, tokens)
	}
}

// triedWords says which links had a turn and what came of each, for people who watch.
func triedWords(tried []bots.Tried) string {
	words := make([]string, len(tried))
	for i, t := range tried {
		if words[i] = t.Link + " " + t.Result; t.Took >= time.Millisecond {
			words[i] += " " + t.Took.Round(time.Millisecond).String()
		}
	}
	return strings.Join(words, ", ")
}

// hurry ends the running call of the bot; heard asks again for what is at hand.
func (u *user) hurry() {
	if len(u.queue) > 0 && u.queue[0].phase == phaseAsking && !u.queue[0].hurried {
		u.stopAsking()
	}
}

// apply makes the bot's word the outcome of the turn.
func (u *user) apply(ctx actor.Context, it *item, said conversation.Said) {
	next, step, err := u.st.Turn(it.in, it.arrival, said, u.account.Limits, u.Now())
	if err != nil {
		u.fail(ctx, "apply the turn", err)
		return
	}
	u.committed(ctx, it, next, step)
}

// committed writes what a turn led to.
func (u *user) committed(ctx actor.Context, it *item, next conversation.State, step conversation.Step) {
	if !u.commit(ctx, next) {
		return
	}
	// COMMIT POINT passed: the message has its one effect. From here on nothing can undo the turn, and every failure is harmless
	// to it: an answer that does not get out is found in the record by whoever comes next, and the entry stays unsettled until
	// the answer is written, kept or buried.
	it.phase, it.reply, it.outcome = phaseCommitted, step.Reply, step.Outcome
	u.trace(messages.StageCommitted, it, it.deliveries[0], conversation.OutcomeWord(step.Outcome))
	if step.Push {
		u.goPush(it, it.key)
	}
}

// commit writes the next state, and publishes dead letters that the state names. False: the activation is over.
func (u *user) commit(ctx actor.Context, next conversation.State) bool {
	return u.write(ctx, next) && u.publishBurials(ctx, nil)
}

// write puts the next state into the store by compare-and-set, then waits for the barrier. False: the activation is over (DESIGN §3
// rule 8: an outcome that is not a plain success drops it, and the next one loads what is true).
func (u *user) write(ctx actor.Context, next conversation.State) bool {
	began := u.Now()
	value, err := next.Encode()
	if err != nil {
		u.fail(ctx, "encode the record", err)
		return false
	}
	rec, repaired, err := u.shared.commit(u.ctx, u.key(), u.rec, state.Write{
		Epoch: u.tenure.Epoch, WriteID: u.nonzero(), Incarnation: u.nonzero(), Value: value,
	})
	if err != nil {
		u.metrics.commitErrors.WithLabelValues(commitError(err)).Inc()
		u.fail(ctx, "commit the record", err)
		return false
	}
	if repaired {
		ctx.Send(u.shared.pid, &behind{})
	}
	committed := u.Now()
	u.metrics.commit.Observe(committed.Sub(began).Seconds())
	if u.Barrier != nil {
		if err := u.Barrier.Sync(u.ctx); err != nil {
			u.fail(ctx, "make the commit durable", err)
			return false
		}
		u.metrics.barrier.Observe(u.Now().Sub(committed).Seconds())
	}
	u.rec, u.st, u.synced, u.proven, u.fenced = rec, next, true, true, u.mails
	u.rec.Value = nil // it is in u.st; a resident user need not hold it twice
	return true
}

// fence makes sure, before an answer is offered that was committed a while ago, that this activation may still speak for its user. A
// former activation, or a later owner, may have given the answer up meanwhile, so that it is given with the user's next message. Only
// a compare-and-set tells: from it on, whoever wants to give the answer up must load the record anew, and finds in the log every
// delivery that is offered to now (DESIGN §3 rules 8 and 14).
func (u *user) fence(ctx actor.Context) bool {
	return u.fenced == u.mails || u.write(ctx, u.st)
}

// durable waits for the barrier behind what a former activation committed: it may have ended between the commit and the barrier,
// and nothing of a commit is told to anybody before both (DESIGN §3 rule 11).
func (u *user) durable(ctx actor.Context) bool {
	if u.synced {
		return true
	}
	within, cancel := context.WithTimeout(u.ctx, opTimeout)
	defer cancel()
	if err := u.Barrier.Sync(within); err != nil {
		u.fail(ctx, "make the record durable", err)
		return false
	}
	u.synced = true
	return true
}

// publishBurials writes the dead letters that the record names, then forgets them: commit, publish, settle (DESIGN §3 rule 19).
// A letter that is published again has the same id and is stored once. again is a message whose end a former activation committed,
// and nil behind a commit of this one. Where a message ended without an answer its letter must carry it, and its entry, unsettled
// as it is, is still to come.
func (u *user) publishBurials(ctx actor.Context, again *item) bool {
	named := len(u.st.Burials)
	for _, b := range u.st.Burials {
		letter := &messages.DeadLetter{
			Generation: u.generation, Reason: b.Reason, Detail: b.Detail, AtMs: b.AtMS, Attempt: 1,
			Inbound: &messages.Inbound{Account: u.name.Account, OpenId: u.name.OpenID, Key: b.Key[:]},
		}
		it := u.find(b.Key)
		if it == nil && again != nil && again.key == b.Key {
			it = again
		}
		switch {
		case it != nil:
			letter.Inbound, letter.Sequence, letter.Attempt = it.in, it.arrival.At.Sequence, max(it.attempt, 1)
		case again != nil && len(b.Answer) == 0:
			continue
		}
		if len(b.Answer) > 0 {
			answer, err := b.Answer.Open()
			if err != nil {
				u.fail(ctx, "open the answer of a dead letter", err)
				return false
			}
			letter.Answer = answer
		}
		within, cancel := context.WithTimeout(u.ctx, opTimeout)
		err := u.Graveyard.Bury(within, u.tenure.Partition, u.name.Account, burialID(b, u.rec.Version.Incarnation), letter)
		cancel()
		if err != nil {
			u.fail(ctx, "publish a dead letter", err)
			return false
		}
		u.st = u.st.Published(b.Number)
	}
	if len(u.st.Burials) == named {
		return true
	}
	return u.commit(ctx, u.st) // so that nobody publishes them anew when an operator has long dealt with them
}

// nonzero is a fresh random id; 0 means none in the store's contract.
func (u *user) nonzero() uint64 { return u.Random() | 1 }
