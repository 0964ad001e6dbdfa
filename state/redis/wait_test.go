package redis

import (
	"testing"
	"time"

	"hongyan/internal/servers"
	"hongyan/state"
)

// Rule 11: a write that too few replicas have is unknown, not made: a fail-over may lose it. The next one over it finds out.
func TestReplicasAreWaitedFor(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "no"}) // which has no replica
	store := openStore(t, Options{URL: urlOf(server.Addr()), WaitReplicas: 1, OpTimeout: 2 * time.Second})
	_, err := store.Commit(t.Context(), testKey, state.Record{}, write(1, 1, "first"))
	wantErr(t, err, state.ErrUnknown)
	alone := openStore(t, Options{URL: urlOf(server.Addr())})
	rec, err := alone.Load(t.Context(), testKey)
	if err != nil || rec.Version.WriteID != 1 {
		t.Fatalf("the server has %+v, %v", rec.Version, err)
	}
	mustCommit(t, alone, testKey, rec, 1, 2, "second")
}
