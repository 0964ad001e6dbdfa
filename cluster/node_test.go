package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/messages"
)

func partitions(n int) nodeOption { return func(o *Options) { o.Partitions = n } }
func named(id string) nodeOption  { return func(o *Options) { o.NodeID = id } }

func TestOneNodeOwnsAllFast(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	began := time.Now()
	n := start(t, s, owner, partitions(64))
	n.awaitReady(t)
	took := time.Since(began)
	t.Logf("64 partitions owned after %v", took)
	if took > 10*time.Second { // far above what is measured: the machine may be busy
		t.Errorf("64 partitions took %v", took)
	}
	for _, l := range n.Leases() {
		if !l.Mine || !l.Running || l.Epoch != 1 || l.Mark == "" {
			t.Fatalf("lease %+v", l)
		}
	}
	if got := owner.count(func(o Ownership) bool { return o.Planned }); got != 64 {
		t.Errorf("%d of 64 first takeovers were planned", got)
	}
	if got := testutil.ToFloat64(n.metrics.owned); got != 64 {
		t.Errorf("hongyan_partitions_owned is %v", got)
	}
	if err := n.leave(t); err != nil {
		t.Fatal(err)
	}
	if owner.actors() != 0 {
		t.Errorf("%d actors outlived the node", owner.actors())
	}
	for _, l := range n.Leases() {
		if !l.Released {
			t.Errorf("lease %d was not released", l.Partition)
		}
	}
	if err := n.Run(context.Background()); err == nil {
		t.Error("a node ran twice")
	}
}

func TestEpochsRiseOverRestarts(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	for round := uint64(1); round <= 3; round++ {
		n := start(t, s, owner)
		n.awaitReady(t)
		for p := range 8 {
			own := owner.of(p)
			if last := own[len(own)-1]; last.Epoch != round || !last.Planned {
				t.Fatalf("round %d, partition %d: %+v", round, p, last)
			}
		}
		if err := n.leave(t); err != nil {
			t.Fatal(err)
		}
	}
	// The checkpoint is ahead of the lease: the lease was lost, or another store serves now.
	owner.mu.Lock()
	owner.checkpoints[3] = 40
	owner.mu.Unlock()
	start(t, s, owner).awaitReady(t)
	own := owner.of(3)
	if last := own[len(own)-1]; last.Epoch != 41 {
		t.Errorf("the epoch is %d, the checkpoint's was 40", last.Epoch)
	}
}

func TestLostConnectionFencesItself(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	n := start(t, s, owner)
	n.awaitReady(t)
	n.conn.Close()
	eventually(t, "everything is dropped", func() bool { return n.owned() == 0 && owner.actors() == 0 })
	if got := testutil.ToFloat64(n.metrics.fences.WithLabelValues(fenceDisconnected)); got != 1 {
		t.Errorf("the node fenced itself %v times", got)
	}
	if err := n.leave(t); err != nil {
		t.Errorf("a node without a connection left with %v", err)
	}
}

func TestStandstillFencesItself(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	conn := connect(t, s)
	n, err := New(testOptions(t, conn, owner))
	if err != nil {
		t.Fatal(err)
	}
	clock := newSkippingClock()
	n.now = clock.now
	r := run(t, n, conn)
	r.awaitReady(t)
	clock.skip(standstill + time.Second)
	eventually(t, "everything is dropped and taken anew", func() bool {
		return owner.count(func(o Ownership) bool { return o.Epoch == 2 && !o.Planned }) == 8 && r.owned() == 8
	})
	if got := testutil.ToFloat64(n.metrics.fences.WithLabelValues(fenceStandstill)); got != 1 {
		t.Errorf("the node fenced itself %v times", got)
	}
	if owner.overlaps != 0 {
		t.Errorf("%d partitions had two actors at once", owner.overlaps)
	}
}

func TestFaultyActorIsTakenAnew(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	n := start(t, s, owner)
	n.awaitReady(t)
	pid := n.System().NewLocalPID(PartitionActorID(5))
	n.System().Root.Send(pid, panicMessage{})
	eventually(t, "partition 5 runs again under the next epoch", func() bool {
		own := owner.of(5)
		return len(own) == 2 && own[1].Epoch == 2 && !own[1].Planned && n.owned() == 8
	})
	if got := testutil.ToFloat64(n.metrics.faults); got != 1 {
		t.Errorf("hongyan_partition_faults_total is %v", got)
	}
}

func TestStolenLeaseEndsTheTenure(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	n := start(t, s, owner)
	n.awaitReady(t)
	ctx := context.Background()
	lease, revision, err := n.leases.read(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	// Another process, gone since, wrote the lease.
	lease.Member, lease.Mark, lease.Epoch = "0123456789abcdefghijkl", "stolen", lease.Epoch+7
	if _, err := n.leases.swap(ctx, 2, lease, revision); err != nil {
		t.Fatal(err)
	}
	eventually(t, "partition 2 is taken back under a higher epoch", func() bool {
		own := owner.of(2)
		return own[len(own)-1].Epoch == lease.Epoch+1 && n.owned() == 8
	})
	if _, err := n.leases.swap(ctx, 2, lease, revision); !errors.Is(err, errLeaseMoved) {
		t.Errorf("a write over an old revision ended with %v", err)
	}
}

func TestStubbornActorIsStopped(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	owner.stubborn = true
	n := start(t, s, owner, func(o *Options) { o.HandOver = 100 * time.Millisecond })
	n.awaitReady(t)
	if err := n.leave(t); err != nil {
		t.Fatal(err)
	}
	if owner.actors() != 0 {
		t.Errorf("%d actors outlived the node", owner.actors())
	}
	for _, l := range n.Leases() {
		if l.Released || l.Member != "" {
			t.Errorf("an actor that was stopped counts as handed over: %+v", l)
		}
	}
	next := newTenures()
	start(t, s, next).awaitReady(t)
	if planned := next.count(func(o Ownership) bool { return o.Planned }); planned != 0 {
		t.Errorf("%d takeovers count as planned", planned)
	}
}

// An actor that ends long after it was told to (its store hung) is waited for: a successor would have its name, and be taken for
// ended when it ends.
func TestActorThatEndsLateIsWaitedFor(t *testing.T) {
	s := startNATS(t)
	linger := make(chan struct{})
	owner := newTenures()
	owner.lingers = linger
	n := start(t, s, owner)
	n.awaitReady(t)
	first := owner.of(0)[0]
	lease, revision, err := n.leases.read(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	lease.Member, lease.Mark, lease.Epoch = "0123456789abcdefghijkl", "stolen", lease.Epoch+7
	if _, err := n.leases.swap(t.Context(), 0, lease, revision); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the partition is lost", func() bool { return n.owned() == 7 })
	late := time.Now().Add(stopPatience + time.Second)
	eventually(t, "the keeper has lost its patience", func() bool { return time.Now().After(late) })
	if seen, _, err := n.leases.read(t.Context(), 0); err != nil || seen.Epoch != lease.Epoch {
		t.Errorf("the lease went from epoch %d to %d (%v) while the actor of epoch %d was still there", lease.Epoch, seen.Epoch, err, first.Epoch)
	}
	close(linger)
	eventually(t, "the partition runs again, one epoch later", func() bool {
		own := owner.of(0)
		return len(own) == 2 && own[1].Epoch == lease.Epoch+1 && n.owned() == 8
	})
	if got := testutil.ToFloat64(n.metrics.faults); got != 0 || owner.overlaps != 0 {
		t.Errorf("%v actors count as ended by themselves, %d ran beside another", got, owner.overlaps)
	}
}

func TestLayoutMismatchIsAStartError(t *testing.T) {
	s := startNATS(t)
	n := start(t, s, newTenures(), partitions(8))
	n.awaitReady(t)
	conn := connect(t, s)
	other, err := New(testOptions(t, conn, newTenures(), partitions(16)))
	if err != nil {
		t.Fatal(err)
	}
	err = other.Run(context.Background())
	if !errors.Is(err, ErrLayout) {
		t.Fatalf("16 partitions over a log of 8: %v", err)
	}
	for _, number := range []string{"8 partitions", "asks for 16", "set cluster.partitions to 8"} {
		if !contains(err.Error(), number) {
			t.Errorf("the error does not say %q: %v", number, err)
		}
	}
	have, err := CheckLayout(context.Background(), conn, Layout{Partitions: 8, Streams: 1}, 1)
	if err != nil || have.Partitions != 8 || have.Streams != 1 || have.Created.IsZero() || have.Version != layoutVersion {
		t.Errorf("layout %+v, %v", have, err)
	}
	if _, err := CheckLayout(context.Background(), conn, Layout{Partitions: 8, Streams: 4}, 1); !errors.Is(err, ErrLayout) {
		t.Errorf("4 streams over a log of one: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	s := startNATS(t)
	conn := connect(t, s)
	for name, change := range map[string]nodeOption{
		"off loopback":    func(o *Options) { o.Listen = "0.0.0.0:0" },
		"every interface": func(o *Options) { o.Listen = ":7000" },
		"port":            func(o *Options) { o.Listen = "127.0.0.1:99999" },
		"cluster name":    func(o *Options) { o.Name = "a b" },
		"node id":         func(o *Options) { o.NodeID = "" },
		"partitions":      func(o *Options) { o.Partitions = 0 },
		"connection":      func(o *Options) { o.Conn = nil },
		"release message": func(o *Options) { o.ReleaseMessage = nil },
	} {
		if _, err := New(testOptions(t, conn, newTenures(), change)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAddressInUseIsAnError(t *testing.T) {
	s := startNATS(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	n, err := New(testOptions(t, connect(t, s), newTenures(), func(o *Options) { o.Listen = taken.Addr().String() }))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(context.Background()); err == nil || !contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a second listener on one address: %v", err)
	}
}

func TestRequestFindsTheUser(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	a := start(t, s, owner, named("a"))
	a.awaitReady(t)
	for i := range 20 {
		u := messages.User{Account: "demo", OpenID: fmt.Sprintf("user-%d", i)}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		reply, err := a.Request(ctx, u, &messages.Inspect{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		view := reply.(*messages.UserView)
		if view.GetNode() != a.System().ID || !contains(view.GetRunning(), u.Hash()) {
			t.Fatalf("user %d answered as %v", i, view)
		}
	}
	// proto.actor's own entrance leads to the same actor.
	pid := a.transport.cluster.Get("demo/user-1", userKind)
	if pid == nil {
		t.Fatal("cluster.Get found nothing")
	}
	if reply, err := a.transport.cluster.Request("demo/user-1", userKind, &messages.Inspect{}); err != nil || reply.(*messages.UserView).GetRunning() != pid.Id {
		t.Errorf("cluster.Request: %v, %v", reply, err)
	}
	if _, err := a.transport.cluster.Request("demo/user-1", "nobody", &messages.Inspect{}); !errors.Is(err, errKind) {
		t.Errorf("an unknown kind: %v", err)
	}
	// An account's own actor is found like a user's, under its own kind.
	account := messages.AccountActor("demo")
	if reply, err := a.Request(t.Context(), account, &messages.Inspect{}); err != nil || !contains(reply.(*messages.UserView).GetRunning(), account.Hash()) {
		t.Errorf("the account's actor: %v, %v", reply, err)
	}
	if _, err := a.transport.cluster.Request(account.Identity(), accountKind, &messages.Inspect{}); err != nil {
		t.Errorf("the account's actor under its kind: %v", err)
	}
	for identity, kind := range map[string]string{"demo/unasked": accountKind, messages.AccountActor("other").Identity(): userKind} {
		if _, err := a.transport.cluster.Request(identity, kind, &messages.Inspect{}); !errors.Is(err, errKind) {
			t.Errorf("%s as %s: %v", identity, kind, err)
		}
	}
}

func TestRequestSurvivesALostActor(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	n := start(t, s, owner)
	n.awaitReady(t)
	u := messages.User{Account: "demo", OpenID: "secret-open-id"}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	first, err := n.Request(ctx, u, &messages.Inspect{})
	if err != nil {
		t.Fatal(err)
	}
	// The user's actor goes while its id is cached, then the whole partition.
	pid := n.System().NewLocalPID(first.(*messages.UserView).GetRunning())
	if err := n.System().Root.StopFuture(pid).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Request(ctx, u, &messages.Inspect{}); err != nil {
		t.Fatalf("after the actor went: %v", err)
	}
	n.System().Root.Send(n.System().NewLocalPID(PartitionActorID(u.Partition(8))), panicMessage{})
	if _, err := n.Request(ctx, u, &messages.Inspect{}); err != nil {
		t.Fatalf("after the partition went: %v", err)
	}
	ended, end := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer end()
	n.keepers[u.Partition(8)].running.Store(false)
	n.router.cache.keep(nil)
	if _, err := n.Request(ended, u, &messages.Inspect{}); !errors.Is(err, context.DeadlineExceeded) || contains(err.Error(), u.OpenID) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestReadyWaitsForTheCheckpoints: an actor that was started has not taken its partition over yet. A message that came in between
// would stand in the log before the partition has a checkpoint, and no owner could start over it (DESIGN §3 rule 3).
func TestReadyWaitsForTheCheckpoints(t *testing.T) {
	s := startNATS(t)
	owner := newTenures()
	slow := make(chan struct{})
	owner.slow = slow
	n := start(t, s, owner)
	eventually(t, "all actors run", func() bool { return n.owned() == 8 && owner.actors() == 8 })
	eventually(t, "the others are taken over", func() bool {
		for _, k := range n.keepers[1:] {
			if !k.serves() {
				return false
			}
		}
		return true
	})
	v, _ := n.board.load()
	if n.ownsDesired(v) {
		t.Error("the node is ready while a partition is still being taken over")
	}
	close(slow)
	n.awaitReady(t)
}
