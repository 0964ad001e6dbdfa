package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// natsModule is what the server is built from, in the version of go.mod.
const natsModule = "github.com/nats-io/nats-server/v2"

// NATSOptions describe one NATS server with JetStream. Only Dir is needed.
type NATSOptions struct {
	Dir         string   // its configuration, its output, and its store in Dir/store
	Store       string   // another folder for the store
	Port        int      // for clients; 0: a free one
	MonitorPort int      // for /healthz and /jsz; 0: a free one
	ClusterPort int      // for the other servers; 0: no cluster
	Routes      []string // host:port of the other servers' ClusterPort
	Name        string   // of the server; in a cluster each has its own. "n1" where empty
	SyncAlways  bool     // fsync before every acknowledgement (sync_interval: always)
	Args        []string // more arguments of nats-server
}

// NATS is a running nats-server. Its methods are for one goroutine at a time, but for URL, Addr and Monitor.
type NATS struct {
	options NATSOptions
	program string
	process *process
}

// StartNATS starts the real nats-server, built from the module in go.mod, and returns when it takes connections. A server of a
// cluster has JetStream only when a majority runs: AwaitHealthy tells. ctx bounds the start alone; the caller calls Stop or Kill.
func StartNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	program, err := natsProgram()
	if err != nil {
		return nil, err
	}
	for _, port := range []*int{&o.Port, &o.MonitorPort} {
		if *port == 0 {
			if *port, err = FreePort(); err != nil {
				return nil, fmt.Errorf("nats-server: %w", err)
			}
		}
	}
	if o.Name == "" {
		o.Name = "n1"
	}
	if o.Store == "" {
		o.Store = filepath.Join(o.Dir, "store")
	}
	n := &NATS{options: o, program: program}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(n.file("nats.conf"), []byte(n.configuration()), 0o600); err != nil {
		return nil, err
	}
	return n, n.Restart(ctx)
}

func (n *NATS) file(name string) string { return filepath.Join(n.options.Dir, n.options.Name+"-"+name) }

// configuration is the server's file. Clients do not learn the other servers' addresses: each takes the way that its own
// configuration names, through whatever proxies stand there.
func (n *NATS) configuration() string {
	o := n.options
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %q\nlisten: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\n", o.Name, o.Port, o.MonitorPort)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %q\n  max_mem: 256MB\n  max_file: 64GB\n", o.Store)
	if o.SyncAlways {
		b.WriteString("  sync_interval: always\n")
	}
	b.WriteString("}\n")
	if o.ClusterPort > 0 {
		fmt.Fprintf(&b, "cluster {\n  name: test\n  listen: \"127.0.0.1:%d\"\n  no_advertise: true\n  routes: [\n", o.ClusterPort)
		for _, r := range o.Routes {
			fmt.Fprintf(&b, "    \"nats://%s\"\n", r)
		}
		b.WriteString("  ]\n}\n")
	}
	return b.String()
}

// Addr is host:port for clients.
func (n *NATS) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.options.Port)) }

// URL is where clients connect: nats://host:port.
func (n *NATS) URL() string { return "nats://" + n.Addr() }

// Monitor is the address of the server's monitoring endpoint: http://host:port.
func (n *NATS) Monitor() string { return "http://127.0.0.1:" + strconv.Itoa(n.options.MonitorPort) }

// Name is the server's name, which /jsz uses.
func (n *NATS) Name() string { return n.options.Name }

// PID is the process id of the current run.
func (n *NATS) PID() int { return n.process.pid() }

// Running tells whether the process lives.
func (n *NATS) Running() bool { return n.process != nil && n.process.running() }

// Kill ends the server by SIGKILL and returns after it.
func (n *NATS) Kill() error { return n.process.kill() }

// Stop ends the server in order and returns after it.
func (n *NATS) Stop() error { return n.process.stop() }

// Output is the file that has all that the server said, over all its runs.
func (n *NATS) Output() string { return n.file("nats.log") }

// Restart starts a server that has ended, on the same ports and the same store, and returns when it takes connections.
func (n *NATS) Restart(ctx context.Context) error {
	if n.Running() {
		return fmt.Errorf("nats-server %s runs already: end it by Kill or Stop first", n.options.Name)
	}
	p, err := run(n.Output(), n.program, append([]string{"-c", n.file("nats.conf")}, n.options.Args...)...)
	if err != nil {
		return err
	}
	n.process = p
	if err := p.await(ctx, "waiting for it to take connections", n.greets); err != nil {
		return errors.Join(err, p.kill())
	}
	return nil
}

// greets tells whether the server says INFO to whoever connects.
func (n *NATS) greets() error {
	conn, err := net.DialTimeout("tcp", n.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReaderSize(conn, 32<<10).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "INFO ") {
		return fmt.Errorf("%s does not speak NATS", n.Addr())
	}
	return nil
}

// AwaitHealthy returns when the server says itself that it is healthy, JetStream and the cluster's leader included.
func (n *NATS) AwaitHealthy(ctx context.Context) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return n.process.await(ctx, "waiting for /healthz", func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Monitor()+"/healthz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(request)
		if err != nil {
			var wrapped *url.Error
			if errors.As(err, &wrapped) {
				return wrapped.Err
			}
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/healthz says %s", resp.Status)
		}
		return nil
	})
}

// natsProgram is the path of nats-server, built at most once per test process and kept below the build folder.
var natsProgram = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{if .Main}}{{.Dir}}{{else}}{{.Version}}{{end}}", "hongyan", natsModule).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nats-server: go list: %w\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		return "", fmt.Errorf("nats-server: go list says %q; two lines were expected", out)
	}
	folder := filepath.Join(lines[0], ".build", "servers")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", fmt.Errorf("nats-server: %w", err)
	}
	program := filepath.Join(folder, "nats-server-"+lines[1])
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	// Built beside its place and moved there: several test processes may do this at once.
	beside, err := os.MkdirTemp(folder, "build-")
	if err != nil {
		return "", fmt.Errorf("nats-server: %w", err)
	}
	defer os.RemoveAll(beside)
	built := filepath.Join(beside, "nats-server")
	build := exec.CommandContext(ctx, "go", "build", "-o", built, natsModule) //nolint:gosec // a folder of ours
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("nats-server: go build %s: %w\n%s", natsModule, err, out)
	}
	return program, os.Rename(built, program)
})
