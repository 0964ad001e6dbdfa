package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// probeEvery is how often every peer is asked for a sign over the transport itself.
	probeEvery = time.Second
	// probePatience is how long one probe waits.
	probePatience = 2 * time.Second
	// linkPatience is how long a connection may bring nothing back before it is given up and made anew: a path that swallows
	// bytes ends no connection by itself, and gRPC looks after 10 s at the earliest.
	linkPatience = 4 * time.Second
)

// links follows the connections to the peers. It keeps them warm, notices those that swallow bytes, and its word that a
// connection is alive makes membership patient with a peer that has just lost its own connection to NATS.
type links struct {
	system  *actor.ActorSystem
	board   *board
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time

	lost func(address string) // told of every connection that ended by itself; it must not block

	mu    sync.Mutex
	known map[string]*link // by address
}

type link struct {
	node     string
	probing  bool
	up       bool      // it answered, and was not cut since
	cut      bool      // its connection ended by itself after an answer
	answered time.Time // last answer; at first, when it was met
	reset    time.Time // when it was last given up
}

func newLinks(n *Node) *links {
	return &links{
		system: n.transport.system, board: n.board, metrics: n.metrics, log: n.log, now: n.now, known: map[string]*link{},
	}
}

// linkState is what the transport says of a peer.
type linkState uint8

const (
	linkUnknown linkState = iota // it never answered, or not lately
	linkAlive                    // it answered lately, and was not cut since
	linkCut                      // it answered, and the connection ended since
)

// state is what the transport says of the peer at that address. The end of a process cuts its connections at once; the end of
// a machine or of a path does not.
func (l *links) state(address string) linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch k := l.known[address]; {
	case k == nil:
		return linkUnknown
	case k.cut:
		return linkCut
	case k.up && l.now().Sub(k.answered) < probeEvery+probePatience:
		return linkAlive
	}
	return linkUnknown
}

// run probes until ctx ends, and returns when the last probe has.
func (l *links) run(ctx context.Context) error {
	events := l.system.EventStream.Subscribe(func(event any) {
		if ended, ok := event.(*remote.EndpointTerminatedEvent); ok {
			l.cut(ended.Address)
		}
	})
	defer l.system.EventStream.Unsubscribe(events)
	var probes sync.WaitGroup
	defer probes.Wait()
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	due := true
	for {
		v, changed := l.board.load()
		for _, m := range l.pick(v, due) {
			probes.Go(func() { l.probe(m) }) // ended by probePatience
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			due = false
		case <-ticker.C:
			due = true
		}
	}
}

// pick takes the peers to probe: all of them when that is due, else those that are new. Those that left are forgotten.
func (l *links) pick(v *view, due bool) []Member {
	l.mu.Lock()
	defer l.mu.Unlock()
	here := make(map[string]bool, len(v.members))
	var picked []Member
	for _, m := range v.members {
		if m.ID == v.self {
			continue
		}
		here[m.Address] = true
		k := l.known[m.Address]
		fresh := k == nil
		if fresh {
			k = &link{node: m.Node, answered: l.now()}
			l.known[m.Address] = k
			l.metrics.peerUp.WithLabelValues(m.Node).Set(0)
		}
		if (due || fresh) && !k.probing {
			k.probing = true
			picked = append(picked, m)
		}
	}
	for address, k := range l.known {
		if !here[address] {
			delete(l.known, address)
			l.metrics.peerUp.DeleteLabelValues(k.node)
		}
	}
	return picked
}

// probeActor is the id of the actor that answers probes.
const probeActor = "probe"

// spawnProbe starts it: it sends back what it gets.
func spawnProbe(system *actor.ActorSystem) (*actor.PID, error) {
	pid, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*emptypb.Empty); ok {
			ctx.Respond(m)
		}
	}), probeActor)
	if err != nil {
		return nil, fmt.Errorf("start the actor that answers probes: %w", err)
	}
	return pid, nil
}

// probe asks the transport of one peer for an answer.
func (l *links) probe(m Member) {
	target := actor.NewPID(m.Address, probeActor)
	_, err := l.system.Root.RequestFuture(target, &emptypb.Empty{}, probePatience).Result()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.known[m.Address]
	if k == nil {
		return // it left meanwhile
	}
	k.probing = false
	now := l.now()
	if err == nil {
		if !k.up {
			l.log.Info("a peer answers over the transport", "node", m.Node, "address", m.Address)
		}
		k.up, k.cut, k.answered = true, false, now
		l.metrics.peerUp.WithLabelValues(m.Node).Set(1)
		return
	}
	if silent := now.Sub(k.answered); silent >= linkPatience && now.Sub(k.reset) >= linkPatience {
		k.reset = now
		l.down(k)
		l.metrics.linkResets.Inc()
		l.log.Warn("a peer does not answer over the transport; the connection is made anew. Check the path to its address, and that both nodes have certificates of one cluster",
			"node", m.Node, "address", m.Address, "silent", silent)
		// The library has no other way to end a connection. Subscribers are called here, in this goroutine; ours is cut.
		l.mu.Unlock()
		l.system.EventStream.Publish(&remote.EndpointTerminatedEvent{Address: m.Address})
		l.mu.Lock()
	}
}

// cut notes that the transport lost a connection.
func (l *links) cut(address string) {
	l.mu.Lock()
	k := l.known[address]
	lost := k != nil && k.up
	if lost {
		k.cut = true
		l.down(k)
	}
	l.mu.Unlock()
	if lost && l.lost != nil {
		l.lost(address)
	}
}

func (l *links) down(k *link) {
	if k.up {
		k.up = false
		l.metrics.peerUp.WithLabelValues(k.node).Set(0)
	}
}
