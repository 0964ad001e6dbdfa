package remote

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hongyan/bots/upstream"
)

// hook starts a web hook and returns its address.
func hook(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

// toHook is the transport to it.
func toHook(t *testing.T, o HTTPOptions) Transport {
	t.Helper()
	transport := upstream.NewTransport(4)
	t.Cleanup(transport.CloseIdleConnections)
	o.Client = transport
	h, err := NewHTTP(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// exchange is one whose body is fixed, with counters of what the transport reports.
type exchange struct {
	Exchange
	alive, again, bodies atomic.Int64
}

func newExchange(body string) *exchange {
	x := &exchange{}
	x.Exchange = Exchange{
		ID:    "id-1",
		Body:  func(int) ([]byte, error) { x.bodies.Add(1); return []byte(body), nil },
		Alive: func() { x.alive.Add(1) },
		Again: func() { x.again.Add(1) },
	}
	return x
}

func key(t *testing.T, secret string) *upstream.Key {
	t.Helper()
	k, err := upstream.OpenKey(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The example of the Standard Webhooks specification's libraries: nobody here chose these bytes.
func TestSignatureVector(t *testing.T) {
	t.Parallel()
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	got, err := signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	both, err := signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw plain-text", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if err != nil || !strings.HasPrefix(both, want+" v1,") {
		t.Errorf("during a rotation: %s, %v", both, err)
	}
	for _, bad := range []string{"", "  ", "whsec_", "whsec_???", "good whsec_=="} {
		if err := CheckSecret(bad); err == nil || strings.Contains(err.Error(), "???") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What goes out: one POST, signed over its very bytes, at the moment that it names.
func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	url := hook(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("a-plain-secret"))
		mac.Write([]byte("id-1.1700000000." + string(body)))
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		if r.Method != http.MethodPost || r.URL.RequestURI() != "/hook?x=y" || r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("webhook-id") != "id-1" || r.Header.Get("webhook-timestamp") != "1700000000" ||
			r.Header.Get("webhook-signature") != want || r.Header.Get("Hongyan-Version") != "1" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		_, _ = io.WriteString(w, string(body)+"!")
	})
	h := toHook(t, HTTPOptions{URL: url + "/hook?x=y", Secret: key(t, "a-plain-secret"), Now: func() time.Time { return now }})
	data, err := h.Call(t.Context(), newExchange(`{"v": 1}`).Exchange)
	if err != nil || string(data) != `{"v": 1}!` {
		t.Errorf("%q, %v", data, err)
	}
}

// What comes back, as faults in the upstream's terms. Nothing of a body or of an address's query is in an error.
func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		body   string
		kind   upstream.Kind
		after  time.Duration
		fails  bool
	}{
		"answer": {handle: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"handled": true}`) }, body: `{"handled": true}`},
		"created": {handle: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "{}")
		}, body: "{}"},
		"no content": {handle: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		"redirect":   {handle: status(302, "Location", "/elsewhere"), fails: true, kind: upstream.Broken},
		"bad":        {handle: status(400), fails: true, kind: upstream.Refused},
		"denied":     {handle: status(401), fails: true, kind: upstream.Denied},
		"forbidden":  {handle: status(403), fails: true, kind: upstream.Denied},
		"not there":  {handle: status(404), fails: true, kind: upstream.Broken},
		"unreadable": {handle: status(422), fails: true, kind: upstream.Refused},
		"too many":   {handle: status(429, "Retry-After", "7"), fails: true, kind: upstream.Overloaded, after: 7 * time.Second},
		"down":       {handle: status(500), fails: true, kind: upstream.Broken},
		"overloaded": {handle: status(503, "Retry-After", "Thu, 01 Jan 1970 00:00:09 GMT"), fails: true, kind: upstream.Overloaded, after: 9 * time.Second},
		"too long":   {handle: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1025)) }, fails: true},
		"cut": {handle: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, secret)
		}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := hook(t, c.handle)
			h := toHook(t, HTTPOptions{URL: url + "/?token=" + secret, MaxReply: 1024, Now: func() time.Time { return time.Unix(0, 0) }})
			x := newExchange("{}")
			got, err := h.Call(t.Context(), x.Exchange)
			if (err != nil) != c.fails || string(got) != c.body {
				t.Fatalf("%q, %v", got, err)
			}
			var f *upstream.Fault
			if errors.As(err, &f) && (f.Kind != c.kind || f.RetryAfter != c.after) || f == nil && c.kind != 0 && c.kind != upstream.Broken {
				t.Errorf("%+v", f)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes: %v", err)
			}
			if x.bodies.Load() != 1 || x.again.Load() != 0 || x.alive.Load() == 0 {
				t.Errorf("%d bodies, %d more, %d signs of life", x.bodies.Load(), x.again.Load(), x.alive.Load())
			}
		})
	}
}

// status answers with a status, headers, and a body that nobody must see.
func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, secret)
	}
}

// Blanks in front of the answer, and informational responses, are signs of life.
func TestHTTPSignsOfLife(t *testing.T) {
	t.Parallel()
	for name, sign := range map[string]func(w http.ResponseWriter){
		"blanks": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "\n"); _ = http.NewResponseController(w).Flush() },
		"102":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusProcessing) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan struct{}, 16)
			h := toHook(t, HTTPOptions{URL: hook(t, func(w http.ResponseWriter, r *http.Request) {
				for range 3 {
					sign(w)
					select { // the next one when this one was heard: each counts
					case <-heard:
					case <-r.Context().Done():
						return
					}
				}
				_, _ = io.WriteString(w, `{"answers": ["at last"]}`)
			})})
			x := newExchange("{}")
			x.Alive = func() { heard <- struct{}{} }
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			data, err := h.Call(ctx, x.Exchange)
			if resp, _, _ := read(data, nil); err != nil || len(resp.Answers) != 1 {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
}

// rude takes connections, reads the request and hangs up, the first n times; then it answers.
func rude(t *testing.T, n int64) (url string, taken *atomic.Int64) {
	t.Helper()
	taken = &atomic.Int64{}
	return hook(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		if taken.Add(1) <= n {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		_, _ = io.WriteString(w, "{}")
	}), taken
}

// A connection that breaks before any answer is tried once more where there is no other endpoint, and only once.
func TestHTTPBrokenConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		broken, sends int64
		alone, ok     bool
	}{
		{broken: 1, alone: true, sends: 2, ok: true},
		{broken: 2, alone: true, sends: 2},
		{broken: 1, sends: 1},
	} {
		url, taken := rude(t, c.broken)
		x := newExchange("{}")
		_, err := toHook(t, HTTPOptions{URL: url, Alone: c.alone}).Call(t.Context(), x.Exchange)
		if (err == nil) != c.ok || taken.Load() != c.sends || x.bodies.Load() != c.sends || x.again.Load() != c.sends-1 {
			t.Errorf("%+v: %d requests, %d bodies, %v", c, taken.Load(), x.bodies.Load(), err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody is there
	x := newExchange("{}")
	_, err = toHook(t, HTTPOptions{URL: "http://" + l.Addr().String(), Alone: true}).Call(t.Context(), x.Exchange)
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || x.again.Load() != 0 {
		t.Errorf("%v after %d more", err, x.again.Load())
	}
}

// A secret that changes on both sides while requests flow costs no turn: a refused one is tried once more with the new secret.
func TestHTTPSecretRotates(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("the-old-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := upstream.OpenKey("", file)
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	url := hook(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		want, err := signature("the-new-one", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if err != nil || r.Header.Get("webhook-signature") != want {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
	h := toHook(t, HTTPOptions{URL: url, Secret: k})
	if _, err := h.Call(t.Context(), newExchange("{}").Exchange); err == nil || refused.Load() != 1 {
		t.Fatalf("the old secret passes, or is shown again: %v, %d", err, refused.Load())
	}
	if err := os.WriteFile(file, []byte("the-new-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	x := newExchange("{}")
	if _, err := h.Call(t.Context(), x.Exchange); err != nil || refused.Load() != 2 || x.again.Load() != 1 {
		t.Errorf("%v after %d refusals", err, refused.Load())
	}
}

func TestHTTPEndsWithItsContext(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	h := toHook(t, HTTPOptions{Alone: true, URL: hook(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		cancel(context.DeadlineExceeded) // not before it is there, however slow the machine
		<-r.Context().Done()
		close(gone)
	})})
	defer cancel(nil)
	_, err := h.Call(ctx, newExchange("{}").Exchange)
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
}

func TestHTTPOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "ftp://x/", "http://", "/hook", "http://a b/"} {
		if _, err := NewHTTP(HTTPOptions{URL: url, Client: http.DefaultTransport}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
	if _, err := NewHTTP(HTTPOptions{URL: "http://x/", Client: http.DefaultTransport, Secret: key(t, "whsec_?")}); err == nil {
		t.Error("a bad secret is taken")
	}
	if _, err := NewHTTP(HTTPOptions{URL: "http://x/"}); err == nil {
		t.Error("no transport is taken")
	}
}
