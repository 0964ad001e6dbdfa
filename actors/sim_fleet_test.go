package actors

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/bots"
)

// fleet is the cluster as a simulation has it: a table of leases, and judgements about who is alive, wrong ones included.
type fleet struct {
	sim   *sim
	mu    sync.Mutex
	nodes []*node
	lease []tenancy // by partition: the last one given
	all   []tenancy
	boots int
	size  int // how many processes there ought to be
}

// tenancy is one lease on one partition.
type tenancy struct {
	node      *node
	partition int
	epoch     uint64
	pid       *actor.PID
	gone      chan struct{} // closed when the partition's actor has ended
}

func (t tenancy) ended() bool {
	if t.gone == nil {
		return true
	}
	select {
	case <-t.gone:
		return true
	default:
		return false
	}
}

// join starts one more node.
func (f *fleet) join() *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots++
	n := f.sim.boot(fmt.Sprint("n", f.boots))
	f.nodes = append(f.nodes, n)
	return n
}

// alive are the nodes that the others see.
func (f *fleet) alive() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*node
	for _, n := range f.nodes {
		if n.up() {
			out = append(out, n)
		}
	}
	return out
}

func (f *fleet) holder(partition int) tenancy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lease[partition]
}

// take gives the partition to a node under the next epoch, whoever has it now, and whoever else is about to.
func (f *fleet) take(partition int, n *node) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	stored, err := CheckpointEpoch(ctx, nodeStore{n}, partition)
	if err != nil {
		return // keep tries again
	}
	f.mu.Lock()
	epoch := max(f.lease[partition].epoch, stored) + 1
	f.lease[partition] = tenancy{node: n, partition: partition, epoch: epoch}
	f.mu.Unlock()
	if f.sim.chance.roll(10, "slow winner") == 0 {
		time.Sleep(f.sim.chance.upTo(2*time.Second, "slow winner"))
	}
	n.mu.Lock()
	dead := n.dead
	n.mu.Unlock()
	if dead {
		return
	}
	t := tenancy{node: n, partition: partition, epoch: epoch, gone: make(chan struct{})}
	t.pid = n.system.Root.Spawn(n.engine.Partition(Tenure{Partition: partition, Epoch: epoch, Mark: fmt.Sprint("mark", f.sim.random())}))
	n.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			ctx.Watch(t.pid)
		case *actor.Terminated:
			close(t.gone)
			ctx.Stop(ctx.Self())
		}
	}))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, t)
	if f.lease[partition].epoch == epoch {
		f.lease[partition] = t
	}
}

// dead tells whether fewer processes run than ought to.
func (f *fleet) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.nodes) < f.size
}

// keep gives every partition that nobody has to somebody, until ctx ends.
func (f *fleet) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if f.dead() { // whoever starts processes starts another one
			time.Sleep(f.sim.chance.upTo(2*time.Second, "restart"))
			f.join()
		}
		nodes := f.alive()
		for partition := range f.lease {
			t := f.holder(partition)
			if len(nodes) > 0 && (t.ended() || !t.node.up()) {
				f.take(partition, nodes[f.sim.chance.roll(len(nodes), fmt.Sprint("owner", partition))])
			}
		}
		time.Sleep(100*time.Millisecond + f.sim.chance.upTo(400*time.Millisecond, "keep"))
	}
}

// misjudge takes a partition from an owner that is alive and well. The owner hears of it late, by one word or another, or never.
func (f *fleet) misjudge(ctx context.Context, partition int) {
	old, nodes := f.holder(partition), f.alive()
	if old.ended() || len(nodes) == 0 {
		return
	}
	place := fmt.Sprint("misjudge", partition)
	f.take(partition, nodes[f.sim.chance.roll(len(nodes), place)])
	word := f.sim.chance.roll(3, "word"+place)
	go func() { // ended by the sleep, or with the simulation
		select {
		case <-time.After(f.sim.chance.upTo(8*time.Second, place)):
		case <-ctx.Done():
			return
		}
		if old.ended() || old.node.pass() != nil {
			return
		}
		switch word {
		case 0:
			old.node.system.Root.Send(old.pid, &Release{})
		case 1:
			old.node.system.Root.Stop(old.pid)
		}
	}()
}

// handOver releases a partition in order and gives it to another node.
func (f *fleet) handOver(partition int) {
	old := f.holder(partition)
	if old.ended() || !old.node.up() {
		return
	}
	old.node.system.Root.Send(old.pid, &Release{})
	select {
	case <-old.gone:
	case <-time.After(10 * time.Second): // stopped or cut off in the middle: keep takes it anyhow
	}
}

// kill ends a process without a word. What it has sent is on its way.
func (f *fleet) kill(n *node) {
	n.die()
	f.mu.Lock()
	if !slices.Contains(f.nodes, n) {
		f.mu.Unlock()
		return // somebody else has killed it
	}
	var his []tenancy
	for _, t := range f.all {
		if t.node == n {
			his = append(his, t)
		}
	}
	f.nodes = slices.DeleteFunc(slices.Clone(f.nodes), func(have *node) bool { return have == n })
	f.mu.Unlock()
	for _, t := range his {
		if !t.ended() {
			n.system.Root.Stop(t.pid)
		}
	}
	for _, t := range his {
		<-t.gone
	}
	n.system.Shutdown()
}

// settleDown ends every tenancy but the last of each partition.
func (f *fleet) settleDown() {
	f.mu.Lock()
	all := append([]tenancy(nil), f.all...)
	f.mu.Unlock()
	for _, t := range all {
		if !t.ended() && f.holder(t.partition).epoch != t.epoch {
			t.node.system.Root.Stop(t.pid)
			<-t.gone
		}
	}
}

// simBot answers "re: <text>": quickly, slowly, with an error or a panic, with nothing, or by killing its process.
type simBot struct{ node *node }

func (b *simBot) Name() string { return "sim" }

func (b *simBot) Answer(ctx context.Context, req *bots.Request) (bots.Response, error) {
	text := req.Message.GetText().GetContent()
	if err := b.node.pass(); err != nil {
		return bots.Response{}, err
	}
	mood := b.node.sim.mood(text)
	if d := mood.delay; d > 0 && (!req.Hurry || mood.stubborn) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return bots.Response{}, ctx.Err()
		}
	}
	switch {
	case mood.deadly:
		go b.node.sim.fleet.kill(b.node) // ended by the death of the node's actors
		<-ctx.Done()
		return bots.Response{}, ctx.Err()
	case mood.panics:
		panic("the bot is in a mood")
	case mood.fails:
		return bots.Response{}, errDead
	case mood.silent:
		return bots.Response{Handled: true}, nil
	}
	resp := bots.Response{Handled: true}
	for _, mark := range b.node.sim.marks(text) {
		resp.Answers = append(resp.Answers, bots.Text(mark))
	}
	return resp, nil
}

// mood is how the bot is about a text, always the same.
type mood struct {
	delay                                   time.Duration
	stubborn, deadly, panics, fails, silent bool
	answers                                 int
}

func (s *sim) mood(text string) mood {
	roll := s.chance.fixed(100, "mood"+text)
	m := mood{deadly: text == s.deadly, answers: 1}
	switch {
	case strings.Contains(text, "flood"): // they are many
	case strings.HasPrefix(text, "[p") && roll > 60: // slow enough for a push, several answers, or both
		if roll > 80 {
			m.answers = 2 + s.chance.fixed(6, "answers"+text)
		}
		if roll%2 == 0 {
			m.delay, m.stubborn = time.Duration(s.chance.fixed(20000, "delay"+text))*time.Millisecond, roll%4 == 0
		}
	case roll < 15:
		m.delay = time.Duration(s.chance.fixed(20000, "delay"+text)) * time.Millisecond
	case roll < 25:
		m.delay = time.Duration(s.chance.fixed(500, "delay"+text)) * time.Millisecond
	case roll < 27:
		m.panics = true
	case roll < 29:
		m.fails = true
	case roll < 33:
		m.silent = true
	}
	return m
}
