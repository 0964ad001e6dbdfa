package actors

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/wechat/api"
)

// AccountAPI is what an account's actor calls of WeChat's API. *api.Client implements it.
type AccountAPI interface {
	Token(ctx context.Context) (api.Token, error)
	StableToken(ctx context.Context, force bool) (api.Token, error)
	Quota(ctx context.Context, token, path string) (api.Quota, error)
	CallbackIPs(ctx context.Context, token string) ([]netip.Prefix, error)
}

// AccountSettings are what an account's actor needs of the configuration.
type AccountSettings struct {
	ID                string
	AppID, AppSecret  string
	API               AccountAPI // nil: the account has no AppSecret and calls nothing; its actor keeps its budget
	Classic           bool       // token_source: classic
	Rate              float64    // customer-service messages a second over the cluster; 0: no bound
	PerMinute, PerDay int        // permits to send; 0: no bound
	TokensPerDay      int64      // model tokens of all users over all nodes, of one of China's days; 0: no bound
}

// calls tells whether the account can call WeChat's API.
func (c AccountSettings) calls() bool { return c.API != nil }

// fetchTimeout bounds a call of WeChat's API by the account's actor; the client's own bound is shorter.
const fetchTimeout = 10 * time.Second

// official is the actor of one Official Account: the only one in the cluster that fetches its token, the keeper of its quotas and of
// what WeChat refuses it. It lives beside the users of its partition and commits under the same epoch; all that it knows is in its
// state machine (account_state.go), and it does what that one says.
type official struct {
	*shared
	id      string
	name    messages.User
	conf    AccountSettings
	pid     *actor.PID
	rec     state.Record
	value   []byte // as committed
	st      *accountState
	broken  error     // why the record cannot be read
	told    time.Time // when the partition last heard that the actor is in use
	stopped bool
}

// producer makes the actor of a user, or of an account.
func (s *shared) producer(name messages.User) actor.Producer {
	id, ok := name.OfAccount()
	if !ok {
		return func() actor.Actor { return newUser(s, name) }
	}
	return func() actor.Actor { return &official{shared: s, id: id, name: name, conf: s.Official[id]} }
}

// serves tells whether the node has the account that the name belongs to.
func (s *shared) serves(name messages.User) bool {
	if id, ok := name.OfAccount(); ok {
		_, known := s.Official[id]
		return known
	}
	_, known := s.Accounts[name.Account]
	return known
}

// Receive is the account's mailbox.
func (a *official) Receive(ctx actor.Context) {
	if a.stopped {
		return
	}
	defer a.recover(ctx)
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.pid = ctx.Self()
		a.load(ctx)
	case *messages.AccountLease, *messages.CallbackIPs, *messages.AccountSpend:
		a.stay(ctx)
		a.handle(ctx, m)
	case tokenFetched:
		a.metrics.official.fetch(a.id, m.err)
		a.handle(ctx, m)
	case quotaRead, ipsFetched, spendDue:
		a.handle(ctx, m)
	case *messages.Inspect:
		ctx.Respond(a.view())
	case *actor.Stopping:
		a.stopped = true
		a.keepSpending(ctx)
		a.metrics.official.forget(a.id)
	}
}

// recover turns a panic into the end of this activation. Nothing of it is lost but the question that came.
func (a *official) recover(ctx actor.Context) {
	if r := recover(); r != nil {
		a.Logger.Error("the account's actor panicked and starts again", "account", a.id, "panic", r, "stack", string(debug.Stack()))
		a.metrics.panics.Inc()
		a.end(ctx)
	}
}

// stay keeps the partition from stopping an actor that is in use, as it stops users who are silent.
func (a *official) stay(ctx actor.Context) {
	if now := a.Now(); now.Sub(a.told) >= time.Minute {
		a.told = now
		ctx.Send(a.shared.pid, &settled{user: a.name})
	}
}

func (a *official) end(ctx actor.Context) {
	a.stopped = true
	a.metrics.official.forget(a.id)
	ctx.Stop(ctx.Self())
}

func (a *official) key() state.Key { return state.Key{Partition: a.tenure.Partition, User: a.name} }

// load reads the account's record. A token that stands in it is served without a call of WeChat's API.
func (a *official) load(ctx actor.Context) {
	within, cancel := context.WithTimeout(a.ctx, opTimeout)
	defer cancel()
	rec, err := a.Store.Load(within, a.key())
	var record accountRecord
	switch {
	case errors.Is(err, state.ErrNotFound):
	case errors.Is(err, state.ErrCorrupt):
		a.broken = err
	case err != nil:
		a.fail(ctx, "load the record", err)
		return
	case rec.Version.Epoch > a.tenure.Epoch:
		ctx.Send(a.shared.pid, &evicted{err: state.ErrStaleEpoch})
		a.end(ctx)
		return
	default:
		if record, err = decodeAccount(rec.Value); err != nil {
			a.broken = err
		}
	}
	if a.broken != nil { // a record is never taken for empty: another version may be able to read it
		a.Logger.Error("the account's record cannot be read, so nothing is sent for the account; run the version that wrote it, or "+
			"remove the record", "account", a.id, "record", a.key().String(), "error", a.broken)
		return
	}
	a.rec, a.value = rec, rec.Value
	a.rec.Value = nil
	a.st = newAccountState(record, a.conf, a.Now(), a.Random())
}

// handle takes one event through the state machine, commits what it changed, and only then answers and acts.
func (a *official) handle(ctx actor.Context, event any) {
	if a.broken != nil {
		if _, ok := event.(*messages.AccountLease); ok { // other questions get no answer: nobody knows one
			ctx.Respond(&messages.AccountLeased{Why: "the account's record cannot be read: see the log of node " + a.Node, RetryMs: 10000})
		}
		return
	}
	reply, do := a.st.step(event, a.Now(), a.Random())
	if !a.commit(ctx) {
		return
	}
	// COMMIT POINT passed: what is handed out and what is about to be fetched stand in the record. A failure from here on costs a
	// question asked again, or a token fetched once more by the next owner.
	a.metrics.official.report(a.id, a.st)
	if reply != nil {
		ctx.Respond(reply)
	}
	for _, act := range do {
		a.act(act)
	}
}

// commit writes the record where it has changed. False: the activation is over, and the next one loads what is true.
func (a *official) commit(ctx actor.Context) bool {
	value, err := a.st.encode()
	if err != nil {
		a.fail(ctx, "encode the record", err)
		return false
	}
	if string(value) == string(a.value) {
		return true
	}
	rec, repaired, err := a.shared.commit(a.ctx, a.key(), a.rec, state.Write{
		Epoch: a.tenure.Epoch, WriteID: a.Random() | 1, Incarnation: a.Random() | 1, Value: value,
	})
	if err != nil {
		a.metrics.commitErrors.WithLabelValues(commitError(err)).Inc()
		a.fail(ctx, "commit the record", err)
		return false
	}
	if repaired {
		ctx.Send(a.shared.pid, &behind{})
	}
	if a.Barrier != nil {
		if err := a.Barrier.Sync(a.ctx); err != nil {
			a.fail(ctx, "make the commit durable", err)
			return false
		}
	}
	a.rec, a.value = rec, value
	a.rec.Value = nil
	return true
}

// keepSpending writes what the record has not followed yet, at a stop in good order. Elsewhere nobody may write any more.
func (a *official) keepSpending(ctx actor.Context) {
	if a.st == nil || a.ctx.Err() != nil {
		return
	}
	a.st.noteSpending(a.Now())
	a.commit(ctx)
}

// fail ends the activation over an error of the store. The next question starts another.
func (a *official) fail(ctx actor.Context, doing string, err error) {
	if a.stopped {
		return
	}
	if errors.Is(err, state.ErrStaleEpoch) {
		a.metrics.staleWrites.Inc()
		ctx.Send(a.shared.pid, &evicted{err: err})
	}
	if a.ctx.Err() == nil {
		a.Logger.Warn("the account's actor starts again", "account", a.id, "partition", a.tenure.Partition, "failed_to", doing, "error", err)
	}
	a.end(ctx)
}

// act does what the state machine wants. Calls run beside the mailbox; their outcome comes as a message.
func (a *official) act(do accountAction) {
	switch do := do.(type) {
	case actLog:
		a.Logger.LogAttrs(a.ctx, do.level, do.text, append([]slog.Attr{slog.String("account", a.id)}, do.attrs...)...)
	case actFetch:
		began := a.Now()
		a.beside(func(ctx context.Context) any {
			token, err := a.fetch(ctx, do.force)
			return tokenFetched{number: do.number, began: began, token: token, err: err}
		})
	case actQuota:
		a.beside(func(ctx context.Context) any {
			quota, err := a.conf.API.Quota(ctx, do.token, quotaPath)
			return quotaRead{generation: do.generation, remain: quota.Remain, err: err}
		})
	case actWake:
		self, root := a.pid, a.root
		time.AfterFunc(do.after, func() { root.Send(self, spendDue{}) }) // to nobody, where the actor has ended meanwhile
	case actIPs:
		a.beside(func(ctx context.Context) any {
			ranges, err := a.conf.API.CallbackIPs(ctx, do.token)
			return ipsFetched{generation: do.generation, ranges: ranges, err: err}
		})
	}
}

func (a *official) fetch(ctx context.Context, force bool) (api.Token, error) {
	if a.conf.Classic {
		return a.conf.API.Token(ctx)
	}
	return a.conf.API.StableToken(ctx, force)
}

// beside runs a call and sends what it returns to the actor.
func (a *official) beside(call func(ctx context.Context) any) {
	self, root := a.pid, a.root
	go func() { // ended by the call, which fetchTimeout and the partition's end bound
		ctx, cancel := context.WithTimeout(a.ctx, fetchTimeout)
		defer cancel()
		root.Send(self, call(ctx))
	}()
}

// view is the answer to messages.Inspect.
func (a *official) view() *messages.AccountView {
	v := &messages.AccountView{Account: a.id, Node: a.Node, Epoch: a.tenure.Epoch, CallbackIpsAgeMs: -1}
	if a.broken != nil || a.st == nil {
		v.Error = "the account's record cannot be read: see the log of node " + a.Node
		return v
	}
	now, s := a.Now(), a.st
	v.HasToken, v.Generation = s.Token != "" && now.Before(s.expires()), s.Generation
	if v.GetHasToken() {
		v.ExpiresInMs = s.expires().Sub(now).Milliseconds()
	}
	v.Alarm, v.AlarmDetail = s.Alarm.Reason, s.Alarm.Detail
	v.Blocks, _ = s.blocksFor(false, now)
	v.SentToday, v.PermitsToday = s.sent.Count, s.Day.granted
	v.ForcedToday = int32(forcesPerDay - s.forcesLeft(now))
	if len(s.IPs) > 0 {
		v.CallbackIpsAgeMs = now.UnixMilli() - s.IPsMS
	}
	v.NoApi, v.BudgetTokens = !a.conf.calls(), a.conf.TokensPerDay
	if s.spending.today.Day == wechatDay(now) {
		v.SpentTokens = s.spending.today.Count
	}
	return v
}
