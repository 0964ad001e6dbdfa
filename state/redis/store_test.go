package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startRedis runs a real Redis server until the test ends.
func startRedis(tb testing.TB, o servers.RedisOptions) *servers.Redis {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	server, err := servers.StartRedis(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Kill(); err != nil {
			tb.Error(err)
		}
	})
	return server
}

func openStore(tb testing.TB, o Options) *Store {
	tb.Helper()
	if o.OpTimeout == 0 {
		o.OpTimeout = 20 * time.Second // a test machine may be very busy
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	store, err := Open(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

func urlOf(addr string) string { return "redis://" + addr }

// client looks into a server beside the store.
func client(tb testing.TB, addr string) *goredis.Client {
	tb.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

var testKey = state.Key{Partition: 3, User: messages.User{Account: "demo", OpenID: "u1"}}

func write(epoch, id uint64, value string) state.Write {
	return state.Write{Epoch: epoch, WriteID: id, Incarnation: id, Value: []byte(value)}
}

func mustCommit(tb testing.TB, s *Store, key state.Key, base state.Record, epoch, id uint64, value string) state.Record {
	tb.Helper()
	rec, err := s.Commit(context.Background(), key, base, write(epoch, id, value))
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

// until polls for what comes soon.
func until(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Every case has a prefix of its own on one server.
func TestConformance(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "always"})
	var opened atomic.Int32
	t.Run("suite", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) state.Store {
			return openStore(t, Options{URL: urlOf(server.Addr()), Prefix: fmt.Sprint("case", opened.Add(1))})
		}, conformance.FencesByCheckpoint)
	})
}
