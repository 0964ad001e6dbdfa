package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/bots"
	"hongyan/bots/upstream"
	"hongyan/messages"
)

// carrier is a transport that answers what it is told to.
type carrier func(ctx context.Context, x Exchange) ([]byte, error)

func (c carrier) Call(ctx context.Context, x Exchange) ([]byte, error) { return c(ctx, x) }

func says(body string) carrier {
	return func(_ context.Context, x Exchange) ([]byte, error) {
		if _, err := x.Body(0); err != nil {
			return nil, err
		}
		x.Alive()
		return []byte(body), nil
	}
}

func textTurn() *bots.Request { return goldenRequest(goldenMessages()[0]) }

// Whatever the first endpoint does wrong, the next one is asked, with the same id and what is left of the time by then.
func TestNextEndpoint(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]carrier{
		"connection": func(context.Context, Exchange) ([]byte, error) { return nil, errors.New("broken") },
		"denied": func(context.Context, Exchange) ([]byte, error) {
			return nil, &upstream.Fault{Kind: upstream.Denied, Err: errors.New("denied")}
		},
		"nonsense": says(`{"answers": [{}]}`),
		"error":    says(`{"error": "database_down"}`),
	} {
		var ids []string
		var left []int64
		note := func(next carrier) carrier {
			return func(ctx context.Context, x Exchange) ([]byte, error) {
				data, err := x.Body(0)
				if err != nil {
					t.Error(err)
				}
				var r request
				if err := json.Unmarshal(data, &r); err != nil {
					t.Error(err)
				}
				ids, left = append(ids, r.ID, x.ID), append(left, r.DeadlineMS)
				<-time.After(2 * time.Millisecond)
				return next(ctx, x)
			}
		}
		b := newBot(t, Options{}, note(first), note(says(`{"answers": ["hello"]}`)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		resp, err := b.Answer(ctx, textTurn())
		cancel()
		if err != nil || !resp.Handled || resp.Answers[0].GetText().GetContent() != "hello" {
			t.Errorf("%s: %+v, %v", name, resp, err)
		}
		if len(ids) != 4 || ids[0] != ids[1] || ids[0] != ids[2] || ids[0] != ids[3] || left[0] > 60_000 || left[1] >= left[0] {
			t.Errorf("%s: ids %v, time left %v", name, ids, left)
		}
	}
}

// A request that is at fault itself is not carried to the next endpoint.
func TestRefusedRequest(t *testing.T) {
	t.Parallel()
	second := 0
	b := newBot(t, Options{}, carrier(func(context.Context, Exchange) ([]byte, error) {
		return nil, faultOf(http.StatusBadRequest, 0, "the bot")
	}), carrier(func(context.Context, Exchange) ([]byte, error) { second++; return nil, nil }))
	if _, err := b.Answer(t.Context(), textTurn()); err == nil || second != 0 {
		t.Errorf("%v, asked %d more", err, second)
	}
}

// Pictures and voice messages go along where the bot is to get them; that one is missing is said, and no reason to fail.
func TestMedia(t *testing.T) {
	t.Parallel()
	data := []byte{0xff, 0xd8}
	picture := mediaOf(messages.Kind_KIND_IMAGE, "image", &messages.Media{MediaId: "MEDIA_ID", PicUrl: "http://x/"})
	for name, c := range map[string]struct {
		mode    Media
		in      *messages.Inbound
		source  bots.MediaSource
		missing string
		bytes   []byte
	}{
		"off":     {in: picture, source: source{data: data}},
		"picture": {mode: MediaBytes, in: picture, source: source{data: data}, bytes: data},
		"voice": {mode: MediaBytes, source: source{data: data}, bytes: data,
			in: mediaOf(messages.Kind_KIND_VOICE, "voice", &messages.Media{MediaId: "MEDIA_ID"})},
		"video": {mode: MediaBytes, source: source{data: data},
			in: mediaOf(messages.Kind_KIND_VIDEO, "video", &messages.Media{MediaId: "MEDIA_ID"})},
		"failed":  {mode: MediaBytes, in: picture, source: source{err: errors.New("40007")}, missing: "unavailable"},
		"nowhere": {mode: MediaBytes, in: picture, missing: "unavailable"},
	} {
		b := newBot(t, Options{Media: c.mode, Logger: slog.New(slog.DiscardHandler)}, carrier(func(_ context.Context, x Exchange) ([]byte, error) {
			body, err := x.Body(0)
			var r request
			if err = errors.Join(err, json.Unmarshal(body, &r)); err != nil {
				t.Error(err)
			}
			if m := r.Message.Media; m.ID != "MEDIA_ID" || m.Missing != c.missing || !bytes.Equal(m.Data, c.bytes) || (m.ContentType != "") != (c.bytes != nil) {
				t.Errorf("%s: %+v", name, m)
			}
			return nil, nil
		}))
		req := goldenRequest(c.in)
		req.Media = c.source
		if resp, err := b.Answer(t.Context(), req); err != nil || resp.Handled {
			t.Errorf("%s: %+v, %v", name, resp, err)
		}
	}
}

// Logs and errors hold nothing of what was said, who said it, or what opens the bot.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	reg := prometheus.NewRegistry()
	req := textTurn()
	req.Message.OpenId = secret
	req.Session = map[string]string{secret: secret}
	req.Message.Body = &messages.Inbound_Text{Text: &messages.Text{Content: secret}}
	all := &strings.Builder{}
	for _, body := range []string{
		`{"answers": ["` + secret + `"], "` + secret + `": "` + secret + `"}`, `{"answers": [{"text": 7, "` + secret + `": "` + secret + `"}]}`,
		secret, `{"error": "` + secret + `"}`, `{"session": {"` + secret + `": 7}}`,
	} {
		if _, err := newBot(t, Options{Logger: log, Registerer: reg}, says(body)).Answer(t.Context(), req); err != nil {
			all.WriteString(err.Error())
		}
	}
	for _, code := range []int{302, 400, 401, 404, 429, 500} {
		h := toHook(t, HTTPOptions{URL: hook(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			status(code)(w, r)
		}) + "/" + secret + "?" + secret, Secret: key(t, secret)})
		if _, err := newBot(t, Options{Logger: log, Registerer: reg}, h).Answer(t.Context(), req); err == nil {
			t.Errorf("%d is no error", code)
		} else {
			all.WriteString(err.Error())
		}
	}
	if s := all.String() + text.String(); strings.Contains(s, secret) {
		t.Errorf("it leaks: %s", s)
	}
}

// A field of a newer contract is counted each time and logged once, and no bot can fill the log with names.
func TestUnknownFieldsAreCounted(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	body := `{"answers": ["hello"], "mood": "good"}`
	b := newBot(t, Options{Logger: slog.New(slog.NewTextHandler(&text, nil)), Registerer: prometheus.NewRegistry()},
		carrier(func(ctx context.Context, x Exchange) ([]byte, error) { return says(body)(ctx, x) }))
	for range 3 {
		if _, err := b.Answer(t.Context(), textTurn()); err != nil {
			t.Fatal(err)
		}
	}
	if n := testutil.ToFloat64(b.metrics.unknown.WithLabelValues("b")); n != 3 || strings.Count(text.String(), "field=mood") != 1 {
		t.Errorf("counted %v; %s", n, text.String())
	}
	for i := range 100 {
		body = `{"answers": ["hello"], "x` + strings.Repeat("y", i) + `": 1}`
		if _, err := b.Answer(t.Context(), textTurn()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(text.String(), "\n"); n > maxNotes {
		t.Errorf("%d lines", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	u, err := upstream.New(upstream.Options{Name: "b", Endpoints: []upstream.Endpoint{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{Upstream: u, Transports: []Transport{says(""), says("")}}, {Name: "b", Transports: []Transport{says("")}},
		{Name: "b", Upstream: u, Transports: []Transport{says("")}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// A tool is asked in its own contract, and its answer, or its refusal, is what the model is told.
func TestTools(t *testing.T) {
	t.Parallel()
	sent, answered := schemaOf(t, "tool-request", true), schemaOf(t, "tool-response", false)
	call := ToolCall{ID: "t1-c1", Tool: "weather", Arguments: json.RawMessage(`{"city":"北京"}`), Account: "demo", User: "9f2c"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for answer, want := range map[string]string{
		`{"result": "晴，12 度"}`:             "晴，12 度",
		`{"v": 1, "result": {"t": 12}}`:    `{"t": 12}`,
		`{"result": null}`:                 "",
		``:                                 "",
		`{"error": "no such city"}`:        "report: no such city",
		`{"v": 2, "result": "x"}`:          "error: the tool's response is of version 2; this engine speaks 1",
		`SECRET-a1b2`:                      "error: the tool's response: not JSON at byte 1",
		`{"result": "x", "error": "late"}`: "report: late",
	} {
		tool := NewTool(carrier(func(ctx context.Context, x Exchange) ([]byte, error) {
			body, err := x.Body(0)
			if err != nil {
				return nil, err
			}
			if err := validate(t, sent, body); err != nil || x.ID != call.ID || !bytes.Contains(body, []byte("北京")) {
				t.Errorf("%s under %s: %v", body, x.ID, err)
			}
			return []byte(answer), nil
		}))
		got, err := tool(ctx, call)
		var report *ToolError
		switch {
		case errors.As(err, &report):
			if got = "report: " + report.ToolReport(); strings.Contains(err.Error(), report.ToolReport()) {
				t.Errorf("%s: the error quotes the tool: %v", answer, err)
			}
		case err != nil:
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", answer, got, want)
		}
		if json.Valid([]byte(answer)) && !strings.Contains(answer, `"v": 2`) && validate(t, answered, []byte(answer)) != nil {
			t.Errorf("the schema refuses %s", answer)
		}
	}
	call.Arguments = json.RawMessage(secret)
	_, err := NewTool(says(""))(ctx, call)
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("arguments that are no JSON: %v", err)
	}
	for arguments, limit := range map[string]int{``: 0, `{"a":"` + strings.Repeat("x", 100) + `"}`: 100} {
		if _, err := toolBody(toolRequest{Arguments: json.RawMessage(arguments)}, limit); (err != nil) != (limit > 0) {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}
