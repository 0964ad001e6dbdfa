package outside_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"hongyan/internal/servers"
	"hongyan/stream/outside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts a server in this process on a loopback port.
func run(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog, o.StoreDir = "127.0.0.1", true, true, t.TempDir()
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// notes is a log that tests read while it is written.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func (n *notes) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func connect(t *testing.T, o outside.Options) *nats.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := outside.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

const secret = "p4ss/w0rd"

// A start waits for its server and says so, without a password in any line; a loss and a return are one line each, and counted.
func TestConnectWaitsAndTells(t *testing.T) {
	t.Parallel()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var log notes
	reg := prometheus.NewRegistry()
	done := make(chan *nats.Conn, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { // ended by ctx
		conn, err := outside.Connect(ctx, outside.Options{
			URL: "nats://hongyan:p4ss%2Fw0rd@" + addr + ",127.0.0.1:1", Name: "log n1", Logger: log.logger(), Registerer: reg,
		})
		if err != nil {
			t.Error(err)
		}
		done <- conn
	}()
	until(t, "a line about the wait", func() bool { return strings.Contains(log.String(), "cannot be reached") })
	o := server.Options{Port: port, Username: "hongyan", Password: secret}
	first := run(t, o)
	conn := <-done
	if conn == nil {
		t.FailNow()
	}
	defer conn.Close()
	if inbox := conn.NewInbox(); !strings.HasPrefix(inbox, "_INBOX.hy.log-n1.") {
		t.Errorf("the inbox is %s", inbox)
	}
	connected := func(want string) error {
		return testutil.GatherAndCompare(reg, strings.NewReader("# HELP hongyan_nats_connected 1 while the connection to the NATS servers stands, by its name.\n"+
			"# TYPE hongyan_nats_connected gauge\nhongyan_nats_connected{connection=\"log n1\"} "+want+"\n"), "hongyan_nats_connected")
	}
	if err := connected("1"); err != nil {
		t.Error(err)
	}
	connect(t, outside.Options{URL: "nats://hongyan:p4ss%2Fw0rd@" + addr, Name: "state n1", Registerer: reg}).Close() // one registerer for all

	first.Shutdown()
	first.WaitForShutdown()
	until(t, "the line about the loss", func() bool { return strings.Contains(log.String(), "is lost") })
	if err := conn.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("a publish while cut off: %v; it would land after its caller gave up", err)
	}
	run(t, o)
	until(t, "the line about the return", func() bool { return strings.Contains(log.String(), "is back") })
	if n := strings.Count(log.String(), "is lost") + strings.Count(log.String(), "is back"); n != 2 {
		t.Errorf("%d lines about one loss and one return:\n%s", n, log.String())
	}
	if text := log.String(); strings.Contains(text, "p4ss") {
		t.Errorf("a password is in the log:\n%s", text)
	}
}

// What cannot be is refused at once; what may still come ends with the context, naming servers and never passwords.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "127.0.0.1:4222", "http://h:1", "nats://u:p4ss/w0rd@h:4222", "nats://u:p4ss w@h", "nats://h:4222,,"} {
		_, err := outside.Connect(t.Context(), outside.Options{URL: address, Name: "n"})
		if err == nil || !strings.Contains(err.Error(), "nats.url") || strings.Contains(err.Error(), "p4ss") {
			t.Errorf("%q: %v", address, err)
		}
	}
	s := run(t, server.Options{Username: "hongyan", Password: secret})
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	var log notes
	_, err := outside.Connect(ctx, outside.Options{URL: "nats://hongyan:p4ss-wrong@" + s.Addr().String(), Name: "n", Logger: log.logger()})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("a wrong password: %v", err)
	}
	if text := err.Error() + log.String(); strings.Contains(text, "p4ss") || !strings.Contains(strings.ToLower(text), "authorization") {
		t.Errorf("the log and the error: %s", text)
	}
	if got := outside.Servers("nats://u:p4ss@h1:1,h2:2,tls://x:y@h3:3"); got != "h1:1,h2:2,h3:3" {
		t.Errorf("servers: %s", got)
	}
}

// A server that changes its mind about the password, twice, does not end the connection for ever.
func TestRefusalsDoNotEndTheConnection(t *testing.T) {
	t.Parallel()
	o := server.Options{Username: "hongyan", Password: secret}
	s := run(t, o)
	o.Port = s.Addr().(*net.TCPAddr).Port
	var log notes
	conn := connect(t, outside.Options{URL: "nats://hongyan:p4ss%2Fw0rd@" + s.Addr().String(), Name: "n", Logger: log.logger()})
	s.Shutdown()
	s.WaitForShutdown()
	other := o
	other.Password = "another"
	s = run(t, other)
	until(t, "a few refusals", func() bool {
		return s.NumClients() == 0 && strings.Count(strings.ToLower(log.String()), "authorization") >= 3
	})
	s.Shutdown()
	s.WaitForShutdown()
	run(t, o)
	until(t, "the connection's return", conn.IsConnected)
}

// A cut without a word is noticed in about three seconds, whichever way is cut, also with writes under way.
func TestBlackHoleIsNoticed(t *testing.T) {
	t.Parallel()
	s := run(t, server.Options{})
	for _, way := range []servers.Direction{servers.Upstream, servers.Downstream, servers.Both} {
		t.Run(way.String(), func(t *testing.T) {
			t.Parallel()
			proxy, err := servers.NewProxy(s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(proxy.Close)
			conn := connect(t, outside.Options{URL: "nats://" + proxy.Addr(), Name: "n"})
			ctx, cancel := context.WithCancel(t.Context())
			var writing sync.WaitGroup
			writing.Go(func() { // ended by cancel
				for ctx.Err() == nil && conn.Publish("x", make([]byte, 64<<10)) == nil {
				}
			})
			defer writing.Wait()
			defer cancel()
			proxy.Cut(way)
			cut := time.Now()
			until(t, "the loss", func() bool { return !conn.IsConnected() })
			if took := time.Since(cut); took > 8*time.Second {
				t.Errorf("noticed after %v", took)
			} else {
				t.Logf("noticed after %v", took.Round(time.Millisecond))
			}
			proxy.Heal()
			until(t, "the return", conn.IsConnected)
		})
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options servers.NATSOptions
		want    outside.Sync
	}{
		"by the clock": {servers.NATSOptions{}, outside.Sync{Servers: 1, Interval: 2 * time.Minute}},
		"always":       {servers.NATSOptions{SyncAlways: true}, outside.Sync{Servers: 1, Always: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.options.Dir = t.TempDir()
			s, err := servers.StartNATS(t.Context(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Stop() })
			conn := connect(t, outside.Options{URL: s.URL(), Name: "n"})
			f, err := outside.Inspect(t.Context(), conn, "")
			if err != nil || f.Sync != (outside.Sync{}) || f.PeersSeen || f.Server != "n1" || f.Version == "" {
				t.Errorf("without monitoring: %+v, %v", f, err)
			}
			f, err = outside.Inspect(t.Context(), conn, s.Monitor())
			if err != nil || f.Sync != tt.want || !f.PeersSeen || f.Peers != 1 || f.MaxStore != 64e9 && f.MaxStore != 64<<30 {
				t.Errorf("with monitoring: %+v, %v", f, err)
			}
			if err := f.Fits(1, 1<<30, 1<<30); err != nil {
				t.Error(err)
			}
			if err := f.Fits(3, 1<<30); err == nil || !strings.Contains(err.Error(), "nats.replicas") {
				t.Errorf("three replicas on one server: %v", err)
			}
			if err := f.Fits(1, 60<<30, 60<<30); err == nil || !strings.Contains(err.Error(), "nats.max_bytes") {
				t.Errorf("more than there is: %v", err)
			}
			if _, err := outside.Inspect(t.Context(), conn, "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "nats.monitor") {
				t.Errorf("a monitoring endpoint that is not there: %v", err)
			}
		})
	}
	plain := run(t, server.Options{})
	if _, err := outside.Inspect(t.Context(), connect(t, outside.Options{URL: plain.ClientURL(), Name: "n"}), ""); !errors.Is(err, outside.ErrNoJetStream) {
		t.Errorf("a server without JetStream: %v", err)
	}
}

// A listener that says what an old server would say.
func TestOldServersAreRefused(t *testing.T) {
	t.Parallel()
	listener, err := servers.Listen()
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ended by the listener's end
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, `INFO {"server_id":"x","server_name":"old","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n")
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if bytes.Contains(buf[:n], []byte("PING")) {
				_, _ = io.WriteString(conn, "PONG\r\n")
			}
		}
	})
	conn := connect(t, outside.Options{URL: "nats://" + listener.Addr().String(), Name: "n"})
	if _, err := outside.Inspect(t.Context(), conn, ""); !errors.Is(err, outside.ErrTooOld) || !strings.Contains(err.Error(), "2.9.10") {
		t.Errorf("a server of 2.9.10: %v", err)
	}
	conn.Close()
	_ = listener.Close()
	serving.Wait()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // lends its certificate, which is for 127.0.0.1
	t.Cleanup(authority.Close)
	s := run(t, server.Options{TLSConfig: &tls.Config{Certificates: authority.TLS.Certificates, MinVersion: tls.VersionTLS12}, TLSTimeout: 5})
	trust := authority.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn := connect(t, outside.Options{URL: "tls://" + s.Addr().String(), TLS: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, Name: "n"})
	if state, err := conn.TLSConnectionState(); err != nil || !state.HandshakeComplete {
		t.Errorf("%+v, %v", state, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if stranger, err := outside.Connect(ctx, outside.Options{URL: "tls://" + s.Addr().String(), Name: "n"}); err == nil {
		stranger.Close()
		t.Error("connected to a server of an unknown authority")
	}
}

func TestPromised(t *testing.T) {
	t.Parallel()
	one, three := outside.Facts{Peers: 1, PeersSeen: true}, outside.Facts{Peers: 3, PeersSeen: true}
	with := func(f outside.Facts, s outside.Sync) outside.Facts { f.Sync = s; return f }
	clock, always := outside.Sync{Servers: 1, Interval: 2 * time.Minute}, func(n int) outside.Sync { return outside.Sync{Servers: n, Always: true} }
	const no, yes, dunno = outside.No, outside.Yes, outside.NotVerified
	for name, tt := range map[string]struct {
		asked    outside.Durability
		replicas int
		facts    outside.Facts
		want     [5]outside.Verdict // crash, loss of one, power of one, power of all, asked
		reason   string
	}{
		"os, one":                     {outside.OS, 1, with(one, clock), [5]outside.Verdict{yes, no, no, no, yes}, ""},
		"disk, one, by the clock":     {outside.Disk, 1, with(one, clock), [5]outside.Verdict{yes, no, no, no, no}, "sync_interval: always"},
		"disk, one, always":           {outside.Disk, 1, with(one, always(1)), [5]outside.Verdict{yes, no, yes, yes, yes}, ""},
		"disk, one, unseen":           {outside.Disk, 1, one, [5]outside.Verdict{yes, no, dunno, dunno, dunno}, "nats.monitor"},
		"disk, three, by the clock":   {outside.Disk, 3, with(three, clock), [5]outside.Verdict{yes, yes, yes, no, no}, "every 2m0s"},
		"disk, three, one of 3 shown": {outside.Disk, 3, with(three, always(1)), [5]outside.Verdict{yes, yes, yes, dunno, dunno}, "1 of 3"},
		"disk, three, always":         {outside.Disk, 3, with(three, always(3)), [5]outside.Verdict{yes, yes, yes, yes, yes}, ""},
		"disk, R1 among three":        {outside.Disk, 1, with(three, always(3)), [5]outside.Verdict{yes, no, yes, yes, yes}, ""},
		"os, three, unseen":           {outside.OS, 3, three, [5]outside.Verdict{yes, yes, yes, dunno, yes}, ""},
	} {
		p := outside.Promised(tt.asked, tt.replicas, tt.facts)
		got := [5]outside.Verdict{p.ProcessCrash, p.LossOfOne, p.PowerOfOne, p.PowerOfAll, p.Asked}
		if got != tt.want || p.Less() != (tt.want[4] == no) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		if (p.Reason == "") != (tt.reason == "") || !strings.Contains(p.Reason, tt.reason) {
			t.Errorf("%s: the reason is %q", name, p.Reason)
		}
		if want := "a power cut of one: " + tt.want[2].String() + "; a power cut of all: " + tt.want[3].String(); !strings.Contains(p.String(), want) {
			t.Errorf("%s: %q is missing in %q", name, want, p)
		}
	}
}
