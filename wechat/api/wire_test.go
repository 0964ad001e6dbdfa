package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\n" + `{"errcode":0,"errmsg":"ok"}`

// reset closes the connection so that the other side sees a reset.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// readRequest reads one whole request and returns its body.
func readRequest(r *bufio.Reader) (string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(req.Body)
	return string(body), err
}

// TestMisbehaviour is one send to servers that break off at every point of an exchange.
func TestMisbehaviour(t *testing.T) {
	t.Parallel()
	after := func(say string, then func(*net.TCPConn)) func(int, *net.TCPConn) {
		return func(_ int, conn *net.TCPConn) {
			if _, err := readRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, say)
				then(conn)
			}
		}
	}
	gone := func(conn *net.TCPConn) { conn.Close() }
	stay := func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }
	for name, c := range map[string]struct {
		handle func(int, *net.TCPConn)
		class  Class
		msg    string
	}{
		"reset after the first byte":  {func(_ int, conn *net.TCPConn) { conn.Read(make([]byte, 1)); reset(conn) }, Unknown, ""},
		"reset after the request":     {after("", reset), Unknown, ""},
		"closed after the request":    {after("", gone), Unknown, "EOF"},
		"silence":                     {after("", stay), Unknown, "no answer within 300ms"},
		"header alone":                {after("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n", stay), Unknown, "no answer within 300ms"},
		"half a header":               {after("HTTP/1.1 200 OK\r\nContent-", gone), Unknown, ""},
		"endless header":              {after("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", maxHeader), stay), Unknown, ""},
		"no HTTP":                     {after("SSH-2.0-OpenSSH "+testToken+"\r\n\r\n", gone), Unknown, ""},
		"shorter than it says":        {after("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"errcode\":0,\"errmsg\":\"ok\"}", gone), Unknown, "unexpected EOF"},
		"cut without a length":        {after("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"errcode\":0,\"err", gone), Unknown, "cannot be read"},
		"switching protocols":         {after("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", gone), Unknown, ""},
		"well, but only after a 100":  {after("HTTP/1.1 100 Continue\r\n\r\n"+ok, gone), ^Class(0), ""},
		"well, and closed after that": {after(ok, gone), ^Class(0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			client := newTestClient(t, raw(t, func(n int, conn *net.TCPConn) { requests.Add(1); c.handle(n, conn) }), timeout(300*time.Millisecond))
			err := sendText(t.Context(), client, "x")
			if n := requests.Load(); n > 1 {
				t.Errorf("%d connections for one send", n)
			}
			if c.class == ^Class(0) {
				must(t, err)
				return
			}
			e := asError(t, err)
			if e.Class != c.class || e.Unsent || !strings.Contains(e.Msg, c.msg) {
				t.Errorf("got %v, unsent %v; want %s with %q", e, e.Unsent, c.class, c.msg)
			}
			late := strings.HasPrefix(c.msg, "no answer")
			if errors.Is(e, context.DeadlineExceeded) != late || errors.Is(e, context.Canceled) {
				t.Errorf("%v wraps %v", e, errors.Unwrap(e))
			}
		})
	}
}

// TestAnswers is what a server may say in whole.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const none = ^Class(0)
	for name, c := range map[string]struct {
		status int
		body   string
		class  Class
		code   int
	}{
		"well":                     {200, `{"errcode":0,"errmsg":"ok"}`, none, 0},
		"code as a string":         {200, `{"errcode":"0"}`, none, 0},
		"with a BOM and blanks":    {200, "\xEF\xBB\xBF \n{\"errcode\":0} \n", none, 0},
		"raw control characters":   {200, "{\"errcode\":45015,\"errmsg\":\"a\nb\x01\"}", NoWindow, 45015},
		"error code as a string":   {200, `{"errcode":"45047","errmsg":"out of response count limit"}`, NoWindow, 45047},
		"error code as a float":    {200, `{"errcode":4.5047e4}`, NoWindow, 45047},
		"errmsg as a number":       {200, `{"errcode":-1,"errmsg":7}`, Busy, -1},
		"no errcode":               {200, `{}`, Unknown, 0},
		"errcode null":             {200, `{"errcode":null}`, Unknown, 0},
		"errcode in words":         {200, `{"errcode":"ok"}`, Unknown, 0},
		"errcode and a half":       {200, `{"errcode":0.5}`, Unknown, 0},
		"empty":                    {200, ``, Unknown, 0},
		"null":                     {200, `null`, Unknown, 0},
		"a list":                   {200, `[{"errcode":0}]`, Unknown, 0},
		"HTML":                     {200, `<html>` + testToken, Unknown, 0},
		"bytes after it":           {200, `{"errcode":0}{"errcode":45015}`, Unknown, 0},
		"huge":                     {200, `{"errcode":0,"errmsg":"` + strings.Repeat("x", maxAnswer) + `"}`, Unknown, 0},
		"500":                      {500, `{"errcode":0}`, Unknown, 0},
		"502 with an errcode":      {502, `{"errcode":45015}`, Unknown, 0},
		"504":                      {504, `gateway`, Unknown, 0},
		"204":                      {204, ``, Unknown, 0},
		"400 with an errcode":      {400, `{"errcode":47001,"errmsg":"data format error"}`, BadMessage, 47001},
		"404":                      {404, `not here`, Refused, 0},
		"407":                      {407, ``, Refused, 0},
		"408":                      {408, ``, Unknown, 0},
		"412":                      {412, ``, Refused, 0},
		"413":                      {413, ``, BadMessage, 0},
		"redirect":                 {302, ``, Refused, 0},
		"redirect that keeps POST": {307, ``, Refused, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p *platform
			p = serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Location", p.URL+"/elsewhere?"+r.URL.RawQuery)
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			err := sendText(t.Context(), newTestClient(t, p.URL), "x")
			if n := len(p.requests()); n != 1 {
				t.Errorf("%d requests for one send", n)
			}
			if c.class == none {
				must(t, err)
				return
			}
			e := asError(t, err)
			if e.Class != c.class || e.Code != c.code || e.Status != c.status || e.Unsent || e.Call != callSendCustom {
				t.Errorf("got %+v, want %s %d", e, c.class, c.code)
			}
		})
	}
}

// TestUnsent is every way not to reach WeChat.
func TestUnsent(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	secure := httptest.NewUnstartedServer(says(`{"errcode":0}`))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it complains of the handshake
	secure.StartTLS()
	t.Cleanup(secure.Close)
	deaf := raw(t, func(_ int, conn *net.TCPConn) { io.Copy(io.Discard, conn) })
	for name, c := range map[string]struct {
		ctx  context.Context
		base string
		is   error
	}{
		"nobody listens":        {t.Context(), unused(t), nil},
		"no such name":          {t.Context(), "http://nobody-is-here.invalid", nil},
		"certificate unknown":   {t.Context(), secure.URL, nil},
		"no TLS there":          {t.Context(), strings.Replace(serve(t, says(`{}`)).URL, "http:", "https:", 1), nil},
		"TLS without an answer": {t.Context(), strings.Replace(deaf, "http:", "https:", 1), nil},
		"context ended before":  {ended, serve(t, says(`{"errcode":0}`)).URL, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e *Error
			if err := sendText(c.ctx, newTestClient(t, c.base, timeout(600*time.Millisecond)), "x"); !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e.Class != Unsent || !e.Unsent || e.Status != 0 {
				t.Errorf("got %+v", e)
			}
			if errors.Unwrap(e) != c.is {
				t.Errorf("%v wraps %v, want %v", e, errors.Unwrap(e), c.is)
			}
		})
	}
}

// TestContextEnds cancels a send that was written: its outcome is unknown, and the caller can tell its own end from a time limit.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	base := raw(t, func(_ int, conn *net.TCPConn) {
		readRequest(bufio.NewReader(conn))
		close(arrived)
		io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends when the request arrived
		<-arrived
		cancel()
	}()
	e := asError(t, sendText(ctx, newTestClient(t, base), "x"))
	if e.Class != Unknown || e.Unsent || !errors.Is(e, context.Canceled) {
		t.Errorf("got %+v", e)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(says(`{"errcode":0}`))
	t.Cleanup(s.Close)
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	c, err := newClient(Options{AppID: "wx", Base: s.URL, Hosts: []string{s.URL + "/"}}, config)
	must(t, err)
	t.Cleanup(c.Close)
	must(t, sendText(t.Context(), c, "x"))
	must(t, sendText(t.Context(), c, "x"))

	w := &wire{}
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), config)
	must(t, err)
	defer conn.Close()
	if counter(conn) != nil || counter(&countedConn{Conn: conn}) == nil || counter(tls.Client(&countedConn{Conn: conn}, config)) == nil {
		t.Error("the counter of a connection is not found, or one is found where there is none")
	}
	w.marks = append(w.marks, mark{})
	if !w.written() {
		t.Error("of a connection that cannot be watched nobody can say that nothing was written")
	}
}

// flaky is a connection that fails to write from the nth time on, after part bytes.
type flaky struct {
	net.Conn

	writes *atomic.Int32 // over all connections
	nth    int32
	part   int
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.writes.Add(1) == f.nth {
		n, _ := f.Conn.Write(p[:f.part])
		return n, syscall.EPIPE
	}
	return f.Conn.Write(p)
}

// TestKeptConnections: where a kept connection turns out to be closed before a byte was written, the send is made on another one;
// after a byte it is not, and its outcome is unknown. This is net/http's own doing, on which we rely.
func TestKeptConnections(t *testing.T) {
	t.Parallel()
	for _, part := range []int{0, 1, 100} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(`{"errcode":0}`))
			c := newTestClient(t, p.URL)
			var writes, dials atomic.Int32
			c.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				return &countedConn{Conn: &flaky{Conn: conn, writes: &writes, nth: 2, part: part}}, err
			}
			must(t, sendText(t.Context(), c, "one"))
			err := sendText(t.Context(), c, "two")
			if part == 0 {
				must(t, err)
				if len(p.requests()) != 2 || dials.Load() != 2 {
					t.Errorf("%d requests over %d connections", len(p.requests()), dials.Load())
				}
				return
			}
			if e := asError(t, err); e.Class != Unknown || e.Unsent || dials.Load() != 1 {
				t.Errorf("got %+v over %d connections", e, dials.Load())
			}
		})
	}
}
