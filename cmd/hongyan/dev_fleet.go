package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"hongyan/config"
	"hongyan/internal/fleet"
	"hongyan/stream/embedded"
)

// runDevNodes runs dev with several workers. This process has the NATS server, the callback endpoint, the simulated platform and the
// admin listener; the workers are processes of their own, which find each other and the log through the server.
func runDevNodes(ctx context.Context, cfg *config.Config, count int, stdout io.Writer, log *slog.Logger) (err error) {
	server, err := startDevServer(cfg, count, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }() // after everybody who uses it
	workers, err := newDevWorkers(cfg, count, log)
	if err != nil {
		return err
	}
	model := newDevModel(cfg, log)
	model.nodes = workers.admin
	platform, err := devPlatform(cfg, workers, model, log)
	if err != nil {
		return err
	}
	defer platform.Close()

	cfg.Node.Roles = []config.Role{config.RoleIngress, config.RoleConsole}
	if err := writeDevFile(cfg); err != nil { // the folder is ours: the server has locked it
		return err
	}
	e := newEngine(cfg, log, platform.Trace)
	e.extra = devPages(cfg, platform, workers)
	announced := make(chan string, 1)
	e.ready = func(_, admin string) { announced <- admin }
	stopped := context.AfterFunc(ctx, platform.Close) // its open pushes would hold up an orderly end
	defer stopped()

	// The workers end after the callbacks that they answer.
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	g, answering := errgroup.WithContext(ctx)
	var ofWorkers, ofEngine error
	g.Go(func() error {
		ofWorkers = workers.fleet.Run(working)
		return ofWorkers
	})
	g.Go(func() error {
		defer stopWorking()
		ofEngine = withNeighbours(answering, cfg, platform, model, e.run)
		return ofEngine
	})
	g.Go(func() error {
		select {
		case admin := <-announced:
			workers.settle(answering, e.layout.Partitions)
			greet(stdout, cfg, admin, devPromise(cfg), fmt.Sprintf("  workers        %d, see: hongyan dev status\n", count))
		case <-answering.Done():
		}
		return nil
	})
	_ = g.Wait() // the first of the two, and both are told
	return errors.Join(ofEngine, ofWorkers)
}

// startDevServer runs the NATS server for this process and the workers, behind a token of this run, and writes into cfg where it is and
// how much it may keep.
func startDevServer(cfg *config.Config, count int, log *slog.Logger) (*embedded.Server, error) {
	dir := filepath.Join(string(cfg.Node.DataDir), "nats")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w; choose another with --data", err)
	}
	free, err := room(dir)
	if err != nil {
		return nil, err
	}
	token, err := drawn(alphanumeric, 32)
	if err != nil {
		return nil, err
	}
	logCap, storeCap := cfg.NATS.LogCap(free), cfg.State.StoreCap(free)
	// The caps of the streams bound what is kept. The server reserves them for each worker that makes the streams at the same moment, so its
	// own limit, which nothing else uses, lies above them all.
	limit := int64(count) * (logCap + logCap/deadShare + storeCap + 256<<20)
	server, err := embedded.Start(embedded.Options{
		StoreDir: dir, ServerName: cfg.Node.ID, MaxStore: limit,
		Listen: "127.0.0.1:0", Token: token, Monitor: true, SyncAlways: cfg.NATS.Durability == config.DurabilityDisk, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(server.URL())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the address of the NATS server: %w", err), server.Close())
	}
	address.User = url.User(token)
	cfg.NATS.URL, cfg.NATS.Monitor = config.Secret(address.String()), server.MonitorURL()
	cfg.NATS.MaxBytes, cfg.State.MaxBytes = config.Size(logCap), config.Size(storeCap) // the workers do not know that they share a disk
	return server, nil
}

// devPromise is what an accepted message survives with several workers: there is no group commit over processes, so the server syncs
// each write.
func devPromise(cfg *config.Config) string {
	if cfg.NATS.Durability == config.DurabilityDisk {
		return "disk: survives a power cut (every write is synced)"
	}
	return "os: survives a crash of any process, not a power cut"
}

// newDevWorkers writes the workers' configurations into <data>/nodes, anew for each run, and makes their fleet. Nothing runs yet.
func newDevWorkers(cfg *config.Config, count int, log *slog.Logger) (*devWorkers, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which the workers are to run: %w", err)
	}
	dir := filepath.Join(string(cfg.Node.DataDir), "nodes")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil { // what stands there is of another run
		return nil, fmt.Errorf("make the workers' folder: %w", err)
	}
	w := &devWorkers{
		fleet: fleet.New(fleet.Options{Binary: binary, Logger: log}), admin: make(map[string]string),
		client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	ports := newLoopbackPorts()
	for i := 1; i <= count; i++ {
		name := "worker-" + strconv.Itoa(i)
		file, err := writeWorkerFile(cfg, dir, name, ports)
		if err != nil {
			return nil, err
		}
		w.admin[name] = file.admin
		err = w.fleet.Add(fleet.Node{
			Name: name, Args: []string{"serve", "--with-parent", "-c", file.path}, Env: ownEnvironment(),
			LogFile: filepath.Join(dir, name+".log"),
		})
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

// workerFile is a written configuration.
type workerFile struct{ path, admin string }

// writeWorkerFile writes the configuration of one worker: dev's own with other addresses and the roles worker, and console
// for the phone page, which asks every worker about its breakers.
func writeWorkerFile(cfg *config.Config, dir, name string, ports *loopbackPorts) (workerFile, error) {
	worker := *cfg
	worker.Node = config.Node{ID: name, Roles: []config.Role{config.RoleWorker, config.RoleConsole}, DataDir: config.Path(filepath.Join(dir, name))}
	var err error
	if worker.Listen.Admin, err = ports.next(); err != nil {
		return workerFile{}, err
	}
	if worker.Listen.Cluster, err = ports.next(); err != nil {
		return workerFile{}, err
	}
	out, err := config.Marshal(&worker)
	if err != nil {
		return workerFile{}, fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	path := filepath.Join(dir, name+".yaml")
	head := "# The configuration of " + name + " in the last `hongyan dev --nodes`. It holds secrets.\n"
	if err := os.WriteFile(path, append([]byte(head), out...), 0o600); err != nil {
		return workerFile{}, fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	return workerFile{path: path, admin: worker.Listen.Admin}, nil
}

// ownEnvironment is this process's environment without the variables that would change the workers' configuration: dev ignores them.
func ownEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HONGYAN_") })
}

// Ports below the range from which systems take those of outgoing connections: such a port is still free when a killed worker is
// started again.
const (
	firstWorkerPort = 20_000
	lastWorkerPort  = 32_000
)

// loopbackPorts gives out ports that nobody listens on.
type loopbackPorts struct{ last, left int }

func newLoopbackPorts() *loopbackPorts {
	return &loopbackPorts{
		last: firstWorkerPort + rand.IntN(lastWorkerPort-firstWorkerPort), //nolint:gosec // keeps two runs on one machine apart, no secret
		left: lastWorkerPort - firstWorkerPort,
	}
}

// next is 127.0.0.1 with a free port, another one each time.
func (p *loopbackPorts) next() (string, error) {
	for ; p.left > 0; p.left-- {
		if p.last++; p.last >= lastWorkerPort {
			p.last = firstWorkerPort
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.last))
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("no port from %d to %d is free on 127.0.0.1", firstWorkerPort, lastWorkerPort)
}
