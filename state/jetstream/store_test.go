package jetstream

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

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
		nats.ReconnectWait(time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
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
	if opts.OpTimeout == 0 {
		opts.OpTimeout = 20 * time.Second // a test machine may be very busy
	}
	store, err := Open(context.Background(), js.Conn(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) state.Store {
		return openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
	})
}

// TestConformanceFaults breaks the way between the store and a real server: a request that is not sent on, and one whose
// acknowledgement goes elsewhere.
func TestConformanceFaults(t *testing.T) {
	t.Parallel()
	conformance.RunFaults(t, func(t *testing.T) (state.Store, func(conformance.Fault)) {
		store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
		const silent = "nobody.answers.here"
		if _, err := store.conn.SubscribeSync(silent); err != nil {
			t.Fatal(err)
		}
		impatient, err := natsjs.New(store.conn, natsjs.WithPublishAsyncTimeout(20*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		var next atomic.Uint32
		send := store.send
		store.send = func(m *nats.Msg) (natsjs.PubAckFuture, error) {
			switch conformance.Fault(next.Swap(0)) {
			case conformance.Unreached:
				return nil, nats.ErrReconnectBufExceeded
			case conformance.LostRequest:
				return impatient.PublishMsgAsync(&nats.Msg{Subject: silent})
			case conformance.LostAnswer:
				if err := store.conn.PublishMsg(m); err != nil {
					return nil, err
				}
				if err := store.conn.Flush(); err != nil { // so that the server has it by then
					return nil, err
				}
				return impatient.PublishMsgAsync(&nats.Msg{Subject: silent})
			}
			return send(m)
		}
		return store, func(f conformance.Fault) { next.Store(uint32(f)) }
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// A deleted record still refuses who owned it before the one that deleted it.
func TestDeletedRecordRefusesOlderOwners(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
	rec := mustCommit(t, store, testKey, state.Record{}, 4, 1, "by epoch 4")
	if err := store.Delete(t.Context(), testKey, rec, 5); err != nil {
		t.Fatal(err)
	}
	_, err := store.Commit(t.Context(), testKey, state.Record{}, state.Write{Epoch: 4, WriteID: 2, Incarnation: 2})
	wantErr(t, err, state.ErrStaleEpoch)
	mustCommit(t, store, testKey, state.Record{}, 5, 3, "by epoch 5")
}

// The mark of a deleted record goes by itself, and the next life starts over nothing.
func TestTombstonesExpire(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{TombstoneTTL: time.Second})
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	if err := store.Delete(t.Context(), testKey, rec, 1); err != nil {
		t.Fatal(err)
	}
	if f, err := store.find(t.Context(), store.subjectOf(testKey)); err != nil || !f.deleted {
		t.Fatalf("after the delete: %+v, %v", f, err)
	}
	until(t, "the tombstone's end", func() bool {
		f, err := store.find(t.Context(), store.subjectOf(testKey))
		if err != nil {
			t.Fatal(err)
		}
		return f.sequence == 0
	})
	mustCommit(t, store, testKey, state.Record{}, 1, 2, "second life")
}

// NATS's own key-value tools see the records, and what they delete is gone for us.
func TestNatsTools(t *testing.T) {
	t.Parallel()
	js := connect(t, startServer(t, t.TempDir()))
	store := openStore(t, js, Options{})
	kv, err := js.KeyValue(t.Context(), DefaultBucket)
	if err != nil {
		t.Fatal(err)
	}
	key := "p03.u.demo.dTE"
	for id, remove := range []func(context.Context, string, ...natsjs.KVDeleteOpt) error{kv.Delete, kv.Purge} {
		rec := mustCommit(t, store, testKey, state.Record{}, 1, uint64(id+1), "seen")
		if entry, err := kv.Get(t.Context(), key); err != nil || !bytes.HasSuffix(entry.Value(), []byte("seen")) {
			t.Fatalf("kv get: %v", err)
		}
		if err := remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		_, err := store.Load(t.Context(), testKey)
		wantErr(t, err, state.ErrNotFound)
		_, err = store.Commit(t.Context(), testKey, rec, state.Write{Epoch: 1, WriteID: 9})
		wantErr(t, err, state.ErrConflict)
	}
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 5, "again")
	if err := store.Delete(t.Context(), testKey, rec, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), key); !errors.Is(err, natsjs.ErrKeyNotFound) {
		t.Fatalf("kv get of a deleted record: %v", err)
	}
	if _, err := kv.Put(t.Context(), key, []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	_, err = store.Load(t.Context(), testKey)
	wantErr(t, err, state.ErrCorrupt)
	_, err = store.Commit(t.Context(), testKey, rec, state.Write{Epoch: 1, WriteID: 10})
	wantErr(t, err, state.ErrCorrupt)
}

func TestReopen(t *testing.T) {
	t.Parallel()
	js := connect(t, startServer(t, t.TempDir()))
	store := openStore(t, js, Options{})
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	again := openStore(t, js, Options{MaxBytes: 1 << 20})
	got, err := again.Load(t.Context(), testKey)
	if err != nil || got.Version != rec.Version {
		t.Fatalf("got %+v, %v", got.Version, err)
	}
	mustCommit(t, again, testKey, got, 1, 2, "second")
	info, err := again.stream.Info(t.Context())
	if err != nil || info.Config.MaxBytes != 1<<20 {
		t.Fatalf("the cap is %d, %v", info.Config.MaxBytes, err)
	}
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), connect(t, startServer(t, t.TempDir())).Conn(), Options{Replicas: 3})
	if err == nil || !strings.Contains(err.Error(), "at least 3 server(s)") {
		t.Fatalf("three replicas on one server: %v", err)
	}
}

// Workers that start together make the bucket at the same moment, and the server reserves its room for each of them while it does.
func TestWorkersOpenTogether(t *testing.T) {
	t.Parallel()
	const room = 64 << 20
	ns, err := server.NewServer(&server.Options{
		ServerName: "tight", JetStream: true, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true, JetStreamMaxStore: room + 1<<20,
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { stopServer(ns) })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	var workers sync.WaitGroup
	for range 8 {
		js := connect(t, ns)
		workers.Go(func() {
			if _, err := Open(t.Context(), js.Conn(), Options{MaxBytes: room, OpTimeout: 20 * time.Second}); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
}
