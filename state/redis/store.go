// Package redis keeps records in Redis: the store of production (DESIGN §4). A commit is one script that compares and sets, so
// it costs one command and no read; the commits of many users travel in one pipeline.
//
// The servers are one Redis, a master behind sentinels, or a Redis Cluster. A script is never sent again by itself after its
// connection broke: its outcome is unknown then, and the caller says what follows. Sending the same write again is safe however
// often it happens, since the script recognises its write id (DESIGN §3 rule 8).
package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names its scripts so
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"hongyan/state"
)

//go:embed change.lua
var changeScript string

// changeSHA is the name under which a server keeps the script.
var changeSHA = func() string {
	sum := sha1.Sum([]byte(changeScript)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}()

// Store is a connection to Redis.
type Store struct {
	opts     Options
	target   target
	prefix   string
	node     string // in keys: nothing but letters, digits, - and _
	log      *slog.Logger
	metrics  *metrics
	topology *topology
	markTTL  string // of a deleted record's mark, in milliseconds
	closing  sync.Once
}

var _ state.Store = (*Store)(nil)

// Open connects, reads a cluster's map, and asks every master whether it answers. ctx bounds that. Close ends what it started.
// Errors show no password; where the servers cannot be reached they are state.ErrUnavailable.
func Open(ctx context.Context, opts Options) (*Store, error) {
	t, err := opts.target()
	if err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	s := &Store{
		opts: opts, target: t, prefix: opts.Prefix, node: plainName(opts.Node), log: opts.Logger, metrics: newMetrics(),
		markTTL: strconv.FormatInt(opts.TombstoneTTL.Milliseconds(), 10),
	}
	if err := s.metrics.register(opts.Registerer); err != nil {
		return nil, fmt.Errorf("open Redis: metrics: %w", err)
	}
	if opts.Mode == ModeCluster {
		s.topology, err = s.cluster(ctx, t.addrs)
	} else {
		s.topology = s.single(t.addrs[0])
	}
	if err == nil {
		if err = s.greet(ctx); err != nil {
			err = errors.Join(err, s.topology.close())
		}
	}
	if err != nil {
		s.metrics.unregister()
		return nil, fmt.Errorf("open Redis at %s (mode %s): %w; check address, mode, user and password, TLS",
			strings.Join(t.addrs, ", "), opts.Mode, err)
	}
	return s, nil
}

// greet asks each master for a sign of life.
func (s *Store) greet(ctx context.Context) error {
	for n := range s.topology.masters(0) {
		within, cancel := context.WithTimeout(ctx, s.opts.OpTimeout)
		err := n.client.Ping(within).Err()
		cancel()
		if err != nil {
			return meaning(err, false)
		}
	}
	return nil
}

// Close refuses what waits, waits for what is under way, and gives the metrics back. It takes as long as one exchange with a
// silent server at most: OpTimeout, or two where the server had forgotten the script. Later calls do nothing.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		err = s.topology.close()
		s.metrics.unregister()
	})
	return err
}

// plainName keeps a node's name within what keys and connection names take.
func plainName(node string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, node)
}

// do sends an operation and waits for its end; the error is one of state.Store's.
func (s *Store) do(ctx context.Context, o *op) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	n, err := s.topology.node(o.partition)
	if err != nil {
		return nil, err
	}
	o.done = make(chan struct{})
	n.batcher(o).add(o)
	if err := o.wait(ctx); err != nil {
		return nil, err
	}
	return o.reply, nil
}

// Load implements state.Store. It reads from the master alone.
func (s *Store) Load(ctx context.Context, key state.Key) (state.Record, error) {
	if err := key.Check(); err != nil {
		return state.Record{}, err
	}
	rec, err := s.load(ctx, key)
	s.metrics.done(opLoad, err)
	if err != nil {
		return state.Record{}, fmt.Errorf("load %s: %w", key, err)
	}
	return rec, nil
}

func (s *Store) load(ctx context.Context, key state.Key) (state.Record, error) {
	reply, err := s.do(ctx, get(key.Partition, s.keyOf(key)))
	if err != nil {
		return state.Record{}, err
	}
	if reply == nil {
		return state.Record{}, state.ErrNotFound
	}
	text, ok := reply.(string)
	if !ok {
		return state.Record{}, fmt.Errorf("%w: %w", state.ErrUnavailable, errShape)
	}
	version, value, deleted, err := state.DecodeEnvelope([]byte(text))
	switch {
	case err != nil:
		return state.Record{}, err
	case deleted:
		return state.Record{}, state.ErrNotFound
	}
	return state.Record{Version: version, Value: value}, nil
}

func get(partition int, key string) *op {
	o := &op{partition: partition}
	o.args = []any{"get", payload{op: o, bytes: []byte(key)}}
	return o
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (state.Record, error) {
	if err := state.CheckCommit(key, base, w); err != nil {
		return state.Record{}, err
	}
	next := state.Record{Version: state.Next(base, w), Value: w.Value}
	version, err := s.change(ctx, key, base, next.Version, w.Value, "")
	s.metrics.done(opCommit, err)
	if err != nil {
		return state.Record{}, fmt.Errorf("commit %s: %w", key, err)
	}
	next.Version = version
	return next, nil
}

// Delete implements state.Store. The mark that it leaves keeps the record's version, under the epoch of who deleted it.
func (s *Store) Delete(ctx context.Context, key state.Key, base state.Record, epoch uint64) error {
	if err := state.CheckDelete(key, base, epoch); err != nil {
		return err
	}
	mark := base.Version
	mark.Epoch = epoch
	_, err := s.change(ctx, key, base, mark, nil, s.markTTL)
	s.metrics.done(opDelete, err)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// change runs the script that puts version and value over base, and returns the version that the store has then. ttl is that of
// a deletion's mark, empty for a commit.
//
// The commit point is the script's SET, inside the server. Every return after it is harmless: an error then is ErrUnknown, and
// the caller, or the next owner, reads what came of it.
func (s *Store) change(ctx context.Context, key state.Key, base state.Record, v state.Version, value []byte, ttl string) (state.Version, error) {
	o := &op{partition: key.Partition, write: true, bytes: len(value)}
	// The record is a copy: the batch may still be written to a connection when the caller has given up.
	record := payload{op: o, bytes: state.EncodeEnvelope(ttl != "", v, value)}
	o.args = []any{
		"evalsha", changeSHA, 2, s.keyOf(key), s.checkpointKey(key.Partition), identity(base.Version), record, ttl,
	}
	reply, err := s.do(ctx, o)
	if err != nil {
		return state.Version{}, err
	}
	switch reply := reply.(type) {
	case int64:
		return v, nil
	case string: // it was there already
		found, _, _, err := state.DecodeEnvelope([]byte(reply))
		return found, err
	case []any:
		if len(reply) == 2 {
			return state.Version{}, refusal(key, v.Epoch, reply)
		}
	}
	return state.Version{}, fmt.Errorf("%w: %w", state.ErrUnknown, errShape)
}

// refusal says why the script refused: a later owner in the record or in the partition's checkpoint, or another writer.
func refusal(key state.Key, epoch uint64, reply []any) error {
	head, _ := reply[0].(string)
	fence, _ := reply[1].(string)
	var have state.Version
	if head != "" {
		v, _, deleted, err := state.DecodeEnvelope([]byte(head))
		if err != nil {
			return err
		}
		if have = v; deleted && v.Epoch <= epoch {
			have = state.Version{}
		}
	}
	if later := epochOf(fence); later > epoch && have.Epoch <= epoch {
		return fmt.Errorf("%w: the checkpoint of partition %d has epoch %d, the writer %d", state.ErrStaleEpoch, key.Partition, later, epoch)
	}
	return state.Refuse(key, have, epoch)
}

// Ping implements state.Store: it writes this node's probe to every master that serves one of the first partitions, and reads it
// back. A master whose replicas do not acknowledge what WaitReplicas asks for fails.
func (s *Store) Ping(ctx context.Context) error {
	err := s.ping(ctx)
	s.metrics.done(opPing, err)
	return err
}

// pingPartitions is how many partitions a probe looks for masters: as many as a new cluster of Hongyan has.
const pingPartitions = 64

func (s *Store) ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ping: %w: %w", state.ErrUnavailable, err)
	}
	const probe = "hongyan"
	for _, partition := range s.topology.masters(pingPartitions) {
		if partition < 0 {
			continue
		}
		write := &op{partition: partition, write: true}
		write.args = []any{"set", s.probeKey(partition), payload{op: write, bytes: []byte(probe)}, "px", s.markTTL}
		if _, err := s.do(ctx, write); err != nil {
			return fmt.Errorf("ping: write: %w", err)
		}
		got, err := s.do(ctx, get(partition, s.probeKey(partition)))
		if err != nil {
			return fmt.Errorf("ping: read: %w", err)
		}
		if got != probe {
			return fmt.Errorf("ping: %w: the probe of partition %d is not what was written", state.ErrUnavailable, partition)
		}
	}
	return nil
}
