package model

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3/option"
)

// Bounds of what is read of an endpoint, whatever it sends.
const (
	maxErrorBytes = 64 << 10  // of the body of a refusal
	maxWireBytes  = 16 << 20  // of a whole stream, which is not held: each token comes in an envelope of a few hundred bytes
	maxEventBytes = 256 << 10 // of one event, which is: up to the blank line that ends it, since its lines are put together
	maxWholeBytes = 1 << 20   // of an answer in one piece, which is held too
)

// Errors of a stream.
var (
	errTooMuch     = errors.New("the answer is longer than is read: 16 MiB of a stream, 256 KiB of one event, 1 MiB of an answer in one piece")
	errInterrupted = errors.New("the stream broke off")
)

// watch stands between the library and the network. It tells of every sign of life, bounds what is read, and makes an error of every
// answer that is none, since the library's own quotes the endpoint's words.
func watch(alive func()) option.Middleware {
	return func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		resp, err := next(req)
		if err != nil {
			return nil, err
		}
		alive()
		if resp.StatusCode < 200 || resp.StatusCode > 299 {
			defer func() { _ = resp.Body.Close() }()
			// A refusal that breaks off is one all the same: what came of it says why.
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
			return nil, newStatusError(resp.StatusCode, resp.Header, body)
		}
		resp.Body = guard(resp, alive)
		return resp, nil
	}
}

// guard is a response's body within the bounds of what it says that it is.
func guard(resp *http.Response, alive func()) io.ReadCloser {
	if isEvents(resp.Header) {
		return &guarded{ReadCloser: resp.Body, alive: alive, left: maxWireBytes, longest: maxEventBytes}
	}
	return &guarded{ReadCloser: resp.Body, alive: alive, left: maxWholeBytes, longest: maxWholeBytes}
}

// isEvents tells a stream from an answer in one piece, which some gateways send whatever they were asked for. What does not say what it
// is counts as a stream.
func isEvents(header http.Header) bool {
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return !strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// guarded is a body that is read within bounds. At the end of it there is a blank line, whether it was sent or not: without one the
// library would leave out a stream's last event.
type guarded struct {
	io.ReadCloser
	alive   func()
	left    int  // bytes that may still come
	longest int  // of them in one event
	event   int  // of the event that is coming
	blank   bool // so is its last line, so far
	tail    string
	ended   bool
}

// Read implements io.Reader.
func (g *guarded) Read(p []byte) (int, error) {
	if g.ended {
		n := copy(p, g.tail)
		if g.tail = g.tail[n:]; g.tail == "" {
			return n, io.EOF
		}
		return n, nil
	}
	n, err := g.ReadCloser.Read(p)
	if n > 0 {
		g.alive()
		if g.left -= n; g.left < 0 || !g.follow(p[:n]) {
			return 0, errTooMuch
		}
	}
	if errors.Is(err, io.EOF) {
		g.ended, g.tail = true, "\n\n"
		return n, nil
	}
	return n, err
}

// follow tells whether the event that is coming is still short enough. A blank line ends it.
func (g *guarded) follow(data []byte) bool {
	for _, b := range data {
		g.event++
		switch {
		case g.event > g.longest:
			return false
		case b == '\n' && g.blank:
			g.event = 0
		case b == '\n':
			g.blank = true
		case b != '\r':
			g.blank = false
		}
	}
	return true
}
