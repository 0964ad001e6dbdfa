package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/protobuf/proto"

	"hongyan/bots"
	"hongyan/messages"
)

// BudgetOptions are what NewBudgets needs; all must be given.
type BudgetOptions struct {
	Node         string           // unique in the cluster, new at each start of the process
	TokensPerDay map[string]int64 // by account id; an account that is not there, or has 0, has no bound
	// Ask asks an account's actor wherever it is; cluster.Node.Request does. It may deliver a question more than once.
	Ask        func(ctx context.Context, account messages.User, question proto.Message) (any, error)
	Now        func() time.Time // called by many goroutines
	Random     func() uint64    // uniformly random; called by many goroutines
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Budgets is a node's Tokens: it counts what the node's turns spend of each account's budget, and knows what is left of it over all
// nodes as of about a second ago. Turns that run at the same time may pass the budget by what they cost together.
//
// Each account with a budget has a goroutine of its own, which alone talks with the account's actor.
type Budgets struct {
	accounts map[string]*budget
}

var _ Tokens = (*Budgets)(nil)

// NewBudgets registers the metrics.
func NewBudgets(o BudgetOptions) (*Budgets, error) {
	if o.Node == "" || o.Ask == nil || o.Now == nil || o.Random == nil || o.Logger == nil {
		return nil, errors.New("actors: BudgetOptions need Node, Ask, Now, Random and Logger")
	}
	m := newBudgetMetrics(o.Registerer)
	b := &Budgets{accounts: make(map[string]*budget)}
	for id, limit := range o.TokensPerDay {
		if limit <= 0 {
			continue
		}
		k := &budget{
			opts: &o, account: id, name: messages.AccountActor(id), limit: limit, metrics: m, log: o.Logger.With("account", id),
			kick: make(chan struct{}, 1), serial: o.Random() >> 1, // a report of a former process of this name is none of ours
		}
		k.begin(wechatDay(o.Now()))
		k.report(o.Now())
		b.accounts[id] = k
	}
	return b, nil
}

// Left implements Tokens. Until the account's actor has answered for the first time it is the whole budget, less what the node spent.
func (b *Budgets) Left(account string) int64 {
	k := b.accounts[account]
	if k == nil {
		return bots.Unbounded
	}
	now := k.opts.Now()
	k.touch(now)
	left, _ := k.estimate(now)
	return left
}

// Spend implements Tokens. It never waits, and nothing that it was told on this day is lost while the account's actor is away.
func (b *Budgets) Spend(account string, tokens int64) {
	if k := b.accounts[account]; k != nil && tokens > 0 {
		k.spent.Add(tokens)
		k.touch(k.opts.Now())
	}
}

// Run reports what was spent until ctx ends, and then once more, for a moment.
func (b *Budgets) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, k := range b.accounts {
		running.Go(func() { k.run(ctx) }) // ended by ctx
	}
	running.Wait()
	return nil
}

// budgetMetrics are those of all accounts of a node.
type budgetMetrics struct {
	tokens  *prometheus.GaugeVec   // by account, what
	reports *prometheus.CounterVec // by account, outcome
}

func newBudgetMetrics(reg prometheus.Registerer) *budgetMetrics {
	f := promauto.With(reg)
	return &budgetMetrics{
		tokens: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hongyan_budget_tokens",
			Help: "The account's budget of model tokens of the day over all nodes, as this node knows it: left, spent, limit.",
		}, []string{"account", "what"}),
		reports: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_budget_reports_total", Help: "Reports of spent tokens to the account's actor, by outcome: ok or error.",
		}, []string{"account", "outcome"}),
	}
}
