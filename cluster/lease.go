package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	leasePrefix = "lease."

	// storeTimeout bounds one call of the bucket (an answer takes well under a millisecond; nats.go would wait 5 s).
	storeTimeout = time.Second

	// sweepEvery is how often all leases are read again: after a server's restart a watch was silent for 17 s.
	sweepEvery = 2 * time.Second
)

// Lease says who works on a partition. It is advice, the epoch is the law; but only its holder starts the partition's actor.
// The zero Lease means that nobody ever did.
type Lease struct {
	Node     string    `json:"node"`               // the owner's node id, for people
	Member   string    `json:"member"`             // the owner's process; empty: taken back from an actor that did not stop
	Epoch    uint64    `json:"epoch"`              // never falls
	Mark     string    `json:"mark"`               // random, names the tenure
	Planned  bool      `json:"planned,omitempty"`  // the former owner had handed over in order, or there was none
	Released bool      `json:"released,omitempty"` // the owner handed over in order
	At       time.Time `json:"at"`                 // owner's clock, for people
}

// free tells whether anybody may take the lease without looking at its owner.
func (l Lease) free() bool { return l.Released || l.Member == "" }

var (
	// errLeaseMoved: another node wrote the lease first; ours is not in the bucket and will not be.
	errLeaseMoved = errors.New("another node wrote the lease first")
	// errLeaseHeld: the owner is alive, or not yet known to be gone.
	errLeaseHeld = errors.New("the lease is held")
)

// held is a lease as this node last saw it.
type held struct {
	lease    Lease
	revision uint64
	moved    time.Time // when this node last saw it taken without having been released, zero if it never did
}

// leases reads, changes and follows the leases. What it remembers may be old; swap compares.
type leases struct {
	bucket jetstream.KeyValue
	conn   *nats.Conn
	log    *slog.Logger
	// subject carries every change between the nodes, beside the bucket's own watch: that one pauses for seconds after the loss of
	// a server or of a leader. Empty: nobody is told.
	subject string

	mu      sync.RWMutex
	known   []held
	changed []chan struct{}
}

func newLeases(bucket jetstream.KeyValue, partitions int, conn *nats.Conn, log *slog.Logger) *leases {
	l := &leases{bucket: bucket, conn: conn, log: log, known: make([]held, partitions), changed: make([]chan struct{}, partitions)}
	for p := range l.changed {
		l.changed[p] = make(chan struct{})
	}
	return l
}

func leaseKey(partition int) string { return leasePrefix + strconv.Itoa(partition) }

// seen is the lease as last seen, and a channel that is closed when that changes.
func (l *leases) seen(partition int) (held, <-chan struct{}) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.known[partition], l.changed[partition]
}

// note remembers what was read. An older revision is ignored, because the watch lags behind our own reads and writes; unless
// force says that the server may have lost its tail.
func (l *leases) note(partition int, lease Lease, revision uint64, force bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &l.known[partition]
	if revision == h.revision || (revision < h.revision && !force) {
		return
	}
	if h.revision != 0 && lease.Mark != h.lease.Mark && !lease.Planned {
		h.moved = time.Now()
	}
	h.lease, h.revision = lease, revision
	close(l.changed[partition])
	l.changed[partition] = make(chan struct{})
}

// read asks the server. The zero lease with revision 0 means that there is none.
func (l *leases) read(ctx context.Context, partition int) (Lease, uint64, error) {
	return l.readAs(ctx, partition, false)
}

func (l *leases) readAs(ctx context.Context, partition int, force bool) (Lease, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entry, err := l.bucket.Get(ctx, leaseKey(partition))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		l.note(partition, Lease{}, 0, force)
		return Lease{}, 0, nil
	}
	if err != nil {
		return Lease{}, 0, fmt.Errorf("read the lease of partition %d: %w", partition, err)
	}
	lease, err := decodeLease(entry)
	if err != nil {
		return Lease{}, 0, err
	}
	l.note(partition, lease, entry.Revision(), force)
	return lease, entry.Revision(), nil
}

func decodeLease(entry jetstream.KeyValueEntry) (Lease, error) {
	var lease Lease
	if err := json.Unmarshal(entry.Value(), &lease); err != nil {
		return Lease{}, fmt.Errorf("key %s of bucket %s is not a lease: %w", entry.Key(), bucketName, err)
	}
	return lease, nil
}

// swap writes next over the given revision and returns the new one. errLeaseMoved says that it is not and will not be
// written. A write without an answer counts as made only if it is read back.
func (l *leases) swap(ctx context.Context, partition int, next Lease, revision uint64) (uint64, error) {
	value, err := json.Marshal(next)
	if err != nil {
		return 0, fmt.Errorf("encode the lease of partition %d: %w", partition, err)
	}
	writing, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var written uint64
	if revision == 0 {
		written, err = l.bucket.Create(writing, leaseKey(partition), value) // also over a deleted key
	} else {
		written, err = l.bucket.Update(writing, leaseKey(partition), value, revision)
	}
	if err == nil {
		l.tell(partition, next, written)
		return written, nil
	}
	have, at, readErr := l.read(ctx, partition)
	switch {
	case readErr != nil:
		return 0, fmt.Errorf("write the lease of partition %d: %w", partition, err)
	case at != 0 && have.Mark == next.Mark && have.Member == next.Member && have.Released == next.Released:
		return at, nil
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch), errors.Is(err, jetstream.ErrKeyExists):
		return 0, fmt.Errorf("partition %d: %w", partition, errLeaseMoved)
	default:
		return 0, fmt.Errorf("write the lease of partition %d: %w", partition, err)
	}
}

// run follows the leases until ctx ends.
func (l *leases) run(ctx context.Context) error {
	for {
		if err := l.follow(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("the watch on the leases ended and is made anew", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery / 4):
		}
	}
}

func (l *leases) follow(ctx context.Context) error {
	watch, err := l.bucket.Watch(ctx, leasePrefix+"*")
	if err != nil {
		return fmt.Errorf("watch the leases: %w", err)
	}
	defer func() { _ = watch.Stop() }()
	told := make(chan *nats.Msg, 4*len(l.known))
	sub, err := l.conn.ChanSubscribe(l.subject, told)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", l.subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	reconnects := l.conn.Stats().Reconnects
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the server ended it")
			}
			if entry != nil && entry.Operation() == jetstream.KeyValuePut {
				l.learn(entry)
			}
		case msg := <-told:
			l.hear(msg.Data)
		case <-sweep.C:
			now := l.conn.Stats().Reconnects
			l.sweep(ctx, now != reconnects)
			reconnects = now
		}
	}
}

// leaseNews is a change of a lease as its writer tells it.
type leaseNews struct {
	Partition int    `json:"partition"`
	Revision  uint64 `json:"revision"`
	Lease
}

// tell notes what this node wrote, and tells the others.
func (l *leases) tell(partition int, lease Lease, revision uint64) {
	l.note(partition, lease, revision, false)
	if l.subject == "" {
		return
	}
	news, err := json.Marshal(leaseNews{Partition: partition, Revision: revision, Lease: lease})
	if err == nil {
		err = l.conn.Publish(l.subject, news)
	}
	if err != nil { // the watch tells them too, and the sweep
		l.log.Debug("a change of a lease was not told", "partition", partition, "error", err)
	}
}

func (l *leases) hear(data []byte) {
	var news leaseNews
	if err := json.Unmarshal(data, &news); err != nil || news.Partition < 0 || news.Partition >= len(l.known) || news.Revision == 0 {
		return // not one of ours
	}
	l.note(news.Partition, news.Lease, news.Revision, false)
}

func (l *leases) learn(entry jetstream.KeyValueEntry) {
	p, err := strconv.Atoi(strings.TrimPrefix(entry.Key(), leasePrefix))
	if err != nil || p < 0 || p >= len(l.known) {
		return // a key that is none of ours
	}
	lease, err := decodeLease(entry)
	if err != nil {
		l.log.Error("a lease cannot be read", "partition", p, "error", err)
		return
	}
	l.note(p, lease, entry.Revision(), false)
}

// sweep reads all leases; it gives up at the first failure, for the next sweep is near.
func (l *leases) sweep(ctx context.Context, force bool) {
	if !l.conn.IsConnected() {
		return
	}
	for p := range l.known {
		if _, _, err := l.readAs(ctx, p, force); err != nil {
			return
		}
	}
}
