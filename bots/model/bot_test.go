package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hongyan/bots"
	"hongyan/bots/model"
	"hongyan/bots/upstream"
	"hongyan/conversation"
	"hongyan/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const helloReply = "200 text/event-stream\ndata: {\"choices\":[{\"delta\":{\"content\":\"好\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

// newBot is a bot with one endpoint, which handler is.
func newBot(tb testing.TB, handler http.HandlerFunc, change func(*model.Options)) (*model.Bot, *httptest.Server) {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	quiet := slog.New(slog.DiscardHandler)
	up, err := upstream.New(upstream.Options{Name: "gpt", Endpoints: []upstream.Endpoint{{Name: "e", Weight: 1}}, Logger: quiet})
	must(tb, err)
	opts := model.Options{
		Name: "gpt", Upstream: up, HTTP: server.Client(), Logger: quiet,
		Endpoints: []model.Endpoint{{BaseURL: server.URL + "/v1/", Model: "m"}},
	}
	if change != nil {
		change(&opts)
	}
	bot, err := model.New(opts)
	must(tb, err)
	return bot, server
}

// say is a text of a user.
func say(text string) *bots.Request {
	return &bots.Request{ID: "0123456789abcdef0123456789abcdef", Now: now, TokensLeft: bots.Unbounded, Message: &messages.Inbound{
		Account: account, OpenId: openID, Kind: messages.Kind_KIND_TEXT, Body: &messages.Inbound_Text{Text: &messages.Text{Content: text}},
	}}
}

// TestKeyRotates finds that a key that was replaced is used at once, in the very turn in which the old one is refused.
func TestKeyRotates(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(file, []byte("sk-old\n"), 0o600))
	key, err := upstream.OpenKey("", file)
	must(t, err)
	key.LogTo(slog.New(slog.DiscardHandler))
	var seen []string
	bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if len(seen) == 1 { // the operator rotates the key while the old one is under way
			if os.WriteFile(file, []byte("sk-new\n"), 0o600) != nil {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			send(w, `401 application/json`+"\n"+`{"error":{"code":"invalid_api_key"}}`)
			return
		}
		send(w, helloReply)
	}, func(o *model.Options) { o.Endpoints[0].Key = key })
	resp, err := bot.Answer(t.Context(), say("你好"))
	must(t, err)
	if got := strings.Join(seen, ", "); got != "Bearer sk-old, Bearer sk-new" || len(resp.Answers) != 1 {
		t.Errorf("keys %s, %+v", got, resp)
	}
}

// TestRefusedKey finds that a key that is refused, and not replaced, is not tried over and over.
func TestRefusedKey(t *testing.T) {
	t.Parallel()
	key, err := upstream.OpenKey("sk-old", "")
	must(t, err)
	var calls atomic.Int32
	bot, _ := newBot(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}, func(o *model.Options) { o.Endpoints[0].Key = key })
	_, err = bot.Answer(t.Context(), say("你好"))
	var fault *upstream.Fault
	if !errors.As(err, &fault) || fault.Kind != upstream.Denied || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

// TestQuirksAreRemembered finds that what an endpoint does not take is sent once, and then no more.
func TestQuirksAreRemembered(t *testing.T) {
	t.Parallel()
	var bodies []string
	bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		bodies = append(bodies, string(body))
		if strings.Contains(string(body), "stream_options") {
			send(w, "400 application/json\n"+`{"error":{"message":"unknown field stream_options"}}`)
			return
		}
		send(w, helloReply)
	}, nil)
	for range 3 {
		_, err := bot.Answer(t.Context(), say("你好"))
		must(t, err)
	}
	if len(bodies) != 4 {
		t.Errorf("%d requests for 3 turns, want 4", len(bodies))
	}
}

// TestTurnEnds finds that a turn ends with its context, while headers are awaited and in mid-stream, and that the error says which way.
func TestTurnEnds(t *testing.T) {
	t.Parallel()
	for _, streaming := range []bool{false, true} {
		for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(fmt.Sprintf("%v, streaming %v", cause, streaming), func(t *testing.T) {
				t.Parallel()
				reached := make(chan struct{})
				bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
					// The server notices that the client is gone only when the body is read.
					_, _ = io.Copy(io.Discard, r.Body)
					if streaming {
						w.Header().Set("Content-Type", "text/event-stream")
						_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"好\"}}]}\n\n")
						_ = http.NewResponseController(w).Flush()
					}
					close(reached)
					<-r.Context().Done()
				}, nil)
				ctx, cancel := context.WithCancel(t.Context())
				if errors.Is(cause, context.DeadlineExceeded) {
					ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
				} else {
					go func() { // ends when the endpoint is reached
						<-reached
						cancel()
					}()
				}
				defer cancel()
				_, err := bot.Answer(ctx, say("你好"))
				if !errors.Is(err, cause) || errors.Is(err, bots.ErrUnavailable) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// TestUnavailable finds that a turn for which there is no place says so.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	bot, _ := newBot(t, func(w http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		<-release
		send(w, helloReply)
	}, func(o *model.Options) {
		up, err := upstream.New(upstream.Options{Name: "gpt", Endpoints: []upstream.Endpoint{{Name: "e", Weight: 1}}, MaxInFlight: 1})
		must(t, err)
		o.Upstream = up
	})
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := bot.Answer(context.Background(), say("你好")); err != nil {
			t.Error(err)
		}
	})
	<-reached
	if _, err := bot.Answer(t.Context(), say("你好")); !errors.Is(err, bots.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	close(release)
	first.Wait()
}

// TestToolsAreBounded finds that tools run side by side, but no more than 8 of one turn, and that what they say is cut.
func TestToolsAreBounded(t *testing.T) {
	t.Parallel()
	var calls []string
	for i := range 40 {
		calls = append(calls, fmt.Sprintf(`{"index":%d,"id":"c%d","function":{"name":"long","arguments":"{}"}}`, i, i))
	}
	var second struct {
		Messages []struct {
			Role, Content string
		} `json:"messages"`
	}
	var round atomic.Int32
	var running, most atomic.Int32
	full, once := make(chan struct{}), sync.Once{}
	bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
		if round.Add(1) == 1 {
			send(w, "200 text/event-stream\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":["+strings.Join(calls, ",")+"]}}]}\n\ndata: [DONE]\n\n")
			return
		}
		if json.NewDecoder(r.Body).Decode(&second) != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		send(w, helloReply)
	}, func(o *model.Options) {
		o.ContextTokens = 1 << 20
		o.Tools = []model.Tool{{Name: "long", Timeout: 10 * time.Second, Call: func(ctx context.Context, _ model.ToolCall) (string, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for before := most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
			}
			if n == 8 {
				for range 10_000 { // room for a ninth, if there could be one
					runtime.Gosched()
				}
				once.Do(func() { close(full) })
			}
			select { // until all 8 are there: they do run side by side
			case <-full:
				return strings.Repeat("长", 100_000), nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}}}
	})
	_, err := bot.Answer(t.Context(), say("你好"))
	must(t, err)
	results := 0
	for _, m := range second.Messages {
		if m.Role == "tool" {
			results++
			if len(m.Content) > 16<<10 || len(m.Content) < 16<<10-3 {
				t.Errorf("a result of %d bytes", len(m.Content))
			}
		}
	}
	if results != 32 || most.Load() != 8 {
		t.Errorf("%d results, want 32; %d at a time, want 8", results, most.Load())
	}
}

// TestRefusedOptions finds that what cannot work is refused before anybody is asked.
func TestRefusedOptions(t *testing.T) {
	t.Parallel()
	call := func(context.Context, model.ToolCall) (string, error) { return "", nil }
	tests := map[string]func(*model.Options){
		"no upstream":   func(o *model.Options) { o.Upstream = nil },
		"has 0":         func(o *model.Options) { o.Endpoints = nil },
		"is no http":    func(o *model.Options) { o.Endpoints[0].BaseURL = "api.example.com/v1" },
		"names no":      func(o *model.Options) { o.Endpoints[0].Model = " " },
		"cannot name":   func(o *model.Options) { o.Tools = []model.Tool{{Name: "a b", Call: call}} },
		"two tools":     func(o *model.Options) { o.Tools = []model.Tool{{Name: "a", Call: call}, {Name: "a", Call: call}} },
		"does nothing":  func(o *model.Options) { o.Tools = []model.Tool{{Name: "a"}} },
		"raise context": func(o *model.Options) { o.ContextTokens = 1100 },
	}
	for want, change := range tests {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			up, err := upstream.New(upstream.Options{Name: "gpt", Endpoints: []upstream.Endpoint{{Name: "e", Weight: 1}}})
			must(t, err)
			opts := model.Options{Name: "gpt", Upstream: up, Endpoints: []model.Endpoint{{BaseURL: "https://api.example.com/v1", Model: "m"}}}
			change(&opts)
			if _, err := model.New(opts); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestManyTurns finds that turns do not share what is theirs, that connections are used again, and that a turn leaves no goroutine.
func TestManyTurns(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Messages []struct{ Content string } `json:"messages"`
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil {
			return
		}
		send(w, strings.Replace(helloReply, "好", body.Messages[0].Content, 1))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	const places = 8
	bot, _ := newBot(t, nil, func(o *model.Options) {
		o.Endpoints[0].BaseURL = server.URL
		transport := upstream.NewTransport(places)
		t.Cleanup(transport.CloseIdleConnections)
		o.HTTP = &http.Client{Transport: transport}
	})
	var turns sync.WaitGroup
	for i := range places {
		turns.Go(func() {
			for j := range 20 {
				text := fmt.Sprintf("question %d of %d", j, i)
				resp, err := bot.Answer(t.Context(), say(text))
				if err != nil || resp.Answers[0].GetText().GetContent() != text {
					t.Errorf("%s: %+v, %v", text, resp, err)
				}
			}
		})
	}
	turns.Wait()
	if n := connections.Load(); n > 2*places {
		t.Errorf("%d connections for %d turns at a time", n, places)
	}
}

// BenchmarkTurn measures what a turn allocates, beside the endpoint's own part: a history of 20, an answer in 50 pieces.
func BenchmarkTurn(b *testing.B) {
	var reply strings.Builder
	for range 50 {
		reply.WriteString("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," +
			"\"choices\":[{\"index\":0,\"delta\":{\"content\":\"你好\"},\"finish_reason\":null}]}\n\n")
	}
	reply.WriteString("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	sent := reply.String()
	bot, _ := newBot(b, nil, func(o *model.Options) {
		o.Endpoints[0].BaseURL = "http://endpoint.invalid/v1"
		o.HTTP = &http.Client{Transport: canned(sent)}
	})
	req := say("你好")
	for range 10 {
		req.History = append(req.History, conversation.Turn{Role: conversation.RoleUser, Text: "一个问题"},
			conversation.Turn{Role: conversation.RoleBot, Text: "一个回答"})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bot.Answer(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
}

// canned answers every request without a network.
type canned string

// RoundTrip implements http.RoundTripper.
func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(string(c))),
	}, nil
}
