package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// treasury keeps the budget of one account as its actor does, without the actor: the state machine, its wakes, and a record that
// survives it. It shows what may go wrong between it and the nodes.
type treasury struct {
	t     *testing.T
	conf  AccountSettings
	lines *logLines

	mu      sync.Mutex
	s       *accountState
	record  []byte
	commits []time.Time
	life    int // of owners
	asked   int
	deaf    bool
	lost    func(asked int) bool // the question arrives, and its answer does not
	twice   bool                 // each question arrives twice
	slow    time.Duration        // each answer takes so long on its way
	ahead   time.Duration        // the owner's clock, of the nodes'
	stops   []func()
}

func inTreasury(t *testing.T, limit int64, f func(t *testing.T, y *treasury)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := &treasury{t: t, conf: AccountSettings{ID: account, TokensPerDay: limit}, lines: &logLines{}}
		y.open()
		defer func() {
			for _, stop := range y.stops {
				stop()
			}
			synctest.Wait()
		}()
		f(t, y)
	})
}

// open begins with what was committed, as a new owner does.
func (y *treasury) open() {
	y.mu.Lock()
	defer y.mu.Unlock()
	var rec accountRecord
	if y.record != nil {
		var err error
		if rec, err = decodeAccount(y.record); err != nil {
			y.t.Error(err)
		}
	}
	y.life++
	y.s = newAccountState(rec, y.conf, time.Now(), 1)
	if y.record == nil {
		var err error
		if y.record, err = y.s.encode(); err != nil {
			y.t.Error(err)
		}
	}
}

func (y *treasury) now() time.Time { return time.Now().Add(y.ahead) }

// step is called with mu held.
func (y *treasury) step(event any) any {
	reply, do := y.s.step(event, y.now(), 1)
	record, err := y.s.encode()
	if err != nil {
		y.t.Error(err)
	}
	if string(record) != string(y.record) {
		y.record = record
		y.commits = append(y.commits, time.Now())
	}
	for _, act := range do {
		switch act := act.(type) {
		case actWake:
			life := y.life
			time.AfterFunc(act.after, func() {
				y.mu.Lock()
				defer y.mu.Unlock()
				if y.life == life {
					y.step(spendDue{})
				}
			})
		case actFetch:
			y.t.Error("a token is fetched for an account that cannot call WeChat's API")
		}
	}
	return reply
}

func (y *treasury) ask(_ context.Context, name messages.User, question proto.Message) (any, error) {
	y.mu.Lock()
	slow := y.slow
	defer func() {
		y.mu.Unlock()
		time.Sleep(slow)
	}()
	if id, ok := name.OfAccount(); !ok || id != account {
		y.t.Errorf("asked %v", name)
	}
	y.asked++
	if y.deaf {
		return nil, errors.New("nobody owns the partition at the moment")
	}
	reply := y.step(proto.CloneOf(question.(*messages.AccountSpend)))
	if y.twice {
		y.step(proto.CloneOf(question.(*messages.AccountSpend)))
	}
	if y.lost != nil && y.lost(y.asked) {
		return nil, errors.New("the connection broke")
	}
	return reply, nil
}

func (y *treasury) behave(f func(y *treasury)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f(y)
}

// questions is how often it was asked.
func (y *treasury) questions() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.asked
}

// committed is what the record says of the day.
func (y *treasury) committed() int64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	rec, err := decodeAccount(y.record)
	if err != nil {
		y.t.Error(err)
	}
	return rec.Spent.Count
}

// node starts a node's Budgets; stop ends it.
func (y *treasury) node(name string) (b *Budgets, stop func()) {
	return startBudgets(y.t, y.ask, y.lines, name, y.conf.TokensPerDay, &y.stops)
}

func startBudgets(
	t *testing.T, ask func(context.Context, messages.User, proto.Message) (any, error), lines *logLines, name string, limit int64,
	stops *[]func(),
) (b *Budgets, stop func()) {
	t.Helper()
	b, err := NewBudgets(BudgetOptions{
		Node: name, TokensPerDay: map[string]int64{account: limit, "free": 0}, Ask: ask, Now: time.Now,
		Random: (&office{}).random, Logger: slog.New(lines), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ended by stop
		defer close(ended)
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	*stops = append(*stops, stop)
	return b, stop
}
