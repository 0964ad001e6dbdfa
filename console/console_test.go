package console_test

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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hongyan/cluster"
	"hongyan/console"
	"hongyan/conversation"
	"hongyan/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// users is a node that knows some users.
type users map[messages.User]func() (*messages.UserView, error)

func (u users) Inspect(_ context.Context, user messages.User) (*messages.UserView, error) {
	if f, ok := u[user]; ok {
		return f()
	}
	return &messages.UserView{Account: user.Account, OpenId: user.OpenID}, nil
}

// nodes is a cluster that reports this.
type nodes struct {
	report cluster.Report
	err    error
}

func (n nodes) Report(context.Context) (cluster.Report, error) { return n.report, n.err }

type bundle struct {
	options console.Options
	handler http.Handler
	log     *strings.Builder
	reg     *prometheus.Registry
}

// setUp builds a handler; change may alter its options before.
func setUp(t *testing.T, change func(*console.Options)) *bundle {
	t.Helper()
	b := &bundle{log: new(strings.Builder), reg: prometheus.NewRegistry()}
	b.options = console.Options{
		Version: "v1.2.3", Node: "n1", Listen: "127.0.0.1:9090", Users: users{}, Cluster: nodes{},
		Official: officials{}, Dead: struct{ console.DeadLetters }{}, Log: struct{ console.Log }{}, Gather: b.reg, Metrics: b.reg, Now: time.Now,
		Logger:     slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		AdminToken: "the-admin-token", ReadOnlyToken: "the-reader-token",
	}
	if change != nil {
		change(&b.options)
	}
	var err error
	if b.handler, err = console.New(b.options); err != nil {
		t.Fatal(err)
	}
	return b
}

// do sends one request; header holds pairs.
func (b *bundle) do(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	r.Host = "127.0.0.1:9090"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	b := setUp(t, func(o *console.Options) {
		o.Extra = map[string]http.Handler{"/phone/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			fmt.Fprint(w, "phone at "+r.URL.Path)
		})}
	})
	for _, c := range []struct {
		method, target string
		status         int
		contains       string
	}{
		{"GET", "/livez", 200, "ok\n"},
		{"HEAD", "/livez", 200, ""},
		{"POST", "/livez", 405, ""},
		{"GET", "/readyz", 200, "ready\n"},
		{"GET", "/metrics", 200, "hongyan_admin_requests_total"},
		{"GET", "/", 200, `<a href="/phone/">`},
		{"GET", "/", 200, "v1.2.3"},
		{"GET", "/console.css", 200, "font"},
		{"GET", "/index.html", 404, ""},
		{"GET", "/phone/x", 200, "phone at /phone/x"},
		{"GET", "/nothing", 404, ""},
		{"GET", "/api/v1/users/demo/u1", 401, "unauthorised"},
		{"GET", "/api/v1/whatever", 401, "unauthorised"},
	} {
		w := b.do(c.method, c.target)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s %s: %d %q", c.method, c.target, w.Code, w.Body)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q", c.target, header, got)
			}
		}
	}
	if got := b.do("GET", "/phone/").Header().Get("Content-Security-Policy"); got != "default-src 'self'" {
		t.Errorf("an extra handler's own policy became %q", got)
	}
	metrics := b.do("GET", "/metrics").Body.String()
	for _, want := range []string{
		`hongyan_admin_requests_total{route="/livez",status="200"} 2`,
		`hongyan_admin_requests_total{route="none",status="405"} 1`,
		`hongyan_admin_requests_total{route="/api/v1/users/{account}/{openid}",status="401"} 1`,
		`hongyan_admin_requests_total{route="none",status="404"} 2`,
		`hongyan_admin_requests_total{route="/phone/",status="200"} 2`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
}

func TestForeignHostsAreRefusedOnLoopback(t *testing.T) {
	t.Parallel()
	local := setUp(t, nil)
	public := setUp(t, func(o *console.Options) { o.Listen = "0.0.0.0:9090" })
	for host, want := range map[string]int{
		"localhost": 200, "localhost:9090": 200, "LocalHost:1": 200, "127.0.0.1": 200, "127.0.0.1:9090": 200, "[::1]:9090": 200, "[::1]": 200,
		"evil.example": 403, "evil.example:9090": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "": 403, "10.0.0.1:9090": 403,
	} {
		if w := local.do("GET", "/livez", "Host", host); w.Code != want {
			t.Errorf("Host %q on loopback: %d, want %d", host, w.Code, want)
		}
		if w := public.do("GET", "/livez", "Host", host); w.Code != 200 {
			t.Errorf("Host %q on all interfaces: %d", host, w.Code)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	b := setUp(t, nil)
	shut := setUp(t, func(o *console.Options) { o.AdminToken, o.ReadOnlyToken = "", "" })
	var refusal string
	for _, c := range []struct {
		method, authorization string
		status                int
	}{
		{"GET", "Bearer the-admin-token", 404}, // known to the API: there is no such user
		{"GET", "bearer the-reader-token", 404},
		{"DELETE", "Bearer the-admin-token", 404},
		{"DELETE", "Bearer the-reader-token", 401},
		{"GET", "", 401}, {"GET", "Bearer", 401}, {"GET", "Bearer ", 401}, {"GET", "Bearer the-admin-toke", 401},
		{"GET", "Bearer the-admin-tokenn", 401}, {"GET", "Basic the-admin-token", 401}, {"GET", "the-admin-token", 401},
	} {
		w := b.do(c.method, "/api/v1/users/demo/u1", "Authorization", c.authorization)
		if w.Code != c.status {
			t.Errorf("%s with %q: %d, want %d", c.method, c.authorization, w.Code, c.status)
		}
		if w.Code == 401 {
			if all := fmt.Sprint(w.Header(), w.Body); refusal == "" {
				refusal = all
			} else if all != refusal {
				t.Errorf("two refusals differ:\n%s\n%s", refusal, all)
			}
		}
		if w := shut.do(c.method, "/api/v1/users/demo/u1", "Authorization", c.authorization); w.Code != 401 {
			t.Errorf("without configured tokens, %q: %d", c.authorization, w.Code)
		}
	}
	if strings.Contains(b.log.String(), "token") {
		t.Errorf("the log speaks of tokens: %s", b.log)
	}
}

// aUser is a user who is over everything: the rate, the breaker, a hand-over. All of it is as of now.
func aUser(t *testing.T, user messages.User, now time.Time) *messages.UserView {
	t.Helper()
	blob, err := conversation.Seal(&messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: "您好！"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := conversation.State{
		Applied: messages.Position{Generation: 1, Sequence: 42},
		Turns: []conversation.Turn{
			{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_TEXT), Text: "你好", AtMS: 1_700_000_000_000},
			{Role: conversation.RoleBot, Text: "您好！", AtMS: 1_700_000_000_100},
		},
		Answers: []conversation.Recorded{{Key: messages.Key{1}, Answer: blob, AtMS: 1_700_000_000_100, Settled: true}},
		Kept:    []conversation.Kept{{Key: messages.Key{2}, Answer: blob, AtMS: 1_700_000_000_200}},
		Burials: []conversation.Burial{{Key: messages.Key{3}, Reason: "bot_panic", AtMS: 1_700_000_000_300}},
		Session: map[string]string{"rules.step": "1"},
		LastMS:  1_700_000_000_100,
		Follows: conversation.FollowsYes,
		Counts:  conversation.Counts{Turns: 1, Answered: 1, Limited: 4},

		Breaker:  conversation.Breaker{Failures: 3, UntilMS: now.Add(20 * time.Second).UnixMilli()},
		Spent:    conversation.Spending{Day: conversation.DayOf(now), Tokens: 4711},
		Rate:     conversation.Rate{FullNS: now.Add(9 * time.Second).UnixNano()},
		HandOver: &conversation.HandOver{Account: "kf1@demo", AtMS: 1_700_000_000_400},
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &messages.UserView{
		Account: user.Account, OpenId: user.OpenID, Partition: 7, Node: "n1", Epoch: 3, Found: true, Incarnation: 0xabc, Version: 5,
		State: b, Queued: 2, Running: "ff",
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	known := messages.User{Account: "demo", OpenID: "o/x y?你%2F"}
	now := time.Date(2026, 11, 22, 16, 0, 30, 0, time.UTC) // half a minute into China's 23 November
	b := setUp(t, func(o *console.Options) {
		o.Now = func() time.Time { return now }
		o.Users = users{
			known:                             func() (*messages.UserView, error) { return aUser(t, known, now), nil },
			{Account: "demo", OpenID: "old"}:  func() (*messages.UserView, error) { return aUser(t, known, now.Add(-time.Minute)), nil },
			{Account: "demo", OpenID: "slow"}: func() (*messages.UserView, error) { return nil, fmt.Errorf("ask: %w", context.DeadlineExceeded) },
			{Account: "demo", OpenID: "lost"}: func() (*messages.UserView, error) { return nil, errors.New("no owner") },
			{Account: "demo", OpenID: "sick"}: func() (*messages.UserView, error) { return &messages.UserView{Error: "store down"}, nil },
			{Account: "demo", OpenID: "odd"}: func() (*messages.UserView, error) {
				return &messages.UserView{Found: true, State: []byte("nonsense")}, nil
			},
		}
	})
	w := b.do("GET", "/api/v1/users/demo/o%2Fx%20y%3F%E4%BD%A0%252F", "Authorization", "Bearer the-reader-token")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%d %s %s", w.Code, w.Header(), w.Body)
	}
	var got console.User
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"identity": got.OpenID == known.OpenID && got.Account == "demo" && got.Partition == 7 && got.Epoch == 3 && got.Node == "n1",
		"record":   got.Version == 5 && got.Incarnation == "0000000000000abc" && got.Applied == console.Position{Generation: 1, Sequence: 42},
		"now":      got.Queued == 2 && got.Running == "ff" && got.Follows == "yes" && got.LastTurn != nil,
		"turns":    len(got.Turns) == 2 && got.Turns[0].Role == "user" && got.Turns[0].Kind == "text" && got.Turns[1].Text == "您好！" && got.Turns[1].Kind == "",
		"answers":  len(got.Answers) == 1 && got.Answers[0].Settled && got.Answers[0].Text() == "您好！",
		"kept":     len(got.Kept) == 1 && got.Kept[0].Key == "02000000000000000000000000000000",
		"dead":     len(got.Dead) == 1 && got.Dead[0].Reason == "bot_panic",
		"session":  got.Session["rules.step"] == "1",
		"counts":   got.Counts.Answered == 1 && got.Counts.Limited == 4,
		"breaker":  got.Breaker.Failures == 3 && got.Breaker.OpenUntil != nil && got.Breaker.OpenUntil.Equal(now.Add(20*time.Second)),
		"tokens":   got.TokensToday == 4711,
		"rate":     got.RateFull != nil && got.RateFull.Equal(now.Add(9*time.Second)),
		"handover": got.HandOver != nil && got.HandOver.Account == "kf1@demo" && got.HandOver.At.UnixMilli() == 1_700_000_000_400,
	} {
		if !ok {
			t.Errorf("%s did not arrive: %s", what, w.Body)
		}
	}
	// Of a record that is a minute old the breaker is closed, the rate is full, and the tokens are those of yesterday.
	var old console.User
	w = b.do("GET", "/api/v1/users/demo/old", "Authorization", "Bearer the-reader-token")
	if err := json.Unmarshal(w.Body.Bytes(), &old); err != nil {
		t.Fatal(err)
	}
	if old.Breaker.Failures != 3 || old.Breaker.OpenUntil != nil || old.TokensToday != 0 || old.RateFull != nil || old.HandOver == nil {
		t.Errorf("an old record: %s", w.Body)
	}
	for openID, want := range map[string]struct {
		status int
		code   string
	}{"nobody": {404, "not_found"}, "slow": {504, "timeout"}, "lost": {503, "unavailable"}, "sick": {503, "unavailable"}, "odd": {500, "internal"}} {
		w := b.do("GET", "/api/v1/users/demo/"+openID, "Authorization", "Bearer the-admin-token")
		var failure console.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &failure); err != nil || w.Code != want.status || failure.Error.Code != want.code || failure.Error.Message == "" {
			t.Errorf("%s: %d %s %v", openID, w.Code, w.Body, err)
		}
		if strings.Contains(b.log.String(), openID) {
			t.Errorf("the log names %s: %s", openID, b.log)
		}
	}
}

func TestReadinessIsProbedOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		var fail atomic.Bool
		b := setUp(t, func(o *console.Options) {
			o.Checks = []console.Check{
				{Name: "log", Probe: func(context.Context) error { probes.Add(1); time.Sleep(100 * time.Millisecond); return nil }},
				{Name: "store", Probe: func(context.Context) error {
					if fail.Load() {
						return errors.New("disk full")
					}
					return nil
				}},
			}
		})
		if w := b.do("GET", "/health"); !strings.Contains(w.Body.String(), `"status": "unchecked"`) || !strings.Contains(w.Body.String(), `"age_ms": -1`) {
			t.Errorf("before the first probe: %s", w.Body)
		}
		var waiting sync.WaitGroup
		for range 50 {
			waiting.Go(func() {
				if w := b.do("GET", "/readyz"); w.Code != 200 || !strings.Contains(w.Body.String(), "ok    log  100 ms") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		waiting.Wait()
		time.Sleep(800 * time.Millisecond) // below a second since: still fresh
		fail.Store(true)
		if w := b.do("GET", "/readyz"); w.Code != 200 || probes.Load() != 1 {
			t.Errorf("%d after %d probes", w.Code, probes.Load())
		}
		time.Sleep(time.Second)
		w := b.do("GET", "/readyz")
		if w.Code != 503 || probes.Load() != 2 || !strings.Contains(w.Body.String(), "not ready") || !strings.Contains(w.Body.String(), "FAIL  store  disk full") {
			t.Errorf("%d after %d probes: %s", w.Code, probes.Load(), w.Body)
		}
		w = b.do("GET", "/readyz", "Accept", "application/json")
		var told struct {
			Ready  bool             `json:"ready"`
			Checks []console.Result `json:"checks"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Code != 503 || told.Ready || len(told.Checks) != 2 || told.Checks[1].Error != "disk full" {
			t.Errorf("%d %s %v", w.Code, w.Body, err)
		}
		time.Sleep(3 * time.Second)
		if w := b.do("GET", "/health"); !strings.Contains(w.Body.String(), `"status": "failing"`) || !strings.Contains(w.Body.String(), `"age_ms": 3000`) ||
			!strings.Contains(w.Body.String(), `"uptime_s": 5`) {
			t.Errorf("%s", w.Body)
		}
	})
}

func TestAProbeThatHangsOrPanicsIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release, started := make(chan struct{}), 0
		b := setUp(t, func(o *console.Options) {
			o.Checks = []console.Check{
				{Name: "deaf", Probe: func(context.Context) error { started++; <-release; return nil }},
				{Name: "polite", Probe: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
				{Name: "panics", Probe: func(context.Context) error { panic("broken") }},
				{Name: "good", Probe: func(context.Context) error { return nil }},
			}
		})
		start := time.Now()
		for range 3 {
			w := b.do("GET", "/readyz")
			body := w.Body.String()
			if w.Code != 503 || !strings.Contains(body, "FAIL  deaf  no word within 2s") || !strings.Contains(body, "FAIL  panics  the check panicked: broken") ||
				!strings.Contains(body, "ok    good") {
				t.Errorf("%d %s", w.Code, body)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("three rounds took %s", took)
		}
		if started != 1 {
			t.Errorf("a probe that never returned was started %d times", started)
		}
		close(release)
		synctest.Wait()
		if w := b.do("GET", "/health"); !strings.Contains(w.Body.String(), `"name": "deaf",
      "ok": true`) {
			t.Errorf("a late success does not count: %s", w.Body)
		}
	})
}

func TestNewRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	if _, err := console.New(console.Options{}); err == nil {
		t.Error("no options are enough")
	}
	b := setUp(t, nil)
	if _, err := console.New(b.options); err == nil {
		t.Error("the same metrics were registered twice")
	}
	b.options.Metrics = prometheus.NewRegistry()
	b.options.Extra = map[string]http.Handler{"GET /livez": http.NotFoundHandler()}
	if _, err := console.New(b.options); err == nil || !strings.Contains(err.Error(), "mount") {
		t.Errorf("a taken pattern: %v", err)
	}
}

func TestRunEndsWithItsStreams(t *testing.T) {
	t.Parallel()
	streaming := make(chan struct{})
	b := setUp(t, func(o *console.Options) {
		o.Extra = map[string]http.Handler{"/events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
			close(streaming)
			<-r.Context().Done()
		})}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- console.Run(ctx, listener, b.handler, b.options.Logger) }() // ends with cancel below
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	base := "http://" + listener.Addr().String()
	response, err := client.Get(base + "/events")
	if err != nil {
		t.Fatal(err)
	}
	<-streaming
	live, err := client.Get(base + "/livez")
	if err != nil || live.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", live, err)
	}
	_ = live.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the listener does not end while somebody streams")
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "data: 1\n\n" {
		t.Errorf("%q %v", body, err)
	}
	_ = response.Body.Close()
}
