package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/internal/servers"
)

// startTrio runs three NATS servers as a cluster, by name.
func startTrio(t *testing.T) (map[string]*servers.NATS, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var ports []int
	var routes []string
	for range 3 {
		port, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
		routes = append(routes, fmt.Sprintf("127.0.0.1:%d", port))
	}
	trio := map[string]*servers.NATS{}
	var urls []string
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i)
		s, err := servers.StartNATS(ctx, servers.NATSOptions{Dir: t.TempDir(), Name: name, ClusterPort: port, Routes: routes})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Kill() })
		trio[name] = s
		urls = append(urls, s.URL())
	}
	for _, s := range trio {
		if err := s.AwaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return trio, strings.Join(urls, ",")
}

// The bucket's leader is killed: for some seconds nobody can read or write a lease. A lease in force stays in force; and a
// worker that dies in that time is replaced as soon as there is a leader.
func TestLeaderOfTheBucketIsKilled(t *testing.T) {
	trio, urls := startTrio(t)
	spec := func(node string) childSpec { return childSpec{NATS: urls, Node: node, Partitions: 16, Replicas: 3} }
	a, b := startChildAs(t, spec("a")), startChildAs(t, spec("b"))
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) })
	linked(t, []*child{a, b})
	conn, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	info := func() *jetstream.StreamInfo {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, "KV_"+bucketName)
		if err != nil {
			return nil
		}
		return stream.CachedInfo()
	}
	led := func(except string) func() bool {
		return func() bool { i := info(); return i != nil && i.Cluster.Leader != "" && i.Cluster.Leader != except }
	}
	eventually(t, "the bucket has a leader", led(""))
	first := info()
	if first.Config.Replicas != 3 || first.Config.AllowDirect {
		t.Errorf("the bucket has %d replicas, direct reads: %v", first.Config.Replicas, first.Config.AllowDirect)
	}
	starts := func() int { return len(a.seen()) + len(b.seen()) }
	before := starts()
	leader := first.Cluster.Leader
	if err := trio[leader].Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, "there is another leader", led(leader))
	t.Logf("without a leader for %v", time.Since(killed))
	// Nobody did anything meanwhile, nor does with the new leader: a joining node's moves are the first.
	if starts() != before {
		t.Errorf("partitions moved: %+v", slices.Concat(a.seen()[16:], b.seen()))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := trio[leader].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range trio {
		if err := s.AwaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
	}
	second := info().Cluster.Leader
	if err := trio[second].Kill(); err != nil {
		t.Fatal(err)
	}
	killed = time.Now()
	b.signal(t, syscall.SIGKILL)
	eventually(t, "there is another leader", led(second))
	elected := time.Since(killed)
	eventually(t, "a owns all", func() bool { return len(a.owns()) == 16 })
	t.Logf("leader and worker killed at once: a leader after %v, all served after %v", elected, last(killed, a).Sub(killed))
	for _, c := range []*child{a, b} {
		if contains(c.log.String(), "does not trust itself") {
			t.Errorf("%s fenced itself, though two servers were left", c.spec.Node)
		}
	}
	epochsAreUnique(t, a, b)
}
