package api

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// clock is a time that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func dropped(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// TestFallback walks through the life of a host: it fails, is avoided for a minute, is asked again.
func TestFallback(t *testing.T) {
	t.Parallel()
	down := true
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if down {
			dropped(w, r)
			return
		}
		says(`{"errcode":0,"ip_list":["1.2.3.4"]}`)(w, r)
	})
	second := serve(t, says(`{"errcode":0,"ip_list":["1.2.3.4"]}`))
	now := &clock{at: time.Unix(1_700_000_000, 0)}
	registry := prometheus.NewRegistry()
	var log bytes.Buffer
	c := newTestClient(t, first.URL, func(o *Options) {
		o.Hosts, o.Now, o.Registerer = []string{strings.TrimPrefix(second.URL, "http://")}, now.now, registry
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	asked := func() [2]int { return [2]int{len(first.requests()), len(second.requests())} }
	expect := func(step string, want [2]int) {
		t.Helper()
		if got := asked(); got != want {
			t.Fatalf("%s: the hosts were asked %v times, want %v", step, got, want)
		}
	}

	e := asError(t, sendText(t.Context(), c, "x"))
	if e.Class != Unknown {
		t.Fatal(e)
	}
	expect("a send whose outcome is unknown goes to no other host", [2]int{1, 0})
	must(t, sendText(t.Context(), c, "x"))
	expect("the host that failed is avoided", [2]int{1, 1})
	now.advance(avoidFor - time.Second)
	must(t, sendText(t.Context(), c, "x"))
	expect("for a minute", [2]int{1, 2})
	now.advance(time.Second)
	_, err := c.CallbackIPs(t.Context(), testToken)
	must(t, err)
	expect("then it is asked again, and a call that only reads goes on to the next", [2]int{2, 3})
	now.advance(avoidFor)
	down = false
	must(t, sendText(t.Context(), c, "x"))
	must(t, sendText(t.Context(), c, "x"))
	expect("a host that answers is preferred again", [2]int{4, 3})
	requireNothingPrivate(t, log.String())
	if strings.Count(log.String(), "level=WARN") != 2 || strings.Count(log.String(), "answers again") != 1 {
		t.Errorf("two failures and one recovery are to be logged:\n%s", log.String())
	}
	if n := testutil.ToFloat64(c.metrics.failures.WithLabelValues(strings.TrimPrefix(first.URL, "http://"))); n != 2 {
		t.Errorf("%v failures of the first host are counted", n)
	}
	text := `
# HELP hongyan_wechat_api_calls_total Calls of WeChat's API by path and class of their end (ok, busy, token_invalid …).
# TYPE hongyan_wechat_api_calls_total counter
hongyan_wechat_api_calls_total{account="demo",call="/cgi-bin/getcallbackip",class="ok"} 1
hongyan_wechat_api_calls_total{account="demo",call="/cgi-bin/message/custom/send",class="ok"} 4
hongyan_wechat_api_calls_total{account="demo",call="/cgi-bin/message/custom/send",class="unknown"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "hongyan_wechat_api_calls_total"); err != nil {
		t.Error(err)
	}
}

// TestFallbackWhenUnsent: a send goes to the next host where nothing was written to the one before.
func TestFallbackWhenUnsent(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0}`))
	c := newTestClient(t, unused(t), func(o *Options) { o.Hosts = []string{unused(t), p.URL} })
	must(t, sendText(t.Context(), c, "x"))
	if n := len(p.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	gone := newTestClient(t, unused(t), func(o *Options) { o.Hosts = []string{unused(t)} })
	if e := asError(t, sendText(t.Context(), gone, "x")); e.Class != Unsent {
		t.Errorf("got %v", e)
	}
}

// TestAnswersEndTheWalk: whatever WeChat says, no other host is asked again for it, and the host that said it is in good standing.
func TestAnswersEndTheWalk(t *testing.T) {
	t.Parallel()
	second := serve(t, says(`{"access_token":"t","expires_in":7200}`))
	for _, answer := range []string{`{"errcode":45009}`, `{"errcode":-1}`, `{"errcode":40164}`} {
		first := serve(t, says(answer))
		c := newTestClient(t, first.URL, func(o *Options) { o.Hosts = []string{second.URL} })
		for range 2 {
			if _, err := c.StableToken(t.Context(), false); asError(t, err).Code == 0 {
				t.Errorf("%s: got %v", answer, err)
			}
		}
		if len(first.requests()) != 2 || len(second.requests()) != 0 {
			t.Errorf("%s: the hosts were asked %d and %d times", answer, len(first.requests()), len(second.requests()))
		}
	}
}

// TestFallbackKeepsDoubt: where an earlier host got bytes and the last one none, the call as a whole is not unsent.
func TestFallbackKeepsDoubt(t *testing.T) {
	t.Parallel()
	p := serve(t, dropped)
	c := newTestClient(t, p.URL, func(o *Options) { o.Hosts = []string{unused(t)} })
	_, err := c.Token(t.Context())
	if e := asError(t, err); e.Class != Unknown || e.Unsent || len(p.requests()) != 1 {
		t.Errorf("got %+v", e)
	}
}

// TestSilentHostLeavesTime: a call that only reads does not wait for one silent host until its own time is over.
func TestSilentHostLeavesTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	p := serve(t, says(`{"access_token":"t","expires_in":7200}`))
	other := func(o *Options) { o.Hosts = []string{p.URL} }
	c := impatient(newTestClient(t, silent.URL, other), 2*time.Second)
	_, err := c.StableToken(t.Context(), false)
	must(t, err)
	if len(silent.requests()) != 1 || len(p.requests()) != 1 {
		t.Errorf("asked %d and %d times", len(silent.requests()), len(p.requests()))
	}
	// A forced renewal has an effect: it is not made twice.
	forced := impatient(newTestClient(t, silent.URL, other), 500*time.Millisecond)
	_, err = forced.StableToken(t.Context(), true)
	if e := asError(t, err); e.Class != Unknown || len(p.requests()) != 1 {
		t.Errorf("got %v after %d requests to the other host", e, len(p.requests()))
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	now := &clock{at: time.Unix(0, 0)}
	h, err := newHosts("https://a/", []string{"b", "https://c/path/", "a"}, now.now)
	must(t, err)
	order := func() string {
		var names []string
		for _, x := range h.order() {
			names = append(names, x.name+x.base.Path)
		}
		return strings.Join(names, " ")
	}
	expect := func(want string) {
		t.Helper()
		if got := order(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	a, b, c := h.all[0], h.all[1], h.all[2]
	expect("a b c/path")
	if !h.failed(a) {
		t.Error("the first failure is news")
	}
	expect("b c/path a")
	now.advance(time.Second)
	h.failed(b)
	h.failed(c)
	expect("a b c/path")
	now.advance(time.Second)
	if h.failed(a) {
		t.Error("the second failure is no news")
	}
	expect("b c/path a")
	if !h.answered(c) || h.answered(c) {
		t.Error("the end of the avoidance is news once")
	}
	expect("c/path b a")
	now.advance(avoidFor)
	expect("a b c/path")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Options{AppID: "wx"}
	for want, edit := range map[string]func(*Options){
		"app_id":                          func(o *Options) { o.AppID = "" },
		"api_base":                        func(o *Options) { o.Base = "api.weixin.qq.com" },
		"not an http or https URL":        func(o *Options) { o.Base = "ftp://api.weixin.qq.com" },
		"no host":                         func(o *Options) { o.Base = "https:///x" },
		"more than scheme, host and path": func(o *Options) { o.Base = "https://me@x" },
		"not a URL":                       func(o *Options) { o.Base = "https://a b" },
		"api_hosts":                       func(o *Options) { o.Hosts = []string{"x?y"} },
	} {
		o := good
		edit(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %s", err, want)
		}
	}
	registry := prometheus.NewRegistry()
	for _, account := range []string{"a", "b"} {
		_, err := New(Options{Account: account, AppID: "wx", Registerer: registry})
		must(t, err)
	}
	if _, err := New(Options{Account: "a", AppID: "wx", Registerer: registry}); err == nil {
		t.Error("two clients of one account register the same metrics")
	}
	if c, err := New(good); err != nil || !slices.Equal(names(c), []string{"api.weixin.qq.com"}) {
		t.Errorf("the default is WeChat's API, got %v, %v", names(c), err)
	}
}

func names(c *Client) []string {
	var out []string
	for _, h := range c.hosts.all {
		out = append(out, h.name)
	}
	return out
}
