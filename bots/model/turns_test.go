package model_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/bots"
	"hongyan/bots/model"
	"hongyan/bots/remote"
	"hongyan/bots/upstream"
	"hongyan/messages"
)

// A tool of the remote contract fits, and so do its errors.
var _ model.Reported = (*remote.ToolError)(nil)

// requests are the bodies that an endpoint was sent.
type requests struct {
	mu     sync.Mutex
	bodies []string
}

// take notes a request's body and returns it.
func (r *requests) take(req *http.Request) string {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, string(body))
	return string(body)
}

func (r *requests) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bodies...)
}

// fixed is a transport that answers the same to everything.
type fixed string

// Call implements remote.Transport.
func (f fixed) Call(_ context.Context, x remote.Exchange) ([]byte, error) {
	if _, err := x.Body(0); err != nil {
		return nil, err
	}
	return []byte(f), nil
}

// cityTool is a tool of a transport, as the program makes them.
func cityTool(t remote.Transport) model.Tool {
	tool := remote.NewTool(t)
	return model.Tool{Name: "city", Call: func(ctx context.Context, c model.ToolCall) (string, error) {
		return tool(ctx, remote.ToolCall{ID: c.ID, Tool: c.Tool, Arguments: c.Arguments, Account: c.Account, User: c.User})
	}}
}

// TestToolsOwnError finds that what a tool says of its own failure is told to the model and not logged, since it may quote, and that
// other failures are logged, and told in general words.
func TestToolsOwnError(t *testing.T) {
	t.Parallel()
	const quote = "secret-of-the-user"
	tests := []struct{ answer, told, result, logged string }{
		{`{"error":" 没有城市 ` + quote + ` "}`, `"content":"没有城市 ` + quote + `"`, "reported", ""},
		{`{"error":"` + quote + strings.Repeat("很长", 8<<10) + `"}`, quote + "很长", "reported", ""},
		{`{"error":" "}`, "工具出错了", "reported", ""},
		{quote, "工具出错了", "error", "not JSON"},
		{`{"v":2,"error":"` + quote + `"}`, "工具出错了", "error", "version 2"},
	}
	for _, tt := range tests {
		t.Run(tt.answer[:min(len(tt.answer), 20)], func(t *testing.T) {
			t.Parallel()
			var seen requests
			var logs bytes.Buffer
			reg := prometheus.NewRegistry()
			bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(seen.take(r), `"role":"tool"`) {
					send(w, "200 text/event-stream\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":"+
						"[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"city\",\"arguments\":\"{}\"}}]}}]}\n\ndata: [DONE]\n\n")
					return
				}
				send(w, helloReply)
			}, func(o *model.Options) {
				o.Logger, o.Registerer, o.ContextTokens = slog.New(slog.NewTextHandler(&logs, nil)), reg, 64<<10
				o.Tools = []model.Tool{cityTool(fixed(tt.answer))}
			})
			_, err := bot.Answer(t.Context(), say("你好"))
			must(t, err)
			bodies := seen.all()
			if told := bodies[len(bodies)-1]; len(bodies) != 2 || !strings.Contains(told, tt.told) || len(told) > 20<<10 {
				t.Errorf("the model was told in %d requests: %.1000s", len(bodies), told)
			}
			if log := logs.String(); strings.Contains(log, quote) || tt.logged == "" && log != "" || !strings.Contains(log, tt.logged) {
				t.Errorf("logged: %s", log)
			}
			if got := shownMetrics(t, reg); !strings.Contains(got, tt.result) {
				t.Errorf("counted %s, want %s", got, tt.result)
			}
		})
	}
}

// countedMedia is WeChat's API, which counts what is fetched.
type countedMedia struct{ fetched atomic.Int32 }

// Fetch implements bots.MediaSource.
func (m *countedMedia) Fetch(context.Context, string, string) (bots.Media, error) {
	m.fetched.Add(1)
	return bots.Media{Bytes: []byte("x"), Type: "image/jpeg"}, nil
}

// TestNothingIsFetchedInVain finds that a picture is not fetched while nobody can be asked about it, and is when somebody can.
func TestNothingIsFetchedInVain(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		up, err := upstream.New(upstream.Options{
			Name: "gpt", Endpoints: []upstream.Endpoint{{Name: "e", Weight: 1}}, Logger: slog.New(slog.DiscardHandler),
			Breaker: upstream.Settings{Failures: 1, Open: time.Hour},
		})
		must(t, err)
		if open {
			_ = up.Do(t.Context(), func(context.Context, upstream.Call) error { return io.EOF })
		}
		bot, _ := newBot(t, func(w http.ResponseWriter, _ *http.Request) { send(w, helloReply) }, func(o *model.Options) {
			o.Upstream, o.Images = up, model.ImagesBytes
		})
		var media countedMedia
		req := say("")
		req.Media = &media
		req.Message.Kind, req.Message.Body = messages.Kind_KIND_IMAGE, &messages.Inbound_Media{Media: &messages.Media{MediaId: "m1"}}
		_, err = bot.Answer(t.Context(), req)
		if errors.Is(err, bots.ErrUnavailable) != open || (media.fetched.Load() == 0) != open {
			t.Errorf("breaker open %t: %d pictures fetched, answer %v", open, media.fetched.Load(), err)
		}
	}
}

// TestQuirksAreNotTheUsers finds that a refusal that quotes what one user wrote turns nothing off for the others.
func TestQuirksAreNotTheUsers(t *testing.T) {
	t.Parallel()
	const words = "unsupported tool"
	var seen requests
	bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(seen.take(r), words) {
			send(w, "400 application/json\n"+`{"error":{"message":"content could not be parsed near: `+words+`"}}`)
			return
		}
		send(w, helloReply)
	}, func(o *model.Options) { o.Tools = []model.Tool{cityTool(fixed("{}"))} })
	var fault *upstream.Fault
	if _, err := bot.Answer(t.Context(), say(words)); !errors.As(err, &fault) || fault.Kind != upstream.Refused {
		t.Errorf("%v, want a refusal", err)
	}
	_, err := bot.Answer(t.Context(), say("你好"))
	must(t, err)
	var tools []bool
	for _, body := range seen.all() {
		tools = append(tools, strings.Contains(body, `"tools"`))
	}
	if got := fmt.Sprint(tools); got != "[true false true]" {
		t.Errorf("requests with tools: %s; want the first, not its repeat, and the next user's", got)
	}
}

// TestQuirksLapse finds that a field that an endpoint does not take is left out for 10 minutes after the repeat without it succeeded,
// then offered again, and that the log tells of it once.
func TestQuirksLapse(t *testing.T) {
	t.Parallel()
	var seen requests
	var logs bytes.Buffer
	clock := now
	bot, _ := newBot(t, func(w http.ResponseWriter, r *http.Request) {
		body := seen.take(r)
		for _, field := range []string{"stream_options", "temperature"} {
			if strings.Contains(body, field) {
				send(w, "400 application/json\n"+`{"error":{"message":"unknown field `+field+`"}}`)
				return
			}
		}
		send(w, helloReply)
	}, func(o *model.Options) {
		warm := 0.5
		o.Temperature, o.Logger = &warm, slog.New(slog.NewTextHandler(&logs, nil))
		o.Now = func() time.Time { return clock }
	})
	for _, step := range []struct {
		later time.Duration
		want  int // requests
	}{{0, 3}, {10*time.Minute - 1, 1}, {1, 3}, {time.Minute, 1}, {9 * time.Minute, 3}} {
		clock = clock.Add(step.later)
		before := len(seen.all())
		_, err := bot.Answer(t.Context(), say("你好"))
		must(t, err)
		if got := len(seen.all()) - before; got != step.want {
			t.Errorf("%v: %d requests, want %d", clock.Sub(now), got, step.want)
		}
	}
	if got := logs.String(); strings.Count(got, "level=WARN") != 2 || strings.Count(got, "field=stream_options") != 1 ||
		strings.Count(got, "field=temperature") != 1 {
		t.Errorf("logged: %s", got)
	}
}

// TestAtHand finds which answers need no endpoint.
func TestAtHand(t *testing.T) {
	t.Parallel()
	bot, _ := newBot(t, func(w http.ResponseWriter, _ *http.Request) { send(w, helloReply) }, func(o *model.Options) {
		o.NewWords = []string{"/new"}
	})
	image := say("")
	image.Message.Kind, image.Message.Body = messages.Kind_KIND_IMAGE, &messages.Inbound_Media{Media: &messages.Media{PicUrl: "http://x/y"}}
	for _, tt := range []struct {
		req  *bots.Request
		left int64
		want bool
	}{
		{say(" /NEW "), 100, true}, {say(" /NEW "), 0, true}, {say("你好"), 0, true}, {say("你好"), 100, false},
		{say("你好"), bots.Unbounded, false},
		{say("  "), 0, false}, {image, 0, false},
	} {
		tt.req.TokensLeft = tt.left
		var link bots.AtHand = bot
		if got := link.AtHand(tt.req); got != tt.want {
			t.Errorf("%v with %d tokens: %t", tt.req.Message.GetBody(), tt.left, got)
		}
	}
}
