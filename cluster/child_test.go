package cluster

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Several nodes are several processes here, as they are for users: they can be killed and paused, and proto.actor's transport
// writes a global of gRPC at every start, so two of them in one process are a data race.

const childEnv = "HONGYAN_CLUSTER_TEST_NODE"

// childSpec is what a child process is told.
type childSpec struct {
	NATS       string
	Node       string
	Partitions int
	Listen     string `json:",omitempty"` // default 127.0.0.1:0
	Advertise  string `json:",omitempty"`
	Replicas   int    `json:",omitempty"`
	// Of the transport, see LoadTLS; empty: plain.
	Cert, Key, CA string `json:",omitempty"`
}

// childEvent is what it tells, one JSON object per line.
type childEvent struct {
	Kind string // ready, start, stop, fence, left
	Ownership
	Detail string    `json:",omitempty"`
	At     time.Time // the child's own clock, which is this machine's
}

// durableCheckpoints keeps the epochs in a bucket, by compare-and-set, as the real store does.
type durableCheckpoints struct {
	bucket jetstream.KeyValue
	mu     sync.Mutex
	out    *json.Encoder
}

func (d *durableCheckpoints) say(e childEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.At = time.Now()
	_ = d.out.Encode(e)
}

func (d *durableCheckpoints) CheckpointEpoch(ctx context.Context, p int) (uint64, error) {
	epoch, _, err := d.read(ctx, p)
	return epoch, err
}

func (d *durableCheckpoints) read(ctx context.Context, p int) (epoch, revision uint64, err error) {
	e, err := d.bucket.Get(ctx, strconv.Itoa(p))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	epoch, err = strconv.ParseUint(string(e.Value()), 10, 64)
	return epoch, e.Revision(), err
}

// write is false where a later owner wrote before.
func (d *durableCheckpoints) write(own Ownership) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	epoch, revision, err := d.read(ctx, own.Partition)
	if err != nil || epoch >= own.Epoch {
		return false
	}
	_, err = d.bucket.Update(ctx, strconv.Itoa(own.Partition), []byte(strconv.FormatUint(own.Epoch, 10)), revision)
	return err == nil
}

func (d *durableCheckpoints) Backlog(p int) (Backlog, bool) { return Backlog{Unsettled: 100 + p}, true }

func (d *durableCheckpoints) Props(own Ownership, takenOver func()) *actor.Props {
	users := &testPartition{store: newTenures(), own: own, takenOver: takenOver} // only for its answers
	return actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			if !d.write(own) {
				d.say(childEvent{Kind: "stale", Ownership: own})
				ctx.Stop(ctx.Self())
				return
			}
			takenOver()
			d.say(childEvent{Kind: "start", Ownership: own})
		case *actor.Stopped:
			d.say(childEvent{Kind: "stop", Ownership: own})
		default:
			users.Receive(ctx)
		}
	})
}

// childMain is the whole child process.
func childMain(arg string) int {
	var spec childSpec
	if err := json.Unmarshal([]byte(arg), &spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runChild(ctx, spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runChild(ctx context.Context, spec childSpec) error {
	conn, err := nats.Connect(spec.NATS, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	var bucket jetstream.KeyValue
	err = patiently(ctx, func(ctx context.Context) (err error) {
		bucket, err = js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "checkpoints", Replicas: max(spec.Replicas, 1)})
		return err
	})
	if err != nil {
		return fmt.Errorf("bucket of the checkpoints: %w", err)
	}
	d := &durableCheckpoints{bucket: bucket, out: json.NewEncoder(os.Stdout)}
	var encrypted *TLS
	if spec.CA != "" {
		if encrypted, err = LoadTLS(spec.Cert, spec.Key, spec.CA, "test"); err != nil {
			return err
		}
	}
	n, err := New(Options{
		Name: "test", NodeID: spec.Node, Listen: cmp.Or(spec.Listen, "127.0.0.1:0"), Advertise: spec.Advertise, TLS: encrypted,
		Partitions: spec.Partitions, Conn: conn, Owner: d, Replicas: spec.Replicas,
		ReleaseMessage: func() any { return releaseMessage{} }, HandOver: 3 * time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	go func() { // ends with the process
		<-n.Ready()
		d.say(childEvent{Kind: "ready", Detail: n.System().ID})
	}()
	asked, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	others.Go(func() {
		_ = ServeStatus(asked, conn, "test", func() NodeReport { return n.Report(NodeStatus{Roles: []string{"worker"}, Version: "test"}) })
	})
	others.Go(func() { _ = ServeAsk(asked, conn, "test", n, slog.New(slog.DiscardHandler)) })
	err = n.Run(ctx)
	stop()
	others.Wait()
	d.say(childEvent{Kind: "left"})
	return err
}

// child is a node in another process.
type child struct {
	spec childSpec
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan error

	mu     sync.Mutex
	events []childEvent
}

func startChild(t *testing.T, url, node string, partitions int) *child {
	t.Helper()
	return startChildAs(t, childSpec{NATS: url, Node: node, Partitions: partitions})
}

func startChildAs(t *testing.T, spec childSpec) *child {
	t.Helper()
	c := &child{spec: spec, log: &lockedBuffer{}, done: make(chan error, 1)}
	arg, err := json.Marshal(c.spec)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(self)
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(arg))
	c.cmd.Stderr = c.log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e childEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				c.mu.Lock()
				c.events = append(c.events, e)
				c.mu.Unlock()
			}
		}
		c.done <- c.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		c.wait(t)
		if t.Failed() {
			t.Logf("log of %s:\n%s", spec.Node, c.log.String())
		}
	})
	return c
}

func (c *child) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.done:
		c.done <- err
		return err
	case <-time.After(20 * time.Second):
		t.Errorf("the process of %s did not end", c.spec.Node)
		return nil
	}
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (c *child) seen() []childEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]childEvent(nil), c.events...)
}

// owns is the partitions whose actor runs there, with the epoch.
func (c *child) owns() map[int]Ownership {
	owned := map[int]Ownership{}
	for _, e := range c.seen() {
		switch e.Kind {
		case "start":
			owned[e.Partition] = e.Ownership
		case "stop":
			delete(owned, e.Partition)
		}
	}
	return owned
}

func (c *child) count(f func(childEvent) bool) int {
	n := 0
	for _, e := range c.seen() {
		if f(e) {
			n++
		}
	}
	return n
}

func started(planned bool) func(childEvent) bool {
	return func(e childEvent) bool { return e.Kind == "start" && e.Planned == planned }
}

func (c *child) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, c.spec.Node+" is ready", func() bool {
		return c.count(func(e childEvent) bool { return e.Kind == "ready" }) > 0
	})
}

// epochsAreUnique fails the test when two tenures of one partition had one epoch.
func epochsAreUnique(t *testing.T, children ...*child) {
	t.Helper()
	owner := map[[2]uint64]string{}
	for _, c := range children {
		for _, e := range c.seen() {
			if e.Kind != "start" {
				continue
			}
			key := [2]uint64{uint64(e.Partition), e.Epoch}
			if mark, twice := owner[key]; twice && mark != e.Mark {
				t.Errorf("partition %d had two tenures with epoch %d", e.Partition, e.Epoch)
			}
			owner[key] = e.Mark
		}
	}
}

// leave ends the process in order.
func (c *child) leave(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	if err := c.wait(t); err != nil {
		t.Errorf("%s ended with %v", c.spec.Node, err)
	}
}
