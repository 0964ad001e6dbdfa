package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
)

// startCluster runs a Redis Cluster of three masters, a third of the slots each.
func startCluster(t *testing.T) []*servers.Redis {
	t.Helper()
	var nodes []*servers.Redis
	for range 3 {
		bus, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, startRedis(t, servers.RedisOptions{AppendOnly: "everysec", Args: []string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(bus),
		}}))
	}
	for n, node := range nodes {
		c := client(t, node.Addr())
		if err := c.ClusterAddSlotsRange(t.Context(), n*slots/3, (n+1)*slots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		for _, peer := range nodes[:n] {
			bus := peerBus(t, peer)
			if err := c.Do(t.Context(), "cluster", "meet", "127.0.0.1", peer.Port(), bus).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "the cluster", func() bool {
		for _, node := range nodes {
			info, err := client(t, node.Addr()).ClusterInfo(t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") ||
				!strings.Contains(info, "cluster_size:3") {
				return false
			}
		}
		return true
	})
	return nodes
}

func peerBus(t *testing.T, node *servers.Redis) string {
	t.Helper()
	values, err := client(t, node.Addr()).ConfigGet(t.Context(), "cluster-port").Result()
	if err != nil {
		t.Fatal(err)
	}
	return values["cluster-port"]
}

func clusterURL(nodes ...*servers.Redis) string {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	return "redis://" + strings.Join(addrs, ",")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	var opened atomic.Int32
	t.Run("suite", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) state.Store { // it is told of one node, and finds the others
			return openStore(t, Options{URL: clusterURL(nodes[0]), Mode: ModeCluster, Prefix: fmt.Sprint("case", opened.Add(1))})
		}, conformance.FencesByCheckpoint)
	})
	t.Run("promise", func(t *testing.T) {
		store := openStore(t, Options{URL: clusterURL(nodes...), Mode: ModeCluster})
		if got := len(store.topology.masters(0)); got != 3 {
			t.Fatalf("%d masters", got)
		}
		for _, node := range nodes {
			must(t, client(t, node.Addr()).ConfigSet(t.Context(), "appendfsync", "always").Err())
		}
		p, err := store.Promise(t.Context())
		if err != nil || !p.Disk {
			t.Fatalf("%+v, %v", p, err)
		}
		must(t, client(t, nodes[1].Addr()).ConfigSet(t.Context(), "appendfsync", "everysec").Err())
		if p, err = store.Promise(t.Context()); err != nil || p.Disk || p.AppendFsync != "everysec" {
			t.Fatalf("one weak master: %+v, %v", p, err)
		}
	})
	t.Run("moving slot", func(t *testing.T) { movingSlot(t, nodes) })
	t.Run("node is killed", func(t *testing.T) { killedNode(t, nodes) })
}

// movingSlot moves a partition from one master to another while its users go on: MOVED and ASK are followed, TRYAGAIN is refused
// and nothing else, and no commit is lost or doubled.
func movingSlot(t *testing.T, nodes []*servers.Redis) {
	o := Options{URL: strings.Replace(clusterURL(nodes...), "redis://", aclURL(""), 1), Mode: ModeCluster}
	for _, node := range nodes {
		setUser(t, client(t, node.Addr()), ACLRules(o))
	}
	store := openStore(t, o)
	other := openStore(t, Options{URL: clusterURL(nodes[2]), Mode: ModeCluster}) // learns of the move when it meets it
	const partition = 40                                                         // nothing else is in its slot
	slot := slotOf(partition)
	from := nodes[slot*3/slots]
	to := nodes[(slot*3/slots+1)%3]
	source, goal := client(t, from.Addr()), client(t, to.Addr())
	keys := map[string]state.Record{}
	key := func(name string) state.Key {
		return state.Key{Partition: partition, User: messages.User{Account: "demo", OpenID: name}}
	}
	cp := mustCommit(t, store, state.Checkpoint(partition), state.Record{}, 1, 1, "checkpoint")
	for n := range 5 {
		name := fmt.Sprint("user-", n)
		keys[name] = mustCommit(t, store, key(name), state.Record{}, 1, 1, name)
	}
	goalID, err := goal.ClusterMyID(t.Context()).Result()
	must(t, err)
	sourceID, err := source.ClusterMyID(t.Context()).Result()
	must(t, err)
	setSlot := func(c *goredis.Client, args ...any) {
		t.Helper()
		must(t, c.Do(t.Context(), append([]any{"cluster", "setslot", slot}, args...)...).Err())
	}
	setSlot(goal, "importing", sourceID)
	setSlot(source, "migrating", goalID)
	move := func(k state.Key) {
		t.Helper()
		must(t, source.Do(t.Context(), "migrate", "127.0.0.1", to.Port(), store.keyOf(k), 0, 5000).Err())
	}

	// The checkpoint has gone ahead: its users are on both sides, and nobody may write without the fence.
	move(state.Checkpoint(partition))
	_, err = store.Commit(t.Context(), key("user-0"), keys["user-0"], write(1, 2, "second"))
	wantErr(t, err, state.ErrUnavailable)
	cp = mustCommit(t, store, state.Checkpoint(partition), cp, 1, 2, "second") // ASK
	move(key("user-0"))
	keys["user-0"] = mustCommit(t, store, key("user-0"), keys["user-0"], 1, 3, "second") // ASK, with both keys over there
	if rec, err := store.Load(t.Context(), key("user-0")); err != nil || rec.Version != keys["user-0"].Version {
		t.Fatalf("load of what has moved: %+v, %v", rec.Version, err)
	}
	for n := 1; n < 5; n++ {
		move(key(fmt.Sprint("user-", n)))
	}
	for _, c := range []*goredis.Client{goal, source} {
		setSlot(c, "node", goalID)
	}
	for name, rec := range keys { // MOVED
		mustCommit(t, other, key(name), rec, 1, 9, "after the move")
	}
	mustCommit(t, store, state.Checkpoint(partition), cp, 1, 4, "third")
	until(t, "the new map", func() bool {
		n, err := other.topology.node(partition)
		return err == nil && n.addr == to.Addr()
	})
}

// killedNode: partitions of a dead master are unavailable, the others go on, and all is there after its restart.
func killedNode(t *testing.T, nodes []*servers.Redis) {
	store := openStore(t, Options{URL: clusterURL(nodes...), Mode: ModeCluster, OpTimeout: 2 * time.Second, Prefix: "killed"})
	recs := map[int]state.Record{}
	on := map[string][]int{}
	for partition := range 12 {
		recs[partition] = mustCommit(t, store, state.Checkpoint(partition), state.Record{}, 1, 1, "first")
		n, err := store.topology.node(partition)
		must(t, err)
		on[n.addr] = append(on[n.addr], partition)
	}
	must(t, store.Ping(t.Context()))
	victim := nodes[2]
	dead := on[victim.Addr()]
	if len(dead) == 0 || len(dead) == 12 {
		t.Fatalf("partitions are not spread: %v", on)
	}
	must(t, victim.Kill())
	for _, p := range dead {
		_, err := store.Commit(t.Context(), state.Checkpoint(p), recs[p], write(1, 2, "second"))
		wantErr(t, err, state.ErrUnavailable)
	}
	wantErr(t, store.Ping(t.Context()), state.ErrUnavailable)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, victim.Restart(ctx))
	until(t, "the cluster again", func() bool { return store.Ping(t.Context()) == nil })
	for p, rec := range recs {
		mustCommit(t, store, state.Checkpoint(p), rec, 1, 3, "third")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSlots compares our slots with a server's, and says how partitions spread.
func TestSlots(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{Args: []string{"--cluster-enabled", "yes", "--cluster-port", freePort(t)}})
	c := client(t, server.Addr())
	for _, partition := range []int{0, 1, 9, 10, 63, 99, 100, 1023} {
		want, err := c.ClusterKeySlot(t.Context(), "x:{"+tag(partition)+"}:y").Result()
		if err != nil || int(want) != slotOf(partition) {
			t.Errorf("partition %d: slot %d, the server says %d, %v", partition, slotOf(partition), want, err)
		}
	}
	for _, masters := range []int{3, 4, 5, 6} {
		count := make([]int, masters)
		for partition := range 64 {
			count[slotOf(partition)*masters/slots]++
		}
		t.Logf("64 partitions on %d masters: %v", masters, count)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := servers.FreePort()
	must(t, err)
	return strconv.Itoa(port)
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for _, tt := range [][3]string{
		{"h1:1", "h2:2", "h1:1"}, {":1", "h2:2", "h2:1"}, {"[::1]:1", "h2:2", "[::1]:1"}, {":1", "[::1]:2", net.JoinHostPort("::1", "1")},
	} {
		if got := complete(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s, asked at %s: %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}
