package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"hongyan/state"
)

// How often a cluster's map is read again.
const (
	reloadEvery = 30 * time.Second       // without a reason
	reloadPause = 100 * time.Millisecond // at the least between two, however many reasons there are
)

// topology knows which node serves a partition. One server, and one master behind sentinels, are a map with one node for all
// slots that never changes; go-redis finds the master itself. A cluster's map is read from its nodes.
//
// Redirections are followed here and not by go-redis's cluster client, because that one sends again by itself what it sent to
// a node that broke, and then cannot say what became of it.
type topology struct {
	store *Store

	mu      sync.RWMutex
	nodes   map[string]*node
	slots   [slots]*node // nil: nobody serves it
	closed  bool
	reload  chan struct{} // has an element when the map should be read again; nil outside a cluster
	stop    context.CancelFunc
	watcher sync.WaitGroup
}

// single serves everything from one node.
func (s *Store) single(addr string) *topology {
	t := &topology{store: s, nodes: map[string]*node{}, stop: func() {}}
	n := s.connect(addr, nil, func() {})
	t.nodes[addr] = n
	for slot := range t.slots {
		t.slots[slot] = n
	}
	return t
}

// cluster reads the map and keeps it up to date until close is called.
func (s *Store) cluster(ctx context.Context, addrs []string) (*topology, error) {
	t := &topology{store: s, nodes: map[string]*node{}, reload: make(chan struct{}, 1)}
	for _, addr := range addrs {
		t.nodes[addr] = t.connect(addr)
	}
	watch, stop := context.WithCancel(context.Background())
	t.stop = stop
	if err := t.load(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.watcher.Go(func() { t.watch(watch) })
	return t, nil
}

func (t *topology) connect(addr string) *node { return t.store.connect(addr, t.redirect, t.changed) }

// changed asks for the map to be read again.
func (t *topology) changed() {
	select {
	case t.reload <- struct{}{}:
	default:
	}
}

// watch reads the map again from time to time, and soon after there was a reason. It ends when ctx does.
func (t *topology) watch(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	pause := time.NewTimer(reloadPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.reload:
		case <-tick.C:
		}
		pause.Reset(reloadPause)
		if err := t.load(ctx); err != nil && ctx.Err() == nil {
			t.store.log.LogAttrs(ctx, slog.LevelWarn, "the map of the Redis cluster could not be read and is read again later",
				slog.Any("error", err))
		}
	}
}

// load asks one node after the other for the cluster's map, and takes up the first answer.
func (t *topology) load(ctx context.Context) error {
	var all error
	for _, n := range t.known() {
		within, cancel := context.WithTimeout(ctx, t.store.opts.OpTimeout)
		parts, err := n.client.ClusterSlots(within).Result() //nolint:staticcheck // ClusterShards needs Redis 7; older servers know this one alone
		cancel()
		if err == nil && len(parts) == 0 {
			err = errors.New("it serves no slots")
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("node %s: %w", n.addr, meaning(err, false)))
			continue
		}
		return t.adopt(n.addr, parts)
	}
	return fmt.Errorf("read the map of the cluster: %w", all)
}

// known are the nodes that may know the map: those that serve something first, and those that the operator named.
func (t *topology) known() []*node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	serving := t.serving()
	for _, n := range t.nodes {
		if !slices.Contains(serving, n) {
			serving = append(serving, n)
		}
	}
	return serving
}

// adopt takes up a map that the node at addr gave. It ends the nodes that are not in it any more.
func (t *topology) adopt(addr string, parts []goredis.ClusterSlot) error {
	t.mu.Lock()
	t.slots = [slots]*node{}
	serves := map[string]bool{}
	for _, part := range parts {
		if len(part.Nodes) == 0 {
			continue
		}
		master := complete(part.Nodes[0].Addr, addr)
		serves[master] = true
		n := t.nodeAt(master)
		for slot := max(part.Start, 0); slot <= min(part.End, slots-1); slot++ {
			t.slots[slot] = n
		}
	}
	var gone []*node
	for at, n := range t.nodes {
		if !serves[at] && !slices.Contains(t.store.target.addrs, at) {
			delete(t.nodes, at)
			gone = append(gone, n)
		}
	}
	t.mu.Unlock()
	var err error
	for _, n := range gone {
		err = errors.Join(err, n.close())
	}
	return err
}

// complete gives an address without a host, which a node uses that does not know its own, the host at which it was asked.
func complete(addr, asked string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host != "" {
		return addr
	}
	host, _, err = net.SplitHostPort(asked)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, port)
}

// nodeAt is the node at an address, connected if it is new; nil after close. The lock must be held.
func (t *topology) nodeAt(addr string) *node {
	n := t.nodes[addr]
	if n == nil && !t.closed {
		n = t.connect(addr)
		t.nodes[addr] = n
	}
	return n
}

// redirect sends an operation on to the node that from named, and asks for the new map.
func (t *topology) redirect(from *node, o *op, addr string) {
	t.changed()
	t.mu.Lock()
	n := t.nodeAt(complete(addr, from.addr))
	t.mu.Unlock()
	if n == nil {
		o.finish(nil, fmt.Errorf("%w: %w", state.ErrUnavailable, errClosed))
		return
	}
	n.batcher(o).add(o)
}

// node that serves a partition; the error is state.ErrUnavailable.
func (t *topology) node(partition int) (*node, error) {
	slot := slotOf(partition)
	t.mu.RLock()
	n := t.slots[slot]
	t.mu.RUnlock()
	if n == nil {
		t.changed()
		return nil, fmt.Errorf("%w: no node of the Redis cluster serves slot %d, to which partition %d belongs",
			state.ErrUnavailable, slot, partition)
	}
	return n, nil
}

// serving are the nodes that serve slots, each once. The lock must be held.
func (t *topology) serving() []*node {
	var all []*node
	for _, n := range t.slots {
		if n != nil && (len(all) == 0 || all[len(all)-1] != n) && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// masters are the nodes that serve slots, each with the lowest partition below most that it serves; -1 where it serves none.
func (t *topology) masters(most int) map[*node]int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := map[*node]int{}
	for _, n := range t.serving() {
		all[n] = -1
	}
	for partition := most - 1; partition >= 0; partition-- {
		if n := t.slots[slotOf(partition)]; n != nil {
			all[n] = partition
		}
	}
	return all
}

// close returns when nothing is under way any more.
func (t *topology) close() error {
	t.stop()
	t.watcher.Wait()
	t.mu.Lock()
	t.closed = true
	nodes := slices.Collect(maps.Values(t.nodes))
	t.mu.Unlock()
	for _, n := range nodes { // all at once, so that all of them take no longer than one
		n.stop()
	}
	var err error
	for _, n := range nodes {
		err = errors.Join(err, n.close())
	}
	return err
}
