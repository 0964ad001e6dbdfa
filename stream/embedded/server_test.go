package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"hongyan/stream/embedded"
)

// holdFolder makes this test binary a process that opens the folder and waits to be killed.
const holdFolder = "HONGYAN_TEST_HOLD_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdFolder); dir != "" {
		if _, err := embedded.Start(embedded.Options{StoreDir: dir}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("holding")
		select {}
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, opts embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t *testing.T, s *embedded.Server) *nats.Conn {
	t.Helper()
	conn, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func publish(t *testing.T, conn *nats.Conn, text string) uint64 {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"log"}}); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "log", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

func TestKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "nats") // made when missing
	for want := uint64(1); want <= 3; want++ {
		s, err := embedded.Start(embedded.Options{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, s)
		if got := publish(t, conn, "hello"); got != want {
			t.Errorf("start %d: sequence %d", want, got)
		}
		if s.URL() != "" {
			t.Errorf("it listens on %s and should not", s.URL())
		}
		conn.Close()
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionHearsItself(t *testing.T) {
	t.Parallel()
	conn := connect(t, start(t, embedded.Options{StoreDir: t.TempDir()}))
	sub, err := conn.SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish("x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestOneServerPerFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, embedded.Options{StoreDir: dir})
	_, err := embedded.Start(embedded.Options{StoreDir: dir})
	if !errors.Is(err, embedded.ErrLocked) {
		t.Fatalf("got %v, want %v", err, embedded.ErrLocked)
	}
	for _, part := range []string{dir, fmt.Sprint("process ", os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %q: %v", part, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.Options{StoreDir: dir})
}

// A process that is killed leaves no lock behind.
func TestLockEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holdFolder+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = holder.Process.Kill()
			_ = holder.Wait()
		}
	})
	line := make([]byte, 64)
	if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "holding") {
		t.Fatalf("the other process says %q, %v", line[:n], err)
	}
	_, err = embedded.Start(embedded.Options{StoreDir: dir})
	if !errors.Is(err, embedded.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", holder.Process.Pid)) {
		t.Fatalf("got %v, want %v by process %d", err, embedded.ErrLocked, holder.Process.Pid)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // it was killed, as told
	ended = true
	start(t, embedded.Options{StoreDir: dir})
}

func TestListens(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ServerName: "n1", Token: "secret"})
	if stranger, err := nats.Connect(s.URL()); err == nil {
		stranger.Close()
		t.Error("connected without the token")
	}
	connect(t, s) // who is in the process needs to know nothing
	conn, err := nats.Connect(s.URL(), nats.Token("secret"))
	if err != nil {
		t.Fatalf("%s: %v", s.URL(), err)
	}
	defer conn.Close()
	if conn.ConnectedServerName() != "n1" {
		t.Errorf("connected to %q", conn.ConnectedServerName())
	}
	if s.MonitorURL() != "" {
		t.Errorf("a monitoring endpoint that nobody asked for: %s", s.MonitorURL())
	}
}

// TestMonitor: those who connect can see that the server syncs before it acknowledges.
func TestMonitor(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{
		StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Token: "secret", Monitor: true, SyncAlways: true,
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.MonitorURL()+"/jsz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var seen struct {
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(response.Body).Decode(&seen); err != nil || !seen.Config.SyncAlways {
		t.Errorf("the monitoring endpoint says %+v, %v", seen, err)
	}
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir() // the server's own folder cannot be made: a file is in its place
	if err := os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		opts embedded.Options
		want []string
	}{
		"no folder":         {embedded.Options{}, []string{"node.data_dir"}},
		"folder is a file":  {embedded.Options{StoreDir: file}, []string{file, "node.data_dir"}},
		"server cannot use": {embedded.Options{StoreDir: blocked}, []string{blocked, "writable"}},
		"port is taken":     {embedded.Options{StoreDir: t.TempDir(), Listen: taken.Addr().String(), Token: "secret"}, []string{taken.Addr().String(), "free"}},
		"no token":          {embedded.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}, []string{"token"}},
		"off loopback":      {embedded.Options{StoreDir: t.TempDir(), Listen: "0.0.0.0:0", Token: "secret"}, []string{"loopback", "nats.url"}},
		"not an address":    {embedded.Options{StoreDir: t.TempDir(), Listen: "4222"}, []string{"4222", "host:port"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := embedded.Start(tt.opts)
			if err == nil {
				_ = s.Close()
				t.Fatal("it started")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			if tt.opts.StoreDir != "" && tt.opts.StoreDir != file { // the lock was given back
				if err := os.RemoveAll(filepath.Join(tt.opts.StoreDir, "jetstream")); err != nil {
					t.Fatal(err)
				}
				start(t, embedded.Options{StoreDir: tt.opts.StoreDir})
			}
		})
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := start(t, embedded.Options{StoreDir: t.TempDir()})
	conn := connect(t, s)
	done := make(chan error, 1)
	// Ends with cancel below.
	go func() { done <- s.Run(ctx) }()
	publish(t, conn, "still there")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if _, err := s.Connect("late"); err == nil {
		t.Error("the server still takes connections")
	}

	closed := start(t, embedded.Options{StoreDir: t.TempDir()})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := closed.Run(t.Context()); err == nil {
		t.Error("Run of a server that is gone returned nil")
	}
}

// What the server warns of reaches the log, without the users' keys.
func TestLog(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	s := start(t, embedded.Options{StoreDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&text, nil))})
	conn, err := s.Connect("reader")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := conn.SubscribeSync("$KV.hy_state.p07.u.demo.b1BFTklE")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, -1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := conn.Publish("$KV.hy_state.p07.u.demo.b1BFTklE", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	conn.Close()
	<-closed // handlers run in order, so the warning is written by now
	got := text.String()
	if !strings.Contains(got, "level=WARN") || !strings.Contains(got, "connection=reader") || !strings.Contains(got, "$KV.hy_state.…") {
		t.Errorf("the slow consumer's warning is missing: %s", got)
	}
	if strings.Contains(got, "b1BFTklE") {
		t.Errorf("a user's key stands in the log: %s", got)
	}
}
