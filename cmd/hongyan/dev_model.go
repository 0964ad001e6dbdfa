package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hongyan/bots/model/example"
	"hongyan/config"
	"hongyan/wechat/simulator"
)

// devModelBot names the model in dev's chain, behind the rules.
const devModelBot = "model"

// devModelPath is the root of the model's API.
const devModelPath = "/v1"

// devSystem is the system prompt of dev's model.
const devSystem = "你是公众号“鸿雁演示号”的助手。今天是 {date}。回答要简短、友好。"

// devModelConfig is dev's model: the example at address. It may tell its long story, and its breaker is quick, so that one person with a
// phone sees it open and close.
func devModelConfig(address string) config.Bot {
	return config.Bot{
		Type: config.BotOpenAI, BaseURL: "http://" + address + devModelPath, APIKey: "example", Model: example.Model, System: devSystem,
		MaxTokens: 8192, ContextTokens: 32768, Images: config.ImagesBytes, Breaker: config.Breaker{Failures: 3, Open: 5 * time.Second},
	}
}

// devModel is the example model beside the engine, for the phone page.
type devModel struct {
	*example.Endpoint
	address string
	log     *slog.Logger
	client  http.Client
	token   string            // of the admin API
	nodes   map[string]string // address of each node's admin listener, by name; the one process has the name ""
}

// newDevModel makes the model that the configuration names; run serves it.
func newDevModel(cfg *config.Config, log *slog.Logger) *devModel {
	base := cfg.Bots[devModelBot].Endpoints[0].BaseURL
	address := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), devModelPath)
	return &devModel{
		Endpoint: example.New(example.Options{Logger: log}), address: address, log: log, token: cfg.Admin.Token.Reveal(),
		nodes:  map[string]string{"": cfg.Listen.Admin},
		client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, // straight to the nodes, past any proxy
	}
}

// run serves the model until ctx ends. Requests that are under way then are cut.
func (m *devModel) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", m.address)
	if err != nil {
		return fmt.Errorf("serve the example model: %w", err)
	}
	server := &http.Server{
		Handler: m.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() }) // what fails to close ends with the process
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the example model: %w", err)
	}
	return nil
}

// Knobs implements simulator.Model.
func (m *devModel) Knobs() simulator.ModelKnobs { return simulator.ModelKnobs(m.Endpoint.Knobs()) }

// SetKnobs implements simulator.Model.
func (m *devModel) SetKnobs(k simulator.ModelKnobs) error {
	return m.Endpoint.SetKnobs(example.Knobs(k))
}

// Stats implements simulator.Model.
func (m *devModel) Stats() simulator.ModelStats {
	s := m.Endpoint.Stats()
	return simulator.ModelStats{
		Requests: s.Requests, InFlight: s.InFlight, Answered: s.Answered, Failed: s.Failed, Broken: s.Broken, Gone: s.Gone,
		Tokens: s.PromptTokens + s.CompletionTokens,
	}
}

// upstreamsWithin bounds the question to one node; one that is paused or killed does not answer.
const upstreamsWithin = 500 * time.Millisecond

// Upstreams implements simulator.Model: it asks the admin API of all nodes at once. A node that does not answer is left out.
func (m *devModel) Upstreams(ctx context.Context) []simulator.Upstream {
	ctx, cancel := context.WithTimeout(ctx, upstreamsWithin)
	defer cancel()
	var mu sync.Mutex
	var out []simulator.Upstream
	var asking sync.WaitGroup
	for name, admin := range m.nodes {
		asking.Go(func() {
			found := m.upstreamsOf(ctx, name, admin)
			mu.Lock()
			defer mu.Unlock()
			out = append(out, found...)
		})
	}
	asking.Wait()
	slices.SortFunc(out, func(a, b simulator.Upstream) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Name, b.Name))
	})
	return out
}

// upstreamsOf asks one node; nothing where it does not answer.
func (m *devModel) upstreamsOf(ctx context.Context, node, admin string) []simulator.Upstream {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/api/v1/bots", http.NoBody)
	if err != nil {
		return nil
	}
	request.Header.Set("Authorization", "Bearer "+m.token)
	response, err := m.client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var told struct {
		Bots []struct {
			Upstream *simulator.Upstream `json:"upstream"` // as bots/upstream tells it, which has all that the page shows
		} `json:"bots"`
	}
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&told) != nil {
		return nil
	}
	var out []simulator.Upstream
	for _, b := range told.Bots {
		if b.Upstream != nil {
			b.Upstream.Node = node
			out = append(out, *b.Upstream)
		}
	}
	return out
}
