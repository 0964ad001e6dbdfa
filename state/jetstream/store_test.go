package jetstream

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
)

// startServer runs a real NATS server without a port, over the given folder.
func startServer(tb testing.TB, dir string) *server.Server {
	tb.Helper()
	ns, err := server.NewServer(&server.Options{
		ServerName: "test", JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server did not start")
	}
	tb.Cleanup(func() { stopServer(ns) })
	return ns
}

func stopServer(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

func connect(tb testing.TB, ns nats.InProcessConnProvider) natsjs.JetStream {
	tb.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(ns), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := natsjs.New(conn)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

func openStore(tb testing.TB, js natsjs.JetStream, opts Options) *Store {
	tb.Helper()
	store, err := Open(context.Background(), js, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(store.Close)
	return store
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) state.Store {
		return openStore(t, connect(t, startServer(t, t.TempDir())), Options{OpTimeout: 10 * time.Second})
	})
}

// TestConformanceFaults breaks the way between the store and a real server: a request that is not sent on, and one whose
// acknowledgement goes elsewhere.
func TestConformanceFaults(t *testing.T) {
	t.Parallel()
	conformance.RunFaults(t, func(t *testing.T) (state.Store, func(conformance.Fault)) {
		store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{OpTimeout: 300 * time.Millisecond})
		const silent = "nobody.answers.here"
		if _, err := store.conn.SubscribeSync(silent); err != nil {
			t.Fatal(err)
		}
		var next atomic.Uint32
		send := store.send
		store.send = func(m *nats.Msg) (natsjs.PubAckFuture, error) {
			switch conformance.Fault(next.Swap(0)) {
			case conformance.Unreached:
				return nil, nats.ErrReconnectBufExceeded
			case conformance.LostRequest:
				return send(&nats.Msg{Subject: silent})
			case conformance.LostAnswer:
				if err := store.conn.PublishMsg(m); err != nil {
					return nil, err
				}
				return send(&nats.Msg{Subject: silent})
			}
			return send(m)
		}
		return store, func(f conformance.Fault) { next.Store(uint32(f)) }
	})
}

var testKey = state.Key{Partition: 3, User: messages.User{Account: "demo", OpenID: "u1"}}

func mustCommit(tb testing.TB, s *Store, key state.Key, base state.Record, epoch, id uint64, value string) state.Record {
	tb.Helper()
	rec, err := s.Commit(context.Background(), key, base, state.Write{Epoch: epoch, WriteID: id, Incarnation: id, Value: []byte(value)})
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

func wantErr(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Fatalf("got %v, want %v", got, want)
	}
}

var _ = filepath.Join
