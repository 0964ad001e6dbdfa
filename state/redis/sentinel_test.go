package redis

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"hongyan/internal/servers"
	"hongyan/state"
)

// startSentinel runs a master, a replica and a sentinel that makes the replica the master when the master is silent. The proxy is
// between replica and master.
func startSentinel(t *testing.T) (master, replica, sentinel *servers.Redis, between *servers.Proxy) {
	t.Helper()
	master = startRedis(t, servers.RedisOptions{AppendOnly: "always", Args: []string{"--repl-diskless-sync-delay", "0"}})
	between, err := servers.NewProxy(master.Addr())
	must(t, err)
	t.Cleanup(between.Close)
	_, port, err := net.SplitHostPort(between.Addr())
	must(t, err)
	replica = startRedis(t, servers.RedisOptions{AppendOnly: "always", Args: []string{
		"--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0",
	}})
	until(t, "the replica", func() bool {
		f, err := client(t, replica.Addr()).InfoMap(t.Context(), "replication").Result()
		return err == nil && f["Replication"]["master_link_status"] == "up"
	})
	sentinel = startRedis(t, servers.RedisOptions{Sentinel: []string{
		fmt.Sprintf("sentinel monitor m 127.0.0.1 %d 1", master.Port()),
		"sentinel down-after-milliseconds m 500",
		"sentinel failover-timeout m 5000",
	}})
	until(t, "the sentinel to know the replica", func() bool {
		replicas, err := client(t, sentinel.Addr()).Do(t.Context(), "sentinel", "replicas", "m").Slice()
		return err == nil && len(replicas) == 1
	})
	return master, replica, sentinel, between
}

// TestFailoverThatLosesWrites: the replica has not got the latest writes when it becomes the master. The store is behind its
// owner then, which the owner can tell, and whose repair it takes (DESIGN §3 rule 9).
func TestFailoverThatLosesWrites(t *testing.T) {
	t.Parallel()
	master, replica, sentinel, between := startSentinel(t)
	store := openStore(t, Options{URL: urlOf(sentinel.Addr()), Mode: ModeSentinel, Master: "m", OpTimeout: 3 * time.Second})
	cp := mustCommit(t, store, state.Checkpoint(testKey.Partition), state.Record{}, 1, 1, "checkpoint")
	first := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	other := openStore(t, Options{URL: urlOf(replica.Addr())})
	until(t, "the replica to have both", func() bool {
		rec, err := other.Load(t.Context(), testKey)
		return err == nil && rec.Version == first.Version
	})

	// The replica hears nothing in the moment in which the master acknowledges more writes and dies.
	between.Cut(servers.Both)
	second := mustCommit(t, store, testKey, first, 1, 2, "second")
	third := mustCommit(t, store, testKey, second, 1, 3, "third")
	cp = mustCommit(t, store, state.Checkpoint(testKey.Partition), cp, 1, 4, "later checkpoint")
	must(t, master.Kill())

	var found state.Record
	until(t, "the fail-over", func() bool {
		var err error
		found, err = store.Load(t.Context(), testKey)
		return err == nil && store.Ping(t.Context()) == nil
	})
	if found.Version != first.Version {
		t.Fatalf("nothing was lost: %+v", found.Version)
	}
	_, err := store.Commit(t.Context(), testKey, third, write(1, 5, "fourth"))
	wantErr(t, err, state.ErrConflict)
	if !state.Behind(found.Version, third.Version) {
		t.Fatal("the store is not seen to be behind")
	}
	repair := write(1, 6, "fourth")
	repair.Number = third.Version.Number + 1
	fourth, err := store.Commit(t.Context(), testKey, found, repair)
	must(t, err)
	if fourth.Version.Number != 4 || fourth.Version.Incarnation != first.Version.Incarnation {
		t.Fatalf("the repair is %+v", fourth.Version)
	}
	mustCommit(t, store, testKey, fourth, 1, 7, "fifth")

	// A later owner has taken over meanwhile: then it is obeyed, and the earlier one repairs nothing.
	behind, err := store.Load(t.Context(), state.Checkpoint(testKey.Partition))
	must(t, err)
	mustCommit(t, store, state.Checkpoint(testKey.Partition), behind, 2, 8, "a later owner's checkpoint")
	repair = write(1, 9, "checkpoint")
	repair.Number = cp.Version.Number + 1
	_, err = store.Commit(t.Context(), state.Checkpoint(testKey.Partition), behind, repair)
	wantErr(t, err, state.ErrStaleEpoch)
}

// TestWaitReplicas: a write that too few replicas have is unknown, not done; a refusal is one all the same; what a replica
// acknowledged survives the end of the master.
func TestWaitReplicas(t *testing.T) {
	t.Parallel()
	master, _, sentinel, between := startSentinel(t)
	o := Options{URL: urlOf(sentinel.Addr()), Mode: ModeSentinel, Master: "m", OpTimeout: 2 * time.Second, WaitReplicas: 1}
	store := openStore(t, o)
	p, err := store.Promise(t.Context())
	if err != nil || !p.Disk || p.Replicas != 1 || p.WaitReplicas != 1 || len(p.Warnings) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	first := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	must(t, store.Ping(t.Context()))

	between.Cut(servers.Both)
	second := write(1, 2, "second")
	_, err = store.Commit(t.Context(), testKey, first, second)
	wantErr(t, err, state.ErrUnknown)
	// It is there already, and still with too few, also for who asks on a connection that has written nothing yet.
	_, err = openStore(t, o).Commit(t.Context(), testKey, first, second)
	wantErr(t, err, state.ErrUnknown)
	_, err = store.Commit(t.Context(), testKey, first, write(1, 3, "over the first"))
	wantErr(t, err, state.ErrConflict)
	wantErr(t, store.Ping(t.Context()), state.ErrUnknown)
	between.Heal()
	var rec state.Record
	until(t, "the replica again", func() bool {
		rec, err = store.Commit(t.Context(), testKey, first, second)
		return err == nil
	})
	must(t, master.Kill())
	until(t, "the fail-over", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := store.Load(ctx, testKey)
		return err == nil
	})
	got, err := store.Load(t.Context(), testKey)
	if err != nil || got.Version != rec.Version {
		t.Fatalf("after the fail-over: %+v, %v; acknowledged %+v", got.Version, err, rec.Version)
	}
	if p, err = store.Promise(t.Context()); err != nil || p.Replicas != 0 || len(p.Warnings) == 0 {
		t.Fatalf("without a replica: %+v, %v", p, err)
	}
}
