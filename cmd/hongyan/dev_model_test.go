package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/bots/rules"
	"hongyan/config"
	"hongyan/examples"
	"hongyan/wechat/simulator"
)

// TestDevConfig: what dev runs is what stands in its file, every default filled in; its chain ends with the model.
func TestDevConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg, err := devConfig(dir, "os", false)
	if err != nil {
		t.Fatal(err)
	}
	if bot := cfg.Accounts[0].Bot; !slices.Equal(bot, []string{"rules", devModelBot}) {
		t.Errorf("the chain is %v", bot)
	}
	model := cfg.Bots[devModelBot]
	if model.Type != config.BotOpenAI || len(model.Endpoints) != 1 || model.Timeout == 0 || model.MaxInFlight == 0 || model.Breaker.Probes == 0 {
		t.Errorf("the model is not whole: %+v", model)
	}
	if user := cfg.Accounts[0].Breaker; user.Failures <= model.Breaker.Failures {
		t.Errorf("the user's breaker opens after %d failures, before the model's after %d", user.Failures, model.Breaker.Failures)
	}
	if err := writeDevFile(cfg); err != nil {
		t.Fatal(err)
	}
	again, report := config.Load(devFile(cfg), nil)
	if report.Err() != nil {
		t.Fatal(report.Err())
	}
	first, _ := config.Marshal(cfg)
	if second, _ := config.Marshal(again); !bytes.Equal(first, second) {
		t.Errorf("the file holds something else:\n%s\n---\n%s", first, second)
	}
}

// TestDevRules: the first rules leave room for the model; those that an older run left do so too, unless somebody has changed them.
func TestDevRules(t *testing.T) {
	t.Parallel()
	all, err := rules.Parse("rules.yaml", examples.Rules)
	if err != nil {
		t.Fatal(err)
	}
	open, err := rules.Parse("rules.yaml", examples.OpenRules())
	if err != nil {
		t.Fatal(err)
	}
	if open.Len() != all.Len()-1 || bytes.Contains(examples.OpenRules(), []byte("\n  - match: default")) {
		t.Errorf("of %d rules %d are left", all.Len(), open.Len())
	}
	own := "rules: [{match: default, reply: 我自己的}]\n"
	for _, c := range []struct{ name, before, after string }{
		{"none", "", string(examples.OpenRules())},
		{"an older run's", string(examples.Rules), string(examples.OpenRules())},
		{"somebody's", own, own},
		{"the last run's", string(examples.OpenRules()), string(examples.OpenRules())},
	} {
		file := filepath.Join(t.TempDir(), "rules.yaml")
		if c.before != "" {
			if err := os.WriteFile(file, []byte(c.before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeDevRules(file); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != c.after {
			t.Errorf("%s: %v, now\n%s", c.name, err, got)
		}
	}
}

// devModelRig is a model whose nodes are as the test says.
func devModelRig(t *testing.T, nodes map[string]string) *devModel {
	t.Helper()
	address, err := loopbackAddress("0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Admin.Token = "secret"
	cfg.Bots = map[string]config.Bot{devModelBot: {Endpoints: []config.Endpoint{{BaseURL: "http://" + address + devModelPath}}}}
	m := newDevModel(cfg, slog.New(slog.DiscardHandler))
	m.nodes = nodes
	return m
}

// TestDevUpstreams: every node is asked with the token; one that hangs, refuses or is away is left out, and holds nobody up.
func TestDevUpstreams(t *testing.T) {
	t.Parallel()
	nodes := map[string]string{"away": "127.0.0.1:1"}
	serve := func(name string, handler http.HandlerFunc) {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		nodes[name] = strings.TrimPrefix(server.URL, "http://")
	}
	for _, name := range []string{"worker-2", "worker-1"} {
		serve(name, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/bots" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("%s is asked for %s with %q", name, r.URL.Path, r.Header.Get("Authorization"))
			}
			fmt.Fprint(w, `{"node":"x","bots":[{"name":"rules","type":"rules","accounts":[]},{"name":"model","type":"openai","upstream":
				{"name":"model","max_in_flight":512,"in_flight":3,"endpoints":[{"name":"h","state":"open","since":"2026-01-02T03:04:05Z",
				"retry_at":"2026-01-02T03:04:10Z","weight":1,"failures":3,"last_error":"reset"}]}}]}`)
		})
	}
	serve("hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	serve("refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	serve("talks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })

	began := time.Now()
	got := devModelRig(t, nodes).Upstreams(t.Context())
	if took := time.Since(began); took > 10*upstreamsWithin {
		t.Errorf("the answer took %v", took)
	}
	if len(got) != 2 || got[0].Node != "worker-1" || got[1].Node != "worker-2" {
		t.Fatalf("the upstreams: %+v", got)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	u, e := got[0], got[0].Endpoints[0]
	if u.Name != "model" || u.InFlight != 3 || u.MaxInFlight != 512 || e.Name != "h" || e.State != "open" || !e.Since.Equal(since) ||
		e.RetryAt == nil || e.RetryAt.Sub(since) != 5*time.Second || e.Failures != 3 || e.LastError != "reset" {
		t.Errorf("an upstream: %+v", u)
	}
}

// TestDevModelRuns: it answers while it runs, follows the page's knobs, and ends with its context, open requests included.
func TestDevModelRuns(t *testing.T) {
	t.Parallel()
	m := devModelRig(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }() // ends with ctx
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() (int, error) {
		response, err := client.Post("http://"+m.address+"/v1/chat/completions", "application/json",
			strings.NewReader(`{"model":"example","messages":[{"role":"user","content":"你好"}]}`))
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	wait := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not seen", what)
			}
		}
	}
	wait("it answers", func() bool { status, err := ask(); return err == nil && status == http.StatusOK })
	knobs := simulator.ModelKnobs{Delay: time.Second, PerToken: time.Millisecond, FailureRate: 0.5, BreakRate: 0.25, Hang: true, Reasoning: true}
	if err := m.SetKnobs(knobs); err != nil || m.Knobs() != knobs {
		t.Errorf("the knobs are %+v, %v", m.Knobs(), err)
	}
	if err := m.SetKnobs(simulator.ModelKnobs{FailureRate: 2}); err == nil || m.Knobs() != knobs {
		t.Errorf("a bad knob: %v, %+v", err, m.Knobs())
	}
	hung := make(chan error, 1)
	go func() { _, err := ask(); hung <- err }() // ends with the model
	wait("the request hangs", func() bool { return m.Stats().InFlight == 1 })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if err := <-hung; err == nil {
		t.Error("the open request was answered")
	}
	if s := m.Stats(); s.Answered != 1 || s.Tokens == 0 {
		t.Errorf("the counts are %+v", s)
	}
}
