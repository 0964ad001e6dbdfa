package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	goredis "github.com/redis/go-redis/v9"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/jetstream"
)

const benchUsers = 10_000

// BenchmarkCommit puts commits of many users' turns beside the same bytes written by a plain SET, each caller for itself and in
// the store's own pipelines, and beside JetStream KV, all in one run. "os" is appendfsync everysec, which is the nearest to a
// NATS server that does not fsync; "disk" is appendfsync always.
func BenchmarkCommit(b *testing.B) {
	const size = 1024
	for _, callers := range []int{1, 64, 500} {
		for _, fsync := range []string{"everysec", "always"} {
			name := fmt.Sprintf("callers=%d/fsync=%s", callers, fsync)
			b.Run("redis/"+name, func(b *testing.B) {
				benchStore(b, openStore(b, Options{URL: urlOf(startRedis(b, servers.RedisOptions{AppendOnly: fsync}).Addr())}), callers, size)
			})
			b.Run("set-pipelined/"+name, func(b *testing.B) {
				store := openStore(b, Options{URL: urlOf(startRedis(b, servers.RedisOptions{AppendOnly: fsync}).Addr())})
				value := make([]byte, size+state.EnvelopeHead)
				eachUser(b, callers, func(user int) error {
					o := &op{partition: user % 64, write: true, bytes: size}
					o.args = []any{"set", store.keyOf(benchKey(user)), payload{op: o, bytes: value}}
					_, err := store.do(context.Background(), o)
					return err
				})
			})
			b.Run("set-each/"+name, func(b *testing.B) {
				c := goredis.NewClient(&goredis.Options{
					Addr: startRedis(b, servers.RedisOptions{AppendOnly: fsync}).Addr(), Protocol: 2, PoolSize: max(callers, 10),
				})
				defer c.Close()
				value := make([]byte, size+state.EnvelopeHead)
				eachUser(b, callers, func(user int) error {
					return c.Set(context.Background(), "hongyan:"+strconv.Itoa(user), value, 0).Err()
				})
			})
		}
		b.Run(fmt.Sprintf("jetstream/callers=%d/fsync=none", callers), func(b *testing.B) {
			benchStore(b, openJetStream(b), callers, size)
		})
	}
}

func openJetStream(b *testing.B) state.Store {
	b.Helper()
	ns, err := server.NewServer(&server.Options{
		ServerName: "bench", JetStream: true, StoreDir: b.TempDir(), DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	ns.Start()
	b.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	conn, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	store, err := jetstream.Open(context.Background(), conn, jetstream.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return store
}

func benchKey(user int) state.Key {
	return state.Key{Partition: user % 64, User: messages.User{Account: "demo", OpenID: "o6_bmjrPTlm6_2sgVt7h-" + strconv.Itoa(user)}}
}

func benchStore(b *testing.B, store state.Store, callers, size int) {
	b.Helper()
	var ids atomic.Uint64
	value := make([]byte, size)
	bases := make([]state.Record, benchUsers)
	eachUser(b, callers, func(user int) error {
		id := ids.Add(1)
		rec, err := store.Commit(context.Background(), benchKey(user), bases[user], state.Write{Epoch: 1, WriteID: id, Incarnation: id, Value: value})
		bases[user] = rec
		return err
	})
}

// eachUser spreads b.N turns over the callers; every caller goes round its own users.
func eachUser(b *testing.B, callers int, turn func(user int) error) {
	b.Helper()
	b.ReportAllocs()
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range callers {
		turns := b.N / callers
		if c < b.N%callers {
			turns++
		}
		wg.Go(func() {
			for n := range turns {
				if err := turn(c + (n*callers)%(benchUsers/callers*callers)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
