package bench

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestReadResponse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text     string
		status   int
		body     string
		reusable bool
	}{
		"length":         {"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccessHTTP", 200, "success", true},
		"empty":          {"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 200, "", true},
		"chunked":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsuc\r\n4;x=1\r\ncess\r\n0\r\nT: 1\r\n\r\n", 200, "success", true},
		"until close":    {"HTTP/1.1 200 OK\r\n\r\nsuccess", 200, "success", false},
		"close":          {"HTTP/1.1 403 Forbidden\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", 403, "x", false},
		"1.0":            {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x", false},
		"interim":        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", 503, "", true},
		"no content":     {"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", 204, "", true},
		"without reason": {"HTTP/1.1 200\nContent-Length: 1\n\nx", 200, "x", true},
	} {
		status, body, reusable, err := readResponse(bufio.NewReader(strings.NewReader(c.text)), nil)
		if err != nil || status != c.status || string(body) != c.body || reusable != c.reusable {
			t.Errorf("%s: %d %q reusable %t, %v", name, status, body, reusable, err)
		}
	}
	for _, text := range []string{
		"", "HTTP/1.1", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuc", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsuc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeaders+1),
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 2*maxHeader) + "\r\n\r\n",
	} {
		if status, body, reusable, err := readResponse(bufio.NewReader(strings.NewReader(text)), nil); err == nil || reusable {
			t.Errorf("%.60q: taken as %d %q", text, status, body)
		}
	}
}

// FuzzReadResponse holds the reader beside net/http's: what both take must be the same.
func FuzzReadResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsuc\r\n0\r\n\r\n",
		"HTTP/1.1 503 x\r\nConnection: close\r\n\r\nbody", "HTTP/1.1 204 x\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nx",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		status, body, _, err := readResponse(bufio.NewReaderSize(bytes.NewReader(text), maxHeader), nil)
		if err != nil {
			return
		}
		reader := bufio.NewReader(bytes.NewReader(text))
		theirs, theirErr := http.ReadResponse(reader, nil)
		for theirErr == nil && theirs.StatusCode/100 == 1 {
			theirs, theirErr = http.ReadResponse(reader, nil)
		}
		if theirErr != nil {
			return // net/http is stricter about names and values that do not matter here
		}
		defer theirs.Body.Close()
		theirBody, theirErr := io.ReadAll(theirs.Body)
		if theirErr == nil && (theirs.StatusCode != status || !bytes.Equal(theirBody, body)) {
			t.Errorf("%q: %d %q, net/http has %d %q", text, status, body, theirs.StatusCode, theirBody)
		}
	})
}

func TestConnKeepsAliveAndConnectsAnew(t *testing.T) {
	t.Parallel()
	var opened []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		if r.URL.Path == "/long" {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 100_000)) // chunked
			return
		}
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	server.Start()
	defer server.Close()
	c := newConn(server.Listener.Addr().String())
	defer c.close()
	for _, path := range []string{"/", "/close", "/", "/long"} {
		status, body, err := c.exchange([]byte("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"), time.Now().Add(5*time.Second))
		if err != nil || status != 200 {
			t.Fatalf("%s: %d, %v", path, status, err)
		}
		if path == "/long" {
			if len(body) != 100_000 {
				t.Errorf("%d bytes of a chunked body", len(body))
			}
			continue
		}
		opened = append(opened, string(body))
	}
	if opened[0] != opened[1] || opened[1] == opened[2] {
		t.Errorf("connections %v: wanted the first twice, then another", opened)
	}
}

func TestConnTimesOut(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // accepts by itself, answers nothing
	c := newConn(listener.Addr().String())
	defer c.close()
	_, _, err = c.exchange([]byte("GET / HTTP/1.1\r\n\r\n"), time.Now().Add(20*time.Millisecond))
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("silent server: %v", err)
	}
}
