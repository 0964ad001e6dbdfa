package actors

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/state/memory"
	memlog "hongyan/stream/memory"
	"hongyan/wechat/api"
	"hongyan/wechat/simulator"
)

// A 40001 storm over eight nodes with the real client and the whole simulated platform, in real time: the platform issues exactly one
// new token, and its users see every message once.
func TestStormOnTheSimulatedPlatform(t *testing.T) {
	t.Parallel()
	const nodes, users, each = 8, 5, 5
	platform, calls := openPlatform(t)
	ask := openAccount(t, calls)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	senders := make([]*Sender, nodes)
	for n := range nodes {
		s, err := NewSender(SenderOptions{
			Node: fmt.Sprint("n", n), Accounts: map[string]SendAPI{account: calls}, Ask: ask, Now: time.Now, Random: (&office{}).random,
			Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		senders[n] = s
		running.Go(func() { _ = s.Run(ctx) }) // ended by cancel
	}
	for n := range nodes {
		for u := range users {
			name := fmt.Sprintf("user-%d-%d", n, u)
			if _, err := platform.Push(t.Context(), account, name, simulator.Message{Type: "text", Content: "hello"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sent := pushUntil(t, senders[0], "user-0-0", "warm", 5*time.Second); sent.Fate != FateDelivered {
		t.Fatalf("%+v", sent)
	}
	before := platform.TokenGeneration(account)
	var sending sync.WaitGroup
	var storm sync.Once
	for n, s := range senders {
		for u := range users {
			sending.Go(func() {
				for i := range each - 1 {
					if sent := pushUntil(t, s, fmt.Sprintf("user-%d-%d", n, u), fmt.Sprintf("%d.%d.%d", n, u, i), 10*time.Second); sent.Fate != FateDelivered {
						t.Errorf("%d.%d.%d: %+v", n, u, i, sent)
					}
					if i == 1 {
						storm.Do(func() {
							if err := platform.InvalidateTokens(account); err != nil {
								t.Error(err)
							}
						})
					}
				}
			})
		}
	}
	sending.Wait()
	if issued := platform.TokenGeneration(account) - before; before != 1 || issued != 1 {
		t.Errorf("%d tokens before the storm and %d because of it, want 1 and 1", before, issued)
	}
	seen := make(map[string]int)
	for _, r := range platform.Witness() {
		if r.Kind == simulator.RecordCustom && r.Effect {
			seen[r.Answer.Content]++
		}
	}
	if len(seen) != nodes*users*(each-1)+1 {
		t.Errorf("users saw %d messages, want %d", len(seen), nodes*users*(each-1)+1)
	}
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%q was shown %d times", text, n)
		}
	}
}

// openPlatform starts the simulated platform and a client of its API.
func openPlatform(t *testing.T) (*simulator.Platform, *api.Client) {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("success")) }))
	t.Cleanup(backend.Close)
	platform, err := simulator.New(simulator.Options{Accounts: []simulator.Account{{
		ID: account, AppID: "wx0123456789abcdef", Token: "token", Mode: "plain", CallbackURL: backend.URL, AppSecret: "secret", CustomerService: true,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(platform.Close)
	server := httptest.NewServer(platform.APIHandler())
	t.Cleanup(server.Close)
	calls, err := api.New(api.Options{Account: account, AppID: "wx0123456789abcdef", AppSecret: "secret", Base: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(calls.Close)
	return platform, calls
}

// openAccount starts a partition that the account's actor lives in, and returns the way to it.
func openAccount(t *testing.T, calls *api.Client) func(context.Context, messages.User, proto.Message) (any, error) {
	t.Helper()
	log := memlog.New(1, time.Now)
	o := &office{t: t, settings: AccountSettings{ID: account, AppID: "wx0123456789abcdef", AppSecret: "secret", API: calls}}
	engine := New(Options{
		Node: "owner", Official: map[string]AccountSettings{account: o.settings}, Log: log, Graveyard: log, Store: memory.New(memory.Options{}),
		Now: time.Now, Random: o.random, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	o.system = actor.NewActorSystemWithConfig(actor.Configure(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })))
	o.pid = o.system.Root.Spawn(engine.Partition(Tenure{Epoch: 1, Mark: "mark"}))
	t.Cleanup(func() {
		if err := o.system.Root.StopFuture(o.pid).Wait(); err != nil {
			t.Error(err)
		}
		o.system.Shutdown()
	})
	return o.ask
}
