package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Ownership is one tenure of one partition.
type Ownership struct {
	Partition int
	Epoch     uint64 // 1 + max(lease, checkpoint); every write under this tenure carries it
	Mark      string // random, names the tenure
	Planned   bool   // the former owner released the partition in order, or there was none
}

// Partitions is what the cluster needs of the partitions' actors and of their store.
type Partitions interface {
	// CheckpointEpoch is the epoch in the partition's checkpoint, 0 if there is none yet.
	CheckpointEpoch(ctx context.Context, partition int) (uint64, error)
	// Props makes the partition's actor for one tenure. The actor calls takenOver, from any goroutine, once its epoch stands in
	// the checkpoint. It ends by itself when its epoch turns out to be stale, and after Options.ReleaseMessage. It answers
	// *messages.Activate with *messages.Activated.
	Props(o Ownership, takenOver func()) *actor.Props
	// Backlog is what the partition's actor last said of its work; false where it runs not here or has not spoken yet.
	Backlog(partition int) (Backlog, bool)
}

// Options configure a Node. All fields without a default must be set.
type Options struct {
	Name       string     // the cluster's name, [a-z0-9_-]{1,32}
	NodeID     string     // this node's name for people; it may come back after a restart
	Listen     string     // host:port of proto.actor's transport; without TLS on loopback only
	Advertise  string     // host or host:port that other nodes dial; default the listener's, or this machine's name where that is all addresses
	TLS        *TLS       // mutual TLS of the transport, see LoadTLS; nil: plain
	Partitions int        // fixed for the life of the log, see CheckLayout
	Streams    int        // into how many streams the log is split; 0: as recorded, else Replicas
	Conn       *nats.Conn // must not be made with nats.NoEcho: a node hears its own heartbeat
	Replicas   int        // of the bucket with the leases; default 1
	Owner      Partitions // nil: this node owns no partitions and only asks

	ReleaseMessage func() any    // the message that asks a partition's actor to hand over and stop by itself
	HandOver       time.Duration // how long the actor may take for that; default 10 s

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Random     func() uint64 // makes owner marks; default crypto/rand
}

// Node is this process's membership in the cluster.
type Node struct {
	opts       Options
	log        *slog.Logger
	metrics    *metrics
	board      *board
	transport  *transport
	membership *membership
	links      *links
	leases     *leases                // set by Run before anything that uses it
	leaseTable atomic.Pointer[leases] // the same, for callers that may come before Run
	router     *router
	warden     *actor.PID
	probe      *actor.PID
	keepers    []*keeper
	moves      chan struct{} // slots for partitions that are handed over while this node stays
	holding    atomic.Int32  // keepers that have an actor running or stopping
	started    atomic.Bool
	ready      chan struct{}
	progress   chan struct{} // a partition came a step further
	now        func() time.Time
}

var clusterName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// New checks the options and makes the actor system, which is usable at once for local actors. It touches neither the
// network nor the bucket; Run does.
func New(o Options) (*Node, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("cluster options: %w", err)
	}
	n := &Node{
		opts:  o,
		log:   o.Logger.With("part", "cluster"),
		board: newBoard(),
		ready: make(chan struct{}), progress: make(chan struct{}, 1),
		moves: make(chan struct{}, movesAtOnce),
		now:   time.Now,
	}
	var err error
	if n.metrics, err = newMetrics(o.Registerer, n.moving); err != nil {
		return nil, err
	}
	n.router = &router{node: n, cache: newPIDCache(pidCacheSize)}
	if n.transport, err = newTransport(o, n.router, n.board); err != nil {
		return nil, err
	}
	n.router.root = n.transport.system.Root
	n.warden = spawnWarden(n.transport.system)
	if n.probe, err = spawnProbe(n.transport.system); err != nil {
		return nil, err
	}
	n.links = newLinks(n)
	if o.Owner != nil {
		for p := range o.Partitions {
			n.keepers = append(n.keepers, newKeeper(n, p))
		}
	}
	return n, nil
}

func (o *Options) complete() error {
	switch {
	case !clusterName.MatchString(o.Name):
		return fmt.Errorf("the name %q is not of the form [a-z0-9_-]{1,32}", o.Name)
	case o.NodeID == "":
		return errors.New("the node has no id")
	case o.Partitions <= 0:
		return fmt.Errorf("%d partitions: at least one is needed", o.Partitions)
	case o.Conn == nil:
		return errors.New("no connection to NATS was given")
	case o.Owner != nil && o.ReleaseMessage == nil:
		return errors.New("partitions are to be owned, but there is no release message")
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.HandOver == 0 {
		o.HandOver = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = cryptoRandom
	}
	return nil
}

// cryptoRandom never fails: since Go 1.24 crypto/rand ends the process instead.
func cryptoRandom() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// Run joins the cluster, takes the partitions that belong here and serves them until ctx ends. It then leaves in order:
// partition actors hand over and stop, leases are released, the members are told. It returns after all of that, nil if the
// leave was asked for by ctx. A Node runs once.
func (n *Node) Run(ctx context.Context) error {
	if !n.started.CompareAndSwap(false, true) {
		return errors.New("this cluster node ran already; make a new one")
	}
	defer func() {
		_ = n.transport.system.Root.StopFuture(n.warden).Wait()
		_ = n.transport.system.Root.StopFuture(n.probe).Wait()
	}()
	bucket, err := openBucket(ctx, n.opts.Conn, n.opts.Replicas)
	if err != nil {
		return err
	}
	layout := Layout{Partitions: n.opts.Partitions, Streams: n.opts.Streams}
	if _, err := checkLayout(ctx, bucket, layout, n.opts.Replicas); err != nil {
		return err
	}
	n.leases = newLeases(bucket, n.opts.Partitions, n.opts.Conn, n.log)
	n.leases.subject = "hy.member." + n.opts.Name + ".lease"
	n.leaseTable.Store(n.leases)
	if err := n.transport.start(ctx); err != nil {
		return errors.Join(err, n.transport.stop())
	}
	n.membership = newMembership(n)
	n.links.lost = n.membership.suspect
	err = n.serve(ctx)
	return errors.Join(err, n.transport.stop())
}

// serve runs the goroutines of a node that is on the network. Work outlives ctx, because leaving in order is work.
func (n *Node) serve(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return n.membership.run(work) })
	g.Go(func() error { return n.leases.run(work) })
	g.Go(func() error { return n.links.run(work) })
	g.Go(func() error { return n.transport.publishMembers(work) })
	g.Go(func() error { return n.announceReady(work) })
	g.Go(func() error {
		// The keepers get no context: the board tells them to leave, and each bounds its own steps.
		var keepers sync.WaitGroup
		for _, k := range n.keepers {
			keepers.Go(k.run)
		}
		select {
		case <-ctx.Done():
		case <-work.Done(): // one of the others failed
		}
		n.board.leave()
		keepers.Wait()
		cancel()
		return nil
	})
	return g.Wait()
}

// advanced wakes announceReady: a partition came a step further.
func (n *Node) advanced() {
	select {
	case n.progress <- struct{}{}:
	default: // somebody else said so already
	}
}

// announceReady closes Ready when it is time. It returns nil then or when ctx ends.
func (n *Node) announceReady(ctx context.Context) error {
	for {
		v, changed := n.board.load()
		if v.settled && n.ownsDesired(v) {
			close(n.ready)
			return nil
		}
		select {
		case <-changed:
		case <-n.progress:
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) ownsDesired(v *view) bool {
	for _, k := range n.keepers {
		if v.wants(k.partition) && !k.serves() {
			return false
		}
	}
	return true
}

// moving counts the partitions that come or go.
func (n *Node) moving() float64 {
	v, _ := n.board.load()
	moving := 0
	for _, k := range n.keepers {
		if v.wants(k.partition) != k.serves() {
			moving++
		}
	}
	return float64(moving)
}

// Ready is closed once every partition that belongs on this node is owned, and its actor has put its epoch into the checkpoint.
// Whoever writes messages waits for it: over a log with entries, a partition that never had a checkpoint looks like one that
// lost it (DESIGN §3 rule 3).
func (n *Node) Ready() <-chan struct{} { return n.ready }

// System is the node's actor system.
func (n *Node) System() *actor.ActorSystem { return n.transport.system }
