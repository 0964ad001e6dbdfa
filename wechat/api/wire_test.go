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
	"net/url"
	"strings"
	"sync"
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
		"reset after the first byte": {func(_ int, conn *net.TCPConn) { conn.Read(make([]byte, 1)); reset(conn) }, Unknown, ""},
		"reset after the request":    {after("", reset), Unknown, ""},
		"closed after the request":   {after("", gone), Unknown, "EOF"},
		"silence":                    {after("", stay), Unknown, "no answer within 300ms"},
		"header alone":               {after("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n", stay), Unknown, "no answer within 300ms"},
		"half a header":              {after("HTTP/1.1 200 OK\r\nContent-", gone), Unknown, ""},
		"endless header":             {after("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHeader), stay), Unknown, ""},
		"no HTTP":                    {after("SSH-2.0-OpenSSH "+testToken+"\r\n\r\n", gone), Unknown, ""},
		"shorter than it says":       {after("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"errcode\":0,\"errmsg\":\"ok\"}", gone), Unknown, "unexpected EOF"},
		"cut without a length":       {after("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"errcode\":0,\"err", gone), Unknown, "cannot be read"},
		"endless": {after("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", func(conn *net.TCPConn) {
			for block := make([]byte, 64<<10); ; {
				if _, err := conn.Write(block); err != nil {
					return
				}
			}
		}), Unknown, "longer than"},
		"switching protocols":         {after("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", gone), Unknown, ""},
		"well, but only after a 100":  {after("HTTP/1.1 100 Continue\r\n\r\n"+ok, gone), ^Class(0), ""},
		"well, and closed after that": {after(ok, gone), ^Class(0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			client := newTestClient(t, raw(t, func(n int, conn *net.TCPConn) { requests.Add(1); c.handle(n, conn) }))
			if strings.HasPrefix(c.msg, "no answer") {
				client = impatient(client, 300*time.Millisecond)
			}
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
		"long errmsg of lines":     {200, `{"errcode":45002,"errmsg":"a\nb\u0007` + strings.Repeat("字", maxMsg) + `"}`, BadMessage, 45002},
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
			if len(e.Msg) > maxMsg || strings.ContainsAny(e.Msg, "\n\a") {
				t.Errorf("not a short line: %q", e.Msg)
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
			if err := sendText(c.ctx, newTestClient(t, c.base, func(o *Options) { o.Timeout = 600 * time.Millisecond }), "x"); !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e.Class != Unsent || !e.Unsent || e.Status != 0 {
				t.Errorf("got %+v", e)
			}
			if !errors.Is(errors.Unwrap(e), c.is) {
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
	c := newTestClient(t, base)
	e := asError(t, sendText(ctx, c, "x"))
	if e.Class != Unknown || e.Unsent || !errors.Is(e, context.Canceled) {
		t.Errorf("got %+v", e)
	}
	if len(c.hosts.until) != 0 {
		t.Error("the host is blamed for a caller that left")
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

	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), config)
	must(t, err)
	defer conn.Close()
	if counter(conn) != nil {
		t.Error("a counter is found where there is none")
	}
	if w := (&wire{marks: []mark{{}}}); !w.written() {
		t.Error("of a connection that cannot be watched nobody can say that nothing was written")
	}
}

// TestProxy sends through an HTTP proxy, as many companies have one: net/http then lays its own TLS over our connections.
func TestProxy(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("over %s: with HTTP/2 a connection carries several requests, and its bytes say nothing about one", r.Proto)
		}
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "hang") {
			<-hang
		}
		io.WriteString(w, `{"errcode":0}`)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it complains of connections that the proxy closed
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	var refuse atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", r.Host)
		if err != nil {
			return
		}
		defer server.Close()
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(server, client); server.Close() })
		io.Copy(client, server)
		client.Close()
		wg.Wait()
	}))
	t.Cleanup(proxy.Close)
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	c, err := newClient(Options{AppID: "wx", Base: s.URL}, config)
	must(t, err)
	t.Cleanup(c.Close)
	address, err := url.Parse(proxy.URL)
	must(t, err)
	c.transport.Proxy = http.ProxyURL(address)

	must(t, sendText(t.Context(), c, "x"))
	must(t, sendText(t.Context(), c, "x"))
	if e := asError(t, sendText(t.Context(), impatient(c, 500*time.Millisecond), "hang")); e.Class != Unknown {
		t.Errorf("got %v", e)
	}
	refuse.Store(true)
	c.Close()
	if e := asError(t, sendText(t.Context(), c, "x")); e.Class != Unsent {
		t.Errorf("got %v", e)
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

// flakily makes the nth write of the client, over all its connections, fail after part bytes, and all connections after the given
// number fail to be made; 0: none.
func flakily(c *Client, nth int32, part int, connections int32) (dials *atomic.Int32) {
	var writes atomic.Int32
	dials = new(atomic.Int32)
	c.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if n := dials.Add(1); connections > 0 && n > connections {
			return nil, syscall.ECONNREFUSED
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: &flaky{Conn: conn, writes: &writes, nth: nth, part: part}}, nil
	}
	return dials
}

// TestKeptConnections: where a kept connection turns out to be closed before a byte was written, the send is made on another one;
// after a byte it is not, and its outcome is unknown. This is net/http's own doing, on which we rely.
func TestKeptConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		part              int
		connections       int32
		class             Class
		requests, dialled int
	}{
		{0, 0, ^Class(0), 2, 2},
		{0, 1, Unsent, 1, 2},
		{1, 0, Unknown, 1, 1},
		{100, 0, Unknown, 1, 1},
	} {
		t.Run(fmt.Sprintf("%d bytes, %d connections", c.part, c.connections), func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(`{"errcode":0}`))
			client := newTestClient(t, p.URL)
			dials := flakily(client, 2, c.part, c.connections)
			must(t, sendText(t.Context(), client, "one"))
			err := sendText(t.Context(), client, "two")
			if c.class == ^Class(0) {
				must(t, err)
			} else if e := asError(t, err); e.Class != c.class || e.Unsent != (c.class == Unsent) {
				t.Errorf("got %+v", e)
			}
			if len(p.requests()) != c.requests || int(dials.Load()) != c.dialled {
				t.Errorf("%d requests over %d connections", len(p.requests()), dials.Load())
			}
		})
	}
}
