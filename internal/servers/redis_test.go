package servers

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func startRedis(t *testing.T, o RedisOptions) *Redis {
	t.Helper()
	r, err := StartRedis(testContext(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestRedisKeepsWhatItAcknowledged through a kill and through an orderly end, on the same port.
func TestRedisKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	r := startRedis(t, RedisOptions{Dir: t.TempDir(), AppendOnly: "always"})
	ctx := testContext(t, time.Minute)
	client := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer client.Close()
	for i, end := range []func() error{r.Kill, r.Stop} {
		if n, err := client.Incr(ctx, "n").Result(); err != nil || n != int64(i+1) {
			t.Fatalf("count %d, %v; want %d", n, err, i+1)
		}
		pid := r.PID()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if r.Running() {
			t.Fatal("it runs after its end")
		}
		if err := r.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if r.PID() == pid {
			t.Fatal("it is the same process")
		}
	}
	if n, err := client.Get(ctx, "n").Int(); err != nil || n != 2 {
		t.Fatalf("count %d, %v; want 2", n, err)
	}
	if err := r.Restart(ctx); err == nil {
		t.Fatal("it was started twice")
	}
}

// TestRedisSaysWhyItDoesNotStart instead of letting a test wait.
func TestRedisSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	if _, err := StartRedis(testContext(t, time.Minute), RedisOptions{Dir: t.TempDir(), Args: []string{"--no-such", "x"}}); err == nil {
		t.Fatal("it started")
	} else {
		t.Log(err)
	}
}

// TestSentinel starts as such.
func TestSentinel(t *testing.T) {
	t.Parallel()
	r := startRedis(t, RedisOptions{Dir: t.TempDir(), AppendOnly: "no"})
	s := startRedis(t, RedisOptions{Dir: t.TempDir(), Sentinel: []string{"sentinel monitor m 127.0.0.1 " + strconv.Itoa(r.Port()) + " 1"}})
	client := redis.NewSentinelClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	addr, err := client.GetMasterAddrByName(testContext(t, time.Minute), "m").Result()
	if err != nil || len(addr) != 2 || addr[1] != strconv.Itoa(r.Port()) {
		t.Fatalf("master %v, %v", addr, err)
	}
}
