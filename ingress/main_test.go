package ingress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/wechat/crypt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testToken   = "token0123456789"
	testAppID   = "wx0123456789abcdef"
	testAESKey  = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	otherToken  = "previous98765"
	otherAESKey = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	testNonce   = "486452656"
	openID      = "oUser0000000000000000000001"
)

var modes = []Mode{ModePlain, ModeCompat, ModeSafe}

func (m Mode) name() string { return [...]string{"plain", "compat", "safe"}[m] }

// memoryLog records what was accepted. hook, where set, decides about each entry before it is recorded.
type memoryLog struct {
	hook func(ctx context.Context, e *messages.Entry) error

	mu      sync.Mutex
	entries []*messages.Entry
}

func (l *memoryLog) Accept(ctx context.Context, e *messages.Entry) (messages.Position, error) {
	if l.hook != nil {
		if err := l.hook(ctx, e); err != nil {
			return messages.Position{}, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, proto.CloneOf(e))
	return messages.Position{Generation: 1, Sequence: uint64(len(l.entries))}, nil
}

func (l *memoryLog) all() []*messages.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}

// logText collects log lines.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bench is one ingress with all that a test looks at.
type bench struct {
	*Ingress
	log      *memoryLog
	lines    *logText
	registry *prometheus.Registry
}

func testAccount(mode Mode) Account {
	return Account{
		ID: "demo", AppID: testAppID, Mode: mode, Token: testToken, AESKey: testAESKey,
		MaxClockSkew: 15 * time.Minute, Thinking: "still thinking", NotReceived: "not received",
	}
}

// newBench builds an ingress with one account in the given mode; change may alter the options.
func newBench(t testing.TB, mode Mode, change func(*Options)) *bench {
	t.Helper()
	b := &bench{log: &memoryLog{}, lines: &logText{}, registry: prometheus.NewPedanticRegistry()}
	o := Options{
		Accounts: []Account{testAccount(mode)}, Log: b.log, ID: "i1", Registerer: b.registry, Partitions: 64,
		Logger: slog.New(slog.NewTextHandler(b.lines, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Ingress = g
	return b
}

// counter reads a counter's value by its labels' values.
func counter(t *testing.T, vec *prometheus.CounterVec, labels ...string) float64 {
	t.Helper()
	return testutil.ToFloat64(vec.WithLabelValues(labels...))
}

// call is one HTTP request as WeChat would make it.
type call struct {
	method string
	path   string
	query  url.Values
	body   string
}

func signedQuery(token string, at time.Time) url.Values {
	ts := strconv.FormatInt(at.Unix(), 10)
	return url.Values{"timestamp": {ts}, "nonce": {testNonce}, "signature": {crypt.Signature(token, ts, testNonce)}}
}

func handshakeCall(token, echostr string, at time.Time) call {
	q := signedQuery(token, at)
	q.Set("echostr", echostr)
	return call{method: http.MethodGet, path: "/wechat/callback/demo", query: q}
}

// pushCall is body pushed in the given mode under a pair of token and key.
func pushCall(t testing.TB, mode Mode, token, key, body string, at time.Time) call {
	t.Helper()
	c := call{method: http.MethodPost, path: "/wechat/callback/demo", query: signedQuery(token, at), body: body}
	if mode == ModePlain {
		return c
	}
	codec, err := crypt.NewCodec(token, key, testAppID)
	if err != nil {
		t.Fatal(err)
	}
	return sealedCall(c, token, codec.Encrypt([]byte(body), [16]byte([]byte("0123456789abcdef"))), mode == ModeCompat)
}

// sealedCall puts ciphertext, signed, into c; with plain the clear fields stand beside it, as in compat mode.
func sealedCall(c call, token, ciphertext string, plain bool) call {
	c.query.Set("encrypt_type", "aes")
	c.query.Set("msg_signature", crypt.Signature(token, c.query.Get("timestamp"), testNonce, ciphertext))
	beside := "<ToUserName><![CDATA[gh_0123456789ab]]></ToUserName>"
	if plain {
		beside = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(c.body), "<xml>"), "</xml>")
	}
	c.body = "<xml>" + beside + "<Encrypt><![CDATA[" + ciphertext + "]]></Encrypt></xml>"
	return c
}

// textXML is a text message.
func textXML(msgID, content string, created time.Time) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[gh_0123456789ab]]></ToUserName><FromUserName><![CDATA[%s]]></FromUserName>"+
		"<CreateTime>%d</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[%s]]></Content><MsgId>%s</MsgId></xml>",
		openID, created.Unix(), content, msgID)
}

// wire is the request in bytes.
func (c call) wire() string {
	target := c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: hongyan\r\nContent-Length: %d\r\n\r\n%s", c.method, target, len(c.body), c.body)
}

// pipes is a listener without a network, for synctest bubbles: what is written there has been read when Write returns.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// servePipes runs the ingress's own server on pipes. stop ends it and everything that it started.
func (b *bench) servePipes() (p *pipes, stop func()) {
	p = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := b.Server()
	done := make(chan struct{})
	go func() { // ends with Close below
		defer close(done)
		_ = server.Serve(p)
	}()
	return p, func() {
		_ = server.Close()
		<-done
	}
}

// result is what a client got: a response, or none.
type result struct {
	status int
	header http.Header
	body   string
	err    error
	at     time.Duration // since the request was sent
}

var errHungUp = errors.New("the client hung up")

// send makes one request on a connection of its own and hangs up after patience.
func (p *pipes) send(c call, patience time.Duration) result {
	conn := p.dial()
	defer conn.Close()
	began := time.Now()
	_ = conn.SetDeadline(began.Add(patience))
	if _, err := io.WriteString(conn, c.wire()); err != nil {
		return result{err: err, at: time.Since(began)}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			err = errHungUp
		}
		return result{err: err, at: time.Since(began)}
	}
	body, err := io.ReadAll(resp.Body)
	return result{status: resp.StatusCode, header: resp.Header, body: string(body), err: err, at: time.Since(began)}
}
