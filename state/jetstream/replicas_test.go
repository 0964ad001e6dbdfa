package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
)

// startCluster runs three NATS servers that form a cluster over loopback.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	ports := make([]int, 3)
	var routes []*url.URL
	for n := range ports { // JetStream wants to know its routes beforehand, so free ports are looked for first
		var err error
		if ports[n], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", ports[n])})
	}
	var all []*server.Server
	for n, port := range ports {
		ns, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", n), JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { stopServer(ns) })
		all = append(all, ns)
	}
	until(t, "the cluster's leader", func() bool {
		for _, ns := range all {
			if ns.JetStreamIsLeader() && len(ns.JetStreamClusterPeers()) == len(all) {
				return true
			}
		}
		return false
	})
	return all
}

// With three replicas a follower must not answer a read, and refusals have another error code.
func TestConformanceReplicated(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t)
	var js []natsjs.JetStream
	for _, ns := range cluster {
		js = append(js, connect(t, ns))
	}
	var opened atomic.Int32
	t.Run("suite", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) state.Store {
			n := int(opened.Add(1))
			return openStore(t, js[n%len(js)], Options{Bucket: fmt.Sprint("bucket", n), Replicas: 3, Memory: true})
		})
	})
}

// Writers whose bucket changes its leader under them know, or find out, what became of each write; nobody reads what was.
func TestLeaderChangesUnderLoad(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t)
	store := openStore(t, connect(t, cluster[0]), Options{Replicas: 3, OpTimeout: 2 * time.Second})
	if store.stream.CachedInfo().Config.AllowDirect {
		t.Error("a replicated bucket allows direct reads, which followers answer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var committed, unknown, ids atomic.Uint64
	var stopping atomic.Bool
	var writing sync.WaitGroup
	for n := range 10 {
		key := state.Key{Partition: n, User: messages.User{Account: "demo", OpenID: fmt.Sprint("user ", n)}}
		writing.Go(func() { // ended by stopping or ctx
			var rec state.Record
			for !stopping.Load() && ctx.Err() == nil {
				w := state.Write{Epoch: 1, WriteID: ids.Add(1), Incarnation: 1, Value: []byte("turn")}
				next, err := store.Commit(ctx, key, rec, w)
				for errors.Is(err, state.ErrUnknown) || errors.Is(err, state.ErrUnavailable) {
					if errors.Is(err, state.ErrUnknown) {
						unknown.Add(1)
					}
					if ctx.Err() != nil {
						return
					}
					next, err = store.Commit(ctx, key, rec, w) // the same write again: it happens once, whichever sending did it
				}
				if err != nil {
					t.Errorf("user %d: nobody else writes, and yet: %v", n, err)
					return
				}
				if next.Version.Number != rec.Version.Number+1 {
					t.Errorf("user %d: version %d after %d", n, next.Version.Number, rec.Version.Number)
				}
				rec = next
				committed.Add(1)
				got, err := store.Load(ctx, key)
				if err == nil && got.Version != rec.Version {
					t.Errorf("user %d: read %+v right after %+v was written", n, got.Version, rec.Version)
				}
			}
		})
	}
	for range 3 {
		more := func() {
			before := committed.Load()
			for committed.Load() < before+100 {
				if ctx.Err() != nil {
					t.Error("the commits do not go on")
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
		more()
		if _, err := store.conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN.KV_"+DefaultBucket, nil); err != nil {
			t.Error(err)
		}
		more()
	}
	stopping.Store(true)
	writing.Wait()
	t.Logf("%d commits, %d unknown", committed.Load(), unknown.Load())
}
