package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
)

// request makes the HTTP request of one attempt. Its URL carries the token, or the secret: it must not get into an error.
func (c *Client) request(ctx context.Context, call call, h *host) *http.Request {
	target := *h.base
	target.Path += call.path
	query := url.Values{}
	for name, values := range call.query {
		query[name] = values
	}
	if call.token != "" {
		query.Set("access_token", call.token)
	}
	target.RawQuery = query.Encode()
	req := (&http.Request{
		Method: call.method(), URL: &target, Host: target.Host, Header: http.Header{"User-Agent": {"hongyan"}},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	switch {
	case call.upload != nil:
		call.upload.attach(req)
	case call.body != nil:
		data := call.body.bytes()
		req.Header.Set("Content-Type", "application/json")
		req.ContentLength = int64(len(data)) // WeChat refuses chunked bodies
		// net/http sends a request again by itself where the kept connection turns out to be closed before a byte was written; for
		// that it needs the body anew. After a byte it does so for GET alone.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		req.Body, _ = req.GetBody()
	}
	return req
}

// wire watches on which connections a request goes out, and whether anything of it was written.
type wire struct {
	mu    sync.Mutex // the hooks may run on other goroutines than the call
	marks []mark
}

// mark is a connection and how much was written to it before the request.
type mark struct {
	conn   *countedConn // nil: a connection that cannot be watched
	before int64
}

func (w *wire) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		m := mark{conn: counter(info.Conn)}
		if m.conn != nil {
			m.before = m.conn.written.Load()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.marks = append(w.marks, m)
	}})
}

// written tells whether a byte of the request may have left. It is asked after the round trip: net/http has then ended the goroutine
// that writes to the connection.
func (w *wire) written() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.marks {
		if m.conn == nil || m.conn.written.Load() != m.before {
			return true
		}
	}
	return false
}
