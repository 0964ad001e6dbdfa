package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"hongyan/actors"
	"hongyan/cluster"
	"hongyan/config"
	"hongyan/console"
	"hongyan/ingress"
	"hongyan/messages"
)

// engine is one node with the parts that its roles ask for: what `serve` and `dev` run.
type engine struct {
	cfg    *config.Config
	log    *slog.Logger
	reg    *prometheus.Registry
	trace  messages.TraceFunc           // nil: nobody watches
	extra  map[string]http.Handler      // more pages for the admin listener
	opened func() error                 // called once the data folder is this process's; may be nil
	ready  func(callback, admin string) // called when the node is ready; callback is empty without the role ingress; may be nil

	node    string
	slots   string // id of this process's ingress
	started time.Time
	step    atomic.Value // string: what the start is at
	built   atomic.Bool  // all that follows is there, and does not change any more

	storage
	outward
	cluster  *cluster.Node        // nil without the role worker
	ingress  *ingress.Ingress     // nil without the role ingress
	callers  *ingress.CallerLists // nil: no account wants them
	bots     assembly
	workers  *actors.Engine // nil without the role worker
	peers    peers
	admin    string       // address of the admin listener
	callback atomic.Value // string: where callbacks come in, once they do
}

// newEngine prepares a node; run does everything.
func newEngine(cfg *config.Config, log *slog.Logger, trace messages.TraceFunc) *engine {
	tuneMemory()
	e := &engine{cfg: cfg, log: log, trace: trace, reg: prometheus.NewRegistry(), node: nodeName(cfg), started: time.Now()}
	e.slots = e.node + "-" + randomID()
	e.callback.Store("")
	e.phase("starting")
	e.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return e
}

// phase notes what the start is at, for readiness.
func (e *engine) phase(what string) { e.step.Store(what) }

// run serves until ctx ends, then stops in order: no new callbacks, open ones answered, partitions handed over, storage closed.
// The admin listener is there from the first moment to the last.
func (e *engine) run(ctx context.Context) (err error) {
	admin, err := net.Listen("tcp", e.cfg.Listen.Admin)
	if err != nil {
		return fmt.Errorf("open the admin listener: %w; choose another listen.admin", err)
	}
	pages, err := console.New(e.consoleOptions(admin.Addr().String()))
	if err != nil {
		return errors.Join(err, admin.Close())
	}
	e.admin = admin.Addr().String()
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	g, base := errgroup.WithContext(base)
	g.Go(func() error { return console.Run(base, admin, pages, e.log) })
	g.Go(func() (err error) {
		defer stopBase()
		defer func() { err = errors.Join(err, e.close()) }()
		starting, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // the admin listener failed
		if err := e.build(starting); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		return e.serve(ctx, base)
	})
	return g.Wait()
}

// build opens the storage and makes all parts. Nothing is served yet. What was opened is closed by run.
func (e *engine) build(ctx context.Context) error {
	if err := e.openStorage(ctx); err != nil {
		return err
	}
	if e.opened != nil {
		if err := e.opened(); err != nil {
			return err
		}
	}
	if e.cfg.Node.Has(config.RoleWorker) {
		if err := e.buildWorker(); err != nil {
			return err
		}
	}
	if e.cfg.Node.Has(config.RoleIngress) {
		trusted, err := proxies(e.cfg)
		if err != nil {
			return err
		}
		e.ingress, err = ingress.New(ingress.Options{
			Callers: e.known(), Proxies: trusted, IPRate: e.cfg.Limits.IPRate.PerSecond(), Alone: e.cfg.NATS.Embedded(),
			Accounts: ingressAccounts(e.cfg), Log: e.journal, ID: e.slots, Logger: e.log, Registerer: e.reg, Trace: e.trace,
			Partitions: e.layout.Partitions,
		})
		if err != nil {
			return err
		}
	}
	if err := e.meetPeers(); err != nil {
		return err
	}
	e.phase("taking partitions over")
	e.built.Store(true)
	return nil
}

// known is the list of WeChat's addresses for the ingress; a nil interface where nobody wants one.
func (e *engine) known() ingress.Callers {
	if e.callers = e.callerLists(); e.callers == nil {
		return nil
	}
	return e.callers
}

// buildWorker makes the actors and this process's membership. It joins in serve.
func (e *engine) buildWorker() error {
	if err := e.openOutward(); err != nil {
		return err
	}
	accounts, err := e.actorAccounts()
	if err != nil {
		return err
	}
	e.workers = actors.New(actors.Options{
		Node: e.node, Accounts: accounts, Log: e.journal, Graveyard: e.journal, Store: e.store, Offers: e.offers,
		Outlet: e.sender, Official: e.official, Tokens: e.budgets, Wakes: e.journal, Letters: e.journal,
		Barrier: e.stateFsync(), Now: time.Now, Random: randomUint64, Logger: e.log, Registerer: e.reg, Trace: e.trace,
		LogFull: e.journal.Full, PassivateAfter: e.cfg.Worker.PassivateAfter, KeepSettled: e.cfg.NATS.KeepSettled,
		Partitions: e.layout.Partitions,
	})
	secure, err := e.clusterTLS()
	if err != nil {
		return err
	}
	conn, err := e.server.Connect("hongyan cluster")
	if err != nil {
		return err
	}
	e.cluster, err = cluster.New(cluster.Options{
		Name: e.cfg.Cluster.Name, NodeID: e.node, Listen: e.cfg.Listen.Cluster, Advertise: e.cfg.Cluster.Advertise, TLS: secure,
		Partitions: e.layout.Partitions, Streams: e.layout.Streams, Conn: conn, Replicas: e.cfg.NATS.Replicas,
		Owner:          cluster.OwnerOf(e.workers, e.store),
		ReleaseMessage: func() any { return &actors.Release{} }, Logger: e.log, Registerer: e.reg, Random: randomUint64,
	})
	return err
}

// clusterTLS is nil where nodes talk in the clear, which they do on loopback only.
func (e *engine) clusterTLS() (*cluster.TLS, error) {
	files := e.cfg.Cluster.TLS
	if files == (config.TLS{}) {
		return nil, nil //nolint:nilnil // no TLS is a choice, which the cluster refuses off loopback
	}
	secure, err := cluster.LoadTLS(string(files.Cert), string(files.Key), string(files.CA), e.cfg.Cluster.Name)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls: %w", err)
	}
	return secure, nil
}

// serve runs the parts. Each context ends the one below it: callbacks (ctx), then the partitions (owning), then the rest (base).
func (e *engine) serve(ctx, base context.Context) error {
	base, stopBase := context.WithCancel(base)
	defer stopBase()
	g, base := errgroup.WithContext(base)
	owning, stopOwning := context.WithCancel(base)
	defer stopOwning()
	g.Go(func() error { return e.peers.answer(base) })
	g.Go(func() error { return e.journal.Run(base) })
	for _, run := range e.bots.running {
		g.Go(func() error { return run(base) })
	}
	if e.ingress != nil {
		g.Go(func() error { return e.offers.Serve(base, e.slots, e.ingress) })
	}
	if e.callers != nil {
		g.Go(func() error { return e.callers.Run(base) })
	}
	if e.sender != nil {
		g.Go(func() error { return e.sender.Run(base) })
	}
	spending, stopSpending := context.WithCancel(base)
	defer stopSpending()
	reported := make(chan struct{})
	g.Go(func() error {
		defer close(reported)
		if e.budgets == nil {
			return nil
		}
		return e.budgets.Run(spending)
	})
	g.Go(func() error {
		defer stopBase()
		if e.cluster != nil {
			return e.cluster.Run(owning)
		}
		<-owning.Done()
		return nil
	})
	g.Go(func() error {
		defer stopOwning()
		serving, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // one of the others failed
		err := e.serveCallbacks(serving)
		stopSpending()
		<-reported // what turns cost, while the accounts' actors are there to hear it
		return err
	})
	return g.Wait()
}

// serveCallbacks opens the callback listener once the node is ready, where it is an ingress, and serves until ctx ends.
func (e *engine) serveCallbacks(ctx context.Context) error {
	if e.cluster != nil {
		select {
		case <-e.cluster.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	if e.ingress == nil {
		e.announce("")
		<-ctx.Done()
		e.log.Info("stopping: the partitions are handed over first")
		return nil
	}
	listener, err := net.Listen("tcp", e.cfg.Listen.Callback)
	if err != nil {
		return fmt.Errorf("open the callback listener: %w; choose another listen.callback", err)
	}
	e.announce(listener.Addr().String())
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

// announce says that the node is ready, and what that means.
func (e *engine) announce(callback string) {
	e.callback.Store(callback)
	e.log.Info("ready", "callback", callback, "admin", e.admin, "node", e.node, "roles", e.cfg.Node.Roles,
		"accounts", len(e.cfg.Accounts), "streams", e.layout.Streams, "durability", e.promise)
	if e.ready != nil {
		e.ready(callback, e.admin)
	}
}
