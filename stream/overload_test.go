package stream_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/stream"
)

// runServer is a server in this process, for limits that only its options have.
func runServer(t *testing.T, o natsserver.Options) *natsserver.Server {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.JetStream, o.StoreDir = "127.0.0.1", natsserver.RANDOM_PORT, true, true, true, t.TempDir()
	s, err := natsserver.NewServer(&o)
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

// Promise P6: an overloaded server (429, 10167) says no, and what it said no to is not in the log.
func TestOverloadedServer(t *testing.T) {
	t.Parallel()
	s := runServer(t, natsserver.Options{StreamMaxBufferedMsgs: 4})
	conn := dial(t, "publisher", s.Addr().String())
	log := openOn(t, conn, stream.Options{})
	w := newWitness(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publishing := w.publish(ctx, 200, 0)
	until(t, "refusals", func() bool { return w.total[refused].Load() >= 100 && w.total[acked].Load() >= 500 })
	cancel()
	publishing.Wait()
	if log.Full() {
		t.Error("an overloaded log counts as full")
	}
	w.judge(conn, stream.Options{Attach: true})
}

// Promise P6: when the cap is reached under load, each entry is either acknowledged and there, or refused and not there.
func TestLogFillsUpUnderLoad(t *testing.T) {
	t.Parallel()
	s := runServer(t, natsserver.Options{})
	conn := dial(t, "publisher", s.Addr().String())
	opts := stream.Options{Streams: 2, MaxBytes: 256 << 10}
	w := newWitness(t, openOn(t, conn, opts))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publishing := w.publish(ctx, 50, 0)
	until(t, "refusals", func() bool { return w.total[refused].Load() >= 1000 })
	cancel()
	publishing.Wait()
	if !w.log.Full() || w.total[unknown].Load() > 0 {
		t.Errorf("full %v, %d unknown", w.log.Full(), w.total[unknown].Load())
	}
	opts.Attach = true
	w.judge(conn, opts)
}

// cluster is three servers in this process.
func cluster(t *testing.T) []*natsserver.Server {
	t.Helper()
	var routes []*url.URL
	ports := make([]int, 3)
	for n := range ports {
		var err error
		if ports[n], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", ports[n])})
	}
	var all []*natsserver.Server
	for n, port := range ports {
		all = append(all, runServer(t, natsserver.Options{
			ServerName: fmt.Sprint("n", n), Routes: routes, Cluster: natsserver.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		}))
	}
	return all
}

// Open waits for a cluster that is still electing. A stream with three replicas moves its leader under load without loss, doubt
// about a mark is settled by a write, and dead letters are stored once.
func TestReplicatedLog(t *testing.T) {
	t.Parallel()
	all := cluster(t)
	conn := dial(t, "publisher", all[0].Addr().String())
	opts := stream.Options{Streams: 2, Replicas: 3}
	log := openOn(t, conn, opts) // at once: there is no leader yet
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"HY_IN_0", "HY_IN_1", "HY_DEAD"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if c := s.CachedInfo().Config; c.Replicas != 3 || c.AllowDirect {
			t.Errorf("%s has %d replicas, direct reads %v: a follower would answer them with what was", name, c.Replicas, c.AllowDirect)
		}
	}
	w := newWitness(t, log)
	opts.Attach = true
	readers := openOn(t, dial(t, "reader", all[1].Addr().String()), opts)
	for p := range 4 {
		w.follow(readers, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publishing := w.publish(ctx, 8, 2*time.Millisecond)
	for range 3 {
		w.more(100)
		for _, name := range []string{"HY_IN_0", "HY_IN_1"} {
			if _, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+name, nil); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("all partitions take entries again after %v", w.everywhere().Round(time.Millisecond))
	}
	cancel()
	publishing.Wait()
	w.judge(conn, opts)

	if holds, err := readers.Holds(t.Context(), 0, stream.Mark{Sequence: 1 << 40}); err != nil || holds {
		t.Errorf("an entry that never was: %v, %v", holds, err)
	}
	if _, err := conn.RequestWithContext(t.Context(), "$JS.API.STREAM.LEADER.STEPDOWN.HY_DEAD", nil); err != nil {
		t.Fatal(err)
	}
	var burying sync.WaitGroup
	for range 8 { // several owners, or one that cannot know, bury the same letter through a leader's change
		burying.Go(func() {
			until(t, "the dead letter", func() bool {
				return log.Bury(t.Context(), 1, "demo", "key.1", &messages.DeadLetter{Reason: "deadly"}) == nil
			})
		})
	}
	burying.Wait()
	if n, err := log.DeadCount(t.Context()); err != nil || n != 1 {
		t.Errorf("%d dead letters, %v", n, err)
	}
}

// Where the stream cannot take a write, as a leader that was replaced without knowing it yet cannot, nobody may conclude from
// its answer that an entry is gone. A sealed stream reads and does not write either.
func TestMarkIsNotGoneWithoutProof(t *testing.T) {
	t.Parallel()
	conn := dial(t, "n", cluster(t)[0].Addr().String())
	log := openOn(t, conn, stream.Options{Replicas: 3})
	at := accept(t, log, "u", 1)
	gone := stream.Mark{Sequence: at + 1}
	if holds, err := log.Holds(t.Context(), 0, gone); err != nil || holds {
		t.Fatalf("an entry that never was: %v, %v", holds, err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "HY_IN")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Sealed = true
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if holds, err := log.Holds(t.Context(), 0, gone); !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("held %v, %v, by a stream that does not prove itself", holds, err)
	}
}
