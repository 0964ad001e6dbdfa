package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/internal/servers"
	"hongyan/messages"
)

// usersOf finds users whose partition a node owns.
func usersOf(owned map[int]Ownership, partitions, most int) []messages.User {
	var users []messages.User
	for i := 0; len(users) < most; i++ {
		u := messages.User{Account: "demo", OpenID: fmt.Sprintf("user-%d", i)}
		if _, ok := owned[u.Partition(partitions)]; ok {
			users = append(users, u)
		}
	}
	return users
}

// A peer whose path swallows everything is noticed, holds nobody else up, and is called again when the path is back; and its
// connection is not closed and made in a circle.
func TestBlackHoledPeer(t *testing.T) {
	s := startListening(t)
	a := startChild(t, s.ClientURL(), "a", 16)
	behind := childSpec{NATS: s.ClientURL(), Node: "b", Partitions: 16, Listen: freePort(t)}
	proxy, err := servers.NewProxy(behind.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	behind.Advertise = proxy.Addr()
	b := startChildAs(t, behind)
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) })
	asker := start(t, s, nil, named("asker"), partitions(16))
	asker.awaitReady(t)
	up := func(node string) float64 { return testutil.ToFloat64(asker.metrics.peerUp.WithLabelValues(node)) }
	eventually(t, "both answer", func() bool { return up("a") == 1 && up("b") == 1 })
	var ends atomic.Int32
	events := asker.System().EventStream.Subscribe(func(e any) {
		if _, ok := e.(*remote.EndpointTerminatedEvent); ok {
			ends.Add(1)
		}
	})
	defer asker.System().EventStream.Unsubscribe(events)

	proxy.Cut(servers.Both)
	cutAt := time.Now()
	for _, u := range usersOf(b.owns(), 16, 3) { // they wait, and must not be waited for
		go func() { // ended by its deadline
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, _ = asker.Request(ctx, u, &messages.Inspect{})
		}()
	}
	var slowest time.Duration
	for _, u := range usersOf(a.owns(), 16, 100) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := asker.Request(ctx, u, &messages.Inspect{})
		cancel()
		if err != nil {
			t.Fatalf("a user of another node: %v", err)
		}
		slowest = max(slowest, time.Since(began))
	}
	if slowest > tryTimeout {
		t.Errorf("a request to another node took %v", slowest)
	}
	eventually(t, "the loss is noticed", func() bool { return up("b") == 0 })
	noticed := time.Since(cutAt)
	if len(asker.Members()) != 3 {
		t.Errorf("%d members, though all are heard over NATS", len(asker.Members()))
	}
	eventually(t, "it is tried again and again", func() bool { return testutil.ToFloat64(asker.metrics.linkResets) >= 2 })
	proxy.Heal()
	healed := time.Now()
	eventually(t, "b answers again", func() bool { return up("b") == 1 })
	back := time.Since(healed)
	for _, u := range usersOf(b.owns(), 16, 10) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := asker.Request(ctx, u, &messages.Inspect{})
		cancel()
		if err != nil {
			t.Fatalf("after the path is back: %v", err)
		}
	}
	t.Logf("noticed after %v, back %v after the path, slowest request to another node %v, %d ends of connections", noticed, back, slowest, ends.Load())
	if n := ends.Load(); n > 12 {
		t.Errorf("connections ended %d times: the end of one ended the next", n)
	}
}
