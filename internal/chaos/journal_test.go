package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/internal/checker"
)

// journal is what the log's streams hold, read message by message on a connection of its own, past all proxies. It reads all the
// time, because the engine purges what is settled; what was purged before it was read is counted.
type journal struct {
	conn  *nats.Conn
	js    jetstream.JetStream
	names []string // of the streams

	mu      sync.Mutex
	next    map[string]uint64 // by stream
	entries []checker.Entry
	last    map[string]uint64 // newest entry's sequence, by user
	dead    []checker.DeadLetter
	gaps    []string
}

func openJournal(url string, streams int) (*journal, error) {
	conn, err := nats.Connect(url, nats.Name("chaos-journal"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &journal{conn: conn, js: js, names: logStreams(streams), next: map[string]uint64{}, last: map[string]uint64{}}, nil
}

func (j *journal) close() { j.conn.Close() }

// run follows until ctx ends.
func (j *journal) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = j.follow(ctx) // the next round tries again; settle wants one without an error
		}
	}
}

// follow reads what came since.
func (j *journal) follow(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range j.names {
		subjects, take := "hy.in.>", j.takeEntry
		if name == "HY_DEAD" {
			subjects, take = "hy.dead.>", j.takeDead
		}
		read := func(sequence uint64, data []byte) error {
			if from := j.next[name]; from > 0 && sequence > from {
				j.gaps = append(j.gaps, fmt.Sprintf("%s %d–%d", name, from, sequence-1))
			}
			j.next[name] = sequence + 1
			return take(sequence, data)
		}
		if _, err := checker.Walk(j.request(ctx), name, subjects, j.next[name], read); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) request(ctx context.Context) checker.Request {
	return func(subject string, data []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		m, err := j.conn.RequestWithContext(ctx, subject, data)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
}

// logStreams are the names of the log's streams, and of the dead letters'.
func logStreams(streams int) []string {
	names := []string{"HY_DEAD"}
	if streams == 1 {
		return append(names, "HY_IN")
	}
	for i := range streams {
		names = append(names, fmt.Sprintf("HY_IN_%d", i))
	}
	return names
}

func (j *journal) takeEntry(sequence uint64, data []byte) error {
	e, err := checker.EntryOf(sequence, data)
	if err != nil {
		return err
	}
	j.entries = append(j.entries, e)
	j.last[e.OpenID] = sequence
	return nil
}

func (j *journal) takeDead(sequence uint64, data []byte) error {
	d, err := checker.DeadLetterOf(sequence, data)
	if err != nil {
		return err
	}
	j.dead = append(j.dead, d)
	return nil
}

// told is what was read of some users, and how many distinct messages each of them has.
func (j *journal) told(users []string) (checker.Journal, map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wanted := make(map[string]bool, len(users))
	for _, u := range users {
		wanted[u] = true
	}
	var out checker.Journal
	distinct := make(map[string]int)
	known := make(map[string]bool)
	for _, e := range j.entries {
		if !wanted[e.OpenID] {
			continue
		}
		out.Entries = append(out.Entries, e)
		if id := e.OpenID + "/" + e.MsgID; !known[id] {
			known[id] = true
			distinct[e.OpenID]++
		}
	}
	for _, d := range j.dead {
		if wanted[d.OpenID] {
			out.Dead = append(out.Dead, d)
		}
	}
	return out, distinct
}

// forget drops what was read; a new leg has new users.
func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries, j.dead, j.gaps = nil, nil, nil
	clear(j.last)
}

// leases is the node of each partition's lease, as the bucket says; partitions that nobody ever took are missing.
func (j *journal) leases(ctx context.Context, partitions int) (map[int]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	bucket, err := j.js.KeyValue(ctx, "hy_cluster")
	if err != nil {
		return nil, err
	}
	out := make(map[int]string)
	for p := range partitions {
		entry, err := bucket.Get(ctx, fmt.Sprintf("lease.%d", p))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lease, err := readLease(entry.Value())
		if err != nil {
			return nil, err
		}
		if lease.Member != "" && !lease.Released {
			out[p] = lease.Node
		}
	}
	return out, nil
}

// lease is what the tests read of one.
type lease struct {
	Node     string `json:"node"`
	Member   string `json:"member"`
	Released bool   `json:"released"`
}

func readLease(data []byte) (lease, error) {
	var l lease
	err := json.Unmarshal(data, &l)
	return l, err
}

// leader is the name of the server that leads a stream.
func (j *journal) leader(ctx context.Context, stream string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := j.js.Stream(ctx, stream)
	if err != nil {
		return "", err
	}
	if s.CachedInfo().Cluster == nil {
		return "", fmt.Errorf("stream %s has no cluster", stream)
	}
	return s.CachedInfo().Cluster.Leader, nil
}

// newest is the sequence of a user's newest entry.
func (j *journal) newest(openID string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last[openID]
}

// missed are the ranges of sequences that were gone before they were read.
func (j *journal) missed() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.gaps
}
