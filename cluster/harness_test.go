package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hongyan/messages"
)

// Nodes start one after the other here: proto.actor's transport writes a global of gRPC at every start, so the tests that
// start one are not parallel. Several nodes are several processes, see child.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(childMain(spec))
	}
	goleak.VerifyTestMain(m, libraryLeaks()...)
}

// libraryLeaks is what proto.actor leaves behind, none of it ours to end: throttles that sleep out their period, up to a
// minute, in a goroutine.
func libraryLeaks() []goleak.Option {
	var options []goleak.Option
	for _, f := range []string{
		"actor.NewDeadLetter.NewThrottle.func3.1", "actor.NewDeadLetter.NewThrottle.func4.1", "actor.NewThrottle.func1.1",
		"cluster.NewGossipActor.NewThrottleWithLogger.func2.1", "cluster.(*Gossiper).StartGossiping.NewThrottle.func3.1",
		"cluster.newInformer.NewThrottle.func1.1",
	} {
		options = append(options, goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/"+f))
	}
	return options
}

// startNATS runs a real server with JetStream on disk.
func startNATS(t *testing.T) *server.Server {
	t.Helper()
	return serve(t, &server.Options{StoreDir: t.TempDir(), DontListen: true})
}

// startListening is startNATS for other processes, on a port of its own.
func startListening(t *testing.T) *server.Server {
	return startListeningAt(t, t.TempDir(), server.RANDOM_PORT)
}

func startListeningAt(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	return serve(t, &server.Options{StoreDir: dir, Host: "127.0.0.1", Port: port})
}

func portOf(t *testing.T, s *server.Server) int {
	t.Helper()
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the server listens on %v", s.Addr())
	}
	return addr.Port
}

func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.ServerName, o.JetStream, o.NoSigs, o.NoLog = "test", true, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func connect(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type releaseMessage struct{}
type panicMessage struct{}

// tenures is a Partitions whose actors keep a checkpoint's epoch in memory, as the store would: a lower one is refused.
type tenures struct {
	mu          sync.Mutex
	checkpoints map[int]uint64
	log         []Ownership     // every start, in order
	stubborn    bool            // actors ignore the release message
	slow        <-chan struct{} // partition 0 is taken over once it is closed; nil: at once
	lingers     <-chan struct{} // actors of partition 0 end once it is closed; nil: at once
	running     map[int]int     // actors alive per partition
	overlaps    int
}

func newTenures() *tenures { return &tenures{checkpoints: map[int]uint64{}, running: map[int]int{}} }

func (s *tenures) CheckpointEpoch(_ context.Context, p int) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkpoints[p], nil
}

func (s *tenures) Props(o Ownership, takenOver func()) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &testPartition{store: s, own: o, takenOver: takenOver} })
}

func (s *tenures) Backlog(p int) (Backlog, bool) { return Backlog{Unsettled: 100 + p}, true }

func (s *tenures) of(p int) []Ownership {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []Ownership
	for _, o := range s.log {
		if o.Partition == p {
			own = append(own, o)
		}
	}
	return own
}

func (s *tenures) count(f func(Ownership) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, o := range s.log {
		if f(o) {
			n++
		}
	}
	return n
}

func (s *tenures) actors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.running {
		n += r
	}
	return n
}

type testPartition struct {
	store     *tenures
	own       Ownership
	takenOver func()
	stopping  bool // a child that is started now would be left, and its parent never end
}

func (a *testPartition) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		a.store.running[a.own.Partition]++
		if a.store.running[a.own.Partition] > 1 {
			a.store.overlaps++
		}
		a.store.log = append(a.store.log, a.own)
		if a.store.checkpoints[a.own.Partition] >= a.own.Epoch {
			ctx.Stop(ctx.Self()) // evicted by the checkpoint
			return
		}
		if hold := a.store.slow; hold != nil && a.own.Partition == 0 {
			go func() { // ended by the test
				<-hold
				a.takenOver()
			}()
		} else {
			a.takenOver()
		}
		a.store.checkpoints[a.own.Partition] = a.own.Epoch
	case *actor.Stopped:
		if linger := a.store.lingers; linger != nil && a.own.Partition == 0 {
			<-linger
		}
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		a.store.running[a.own.Partition]--
	case *actor.Stopping:
		a.stopping = true
	case releaseMessage:
		if !a.store.stubborn {
			a.stopping = true
			ctx.Stop(ctx.Self())
		}
	case panicMessage:
		panic("told to")
	case *messages.Activate:
		if a.stopping {
			ctx.Respond(&messages.Activated{Error: "the partition is moving"})
			return
		}
		u := messages.User{Account: m.GetAccount(), OpenID: m.GetOpenId()}
		name := "user-" + u.Hash()
		pid, err := ctx.SpawnNamed(actor.PropsFromFunc(echo), name)
		if err != nil && !errors.Is(err, actor.ErrNameExists) {
			ctx.Respond(&messages.Activated{Error: err.Error()})
			return
		}
		ctx.Respond(&messages.Activated{ActorId: pid.Id})
	}
}

// echo answers an inspection with the actor's own place.
func echo(ctx actor.Context) {
	if _, ok := ctx.Message().(*messages.Inspect); ok {
		ctx.Respond(&messages.UserView{Node: ctx.ActorSystem().ID, Running: ctx.Self().Id})
	}
}

// runningNode is a Node whose Run is under way.
type runningNode struct {
	*Node
	conn   *nats.Conn
	cancel context.CancelFunc
	ended  chan error
}

// leave ends the node in order and returns what Run said.
func (r *runningNode) leave(t *testing.T) error {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the node did not leave")
		return nil
	}
}

type nodeOption func(*Options)

func testOptions(t *testing.T, conn *nats.Conn, owner Partitions, opts ...nodeOption) Options {
	t.Helper()
	o := Options{
		Name: "test", NodeID: "node", Listen: "127.0.0.1:0", Partitions: 8, Conn: conn, Owner: owner,
		ReleaseMessage: func() any { return releaseMessage{} }, HandOver: 3 * time.Second,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, f := range opts {
		f(&o)
	}
	return o
}

func start(t *testing.T, s *server.Server, owner Partitions, opts ...nodeOption) *runningNode {
	t.Helper()
	conn := connect(t, s)
	n, err := New(testOptions(t, conn, owner, opts...))
	if err != nil {
		t.Fatal(err)
	}
	return run(t, n, conn)
}

func run(t *testing.T, n *Node, conn *nats.Conn) *runningNode {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningNode{Node: n, conn: conn, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- n.Run(ctx) }() // the cleanup waits for it
	t.Cleanup(func() { _ = r.leave(t) })
	return r
}

func (r *runningNode) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-r.Ready():
	case err := <-r.ended:
		t.Fatalf("the node ended before it was ready: %v", err)
	case <-time.After(15 * time.Second):
		t.Fatal("the node was not ready in time")
	}
	if owner, ok := r.opts.Owner.(*tenures); ok { // Ready says that the actors were started, not that they took note of it
		eventually(t, "the actors know of their start", func() bool {
			for _, l := range r.Leases() {
				own := owner.of(l.Partition)
				if l.Running && (len(own) == 0 || own[len(own)-1].Epoch < l.Epoch) {
					return false
				}
			}
			return true
		})
	}
}

// owned is how many partitions run on the node.
func (r *runningNode) owned() int {
	n := 0
	for _, l := range r.Leases() {
		if l.Mine && l.Running {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// testLog sends a node's log to the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	defer func() { _ = recover() }() // a library's late goroutine may log after the test
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// lockedBuffer takes a process's log.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const nilSignal = syscall.Signal(0)

// freePort is a loopback address that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
