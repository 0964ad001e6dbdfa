package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/bots"
	"hongyan/bots/upstream"
	"hongyan/messages"
	"hongyan/stream/embedded"
)

// yard is a server with a door for bots, and the engine's way to them.
type yard struct {
	t      *testing.T
	server *embedded.Server
	nats   *NATS
}

func newYard(t *testing.T) *yard {
	t.Helper()
	s, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), MaxStore: 1 << 30, Bots: embedded.Door{Listen: "127.0.0.1:0", Token: "a-token-of-bots"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.Connect("engine")
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNATS(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.mu.Lock()
		if len(n.waiting) != 0 {
			t.Errorf("%d calls are still waited for", len(n.waiting))
		}
		n.mu.Unlock()
		if err := errors.Join(n.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return &yard{t: t, server: s, nats: n}
}

func (y *yard) subject(name string) Transport {
	y.t.Helper()
	s, err := y.nats.Subject(name)
	if err != nil {
		y.t.Fatal(err)
	}
	return s
}

// bot starts an instance behind the door, with a connection of its own that is returned.
func (y *yard) bot(subject string, handle func(msg *nats.Msg)) *nats.Conn {
	y.t.Helper()
	conn, err := nats.Connect(y.server.URL(), nats.Token("a-token-of-bots"))
	if err != nil {
		y.t.Fatal(err)
	}
	y.t.Cleanup(conn.Close)
	if _, err := conn.QueueSubscribe(subject, "q", handle); err != nil {
		y.t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		y.t.Fatal(err)
	}
	return conn
}

const working = `{"working": true}`

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestNATSAnswers(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.bot("hy.bot.echo", func(m *nats.Msg) {
		if m.Header.Get("Hongyan-Version") != "1" || m.Header.Get("Hongyan-Id") != "id-1" {
			t.Errorf("headers: %v", m.Header)
		}
		_ = m.Respond([]byte(working))
		_ = m.Respond(m.Data)
		_ = m.Respond([]byte("a second answer, which nobody waits for"))
	})
	x := newExchange(`{"v": 1}`)
	got, err := y.subject("hy.bot.echo").Call(within(t, 10*time.Second), x.Exchange)
	if err != nil || string(got) != `{"v": 1}` || x.alive.Load() == 0 || x.again.Load() != 0 {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "a b", "hy.*", "hy.>", ".a", "a.", "a..b"} {
		if _, err := y.nats.Subject(bad); err == nil {
			t.Errorf("the subject %q is taken", bad)
		}
	}
}

// Nobody there is known at once; what a micro service reports is a fault of its kind.
func TestNATSFaults(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	_, err := y.subject("hy.bot.nobody").Call(within(t, 10*time.Second), newExchange("{}").Exchange)
	if !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("nobody there: %v", err)
	}
	for code, want := range map[string]upstream.Kind{
		"400": upstream.Refused, "401": upstream.Denied, "429": upstream.Overloaded, "500": upstream.Broken, "broken": upstream.Broken,
	} {
		subject := "hy.bot.e" + code
		y.bot(subject, func(m *nats.Msg) {
			answer := nats.NewMsg(m.Reply)
			answer.Header.Set(micro.ErrorCodeHeader, code)
			answer.Header.Set(micro.ErrorHeader, secret)
			answer.Data = []byte(`{"answers": ["no"]}`)
			_ = m.RespondMsg(answer)
		})
		_, err := y.subject(subject).Call(within(t, 10*time.Second), newExchange("{}").Exchange)
		var f *upstream.Fault
		if err == nil || strings.Contains(err.Error(), secret) || errors.As(err, &f) && f.Kind != want || f == nil && want != upstream.Broken {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// An instance that dies over a request, after a sign of life, is replaced by the next one; one that goes on giving signs is waited for,
// however long; and three silent instances are enough.
func TestNATSDeadInstance(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.nats.silent = 300 * time.Millisecond
	var ids atomic.Int64
	answer := func(m *nats.Msg) {
		if m.Header.Get("Hongyan-Id") == "id-1" {
			ids.Add(1)
		}
		_ = m.Respond([]byte("here"))
	}
	held := make(chan struct{})
	dying := y.bot("hy.bot.two", func(m *nats.Msg) {
		_ = m.Respond([]byte(working))
		close(held)
	})
	x := newExchange("{}")
	x.Again = func() { x.again.Add(1) }
	done := make(chan error, 1)
	transport, ctx := y.subject("hy.bot.two"), within(t, 20*time.Second)
	go func() {
		got, err := transport.Call(ctx, x.Exchange)
		if string(got) != "here" && err == nil {
			err = errors.New("answered " + string(got))
		}
		done <- err
	}()
	<-held
	y.bot("hy.bot.two", answer)
	dying.Close()
	if err := <-done; err != nil || ids.Load() != 1 || x.again.Load() != 1 || x.bodies.Load() != 2 {
		t.Errorf("%v; %d answers under the same id, %d more sends", err, ids.Load(), x.again.Load())
	}

	slow := 4 * y.nats.silent
	y.bot("hy.bot.slow", func(m *nats.Msg) {
		for end := time.Now().Add(slow); time.Now().Before(end); {
			_ = m.Respond([]byte(working))
			<-time.After(50 * time.Millisecond)
		}
		_ = m.Respond([]byte("here"))
	})
	x = newExchange("{}")
	if got, err := y.subject("hy.bot.slow").Call(within(t, 20*time.Second), x.Exchange); string(got) != "here" || err != nil || x.again.Load() != 0 {
		t.Errorf("a slow one: %q, %v, %d more sends", got, err, x.again.Load())
	}

	var held3 atomic.Int64
	y.bot("hy.bot.hopeless", func(m *nats.Msg) { held3.Add(1); _ = m.Respond([]byte(working)) })
	x = newExchange("{}")
	if _, err := y.subject("hy.bot.hopeless").Call(within(t, 20*time.Second), x.Exchange); !errors.Is(err, errSilent) || held3.Load() != maxSends {
		t.Errorf("a hopeless one: %v after %d sends", err, held3.Load())
	}
}

// An instance that dies with a request before its first sign is replaced as well, where its bots were seen to give signs; and where they give
// none any more, nothing goes out in vain for long, and nobody is given up.
func TestNATSDeadBeforeItsFirstSign(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.nats.silent = 300 * time.Millisecond
	mute, quiet := atomic.Bool{}, atomic.Bool{}
	held := make(chan struct{}, 1)
	dying := y.bot("hy.bot.signs", func(m *nats.Msg) {
		if mute.Load() {
			held <- struct{}{}
			return // it is dead, and nobody knows yet
		}
		_ = m.Respond([]byte(working))
		_ = m.Respond([]byte("first"))
	})
	transport := y.subject("hy.bot.signs")
	call := func(want string, again int64) {
		t.Helper()
		x := newExchange("{}")
		x.Again = func() { x.again.Add(1) }
		got, err := transport.Call(within(t, 20*time.Second), x.Exchange)
		if string(got) != want || err != nil || x.again.Load() != again {
			t.Errorf("%q, %v, after %d more sends; want %q after %d", got, err, x.again.Load(), want, again)
		}
	}
	call("first", 0) // and so they are known to give signs
	mute.Store(true)
	replaced := make(chan struct{})
	go func() { // ends with the first request that the dead one holds
		defer close(replaced)
		<-held
		y.bot("hy.bot.signs", func(m *nats.Msg) {
			if !quiet.Load() {
				_ = m.Respond([]byte(working))
			} else {
				<-time.After(4 * y.nats.silent)
			}
			_ = m.Respond([]byte("second"))
		})
		dying.Close()
	}()
	call("second", 1)
	<-replaced

	quiet.Store(true) // another version of the bot, without signs, and slow
	call("second", maxUnsignedSends-1)
	call("second", 0)
}

// A bot that works one by one gives no sign of a request that waits behind another. It is asked for it twice at most, and the answer that comes
// late is the answer.
func TestNATSBusyBotIsAskedTwice(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.nats.silent = 300 * time.Millisecond
	var second atomic.Int64
	busy := make(chan struct{}, 1)
	y.bot("hy.bot.queue", func(m *nats.Msg) { // nats.go calls it for one message at a time
		_ = m.Respond([]byte(working))
		if m.Header.Get("Hongyan-Id") == "id-2" {
			second.Add(1)
		}
		if m.Header.Get("Hongyan-Id") != "id-1" {
			_ = m.Respond([]byte("here"))
			return
		}
		busy <- struct{}{}
		for end := time.Now().Add(6 * y.nats.silent); time.Now().Before(end); {
			<-time.After(50 * time.Millisecond)
			_ = m.Respond([]byte(working))
		}
		_ = m.Respond([]byte("at last"))
	})
	transport, ctx := y.subject("hy.bot.queue"), within(t, 20*time.Second)
	x := newExchange("{}")
	x.ID = "id-0"
	if _, err := transport.Call(ctx, x.Exchange); err != nil { // and so it is known to give signs
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() { // ends with the call
		got, err := transport.Call(ctx, newExchange("{}").Exchange)
		first <- fmt.Sprint(string(got), err)
	}()
	<-busy
	x = newExchange("{}")
	x.ID = "id-2"
	got, err := transport.Call(ctx, x.Exchange)
	if string(got) != "here" || err != nil || x.bodies.Load() != maxUnsignedSends {
		t.Errorf("%q, %v, after %d sends", got, err, x.bodies.Load())
	}
	if got := <-first; got != "at last<nil>" {
		t.Errorf("who was first: %s", got)
	}
	for second.Load() < maxUnsignedSends && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
	<-time.After(2 * y.nats.silent)
	if n := second.Load(); n != maxUnsignedSends {
		t.Errorf("it was asked %d times", n)
	}
}

// A bot that gives no signs of life has all the time there is, and its answer after the end is nobody's.
func TestNATSWithoutSigns(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.nats.silent = 20 * time.Millisecond
	release := make(chan struct{})
	y.bot("hy.bot.quiet", func(m *nats.Msg) { <-release; _ = m.Respond([]byte("late")) })
	x := newExchange("{}")
	_, err := y.subject("hy.bot.quiet").Call(within(t, 200*time.Millisecond), x.Exchange)
	if !errors.Is(err, context.DeadlineExceeded) || x.bodies.Load() != 1 {
		t.Errorf("%v after %d sends", err, x.bodies.Load())
	}
	close(release)
}

// A picture is what NATS's usual 1 MiB has no room for and the door has; what is too large for the door too is left out, and counted.
func TestNATSPayload(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	got := make(chan media, 1)
	y.bot("hy.bot.size", func(m *nats.Msg) {
		var r request
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
		}
		got <- *r.Message.Media
		_ = m.Respond([]byte("{}"))
	})
	b := newBot(t, Options{Media: MediaBytes, Registerer: prometheus.NewRegistry()}, y.subject("hy.bot.size"))
	for size, missing := range map[int]string{1 << 20: "", 7 << 20: missingTooLarge} { // a third more in base64
		req := goldenRequest(mediaOf(messages.Kind_KIND_IMAGE, "image", &messages.Media{MediaId: "MEDIA_ID"}))
		req.Media = source{data: make([]byte, size)}
		if _, err := b.Answer(within(t, time.Minute), req); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m.Missing != missing || missing == "" && len(m.Data) != size {
			t.Errorf("of %d bytes it gets %d, missing %q", size, len(m.Data), m.Missing)
		}
	}
	if n := testutil.ToFloat64(b.metrics.omitted.WithLabelValues("b", "media")); n != 1 {
		t.Errorf("%v pictures left out", n)
	}
}

// What does not fit: the picture goes first, then the oldest half of the history, again and again, and the bot hears of it. What is
// too large even so is the request's own fault.
func TestBodyFits(t *testing.T) {
	t.Parallel()
	full := write(goldenRequest(mediaOf(messages.Kind_KIND_IMAGE, "image", &messages.Media{MediaId: "MEDIA_ID"})))
	full.Message.Media.Data, full.Message.Media.ContentType = make([]byte, 3000), "image/jpeg"
	for i := range 8 {
		full.History = append(full.History, utterance{Role: "user", Text: strings.Repeat(string(rune('0'+i)), 1000)})
	}
	for limit, want := range map[int]struct {
		picture bool
		keeps   int
	}{0: {true, 8}, 20_000: {true, 8}, 12_000: {false, 8}, 6_000: {false, 4}, 3_000: {false, 2}, 2_000: {false, 1}, 1_000: {false, 0}} {
		data, out, err := full.body(limit)
		if err != nil || limit > 0 && len(data) > limit {
			t.Fatalf("%d: %d bytes, %v", limit, len(data), err)
		}
		var r request
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		m := r.Message.Media
		if (len(m.Data) > 0) != want.picture || (m.Missing == missingTooLarge) == want.picture || out.media == want.picture {
			t.Errorf("%d: %d bytes of the picture, missing %q, %+v", limit, len(m.Data), m.Missing, out)
		}
		if len(r.History) != want.keeps || r.HistoryOmitted != 8-want.keeps || out.history != 8-want.keeps {
			t.Errorf("%d: %d utterances, %d omitted, %+v", limit, len(r.History), r.HistoryOmitted, out)
		}
		if n := len(r.History); n > 0 && r.History[n-1].Text[0] != '7' {
			t.Errorf("%d: the newest utterance is gone", limit)
		}
	}
	if len(full.History) != 8 || len(full.Message.Media.Data) != 3000 {
		t.Error("the request itself was changed: a second endpoint would get less")
	}
	_, _, err := full.body(100)
	var f *upstream.Fault
	if !errors.As(err, &f) || f.Kind != upstream.Refused || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("too large: %v", err)
	}
}

// source is WeChat's media.
type source struct {
	data []byte
	err  error
}

func (s source) Fetch(context.Context, string, string) (bots.Media, error) {
	return bots.Media{Bytes: s.data, Type: "image/jpeg"}, s.err
}

// newBot makes a bot named b of transports, one endpoint each.
func newBot(t *testing.T, o Options, transports ...Transport) *Bot {
	t.Helper()
	endpoints := make([]upstream.Endpoint, len(transports))
	for i := range endpoints {
		endpoints[i] = upstream.Endpoint{Name: string(rune('a' + i)), Weight: 1 - min(i, 1)}
	}
	u, err := upstream.New(upstream.Options{Name: "b", Endpoints: endpoints, MaxInFlight: 8, Breaker: upstream.Settings{Failures: 100}})
	if err != nil {
		t.Fatal(err)
	}
	o.Name, o.Upstream, o.Transports = "b", u, transports
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A server that goes away is a fault at once, not at the end of the turn's time; so is a bot that calls its faults by HTTP's names.
func TestNATSConnectionGone(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	if err := y.server.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := y.subject("hy.bot.x").Call(within(t, 20*time.Second), newExchange("{}").Exchange)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	var f *upstream.Fault
	if err := faultOf(http.StatusServiceUnavailable, time.Second, "x"); !errors.As(err, &f) || f.RetryAfter != time.Second {
		t.Error(err)
	}
}

// Many calls at once share the one subscription: each gets its own answer.
func TestNATSManyAtOnce(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for range 3 {
		y.bot("hy.bot.echo", func(m *nats.Msg) { _ = m.Respond([]byte(working)); _ = m.Respond(m.Data) })
	}
	transport, ctx := y.subject("hy.bot.echo"), within(t, 30*time.Second)
	results := make(chan error, 200)
	for i := range cap(results) {
		body := strings.Repeat("x", i+1)
		go func() {
			got, err := transport.Call(ctx, newExchange(body).Exchange)
			if err == nil && string(got) != body {
				err = errors.New("somebody else's answer")
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkNATS(b *testing.B) {
	s, err := embedded.Start(embedded.Options{StoreDir: b.TempDir(), MaxStore: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	conn, err := s.Connect("engine")
	if err != nil {
		b.Fatal(err)
	}
	n, err := NewNATS(conn)
	if err != nil {
		b.Fatal(err)
	}
	transport, err := n.Subject("hy.bot.echo")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := conn.QueueSubscribe("hy.bot.echo", "q", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		b.Fatal(err)
	}
	x := newExchange(strings.Repeat("x", 1024))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := transport.Call(b.Context(), x.Exchange); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
