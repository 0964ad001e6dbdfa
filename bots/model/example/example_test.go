package example

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// client asks an endpoint.
type client struct {
	t    *testing.T
	http *http.Client
	base string
}

// overTCP serves e on loopback until the test ends.
func overTCP(t *testing.T, e *Endpoint) *client {
	t.Helper()
	server := httptest.NewServer(e.Handler())
	t.Cleanup(server.Close)
	return &client{t, server.Client(), server.URL}
}

// pipes is a listener within the process, for tests in virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// overPipes serves e within the process until the test ends.
func overPipes(t *testing.T, e *Endpoint) *client {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: e.Handler(), ReadHeaderTimeout: time.Hour}
	served := make(chan struct{})
	go func() { // ended by the server's end below
		defer close(served)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{DialContext: listener.dial, DisableKeepAlives: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	return &client{t, &http.Client{Transport: transport}, "http://model.example"}
}

// o is a JSON object.
type o = map[string]any

func user(text any) o { return o{"role": "user", "content": text} }

// ask sends a request with these messages, and more fields if there are.
func (c *client) ask(ctx context.Context, more o, messages ...o) (*http.Response, error) {
	c.t.Helper()
	body := o{"model": "example", "messages": messages}
	for k, v := range more {
		body[k] = v
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/chat/completions", strings.NewReader(string(b)))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer any")
	return c.http.Do(r)
}

// chunk is one event of a stream, or a whole answer.
type chunk struct {
	Object  string
	Choices []struct {
		Message, Delta struct {
			Role, Content    string
			ReasoningContent string `json:"reasoning_content"`
			ToolCalls        []struct {
				Index    int
				ID, Type string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage *usage
	Error struct{ Message, Type, Param string }
}

// heard is an answer as a client puts it together.
type heard struct {
	status               int
	text, thought        string
	tool, arguments      string
	finish, kind         string
	usage                *usage
	failure              string
	chunks               int
	whole                bool // it had an end
	broken               error
	first, last, elapsed time.Duration
}

// hear reads a whole answer or a stream.
func (c *client) hear(more o, messages ...o) heard {
	c.t.Helper()
	began := time.Now()
	response, err := c.ask(c.t.Context(), more, messages...)
	if err != nil {
		return heard{broken: err, elapsed: time.Since(began)}
	}
	defer response.Body.Close()
	h := heard{status: response.StatusCode, kind: response.Header.Get("Content-Type")}
	if h.kind != "text/event-stream" {
		var one chunk
		if err := json.NewDecoder(response.Body).Decode(&one); err != nil {
			h.broken = err
		}
		h.take(one)
		h.whole, h.failure, h.elapsed = h.broken == nil, one.Error.Type+" "+one.Error.Message, time.Since(began)
		return h
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if h.last = time.Since(began); h.chunks == 0 {
			h.first = h.last
		}
		if data == "[DONE]" {
			h.whole = true
			continue
		}
		var one chunk
		if err := json.Unmarshal([]byte(data), &one); err != nil {
			h.broken = io.ErrUnexpectedEOF // cut in the middle
			return h
		}
		h.take(one)
		h.chunks++
	}
	h.broken, h.elapsed = lines.Err(), time.Since(began)
	return h
}

func (h *heard) take(c chunk) {
	if c.Usage != nil {
		h.usage = c.Usage
	}
	for _, choice := range c.Choices {
		for _, said := range []struct{ text, thought string }{
			{choice.Message.Content, choice.Message.ReasoningContent}, {choice.Delta.Content, choice.Delta.ReasoningContent},
		} {
			h.text += said.text
			h.thought += said.thought
		}
		for _, call := range append(choice.Message.ToolCalls, choice.Delta.ToolCalls...) {
			h.tool += call.Function.Name
			h.arguments += call.Function.Arguments
		}
		if choice.FinishReason != "" {
			h.finish = choice.FinishReason
		}
	}
}

var streamed = o{"stream": true, "stream_options": o{"include_usage": true}}

// TestSameWords: a stream says what a whole answer says, and both count the same tokens.
func TestSameWords(t *testing.T) {
	t.Parallel()
	c := overTCP(t, New(Options{}))
	for _, question := range []string{"讲个笑话", "tell me a joke", "讲个长故事", "long", ""} {
		whole, stream := c.hear(nil, user(question)), c.hear(streamed, user(question))
		if whole.text == "" || whole.text != stream.text || !whole.whole || !stream.whole {
			t.Errorf("%q: whole %q, streamed %q", question, whole.text, stream.text)
		}
		if whole.usage == nil || stream.usage == nil || *whole.usage != *stream.usage || whole.usage.CompletionTokens == 0 ||
			whole.usage.TotalTokens != whole.usage.PromptTokens+whole.usage.CompletionTokens {
			t.Errorf("%q: usage %+v, streamed %+v", question, whole.usage, stream.usage)
		}
		if whole.finish != "stop" || stream.finish != "stop" || !strings.Contains(whole.text, "示例模型") {
			t.Errorf("%q ends with %q and %q: %q", question, whole.finish, stream.finish, whole.text)
		}
		if stream.chunks < 10 {
			t.Errorf("%q came in %d events", question, stream.chunks)
		}
	}
	if h := c.hear(o{"stream": true}, user("你好")); h.usage != nil {
		t.Error("usage that nobody asked for")
	}
}

// TestFailureRate: the drawn share gets 500, the rest answers.
func TestFailureRate(t *testing.T) {
	t.Parallel()
	draw := 0.0
	e := New(Options{Random: func() float64 { return draw }})
	c := overTCP(t, e)
	set(t, e, Knobs{FailureRate: 0.3})
	for _, each := range []struct {
		draw   float64
		status int
	}{{0, 500}, {0.29, 500}, {0.3, 200}, {0.99, 200}} {
		draw = each.draw
		if h := c.hear(streamed, user("你好")); h.status != each.status || each.status == 500 && !strings.HasPrefix(h.failure, serverError+" The") {
			t.Errorf("drawn %v: status %d, not %d; %s", each.draw, h.status, each.status, h.failure)
		}
	}
	want(t, e, Stats{Requests: 4, Answered: 2, Failed: 2})
}

// TestBreaks: half of the answer comes, then the connection is reset.
func TestBreaks(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	c := overTCP(t, e)
	good := c.hear(streamed, user("你好"))
	set(t, e, Knobs{BreakRate: 1})
	h := c.hear(streamed, user("你好"))
	if !wasReset(h.broken) || h.whole || h.text == "" || !strings.HasPrefix(good.text, h.text) || len(h.text) > len(good.text)*2/3 {
		t.Errorf("a broken stream: %q, %v; the whole is %q", h.text, h.broken, good.text)
	}
	if h := c.hear(nil, user("你好")); !wasReset(h.broken) {
		t.Errorf("a broken whole answer: %q, %v", h.text, h.broken)
	}
	want(t, e, Stats{Requests: 3, Answered: 1, Broken: 2})
}

// TestDown: no request is answered, those under way are cut, and it is as before afterwards.
func TestDown(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	c := overTCP(t, e)
	set(t, e, Knobs{Delay: MaxDelay})
	underWay := make(chan heard, 1)
	go func() { underWay <- c.hear(streamed, user("你好")) }() // ends with the reset
	until(t, e, func(s Stats) bool { return s.InFlight == 1 })
	set(t, e, Knobs{Down: true})
	if h := <-underWay; !wasReset(h.broken) {
		t.Errorf("the one under way: %q, %v", h.text, h.broken)
	}
	if h := c.hear(nil, user("你好")); !wasReset(h.broken) {
		t.Errorf("while it is down: %q, %v", h.text, h.broken)
	}
	if r, err := c.http.Get(c.base + "/v1/models"); err == nil {
		r.Body.Close()
		t.Errorf("the list of models while it is down: status %d", r.StatusCode)
	}
	set(t, e, Knobs{})
	if h := c.hear(nil, user("你好")); !h.whole {
		t.Errorf("afterwards: %v", h.broken)
	}
	want(t, e, Stats{Requests: 3, Answered: 1, Broken: 2})
}

// TestHang: nothing comes while it lasts; who waits is answered, who goes is counted.
func TestHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		c := overPipes(t, e)
		set(t, e, Knobs{Hang: true})
		patient := make(chan heard, 1)
		go func() { patient <- c.hear(streamed, user("你好")) }() // ends with the answer
		impatient, leave := context.WithTimeout(t.Context(), time.Minute)
		defer leave()
		if r, err := c.ask(impatient, nil, user("你好")); err == nil {
			r.Body.Close()
			t.Error("an answer while it hangs")
		}
		time.Sleep(time.Hour) // virtual
		synctest.Wait()
		want(t, e, Stats{Requests: 2, InFlight: 1, Gone: 1})
		set(t, e, Knobs{Delay: 10 * time.Second}) // over long ago
		if h := <-patient; !h.whole || h.elapsed != time.Minute+time.Hour {
			t.Errorf("answered after %v, %v", h.elapsed, h.broken)
		}
		synctest.Wait()
		want(t, e, Stats{Requests: 2, Answered: 1, Gone: 1})
	})
}

// TestDelays: the first token comes after the delay and each further one after its own, streamed or not; a knob that is turned meanwhile
// holds for requests that are under way.
func TestDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		c := overPipes(t, e)
		k := Knobs{Delay: 7 * time.Second, PerToken: 100 * time.Millisecond}
		set(t, e, k)
		h := c.hear(streamed, user("你好"))
		tokens := h.usage.CompletionTokens
		if h.first != k.Delay || h.elapsed != k.Delay+time.Duration(tokens*int(k.PerToken)) || tokens < 20 {
			t.Errorf("%d tokens: the first after %v, all after %v", tokens, h.first, h.elapsed)
		}
		if whole := c.hear(nil, user("你好")); whole.elapsed != h.elapsed {
			t.Errorf("not streamed it took %v instead of %v", whole.elapsed, h.elapsed)
		}
		slow := make(chan heard, 1)
		set(t, e, Knobs{Delay: MaxDelay})
		go func() { slow <- c.hear(streamed, user("你好")) }() // ends with the answer
		time.Sleep(time.Minute)                              // virtual
		set(t, e, Knobs{Delay: 90 * time.Second})
		if h := <-slow; h.first != 90*time.Second {
			t.Errorf("turned to 90 s after a minute, it answered after %v", h.first)
		}
		set(t, e, Knobs{PerToken: time.Second})
		go func() { slow <- c.hear(streamed, user("你好")) }() // ends with the answer
		time.Sleep(5*time.Second + time.Millisecond)         // virtual
		set(t, e, Knobs{Hang: true})
		time.Sleep(time.Hour) // virtual
		set(t, e, Knobs{})
		if h := <-slow; !h.whole || h.last < time.Hour || h.last > time.Hour+6*time.Second {
			t.Errorf("a stream that hung for an hour ended after %v: %v", h.last, h.broken)
		}
	})
}

// TestPlaces: so many at a time and no more.
func TestPlaces(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	set(t, e, Knobs{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{}, MaxInFlight)
	one := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		body := strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
		e.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", body).WithContext(ctx))
		return w
	}
	for range MaxInFlight {
		go func() { one(); ended <- struct{}{} }() // ends with ctx
	}
	until(t, e, func(s Stats) bool { return s.InFlight == MaxInFlight })
	if w := one(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), tooMany) {
		t.Errorf("one too many: status %d, %s", w.Code, w.Body)
	}
	cancel()
	for range MaxInFlight {
		<-ended
	}
	want(t, e, Stats{Requests: MaxInFlight + 1, Gone: MaxInFlight, Failed: 1})
}

func TestKnobs(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	good := Knobs{Delay: time.Second, PerToken: time.Millisecond, FailureRate: 1, BreakRate: 0.5, Hang: true, Down: true, Reasoning: true}
	set(t, e, good)
	for _, bad := range []Knobs{
		{Delay: -1}, {Delay: MaxDelay + 1}, {PerToken: -1}, {PerToken: MaxDelay + 1}, {FailureRate: -0.1}, {FailureRate: 1.1}, {BreakRate: 2},
		{BreakRate: nan()},
	} {
		if err := e.SetKnobs(bad); err == nil || !strings.Contains(err.Error(), "it is 0 to") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if e.Knobs() != good {
		t.Errorf("refused knobs were turned: %+v", e.Knobs())
	}
}

// TestManyAtOnce: requests of all kinds while the knobs turn; nothing is lost from the counts.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	c := overTCP(t, e)
	const askers, each = 8, 20
	ended := make(chan struct{})
	for i := range askers {
		go func() { // ends after its questions
			defer func() { ended <- struct{}{} }()
			for range each {
				c.hear(o{"stream": i%2 == 0}, user(fmt.Sprint("第", i, "个")))
			}
		}()
	}
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := 0; i < askers; {
		for _, k := range []Knobs{{Down: true}, {Hang: true}, {BreakRate: 0.5}, {FailureRate: 0.5}, {PerToken: time.Microsecond}, {}} {
			set(t, e, k)
			<-pace.C
			if s := e.Stats(); s.Requests != s.InFlight+s.Answered+s.Failed+s.Broken+s.Gone {
				t.Errorf("the counts do not add up: %+v", s)
			}
		}
		select {
		case <-ended:
			i++
		default:
		}
	}
	until(t, e, func(s Stats) bool { return s.InFlight == 0 })
	if s := e.Stats(); s.Requests < askers*each || s.Requests != s.Answered+s.Failed+s.Broken+s.Gone || s.Answered == 0 { // clients repeat some
		t.Errorf("at the end: %+v", s)
	}
}

func set(t *testing.T, e *Endpoint, k Knobs) {
	t.Helper()
	if err := e.SetKnobs(k); err != nil {
		t.Fatal(err)
	}
}

// want compares the counts, tokens aside, once nothing more is expected to end.
func want(t *testing.T, e *Endpoint, s Stats) {
	t.Helper()
	until(t, e, func(now Stats) bool {
		now.PromptTokens, now.CompletionTokens = 0, 0
		return now == s
	})
}

// until polls; a client may have its answer a moment before it is counted.
func until(t *testing.T, e *Endpoint, holds func(Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(e.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the counts are %+v", e.Stats())
		}
	}
}

func wasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
