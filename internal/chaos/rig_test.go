package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hongyan/internal/checker"
	"hongyan/internal/servers"
	"hongyan/wechat/simulator"
)

const (
	partitions = 64
	workers    = 3
	ingresses  = 2
	// startLimit is generous: machines that test have other things to do.
	startLimit = time.Minute
)

// rig is everything that runs: servers, nodes, proxies between them, the platform, and those who write down what happens. Its
// methods are for one goroutine.
type rig struct {
	dir     string
	chance  *rand.Rand
	layout  layout
	servers []*servers.NATS
	redis   *servers.Redis

	workers   []*node
	ingresses []*node
	spare     *node // a worker that joins and leaves

	platform *simulator.Platform
	log      *platformLog
	journal  *journal
	history  *history
	load     *load
	outages  []checker.Outage // times in which the log could not accept
	say      func(format string, args ...any)

	witness *os.File
	cancel  context.CancelFunc
	running sync.WaitGroup // the journal's reader
}

// rigOptions are what legs vary.
type rigOptions struct {
	dir    string
	nats   int    // servers, and replicas: 1 or 3
	store  string // the folder of the first server's store; empty: a folder of the rig
	chance *rand.Rand
	say    func(format string, args ...any)
}

// newRig starts everything and returns when every node is ready.
func newRig(ctx context.Context, o rigOptions) (*rig, error) {
	r := &rig{dir: o.dir, chance: o.chance, say: o.say, history: newHistory(filepath.Join(o.dir, "redis"))}
	if err := r.open(ctx, o); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) open(ctx context.Context, o rigOptions) error {
	ctx, cancel := context.WithTimeout(ctx, 2*startLimit)
	defer cancel()
	if err := r.startNATS(ctx, o); err != nil {
		return err
	}
	var err error
	r.redis, err = servers.StartRedis(ctx, servers.RedisOptions{
		Dir: filepath.Join(r.dir, "redis"), AppendOnly: "always",
		// One file that only grows: the whole history, in the order in which it was made.
		Args: []string{"--auto-aof-rewrite-percentage", "0", "--aof-use-rdb-preamble", "no", "--maxmemory-policy", "noeviction"},
	})
	if err != nil {
		return err
	}
	r.layout.partitions, r.layout.redisAddr = partitions, r.redis.Addr()
	r.layout.streams, r.layout.replicas = map[int]int{1: 2, 3: 3}[o.nats], o.nats
	for i := range workers + ingresses + 1 {
		name := fmt.Sprintf("worker-%d", i+1)
		if i > workers {
			name = fmt.Sprintf("ingress-%d", i-workers)
		}
		n, err := newNode(r.dir, name, i <= workers, r.layout)
		if err != nil {
			return err
		}
		switch {
		case i < workers:
			r.workers = append(r.workers, n)
		case i == workers:
			r.spare = n
		default:
			r.ingresses = append(r.ingresses, n)
		}
	}
	if err := r.startNodes(ctx); err != nil {
		return err
	}
	return r.openWitnesses()
}

func (r *rig) startNATS(ctx context.Context, o rigOptions) error {
	var ports []int
	var routes []string
	for range o.nats {
		port, err := servers.FreePort()
		if err != nil {
			return err
		}
		ports, routes = append(ports, port), append(routes, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for i, port := range ports {
		options := servers.NATSOptions{Dir: filepath.Join(r.dir, "nats"), Name: fmt.Sprintf("n%d", i+1), SyncAlways: true}
		options.Store = filepath.Join(r.dir, "nats", options.Name+"-store")
		if o.nats > 1 {
			options.ClusterPort, options.Routes = port, routes
		}
		if o.store != "" {
			options.Store = o.store
		}
		n, err := servers.StartNATS(ctx, options)
		if err != nil {
			return err
		}
		r.servers = append(r.servers, n)
		r.layout.natsAddrs = append(r.layout.natsAddrs, n.Addr())
	}
	for _, n := range r.servers {
		if err := n.AwaitHealthy(ctx); err != nil {
			return err
		}
	}
	var monitors []string
	for _, n := range r.servers {
		monitors = append(monitors, n.Monitor())
	}
	r.layout.natsMonitor = strings.Join(monitors, ",")
	return nil
}

// nodes are all but the spare one.
func (r *rig) nodes() []*node { return append(append([]*node{}, r.workers...), r.ingresses...) }

// startNodes starts workers before ingresses, as an operator would, and waits for all.
func (r *rig) startNodes(ctx context.Context) error {
	for _, n := range r.nodes() {
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range r.nodes() {
		if err := r.awaitReady(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) awaitReady(ctx context.Context, n *node) error {
	if poll(ctx, startLimit, func() bool { return n.ready() || !n.running() }) && n.running() {
		return nil
	}
	_, body, err := n.get("/readyz")
	return fmt.Errorf("%s is not ready (%w; %s); it said:\n%s", n.name, err, body, n.program.Tail())
}

// openWitnesses opens the platform and the journal.
func (r *rig) openWitnesses() error {
	var err error
	if r.witness, err = os.Create(filepath.Join(r.dir, "witness.jsonl")); err != nil {
		return err
	}
	r.log = newPlatformLog(partitions, r.witness)
	account := simulator.Account{ID: "demo", AppID: testAppID, OriginalID: testOriginalID, Token: testToken, AESKey: testAESKey, Mode: simulator.ModeSafe}
	for i, n := range r.ingresses {
		address := "http://" + n.callback + "/wechat/callback/demo"
		if i == 0 {
			account.CallbackURL = address
		} else {
			account.MoreURLs = append(account.MoreURLs, address)
		}
	}
	r.platform, err = simulator.New(simulator.Options{
		Accounts: []simulator.Account{account}, WitnessWriter: r.log, WitnessLimit: 1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	url := ""
	for i, n := range r.servers {
		if i > 0 {
			url += ","
		}
		url += n.URL()
	}
	if r.journal, err = openJournal(url, r.layout.streams); err != nil {
		return err
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.running.Go(func() { r.journal.run(ctx) }) // ended by close
	return nil
}

// close ends everything. Nodes are stopped in order; one that does not stop is an error.
func (r *rig) close() error {
	var errs []error
	if r.platform != nil {
		r.platform.Close()
	}
	if r.cancel != nil {
		r.cancel()
		r.running.Wait()
	}
	if r.journal != nil {
		r.journal.close()
	}
	all := r.nodes()
	if r.spare != nil {
		all = append(all, r.spare)
	}
	for _, n := range all {
		if n.running() {
			_, err := n.stop()
			errs = append(errs, err)
		}
	}
	for _, n := range all {
		errs = append(errs, n.close())
	}
	if r.redis != nil && r.redis.Running() {
		errs = append(errs, r.redis.Stop())
	}
	for _, n := range r.servers {
		if n.Running() {
			errs = append(errs, n.Stop())
		}
	}
	if r.witness != nil {
		errs = append(errs, r.witness.Close())
	}
	return errors.Join(errs...)
}

// hosts are the ingresses' addresses as the platform's records name them.
func (r *rig) hosts() []string {
	var out []string
	for _, n := range r.ingresses {
		out = append(out, n.callback)
	}
	return out
}

// owners is the worker of each partition; an error while the bucket cannot be read.
func (r *rig) owners(ctx context.Context) (map[int]string, error) {
	return r.journal.leases(ctx, partitions)
}

// awaitWhole returns when every running node is ready, every partition has a running owner, and every running worker owns some.
func (r *rig) awaitWhole(ctx context.Context) error {
	var why string
	whole := func() bool {
		live := map[string]int{}
		for _, n := range append(r.nodes(), r.spare) {
			if !n.running() {
				continue
			}
			if !n.ready() {
				why = n.name + " is not ready"
				return false
			}
			if n.worker {
				live[n.name] = 0
			}
		}
		owners, err := r.owners(ctx)
		if err != nil {
			why = err.Error()
			return false
		}
		for p := range partitions {
			if _, ok := live[owners[p]]; !ok {
				why = fmt.Sprintf("partition %d belongs to %q", p, owners[p])
				return false
			}
			live[owners[p]]++
		}
		for name, owned := range live {
			if owned == 0 {
				why = name + " owns no partition"
				return false
			}
		}
		return true
	}
	if !poll(ctx, startLimit, whole) {
		return fmt.Errorf("the cluster is not whole within %v: %s", startLimit, why)
	}
	return nil
}

// awaitStill returns the owners when no partition has moved for a second.
func (r *rig) awaitStill(ctx context.Context) (map[int]string, error) {
	var owners map[int]string
	since := time.Now()
	still := func() bool {
		now, err := r.owners(ctx)
		if err != nil || len(now) < partitions || !maps.Equal(now, owners) {
			owners, since = now, time.Now()
			return false
		}
		return time.Since(since) > time.Second
	}
	if !poll(ctx, startLimit, still) {
		return nil, fmt.Errorf("partitions still move after %v", startLimit)
	}
	return owners, nil
}

// pick is a random one.
func (r *rig) pick(of []*node) *node { return of[r.chance.IntN(len(of))] }
