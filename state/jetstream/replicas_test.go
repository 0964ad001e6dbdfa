package jetstream

import (
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/state"
	"hongyan/state/conformance"
)

// startCluster runs three NATS servers that form a cluster over loopback.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	ports := make([]int, 3)
	var routes []*url.URL
	for n := range ports { // JetStream wants to know its routes beforehand, so free ports are looked for first
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[n] = taken.Addr().(*net.TCPAddr).Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: taken.Addr().String()})
		if err := taken.Close(); err != nil {
			t.Fatal(err)
		}
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
