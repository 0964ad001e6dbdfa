package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/actors"
	"hongyan/cluster"
	"hongyan/config"
	"hongyan/state"
	"hongyan/state/jetstream"
	"hongyan/state/redis"
	"hongyan/stream"
	"hongyan/stream/embedded"
	"hongyan/stream/groupsync"
	"hongyan/stream/outside"
)

// storage is the log and the store of a node, and what they stand on.
type storage struct {
	server  stream.Connector
	barrier *groupsync.Barrier // nil with durability os, and with an outside NATS
	layout  cluster.Layout     // of the log
	journal *stream.Log
	offers  *stream.Offers
	store   state.Store // nil without the role worker
	promise string      // what an accepted message survives, for people
	closing []func() error
}

// prepareParallel is how many first checkpoints are made at a time.
const prepareParallel = 16

// close ends the storage, after everything that uses it: last opened, first closed.
func (s *storage) close() error {
	var errs []error
	for i := len(s.closing) - 1; i >= 0; i-- {
		errs = append(errs, s.closing[i]())
	}
	s.closing = nil
	return errors.Join(errs...)
}

// fsync is the barrier, or a nil interface without one.
func (s *storage) fsync() stream.Barrier {
	if s.barrier == nil {
		return nil
	}
	return s.barrier
}

// stateFsync is the barrier behind a commit: only the store that lies on our own disk needs it. Redis and an outside NATS answer
// when the commit is as safe as they make it.
func (e *engine) stateFsync() stream.Barrier {
	if e.cfg.State.Store == config.StoreRedis {
		return nil
	}
	return e.fsync()
}

// openStorage connects, agrees on the layout of the log, and opens log and store. With an outside server it waits until that
// answers.
func (e *engine) openStorage(ctx context.Context) error {
	free, err := e.openServer(ctx)
	if err != nil {
		return err
	}
	logConn, err := e.server.Connect("hongyan log")
	if err != nil {
		return err
	}
	want := cluster.Layout{Partitions: e.cfg.Cluster.Partitions, Streams: e.cfg.NATS.Streams}
	var recorded bool
	if e.cfg.Node.Has(config.RoleWorker) {
		if e.layout, recorded, err = cluster.RecordedLayout(ctx, logConn); err == nil && recorded {
			err = e.layout.Fits(want)
		}
	} else {
		e.phase("waiting for the first worker, which makes the log")
		e.layout, err = cluster.WaitLayout(ctx, logConn, want, e.log)
		recorded = true
	}
	if err != nil {
		return err
	}
	if !recorded {
		e.layout = want
		e.layout.Streams = cmp.Or(want.Streams, min(e.cfg.NATS.Replicas, want.Partitions))
	}
	logCap, storeCap := e.cfg.NATS.LogCap(free), e.cfg.State.StoreCap(free)
	e.phase("opening the log")
	e.journal, err = stream.Open(ctx, logConn, stream.Options{
		Partitions: e.layout.Partitions, Streams: e.layout.Streams, Attach: !e.cfg.Node.Has(config.RoleWorker),
		MaxBytes: logCap, DeadMaxBytes: logCap / deadShare, Replicas: e.cfg.NATS.Replicas,
		Node: e.node, Barrier: e.fsync(), Logger: e.log, Registerer: e.reg,
	})
	if err != nil {
		return err
	}
	e.offers = stream.NewOffers(logConn)
	if !e.cfg.Node.Has(config.RoleWorker) {
		return nil
	}
	e.phase("opening the store")
	if err := e.openStore(ctx, storeCap); err != nil {
		return err
	}
	if recorded {
		return nil
	}
	// Before anybody can write: from the layout's record on, a missing checkpoint means that the store lost it.
	return e.prepare(ctx)
}

// prepare makes the first checkpoints. Servers that do not answer yet are asked again until ctx ends: doing it twice is harmless.
func (e *engine) prepare(ctx context.Context) error {
	e.phase("making the first checkpoints")
	passing := []error{state.ErrUnavailable, state.ErrUnknown, stream.ErrUnavailable, stream.ErrUnknown, context.DeadlineExceeded}
	for {
		err := actors.Prepare(ctx, e.journal, e.store, e.layout.Partitions, randomUint64, prepareParallel)
		if err == nil || ctx.Err() != nil || !slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) }) {
			return err
		}
		e.log.Warn("the first checkpoints could not be made; trying again", "error", err, "in", prepareAgain)
		select {
		case <-time.After(prepareAgain):
		case <-ctx.Done():
		}
	}
}

// prepareAgain is the pause before servers that did not answer are asked again.
const prepareAgain = time.Second

// deadShare is which part of the log's cap the dead letters may take.
const deadShare = 8

// openServer starts the embedded server, or connects to the outside one. It returns how much room its disk has; that of another
// machine is not known.
func (e *engine) openServer(ctx context.Context) (free uint64, err error) {
	if !e.cfg.NATS.Embedded() {
		return math.MaxUint64, e.connectOutside(ctx)
	}
	dir := filepath.Join(string(e.cfg.Node.DataDir), "nats")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the data folder: %w; check node.data_dir and its permissions", err)
	}
	if free, err = room(dir); err != nil {
		return 0, err
	}
	logCap, storeCap := e.cfg.NATS.LogCap(free), e.cfg.State.StoreCap(free)
	// The server's own limit lies above the sum of the streams' caps: a full stream fails cleanly, a full server does not.
	server, err := embedded.Start(embedded.Options{
		StoreDir: dir, ServerName: e.node, MaxStore: logCap + logCap/deadShare + storeCap + 256<<20, Logger: e.log,
		Bots: embedded.Door{Listen: e.cfg.NATS.Bots.Listen, Token: e.cfg.NATS.Bots.Token.Reveal()},
	})
	if err != nil {
		return 0, err
	}
	e.server = server
	e.closing = append(e.closing, server.Close)
	e.promise = "os: survives a crash of this process, not a power cut"
	if e.cfg.NATS.Durability == config.DurabilityOS {
		return free, nil
	}
	if e.barrier, err = groupsync.New(dir, groupsync.Options{Registerer: e.reg}); err != nil {
		return 0, err
	}
	e.closing = append(e.closing, e.barrier.Close)
	e.promise = "disk: survives a power cut (" + e.barrier.Mode() + ")"
	return free, nil
}

// connectOutside reaches the outside NATS and finds out what it promises.
func (e *engine) connectOutside(ctx context.Context) error {
	e.phase("connecting to NATS")
	server, held, err := reachOutside(ctx, e.cfg, e.log, e.reg)
	if err != nil {
		return err
	}
	e.server = server
	e.closing = append(e.closing, server.Close)
	e.promise = held.String()
	if held.Asked != outside.Yes {
		e.log.Warn("the log does not, or not surely, promise what nats.durability asks for", "reason", held.Reason)
	}
	return nil
}

// reachOutside waits for the outside NATS, makes sure that it can carry the log, and says what it promises.
func reachOutside(ctx context.Context, cfg *config.Config, log *slog.Logger, reg prometheus.Registerer) (_ *outside.Server, _ outside.Promise, err error) {
	n := cfg.NATS
	secure, err := clientTLS("nats.tls", n.TLS)
	if err != nil {
		return nil, outside.Promise{}, err
	}
	server, err := outside.Open(ctx, outside.Options{
		URL: n.URL.Reveal(), Credentials: string(n.Credentials), TLS: secure, Name: nodeName(cfg), Logger: log, Registerer: reg,
	})
	if err != nil {
		return nil, outside.Promise{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Close())
		}
	}()
	probe, err := server.Connect("hongyan probe")
	if err != nil {
		return nil, outside.Promise{}, err
	}
	facts, err := outside.Inspect(ctx, probe, n.Monitor)
	if err != nil {
		return nil, outside.Promise{}, err
	}
	caps := []int64{n.LogCap(math.MaxUint64), n.LogCap(math.MaxUint64) / deadShare}
	if cfg.State.Store != config.StoreRedis {
		caps = append(caps, cfg.State.StoreCap(math.MaxUint64))
	}
	if cfg.Node.Has(config.RoleWorker) { // who makes the streams
		if err := facts.Fits(n.Replicas, caps...); err != nil {
			return nil, outside.Promise{}, err
		}
	}
	return server, outside.Promised(outside.Durability(n.Durability), n.Replicas, facts), nil
}

// openStore opens the store that the configuration chooses.
func (e *engine) openStore(ctx context.Context, limit int64) error {
	if e.cfg.State.Store != config.StoreRedis {
		conn, err := e.server.Connect("hongyan state")
		if err != nil {
			return err
		}
		e.store, err = jetstream.Open(ctx, conn, jetstream.Options{MaxBytes: limit, Replicas: e.cfg.NATS.Replicas, Node: e.node})
		return err
	}
	options, err := redisOptions(e.cfg)
	if err != nil {
		return err
	}
	options.Node, options.Logger, options.Registerer = e.node, e.log, e.reg
	store, err := redis.Open(ctx, options)
	if err != nil {
		return err
	}
	e.store = store
	e.closing = append(e.closing, store.Close)
	held, err := store.Promise(ctx)
	if err != nil {
		return err
	}
	e.promise += "; state: " + held.String()
	for _, gap := range statePromiseGaps(e.cfg, held) {
		e.log.Warn("the store does not, or not surely, promise what nats.durability asks for", "reason", gap)
	}
	return nil
}

// redisOptions is the part of the configuration that the Redis store needs.
func redisOptions(cfg *config.Config) (redis.Options, error) {
	r := cfg.State.Redis
	secure, err := clientTLS("state.redis.tls", r.TLS)
	if err != nil {
		return redis.Options{}, err
	}
	return redis.Options{
		URL: r.URL.Reveal(), Mode: redis.Mode(r.Mode), Master: r.Master, SentinelUsername: r.SentinelUsername,
		SentinelPassword: r.SentinelPassword.Reveal(), TLS: secure, Prefix: cfg.Cluster.Name, WaitReplicas: r.WaitReplicas,
	}, nil
}

// clientTLS reads the files of a client's connection; nil where none is configured.
func clientTLS(key string, t config.TLS) (*tls.Config, error) {
	if t == (config.TLS{}) {
		return nil, nil //nolint:nilnil // no TLS of our own is a choice
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pool, err := readRoots(string(t.CA))
		if err != nil {
			return nil, fmt.Errorf("%s.ca: %w", key, err)
		}
		secure.RootCAs = pool
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(string(t.Cert), string(t.Key))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	return secure, nil
}
