package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func startNATS(t *testing.T, o NATSOptions) *NATS {
	t.Helper()
	n, err := StartNATS(testContext(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestNATSKeepsWhatItAcknowledged through a kill and through an orderly end, on the same port.
func TestNATSKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{Dir: t.TempDir(), SyncAlways: true})
	ctx := testContext(t, time.Minute)
	js := connect(t, n.URL())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func() error{n.Kill, n.Stop} {
		if _, err := js.Publish(ctx, "s", []byte("x")); err != nil {
			t.Fatal(err)
		}
		pid, url := n.PID(), n.URL()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if n.Running() {
			t.Fatal("it runs after its end")
		}
		if err := n.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if n.URL() != url || n.PID() == pid {
			t.Fatalf("after the restart: %s, process %d", n.URL(), n.PID())
		}
		info, err := connect(t, n.URL()).Stream(ctx, "S")
		if err != nil {
			t.Fatal(err)
		}
		if got := info.CachedInfo().State.Msgs; got != uint64(i+1) {
			t.Fatalf("%d messages after restart %d", got, i+1)
		}
	}
	if err := n.Restart(ctx); err == nil {
		t.Error("a second process was started beside the first")
	}
}

// TestNATSCluster: three servers, each stream on all three, and one of them may die.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	ctx := testContext(t, time.Minute)
	js := connect(t, nodes[0].URL()+","+nodes[1].URL()+","+nodes[2].URL())
	create := func() error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
		return err
	}
	for err := create(); err != nil; err = create() { // the cluster chooses a leader first
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := js.Publish(ctx, "s", []byte("x"))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
}

func startCluster(t *testing.T) []*NATS {
	t.Helper()
	var routes []string
	var ports []int
	for range 3 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		ports, routes = append(ports, port), append(routes, fmt.Sprintf("127.0.0.1:%d", port))
	}
	dir := t.TempDir()
	var nodes []*NATS
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, startNATS(t, NATSOptions{Dir: filepath.Join(dir, name), Name: name, ClusterPort: port, Routes: routes}))
	}
	for _, n := range nodes {
		if err := n.AwaitHealthy(testContext(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

func TestNATSSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = StartNATS(testContext(t, 20*time.Second), NATSOptions{Dir: t.TempDir(), Args: []string{"--no-such-flag"}})
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wrong flag: %v", err)
	}
}
