// Package jetstream keeps records in a JetStream key-value bucket: the embedded default (DESIGN §4). A commit is one publish
// that the server takes only if the record's last message is the one that the writer saw, so it costs one round trip and no
// read. With durability "disk" the caller syncs behind it; this package knows nothing of disks.
//
// One record is one message, the last of its subject. A stream with one replica answers reads directly. With more, a
// follower could answer with what was true a moment ago, so direct reads are turned off and the leader answers.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/state"
)

// Defaults of Options.
const (
	DefaultBucket       = "hy_state"
	DefaultOpTimeout    = time.Second
	DefaultTombstoneTTL = 24 * time.Hour
)

// Options for Open; the zero value is good for one node.
type Options struct {
	Bucket    string        // DefaultBucket when empty
	MaxBytes  int64         // the bucket's cap; beyond it writes that need more space fail with ErrFull. 0: no cap
	Replicas  int           // 1 when 0
	Memory    bool          // keep the bucket in the server's memory: for tests
	OpTimeout time.Duration // how long one exchange with the server may take; DefaultOpTimeout when 0
	Node      string        // names this node's probe record
	// TombstoneTTL is how long a deleted record's mark stays, which refuses writers of an older epoch. DefaultTombstoneTTL
	// when 0; at least 1 s.
	TombstoneTTL time.Duration
}

// Store is a bucket. It lives on the connection that it was opened on: it has nothing to close, and ends with it.
type Store struct {
	conn   *nats.Conn
	stream natsjs.Stream
	send   func(*nats.Msg) (natsjs.PubAckFuture, error) // the publisher's; a test breaks the way here
	prefix string                                       // of every subject: "$KV.<bucket>."
	probe  string
	opts   Options
}

var _ state.Store = (*Store)(nil)

// Open makes the bucket, or opens it and sets its cap and replicas anew. Writes have a publisher of their own on js's
// connection, with its own limit and time-out.
func Open(ctx context.Context, conn *nats.Conn, opts Options) (*Store, error) {
	if opts.Bucket == "" {
		opts.Bucket = DefaultBucket
	}
	if opts.OpTimeout == 0 {
		opts.OpTimeout = DefaultOpTimeout
	}
	if opts.TombstoneTTL == 0 {
		opts.TombstoneTTL = DefaultTombstoneTTL
	}
	opts.Replicas = max(opts.Replicas, 1)
	config := streamConfig(opts)
	publisher, err := natsjs.New(conn, natsjs.WithPublishAsyncTimeout(opts.OpTimeout), natsjs.WithPublishAsyncMaxPending(maxPending))
	if err != nil {
		return nil, fmt.Errorf("open state bucket %s: %w", opts.Bucket, err)
	}
	stream, err := ensure(ctx, publisher, config)
	if err != nil {
		return nil, fmt.Errorf("open state bucket %s: %w; check that NATS runs with JetStream, has space left for %d bytes "+
			"and at least %d server(s)", opts.Bucket, err, max(opts.MaxBytes, 0), opts.Replicas)
	}
	prefix := "$KV." + opts.Bucket + "."
	return &Store{
		conn: conn, stream: stream, opts: opts, prefix: prefix, probe: probeSubject(prefix, opts.Node),
		send: func(m *nats.Msg) (natsjs.PubAckFuture, error) { return publisher.PublishMsgAsync(m) },
	}, nil
}

// streamConfig is what NATS's key-value clients make for a bucket with history 1, so that their tools read it, save for the
// direct reads of a replicated one.
func streamConfig(opts Options) natsjs.StreamConfig {
	config := natsjs.StreamConfig{
		Name:              "KV_" + opts.Bucket,
		Description:       "Hongyan: users and checkpoints",
		Subjects:          []string{"$KV." + opts.Bucket + ".>"},
		MaxMsgsPerSubject: 1,
		MaxBytes:          -1,
		Replicas:          opts.Replicas,
		Discard:           natsjs.DiscardNew,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       opts.Replicas == 1,
		AllowMsgTTL:       true, // for the marks of deleted records
	}
	if opts.MaxBytes > 0 {
		config.MaxBytes = opts.MaxBytes
	}
	if opts.Memory {
		config.Storage = natsjs.MemoryStorage
	}
	return config
}

// Load implements state.Store.
func (s *Store) Load(ctx context.Context, key state.Key) (state.Record, error) {
	if err := key.Check(); err != nil {
		return state.Record{}, err
	}
	found, err := s.find(ctx, s.subjectOf(key))
	if err != nil {
		return state.Record{}, fmt.Errorf("load %s: %w", key, err)
	}
	if !found.alive() {
		return state.Record{}, fmt.Errorf("load %s: %w", key, state.ErrNotFound)
	}
	return found.record, nil
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (state.Record, error) {
	if err := state.CheckCommit(key, base, w); err != nil {
		return state.Record{}, err
	}
	next := state.Record{Version: state.Next(base, w), Value: w.Value}
	change := change{
		key: key, base: base, epoch: w.Epoch, version: next.Version, value: w.Value,
	}
	version, revision, err := s.apply(ctx, change)
	if err != nil {
		return state.Record{}, fmt.Errorf("commit %s: %w", key, err)
	}
	next.Version, next.Revision = version, revision
	return next, nil
}

// Delete implements state.Store. The mark that it leaves keeps the record's version, under the epoch of who deleted it.
func (s *Store) Delete(ctx context.Context, key state.Key, base state.Record, epoch uint64) error {
	if err := state.CheckDelete(key, base, epoch); err != nil {
		return err
	}
	mark := base.Version
	mark.Epoch = epoch
	_, _, err := s.apply(ctx, change{
		key: key, base: base, epoch: epoch, version: mark, deleted: true,
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Ping implements state.Store: it writes this node's probe and reads it back.
func (s *Store) Ping(ctx context.Context) error {
	v := state.Version{Incarnation: 1, Number: 1, WriteID: 1}
	sequence, err := s.publish(ctx, s.probe, anySequence, nil, state.EncodeEnvelope(false, v, nil))
	if err != nil {
		return fmt.Errorf("ping: write: %w", err)
	}
	found, err := s.find(ctx, s.probe)
	if err != nil {
		return fmt.Errorf("ping: read: %w", err)
	}
	if found.sequence < sequence {
		return fmt.Errorf("ping: %w: wrote sequence %d and read %d", state.ErrUnavailable, sequence, found.sequence)
	}
	return nil
}

// found is what a subject holds.
type found struct {
	record   state.Record // its version also where deleted
	sequence uint64       // in the stream; 0 where the subject holds nothing
	deleted  bool
}

func (f found) alive() bool { return f.sequence != 0 && !f.deleted }

// find reads the last message of a subject.
func (s *Store) find(ctx context.Context, subject string) (found, error) {
	if err := ctx.Err(); err != nil {
		return found{}, fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	session := s.session()
	ctx, cancel := context.WithTimeout(ctx, s.opts.OpTimeout)
	defer cancel()
	msg, err := s.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, natsjs.ErrMsgNotFound) {
		return found{}, nil
	}
	if err != nil {
		return found{}, fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	f := found{sequence: msg.Sequence}
	if len(msg.Data) == 0 && (msg.Header.Get("KV-Operation") != "" || msg.Header.Get("Nats-Marker-Reason") != "") {
		f.deleted = true // by NATS's own tools
		return f, nil
	}
	version, value, deleted, err := state.DecodeEnvelope(msg.Data)
	if err != nil {
		return found{}, fmt.Errorf("bucket %s, sequence %d: %w", s.opts.Bucket, msg.Sequence, err)
	}
	f.deleted = deleted
	f.record = state.Record{Version: version, Revision: revision(msg.Sequence, session, version), Value: value}
	return f, nil
}
