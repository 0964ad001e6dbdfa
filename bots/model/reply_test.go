package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// response is what an endpoint sends, as the package reads it.
func response(contentType string, body io.Reader) (*http.Response, *int) {
	alive := new(int)
	closer, ok := body.(io.ReadCloser)
	if !ok {
		closer = io.NopCloser(body)
	}
	resp := &http.Response{Header: http.Header{"Content-Type": {contentType}}, Body: closer}
	resp.Body = guard(resp, func() { *alive++ })
	return resp, alive
}

const eventStream = "text/event-stream"

// sent is what endpoints send, whole and in ruins.
func sent() *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOf(rapid.OneOf(rapid.SampledFrom([]string{
		"data: ", "data:", "\n", "\n\n", "\r\n\r\n", ": alive\n", "event: error\n", "[DONE]", "null", "{", "}", "[", "]", ",", "\xff",
		`{"choices":[{"delta":{"content":"你"},"finish_reason":null}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`,
		`{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":1},{}]}}]}`,
		`{"choices":[{"delta":{"reasoning_content":"x","reasoning":{},"content":7}}]}`,
		`{"choices":[{"delta":{"tool_calls":[{"index":-1,"id":"x","function":{"arguments":{}}},{}]}}]}`,
		`{"choices":[{"delta":{"tool_calls":[{"index":9,"function":{"name":"a","arguments":"{"}},{"index":9,"function":{"arguments":"}"}}]}}]}`,
		`{"choices":[{"index":1,"delta":{"content":"other"}}]}`, `{"usage":{"prompt_tokens":-1e300,"completion_tokens":1e300}}`,
		`{"usage":{"prompt_tokens":2.0}}`, `{"error":{"code":[]}}`, `{"error":"no"}`, `{"error":null}`, `{"error":{"code":429}}`,
	}), rapid.String())), func(parts []string) string { return strings.Join(parts, "") })
}

// TestReadAnything finds that garbage never panics, that what is kept is bounded, and that it makes no difference in which pieces it
// comes. It is no fuzz target, since the client library takes minutes to build for one.
func TestReadAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := sent().Draw(t, "body")
		contentType := rapid.SampledFrom([]string{eventStream, "application/json", ""}).Draw(t, "content type")
		whole, _ := response(contentType, strings.NewReader(body))
		pieces, _ := response(contentType, iotest.OneByteReader(strings.NewReader(body)))
		a, errA := read(whole)
		b, errB := read(pieces)
		if fmt.Sprint(errA) != fmt.Sprint(errB) || fmt.Sprintf("%+v", shown(a)) != fmt.Sprintf("%+v", shown(b)) {
			t.Fatalf("at once %+v (%v), byte by byte %+v (%v)", a, errA, b, errB)
		}
		if len(a.text) > maxAnswerBytes || len(a.reasoning) > maxAnswerBytes {
			t.Fatalf("%d bytes of text, %d of reasoning", len(a.text), len(a.reasoning))
		}
		if u := a.usage; u != nil && (u.prompt() < 0 || u.completion() < 0 || u.prompt() > mostTokens || u.completion() > mostTokens) {
			t.Fatalf("usage %+v", u)
		}
	})
}

// shown is a reply without the pointer in it.
func shown(r reply) reply {
	r.usage = nil
	return r
}

// TestReadBounds finds that neither a long answer, nor long calls, nor a long event, nor a stream without an end take more than they may.
func TestReadBounds(t *testing.T) {
	t.Parallel()
	text := func(n int) string {
		return `data: {"choices":[{"delta":{"content":"` + strings.Repeat("长", n) + `"}}]}` + "\n\n"
	}
	tests := []struct {
		name string
		body io.Reader
		want error
	}{
		{"a long answer is cut", strings.NewReader(strings.Repeat(text(1000), 100)), nil},
		{"a long event", strings.NewReader(text(maxEventBytes)), errTooMuch},
		{"an event of many lines", strings.NewReader(strings.Repeat("data: {}\r\n", maxEventBytes/10+1) + "\r\n"), errTooMuch},
		{"many events of a few lines", strings.NewReader(strings.Repeat(": alive\r\n\r\n", maxEventBytes/10) + text(maxAnswerBytes/8) +
			text(maxAnswerBytes/8) + text(maxAnswerBytes/8)), nil},
		{"no end of comments", io.LimitReader(endless(": alive\n\n"), 2*maxWireBytes), errTooMuch},
		{"no end of a line", io.LimitReader(endless("x"), 2*maxWireBytes), errTooMuch},
		{"long calls", strings.NewReader(strings.Repeat(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"`+
			strings.Repeat("x", 1000)+`"}}]}}]}`+"\n\n", 300)), errCalls},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, _ := response(eventStream, tt.body)
			r, err := read(resp)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if tt.want == nil && (len(r.text) > maxAnswerBytes || len(r.text) < maxAnswerBytes-3 || strings.Trim(r.text, "长") != "") {
				t.Errorf("%d bytes of answer", len(r.text))
			}
		})
	}
}

// TestWholeBounds finds that an answer in one piece is read up to 1 MiB, however many lines it has.
func TestWholeBounds(t *testing.T) {
	t.Parallel()
	const begin, end = `{"choices":[{"message":{"content":"a"}}]`, "}"
	for filler, want := range map[string]error{
		strings.Repeat("\n", maxWholeBytes-len(begin)-len(end)):   nil,
		strings.Repeat("\n", maxWholeBytes-len(begin)-len(end)+1): errTooMuch,
		strings.Repeat(" ", maxWholeBytes-len(begin)-len(end)+1):  errTooMuch,
	} {
		resp, _ := response("application/json; charset=utf-8", strings.NewReader(begin+filler+end))
		if r, err := read(resp); !errors.Is(err, want) || want == nil && r.text != "a" {
			t.Errorf("%d bytes: %q, %v", len(begin+filler+end), r.text, err)
		}
	}
}

type endless string

// Read implements io.Reader.
func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e) <= len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

// TestAlive finds that every piece is a sign of life, comments too.
func TestAlive(t *testing.T) {
	t.Parallel()
	body := ": alive\n\n: alive\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n"
	reader, writer := io.Pipe()
	pieces := strings.SplitAfter(body, "\n\n")
	go func() { // ends when the body is written
		for _, piece := range pieces {
			_, _ = io.WriteString(writer, piece)
		}
		_ = writer.Close()
	}()
	resp, alive := response(eventStream, reader)
	if r, err := read(resp); err != nil || r.text != "a" {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := 4; *alive != want {
		t.Errorf("%d signs of life, want %d", *alive, want)
	}
}

// TestLastEvent finds that a stream's last event counts, however little stands behind it.
func TestLastEvent(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"", "\n", "\r\n", "\n\n"} {
		resp, _ := response(eventStream, strings.NewReader(`data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`+end))
		if r, err := read(resp); err != nil || r.text != "a" {
			t.Errorf("ending %q: %+v, %v", end, r, err)
		}
	}
}

// TestReadingEndsSoon finds that an endpoint that keeps its connection open after [DONE] does not keep the turn.
func TestReadingEndsSoon(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	go func() { // ends when the pieces are read; nobody closes the writer
		_, _ = io.WriteString(writer, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n")
	}()
	resp, _ := response(eventStream, reader)
	if r, err := read(resp); err != nil || r.text != "a" {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestCalls puts the calls together that endpoints number in their different ways.
func TestCalls(t *testing.T) {
	t.Parallel()
	const want = `a {"x":1}; b {"y":2}`
	tests := map[string][]string{
		"by index":           {`{"index":0,"id":"1","function":{"name":"a","arguments":"{\"x\""}}`, `{"index":1,"id":"2","function":{"name":"b","arguments":"{\"y\""}}`, `{"index":0,"function":{"arguments":":1}"}}`, `{"index":1,"function":{"arguments":":2}"}}`},
		"all zero, with ids": {`{"index":0,"id":"1","function":{"name":"a","arguments":"{\"x\":1}"}}`, `{"index":0,"id":"2","function":{"name":"b","arguments":"{\"y\":2}"}}`},
		"no index, with ids": {`{"id":"1","function":{"name":"a","arguments":"{\"x\":"}}`, `{"function":{"arguments":"1}"}}`, `{"id":"2","function":{"name":"b","arguments":"{\"y\":2}"}}`},
		"neither":            {`{"function":{"name":"a","arguments":"{\"x\":1}"}}`, `{"function":{"name":"b","arguments":"{\"y\":2}"}}`},
		"id and name in every piece": {`{"index":0,"id":"1","function":{"name":"a","arguments":"{\"x\":"}}`, `{"index":0,"id":"1","function":{"name":"a","arguments":"1}"}}`,
			`{"index":1,"id":"2","function":{"name":"b","arguments":"{\"y\":2}"}}`},
		"from 1 on":        {`{"index":1,"id":"1","function":{"name":"a","arguments":"{\"x\":1}"}}`, `{"index":2,"id":"2","function":{"name":"b","arguments":"{\"y\":2}"}}`},
		"objects in place": {`{"id":"1","function":{"name":"a","arguments":{"x":1}}}`, `{"id":"2","function":{"name":"b","arguments":{"y":2}}}`},
	}
	for name, pieces := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var body strings.Builder
			for _, piece := range pieces {
				fmt.Fprintf(&body, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[%s]}}]}\n\n", piece)
			}
			body.WriteString("data: [DONE]\n\n")
			resp, _ := response(eventStream, strings.NewReader(body.String()))
			r, err := read(resp)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range r.calls {
				got = append(got, c.name+" "+string(c.arguments))
			}
			if joined := strings.Join(got, "; "); joined != want {
				t.Errorf("got %s, want %s", joined, want)
			}
		})
	}
}

// TestCodes finds that nothing but a plain word is shown of what an endpoint says.
func TestCodes(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"error":{"code":"context_length_exceeded"}}`:          "context_length_exceeded",
		`{"error":{"code":"sk-abc123"}}`:                        "",
		`{"error":{"code":"你好"}}`:                               "",
		`{"error":{"code":"` + strings.Repeat("a", 100) + `"}}`: "",
		`{"error":{"code":null,"type":"server_error"}}`:         "server_error",
		`{"code":1301,"message":"SECRET"}`:                      "1301",
		`"SECRET"`:                                              "", `SECRET`: "", ``: "", `[]`: "", `{"error":{"error":{"error":"x"}}}`: "",
	} {
		err := newStatusError(http.StatusBadRequest, http.Header{}, []byte(body))
		if err.code != want || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, code %q, want %q", body, err, err.code, want)
		}
	}
	deep := bytes.Repeat([]byte(`{"error":`), 5000)
	_ = newStatusError(http.StatusBadRequest, http.Header{}, append(append(deep, '1'), bytes.Repeat([]byte("}"), 5000)...))
}
