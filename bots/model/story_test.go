package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/tools/txtar"

	"hongyan/bots"
	"hongyan/bots/model"
	"hongyan/bots/upstream"
	"hongyan/conversation"
	"hongyan/messages"
)

var update = flag.Bool("update", false, "write the requests and outcomes of the stories anew")

const (
	account = "demo"
	openID  = "oSecretOpenIDofTheUser00001"
	apiKey  = "sk-secret-key-0001"
)

var now = time.Date(2026, 3, 1, 4, 5, 0, 0, time.UTC)

// TestStories plays the stories of testdata/stories. Each is a txtar archive: setup (the bot, and what the user says), what the
// endpoint sends, reply by reply; then what must come of it: the requests and the outcome, written by -update.
//
// A reply begins with its status and content type; its other lines are sent as they are. "!cut" breaks the connection off, "!alive"
// is a comment of SSE.
func TestStories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/stories/*.txtar")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no stories in testdata/stories")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			must(t, err)
			got := newStory(t, archive).play(t)
			if *update {
				must(t, os.WriteFile(file, txtar.Format(got), 0o600))
				return
			}
			if want, is := string(txtar.Format(archive)), string(txtar.Format(got)); is != want {
				t.Errorf("the story went otherwise; run with -update if this is what should happen.\ngot:\n%s\nwant:\n%s", is, want)
			}
		})
	}
}

// story is one archive and what came of it.
type story struct {
	given   *txtar.Archive // setup and replies
	setup   []setting
	replies []string
	tools   map[string]string

	mu       sync.Mutex
	requests []string
}

type setting struct{ key, value string }

func newStory(t *testing.T, archive *txtar.Archive) *story {
	t.Helper()
	s := &story{given: &txtar.Archive{Comment: archive.Comment}, tools: map[string]string{}}
	for _, file := range archive.Files {
		kind, name, _ := strings.Cut(file.Name, " ")
		switch kind {
		case "setup":
			for line := range strings.Lines(string(file.Data)) {
				key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
				if !ok {
					t.Fatalf("setup: %q is no key: value", line)
				}
				s.setup = append(s.setup, setting{key, strings.TrimSpace(value)})
			}
		case "reply":
			s.replies = append(s.replies, string(file.Data))
		case "tool":
			s.tools[name] = strings.TrimSpace(string(file.Data))
		case "request", "outcome":
			continue
		default:
			t.Fatalf("no part of a story is called %q", file.Name)
		}
		s.given.Files = append(s.given.Files, file)
	}
	return s
}

// all are the values of a key.
func (s *story) all(key string) []string {
	var values []string
	for _, set := range s.setup {
		if set.key == key {
			values = append(values, set.value)
		}
	}
	return values
}

// one is the value of a key, or a default.
func (s *story) one(key, otherwise string) string {
	if values := s.all(key); len(values) > 0 {
		return values[0]
	}
	return otherwise
}

func (s *story) number(t *testing.T, key string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(s.one(key, strconv.Itoa(otherwise)))
	must(t, err)
	return n
}

// ServeHTTP is the endpoint: each request gets the next reply.
func (s *story) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	n := len(s.requests)
	s.requests = append(s.requests, shownRequest(r, body))
	s.mu.Unlock()
	if err != nil || n >= len(s.replies) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	send(w, s.replies[n])
}

// send plays one reply.
func send(w http.ResponseWriter, reply string) {
	first, rest, _ := strings.Cut(reply, "\n")
	status, header, _ := strings.Cut(first, " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		code = http.StatusTeapot
	}
	kind, retryAfter, _ := strings.Cut(header, " retry-after=")
	w.Header().Set("Content-Type", orElse(kind, "text/event-stream"))
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(code)
	for line := range strings.Lines(rest) {
		switch strings.TrimSpace(line) {
		case "!cut":
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "!alive":
			line = ": keep-alive\n"
		}
		_, _ = io.WriteString(w, line)
		_ = http.NewResponseController(w).Flush()
	}
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// shownRequest is a request as it stands in a story.
func shownRequest(r *http.Request, body []byte) string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n", r.Method, r.URL.RequestURI())
	for _, name := range []string{"Authorization", "Api-Key"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	var value any
	if json.Unmarshal(body, &value) != nil {
		return out.String() + "no JSON\n"
	}
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value)
	return out.String()
}

// bot builds the story's bot; its endpoints are one server under different paths.
func (s *story) bot(t *testing.T, logs io.Writer, reg prometheus.Registerer) *model.Bot {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	opts := model.Options{
		Name: "gpt", System: s.one("system", ""), MaxTokens: s.number(t, "max_tokens", 0), ContextTokens: s.number(t, "context_tokens", 0),
		NewWords: []string{"/new"}, HTTP: server.Client(), Registerer: reg, Now: func() time.Time { return now },
		Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if temperature := s.one("temperature", ""); temperature != "" {
		value, err := strconv.ParseFloat(temperature, 64)
		must(t, err)
		opts.Temperature = &value
	}
	opts.Images = map[string]model.ImageMode{"url": model.ImagesURL, "bytes": model.ImagesBytes}[s.one("images", "")]
	paths := s.all("endpoint")
	if len(paths) == 0 {
		paths = []string{"/v1"}
	}
	var places []upstream.Endpoint
	for i, path := range paths {
		key, err := upstream.OpenKey(apiKey, "")
		must(t, err)
		places = append(places, upstream.Endpoint{Name: fmt.Sprintf("e%d", i), Weight: len(paths) - 1 - i + boolInt(len(paths) == 1)})
		opts.Endpoints = append(opts.Endpoints, model.Endpoint{BaseURL: server.URL + path, Key: key, Model: "m" + strconv.Itoa(i+1)})
	}
	for name, result := range s.tools {
		opts.Tools = append(opts.Tools, storyTool(name, result))
	}
	slices.SortFunc(opts.Tools, func(a, b model.Tool) int { return strings.Compare(a.Name, b.Name) })
	var err error
	opts.Upstream, err = upstream.New(upstream.Options{Name: "gpt", Endpoints: places, Logger: opts.Logger, Registerer: reg})
	must(t, err)
	bot, err := model.New(opts)
	must(t, err)
	return bot
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// storyTool says what the story says: "!hang" waits for its time to end, "!fail" fails, "!panic" panics, "!echo" tells its arguments.
func storyTool(name, result string) model.Tool {
	return model.Tool{
		Name: name, Description: "tells " + name, Timeout: 50 * time.Millisecond,
		Parameters: map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
		Call: func(ctx context.Context, c model.ToolCall) (string, error) {
			switch result {
			case "!hang":
				<-ctx.Done()
				return "", ctx.Err()
			case "!fail":
				return "", errors.New("connection refused")
			case "!panic":
				panic(string(c.Arguments))
			case "!echo":
				return string(c.Arguments) + " " + c.ID + " " + c.Account, nil
			default:
				return result, nil
			}
		},
	}
}

// request is what the user says, and what was said before.
func (s *story) request(t *testing.T) *bots.Request {
	t.Helper()
	in := &messages.Inbound{Account: account, OpenId: openID, Kind: messages.Kind_KIND_TEXT}
	req := &bots.Request{ID: "0123456789abcdef0123456789abcdef", Message: in, Now: now, TokensLeft: int64(s.number(t, "tokens_left", -1)), Session: map[string]string{}}
	at := now.Add(-10 * time.Minute).UnixMilli()
	for _, set := range s.setup {
		at++
		switch set.key {
		case "user":
			req.History = append(req.History, conversation.Turn{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_TEXT), Text: set.value, AtMS: at})
		case "picture":
			req.History = append(req.History, conversation.Turn{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_IMAGE), Text: "[图片]", AtMS: at})
			if set.value != "" {
				req.Session["picture"] = fmt.Sprintf(`{"ref":%q,"at":%d,"turns":%d}`, set.value, at, s.number(t, "picture_turns", 0))
			}
		case "bot":
			req.History = append(req.History, conversation.Turn{Role: conversation.RoleBot, Text: set.value, AtMS: at})
		case "agent":
			req.History = append(req.History, conversation.Turn{Role: conversation.RoleAgent, Text: set.value, AtMS: at})
		case "say":
			in.Body = &messages.Inbound_Text{Text: &messages.Text{Content: set.value}}
		case "say_image":
			in.Kind = messages.Kind_KIND_IMAGE
			in.Body = &messages.Inbound_Media{Media: &messages.Media{MediaId: "media-" + set.value, PicUrl: "http://mmbiz.qpic.cn/" + set.value}}
		case "say_voice":
			in.Kind = messages.Kind_KIND_VOICE
			in.Body = &messages.Inbound_Media{Media: &messages.Media{MediaId: "voice", Recognition: set.value}}
		case "media":
			req.Media = fakeMedia(set.value)
		}
	}
	return req
}

// fakeMedia is what every media id leads to; "!fail" is an error.
type fakeMedia string

func (m fakeMedia) Fetch(_ context.Context, _, _ string) (bots.Media, error) {
	if m == "!fail" {
		return bots.Media{}, errors.New("40007 invalid media_id")
	}
	return bots.Media{Bytes: []byte(m), Type: "image/jpeg"}, nil
}

// play asks the bot and writes down what came of it.
func (s *story) play(t *testing.T) *txtar.Archive {
	t.Helper()
	var logs bytes.Buffer
	reg := prometheus.NewRegistry()
	bot := s.bot(t, &logs, reg)
	req := s.request(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := bot.Answer(ctx, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	got := &txtar.Archive{Comment: s.given.Comment, Files: slices.Clone(s.given.Files)}
	for i, request := range s.requests {
		got.Files = append(got.Files, txtar.File{Name: fmt.Sprintf("request %d", i+1), Data: []byte(request)})
	}
	outcome := shownOutcome(resp, err) + shownMetrics(t, reg)
	got.Files = append(got.Files, txtar.File{Name: "outcome", Data: []byte(outcome)})
	checkSecrets(t, s, err, logs.String())
	return got
}

// shownOutcome is a response as it stands in a story.
func shownOutcome(resp bots.Response, err error) string {
	var out strings.Builder
	switch {
	case err != nil:
		fmt.Fprintf(&out, "error: %v\n", err)
		var fault *upstream.Fault
		if errors.As(err, &fault) {
			fmt.Fprintf(&out, "fault: %s, retry after %v\n", fault.Kind, fault.RetryAfter)
		}
	case !resp.Handled:
		out.WriteString("passed on\n")
	}
	if resp.Forget {
		out.WriteString("forget\n")
	}
	for _, a := range resp.Answers {
		fmt.Fprintf(&out, "answer: %s\n", a.GetText().GetContent())
	}
	for key, value := range resp.Session {
		fmt.Fprintf(&out, "session %s: %s\n", key, value)
	}
	fmt.Fprintf(&out, "tokens: %d\n", resp.Tokens)
	return out.String()
}

// shownMetrics are the model's own metrics.
func shownMetrics(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	var out strings.Builder
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "hongyan_model_") {
			continue
		}
		for _, m := range family.GetMetric() {
			fmt.Fprintf(&out, "%s", family.GetName())
			for _, label := range m.GetLabel() {
				fmt.Fprintf(&out, " %s=%s", label.GetName(), label.GetValue())
			}
			fmt.Fprintf(&out, ": %v\n", m.GetCounter().GetValue())
		}
	}
	return out.String()
}

// checkSecrets finds what must not stand in errors and logs: what was said, by anybody, the key, the OpenID.
func checkSecrets(t *testing.T, s *story, err error, logs string) {
	t.Helper()
	told := logs
	if err != nil {
		told += err.Error() + fmt.Sprintf("%+v %#v", err, err)
	}
	secrets := []string{openID, apiKey, "机密", "SECRET"}
	for _, key := range []string{"user", "bot", "say", "system"} {
		secrets = append(secrets, s.all(key)...)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(told, secret) {
			t.Errorf("errors or logs tell %q:\n%s", secret, told)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
