package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// serving runs f until the test ends.
func serving(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }() // ended by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLayoutIsWaitedFor(t *testing.T) {
	s := startNATS(t)
	conn := connect(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, recorded, err := RecordedLayout(ctx, conn); recorded || err != nil {
		t.Fatalf("nothing is recorded: %v, %v", recorded, err)
	}
	short, end := context.WithTimeout(ctx, 50*time.Millisecond)
	defer end()
	if _, err := WaitLayout(short, conn, Layout{Partitions: 8}, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody records one: %v", err)
	}
	log := &lockedBuffer{}
	type outcome struct {
		have Layout
		err  error
	}
	waited := make(chan outcome, 1)
	go func() { // ended by ctx
		have, err := WaitLayout(ctx, conn, Layout{Partitions: 8}, slog.New(slog.NewTextHandler(log, nil)))
		waited <- outcome{have, err}
	}()
	eventually(t, "it says what it waits for", func() bool { return contains(log.String(), "waiting for a worker") })
	n := start(t, s, newTenures(), func(o *Options) { o.Streams = 3 })
	n.awaitReady(t)
	got := <-waited
	if got.err != nil || got.have.Partitions != 8 || got.have.Streams != 3 {
		t.Errorf("%+v, %v", got.have, got.err)
	}
	for want, fits := range map[Layout]bool{
		{Partitions: 8, Streams: 3}: true, {Partitions: 8}: true, {Partitions: 8, Streams: 1}: false, {Partitions: 4}: false,
	} {
		if _, err := WaitLayout(ctx, conn, want, slog.New(slog.DiscardHandler)); (err == nil) != fits || (err != nil && !errors.Is(err, ErrLayout)) {
			t.Errorf("%+v: %v", want, err)
		}
	}
	if have, err := CheckLayout(ctx, conn, Layout{Partitions: 8}, 1); err != nil || have.Streams != 3 {
		t.Errorf("streams as recorded: %+v, %v", have, err)
	}
}

func TestStatusOfOneNode(t *testing.T) {
	s := startNATS(t)
	conn := connect(t, s)
	if r, err := Gather(context.Background(), conn, "test"); err != nil || len(r.Nodes)+len(r.Partitions) != 0 {
		t.Fatalf("nobody is there: %+v, %v", r, err)
	}
	owner := newTenures()
	n := start(t, s, owner)
	n.awaitReady(t)
	began := time.Now().Truncate(time.Second)
	serving(t, func(ctx context.Context) error {
		return ServeStatus(ctx, conn, "test", func() NodeReport {
			return n.Report(NodeStatus{Roles: []string{"worker"}, Version: "v1", Started: began, Admin: "127.0.0.1:9090"})
		})
	})
	serving(t, func(ctx context.Context) error {
		return ServeStatus(ctx, conn, "test", func() NodeReport {
			return NodeReport{NodeStatus: NodeStatus{Node: "ingress-1", Roles: []string{"ingress"}, Callback: "127.0.0.1:8080"}}
		})
	})
	var r Report
	eventually(t, "both answer", func() (ok bool) {
		var err error
		r, err = Gather(context.Background(), conn, "test")
		return err == nil && len(r.Nodes) == 2
	})
	in, node := r.Nodes[0], r.Nodes[1]
	if in.Node != "ingress-1" || in.Process != "" || in.Callback == "" {
		t.Errorf("the ingress: %+v", in)
	}
	if node.Node != "node" || node.Partitions != 8 || node.Version != "v1" || !node.Started.Equal(began) ||
		node.Process != n.System().ID || node.Address != n.System().Address() || node.Fenced || node.Leaving {
		t.Errorf("the worker: %+v", node)
	}
	if len(r.Partitions) != 8 || len(r.Missing) != 0 || r.Moving() != 0 {
		t.Fatalf("%+v", r)
	}
	for i, p := range r.Partitions {
		if p.Partition != i || p.Owner != "node" || p.Epoch != 1 || p.Mark == "" || !p.Planned || !p.Reported || p.Unsettled != 100+i || p.Since.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	if err := n.leave(t); err != nil {
		t.Fatal(err)
	}
	r, err := Gather(context.Background(), conn, "test")
	if err != nil || r.Moving() != 8 {
		t.Errorf("after it left %d of 8 partitions move, %v", r.Moving(), err)
	}
}

// What counts as moving, one reason at a time.
func TestMerge(t *testing.T) {
	t.Parallel()
	a, b := Member{ID: "aaaaaaaaaaaaaaaaaaaaaa", Node: "a", Worker: true}, Member{ID: "bbbbbbbbbbbbbbbbbbbbbb", Node: "b", Worker: true}
	const partitions = 8
	desired := place(partitions, []string{a.ID, b.ID})
	build := func() ([]NodeReport, []Lease) {
		reports := []NodeReport{
			{NodeStatus: NodeStatus{Node: "b", Process: b.ID}, Workers: []Member{a, b}},
			{NodeStatus: NodeStatus{Node: "a", Process: a.ID}, Workers: []Member{a, b}},
		}
		leases := make([]Lease, partitions)
		for p, id := range desired {
			leases[p] = Lease{Node: map[string]string{a.ID: "a", b.ID: "b"}[id], Member: id, Epoch: 7, Mark: "m"}
			for i := range reports {
				if reports[i].Process == id {
					reports[i].Serves = append(reports[i].Serves, ServedPartition{Partition: p, Epoch: 7, Ready: true, Backlog: Backlog{Unsettled: p}})
				}
			}
		}
		return reports, leases
	}
	reports, leases := build()
	if r := merge(reports, leases); r.Moving() != 0 || len(r.Missing) != 0 || r.Nodes[0].Node != "a" || r.Partitions[3].Unsettled != 3 {
		t.Errorf("at rest: %+v", r)
	}
	other := map[string]string{a.ID: b.ID, b.ID: a.ID}
	for name, change := range map[string]func([]NodeReport, []Lease){
		"released":          func(_ []NodeReport, l []Lease) { l[0].Released = true },
		"taken back":        func(_ []NodeReport, l []Lease) { l[0].Member = "" },
		"owner unknown":     func(_ []NodeReport, l []Lease) { l[0].Member = "cccccccccccccccccccccc" },
		"belongs elsewhere": func(_ []NodeReport, l []Lease) { l[0].Member = other[l[0].Member] },
		"not yet served":    func(_ []NodeReport, l []Lease) { l[0].Epoch++ },
		"not yet ready": func(r []NodeReport, _ []Lease) {
			for i := range r {
				if len(r[i].Serves) > 0 && r[i].Serves[0].Partition == 0 {
					r[i].Serves[0].Ready = false
				}
			}
		},
	} {
		reports, leases := build()
		change(reports, leases)
		if r := merge(reports, leases); r.Moving() != 1 || !r.Partitions[0].Moving {
			t.Errorf("%s: %d partitions move", name, r.Moving())
		}
	}
	reports, leases = build()
	if r := merge(reports[:1], leases); fmt.Sprint(r.Missing) != "[a]" || r.Moving() != 0 {
		t.Errorf("a live worker that does not answer: %+v", r)
	}
}

func TestStatusOfProcesses(t *testing.T) {
	s := startListening(t)
	a, b := startChild(t, s.ClientURL(), "a", 16), startChild(t, s.ClientURL(), "b", 16)
	a.awaitReady(t)
	b.awaitReady(t)
	conn := connect(t, s)
	gather := func() Report {
		r, err := Gather(context.Background(), conn, "test")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	eventually(t, "all is at rest", func() bool { r := gather(); return r.Moving() == 0 && len(r.Nodes) == 2 && len(r.Partitions) == 16 })
	a.signal(t, syscall.SIGSTOP)
	eventually(t, "a is missing", func() bool { // the stop takes hold a moment after the signal
		began := time.Now()
		r := gather()
		if time.Since(began) > 3*time.Second {
			t.Errorf("a paused node held the question up for %v", time.Since(began))
		}
		return len(r.Missing) == 1 && r.Missing[0] == "a"
	})
	a.signal(t, syscall.SIGKILL)
	eventually(t, "b serves all", func() bool { r := gather(); return r.Moving() == 0 && len(r.Nodes) == 1 && r.Nodes[0].Partitions == 16 })
}

// answers is a Requester.
type answers func(ctx context.Context, u messages.User) (any, error)

func (f answers) Request(ctx context.Context, u messages.User, _ proto.Message) (any, error) {
	return f(ctx, u)
}

func TestAskFromOutside(t *testing.T) {
	s := startNATS(t)
	conn := connect(t, s)
	u := messages.User{Account: "demo", OpenID: "secret-open-id"}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := Ask(ctx, conn, "test", u, &messages.Inspect{}); !errors.Is(err, ErrNoWorker) {
		t.Errorf("nobody is there: %v", err)
	}
	n := start(t, s, newTenures())
	n.awaitReady(t)
	serving(t, func(ctx context.Context) error { return ServeAsk(ctx, conn, "test", n, slog.New(slog.DiscardHandler)) })
	serving(t, func(ctx context.Context) error {
		return ServeAsk(ctx, conn, "failing", answers(func(context.Context, messages.User) (any, error) {
			return nil, errors.New("nobody owns the partition at the moment")
		}), slog.New(slog.DiscardHandler))
	})
	var mu sync.Mutex
	var within time.Duration
	serving(t, func(ctx context.Context) error {
		return ServeAsk(ctx, conn, "slow", answers(func(ctx context.Context, _ messages.User) (any, error) {
			deadline, _ := ctx.Deadline()
			mu.Lock()
			within = time.Until(deadline)
			mu.Unlock()
			<-ctx.Done()
			return nil, ctx.Err()
		}), slog.New(slog.DiscardHandler))
	})
	var reply proto.Message
	eventually(t, "a worker answers", func() (ok bool) {
		var err error
		reply, err = Ask(ctx, conn, "test", u, &messages.Inspect{})
		return err == nil
	})
	if view, ok := reply.(*messages.UserView); !ok || view.GetNode() != n.System().ID {
		t.Errorf("answered %v", reply)
	}
	if _, err := Ask(ctx, conn, "failing", u, &messages.Inspect{}); err == nil || !contains(err.Error(), "nobody owns") || contains(err.Error(), u.OpenID) {
		t.Errorf("a worker that cannot: %v", err)
	}
	short, end := context.WithTimeout(ctx, 200*time.Millisecond)
	defer end()
	if _, err := Ask(short, conn, "slow", u, &messages.Inspect{}); err == nil {
		t.Error("a slow worker answered")
	}
	mu.Lock()
	defer mu.Unlock()
	if within <= 0 || within > 200*time.Millisecond {
		t.Errorf("the worker was given %v", within)
	}
}
