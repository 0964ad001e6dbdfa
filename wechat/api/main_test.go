package api

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hongyan/messages"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What must be nowhere but in requests. The token has characters that a query escapes.
const (
	testToken  = "57_to+ken/that=nobody&may-see"
	testSecret = "secret+that/nobody&may-see-0123456789"
	testOpenID = "oABCDEFGHIJKLMNOPQRSTUVWXYZ0"
)

// seen is a request as a server got it.
type seen struct {
	method, path, contentType, length string
	query                             map[string][]string
	body                              []byte
}

// platform is a server that gives one answer to every call and keeps what it was asked.
type platform struct {
	*httptest.Server

	mu   sync.Mutex
	seen []seen
}

func (p *platform) requests() []seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]seen(nil), p.seen...)
}

// serve starts a platform whose answer is made by handle.
func serve(t *testing.T, handle http.HandlerFunc) *platform {
	t.Helper()
	p := &platform{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.seen = append(p.seen, seen{
			method: r.Method, path: r.URL.Path, contentType: r.Header.Get("Content-Type"), length: r.Header.Get("Content-Length"),
			query: r.URL.Query(), body: body,
		})
		p.mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// says answers 200 with the text, as text/plain, as WeChat often does.
func says(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, answer)
	}
}

// options are a client's for a test; edit changes them.
func newTestClient(t *testing.T, base string, edit ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		Account: "demo", AppID: "wx0123456789abcdef", AppSecret: testSecret, Base: base,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	for _, e := range edit {
		e(&o)
	}
	c, err := New(o)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// impatient lets calls take d, while connections keep the time that a busy machine needs to make them.
func impatient(c *Client, d time.Duration) *Client {
	c.timeout = d
	return c
}

// raw starts a listener whose connections handle owns; n counts them from 0. Connections are closed when the test ends.
func raw(t *testing.T, handle func(n int, conn *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				handle(n, conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

// unused is an address at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return "http://" + l.Addr().String()
}

// asError is err as the client's own error, after a look that nothing private is in it.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %v", err)
	}
	requireNothingPrivate(t, err.Error())
	requireNothingPrivate(t, e.Msg)
	return e
}

func requireNothingPrivate(t *testing.T, text string) {
	t.Helper()
	for _, private := range []string{"nobody", testOpenID} {
		if strings.Contains(text, private) {
			t.Errorf("%q must not stand in an error or a log: %s", private, text)
		}
	}
}

// sendText sends one text to a user.
func sendText(ctx context.Context, c *Client, text string) error {
	return c.SendCustom(ctx, testToken, testOpenID, textAnswer(text), "")
}

func textAnswer(text string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
}
