package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"hongyan/actors"
	"hongyan/bots/rules"
	"hongyan/cluster"
	"hongyan/config"
	"hongyan/console"
	"hongyan/ingress"
	"hongyan/messages"
	"hongyan/state/jetstream"
	"hongyan/stream"
	"hongyan/stream/embedded"
	"hongyan/stream/groupsync"
)

// engine is one node with all its parts: what `serve` and `dev` run.
type engine struct {
	cfg   *config.Config
	log   *slog.Logger
	reg   *prometheus.Registry
	trace messages.TraceFunc      // nil: nobody watches
	extra map[string]http.Handler // more pages for the admin listener
	ready func(callback, admin string)

	node    string
	slots   string // id of this process's ingress
	server  *embedded.Server
	barrier *groupsync.Barrier
	journal *stream.Log
	store   *jetstream.Store
	offers  *stream.Offers
	cluster *cluster.Node
	ingress *ingress.Ingress
	rules   []*rules.Bot
}

// newEngine opens the folder, the log and the store, and builds all parts. Nothing is served before run. On an error, what was
// opened is closed.
func newEngine(ctx context.Context, cfg *config.Config, log *slog.Logger, trace messages.TraceFunc) (_ *engine, err error) {
	tuneMemory()
	e := &engine{cfg: cfg, log: log, trace: trace, reg: prometheus.NewRegistry(), node: nodeName(cfg)}
	e.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := e.openStorage(ctx); err != nil {
		return nil, err
	}
	accounts, err := e.actorAccounts()
	if err != nil {
		return nil, err
	}
	workers := actors.New(actors.Options{
		Node: e.node, Accounts: accounts, Log: e.journal, Graveyard: e.journal, Store: e.store, Offers: e.offers,
		Barrier: e.fsync(), Now: time.Now, Random: randomUint64, Logger: log, Registerer: e.reg, Trace: trace,
		LogFull: e.journal.Full, PassivateAfter: cfg.Worker.PassivateAfter,
	})
	if err := e.joinCluster(workers); err != nil {
		return nil, err
	}
	e.slots = e.node + "-" + randomID()
	e.ingress, err = ingress.New(ingress.Options{
		Accounts: ingressAccounts(cfg), Log: e.journal, ID: e.slots, Logger: log, Registerer: e.reg, Trace: trace,
		Partitions: cfg.Cluster.Partitions,
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// openStorage starts the embedded server on the data folder and opens the log and the store on it.
func (e *engine) openStorage(ctx context.Context) (err error) {
	dir := filepath.Join(string(e.cfg.Node.DataDir), "nats")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w; check node.data_dir and its permissions", err)
	}
	free, err := room(dir)
	if err != nil {
		return err
	}
	logCap, storeCap := e.cfg.NATS.LogCap(free), e.cfg.State.StoreCap(free)
	deadCap := logCap / 8
	// The server's own limit lies above the sum of the streams' caps: a full stream fails cleanly, a full server does not.
	e.server, err = embedded.Start(embedded.Options{
		StoreDir: dir, ServerName: e.node, MaxStore: logCap + deadCap + storeCap + 256<<20, Logger: e.log,
	})
	if err != nil {
		return err
	}
	if e.cfg.NATS.Durability == config.DurabilityDisk {
		if e.barrier, err = groupsync.New(dir, groupsync.Options{Registerer: e.reg}); err != nil {
			return err
		}
	}
	logConn, err := e.server.Connect("hongyan log")
	if err != nil {
		return err
	}
	e.journal, err = stream.Open(ctx, logConn, stream.Options{
		Partitions: e.cfg.Cluster.Partitions, MaxBytes: logCap, DeadMaxBytes: deadCap, Replicas: e.cfg.NATS.Replicas,
		Node: e.node, Barrier: e.fsync(), Logger: e.log, Registerer: e.reg,
	})
	if err != nil {
		return err
	}
	stateConn, err := e.server.Connect("hongyan state")
	if err != nil {
		return err
	}
	e.store, err = jetstream.Open(ctx, stateConn, jetstream.Options{MaxBytes: storeCap, Replicas: e.cfg.NATS.Replicas, Node: e.node})
	if err != nil {
		return err
	}
	e.offers = stream.NewOffers(logConn)
	return nil
}

// fsync is the barrier, or a nil interface with durability os.
func (e *engine) fsync() stream.Barrier {
	if e.barrier == nil {
		return nil
	}
	return e.barrier
}

// joinCluster makes this process's membership. It joins in run.
func (e *engine) joinCluster(workers *actors.Engine) error {
	conn, err := e.server.Connect("hongyan cluster")
	if err != nil {
		return err
	}
	e.cluster, err = cluster.New(cluster.Options{
		Name: e.cfg.Cluster.Name, NodeID: e.node, Listen: e.cfg.Listen.Cluster, Partitions: e.cfg.Cluster.Partitions,
		Conn: conn, Replicas: e.cfg.NATS.Replicas, Owner: cluster.OwnerOf(workers, e.store),
		ReleaseMessage: func() any { return &actors.Release{} }, Logger: e.log, Registerer: e.reg, Random: randomUint64,
	})
	return err
}

// run serves until ctx ends, then stops in order: no new callbacks, open ones answered, partitions handed over, storage closed.
func (e *engine) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, e.close()) }()
	admin, err := net.Listen("tcp", e.cfg.Listen.Admin)
	if err != nil {
		return fmt.Errorf("open the admin listener: %w; choose another listen.admin", err)
	}
	pages, err := console.New(e.consoleOptions(admin.Addr().String()))
	if err != nil {
		return errors.Join(err, admin.Close())
	}

	// Each context ends the one below it: callbacks (ctx), then the partitions (owning), then all the rest (base).
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	g, base := errgroup.WithContext(base)
	owning, stopOwning := context.WithCancel(base)
	defer stopOwning()
	g.Go(func() error { return console.Run(base, admin, pages, e.log) })
	g.Go(func() error { return e.offers.Serve(base, e.slots, e.ingress) })
	for _, bot := range e.rules {
		g.Go(func() error { return bot.Run(base) })
	}
	g.Go(func() error {
		defer stopBase()
		return e.cluster.Run(owning)
	})
	g.Go(func() error {
		defer stopOwning()
		serving, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // one of the others failed
		return e.serveCallbacks(serving, admin.Addr().String())
	})
	return g.Wait()
}

// serveCallbacks opens the callback listener once the node is ready, and serves until ctx ends.
func (e *engine) serveCallbacks(ctx context.Context, admin string) error {
	select {
	case <-e.cluster.Ready():
	case <-ctx.Done():
		return nil
	}
	listener, err := net.Listen("tcp", e.cfg.Listen.Callback)
	if err != nil {
		return fmt.Errorf("open the callback listener: %w; choose another listen.callback", err)
	}
	e.log.Info("ready", "callback", listener.Addr().String(), "admin", admin, "node", e.node,
		"accounts", len(e.cfg.Accounts), "durability", e.durability())
	if e.ready != nil {
		e.ready(listener.Addr().String(), admin)
	}
	server := e.ingress.Server()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }() // ended by Shutdown or Close below
	select {
	case err := <-stopped:
		return fmt.Errorf("serve callbacks: %w", err)
	case <-ctx.Done():
	}
	e.log.Info("stopping: open callbacks are answered first")
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
	defer cancel()
	if err := e.ingress.Drain(within); err != nil {
		e.log.Warn("some callbacks were still open; WeChat delivers them again", "error", err)
	}
	if err := server.Shutdown(within); err != nil {
		_ = server.Close() // what is left is idle, or was warned about
	}
	if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve callbacks: %w", err)
	}
	return nil
}

// drainWithin bounds the wait for open callbacks: WeChat itself hangs up after 5 s.
const drainWithin = 6 * time.Second

// close ends the storage, after everything that uses it.
func (e *engine) close() error {
	var errs []error
	if e.barrier != nil {
		errs = append(errs, e.barrier.Close())
	}
	if e.server != nil {
		errs = append(errs, e.server.Close())
	}
	return errors.Join(errs...)
}

// durability says in plain words what an accepted message survives.
func (e *engine) durability() string {
	if e.barrier == nil {
		return "os: survives a crash of this process, not a power cut"
	}
	return "disk: survives a power cut (" + e.barrier.Mode() + ")"
}
