package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// RedisOptions describe one Redis server. Only Dir is needed.
type RedisOptions struct {
	Dir        string   // its working folder: append-only file, snapshots, output
	AppendOnly string   // appendfsync: "always", "everysec" or "no"; empty: no append-only file
	Port       int      // 0: a free one
	Sentinel   []string // lines of a sentinel's configuration, which makes it one; empty: a Redis server
	Args       []string // more arguments, such as "--requirepass", "x"; they win over the ones above
}

// Redis is a running redis-server. Its methods are for one goroutine at a time, but for Addr.
type Redis struct {
	options RedisOptions
	program string
	process *process
}

// StartRedis starts Debian's redis-server and returns when it takes commands. ctx bounds the start alone; the caller calls Stop
// or Kill. A server that persists nothing but what AppendOnly says writes no snapshots either.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is not installed (%w): run .ci/need redis-server", err)
	}
	if o.Port == 0 {
		if o.Port, err = FreePort(); err != nil {
			return nil, fmt.Errorf("redis-server: %w", err)
		}
	}
	r := &Redis{options: o, program: program}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if len(o.Sentinel) > 0 { // a sentinel keeps what it learns in its own configuration
		lines := strings.Join(o.Sentinel, "\n") + "\n"
		if err := os.WriteFile(r.sentinelFile(), []byte(lines), 0o600); err != nil {
			return nil, err
		}
	}
	return r, r.Restart(ctx)
}

func (r *Redis) sentinelFile() string { return filepath.Join(r.options.Dir, "sentinel.conf") }

// arguments of the program.
func (r *Redis) arguments() []string {
	o := r.options
	var args []string
	if len(o.Sentinel) > 0 {
		args = append(args, r.sentinelFile(), "--sentinel")
	}
	args = append(args, "--port", strconv.Itoa(o.Port), "--bind", "127.0.0.1", "--dir", o.Dir, "--daemonize", "no")
	if len(o.Sentinel) == 0 {
		args = append(args, "--save", "")
		if o.AppendOnly != "" {
			args = append(args, "--appendonly", "yes", "--appendfsync", o.AppendOnly)
		}
	}
	return append(args, o.Args...)
}

// Addr is host:port for clients.
func (r *Redis) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.options.Port)) }

// Port is the port for clients.
func (r *Redis) Port() int { return r.options.Port }

// PID is the process id of the current run.
func (r *Redis) PID() int { return r.process.pid() }

// Running tells whether the process lives.
func (r *Redis) Running() bool { return r.process != nil && r.process.running() }

// Kill ends the server by SIGKILL and returns after it.
func (r *Redis) Kill() error { return r.process.kill() }

// Stop ends the server in order and returns after it.
func (r *Redis) Stop() error { return r.process.stop() }

// Output is the file that has all that the server said, over all its runs.
func (r *Redis) Output() string { return filepath.Join(r.options.Dir, "redis.log") }

// Restart starts a server that has ended, on the same port and the same folder, and returns when it takes commands: after it has
// loaded what it kept.
func (r *Redis) Restart(ctx context.Context) error {
	if r.Running() {
		return fmt.Errorf("redis-server on port %d runs already: end it by Kill or Stop first", r.options.Port)
	}
	said, err := os.ReadFile(r.Output())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p, err := run(r.Output(), r.program, r.arguments()...)
	if err != nil {
		return err
	}
	r.process = p
	if err := p.await(ctx, "waiting for it to take commands", func() error { return r.ready(len(said)) }); err != nil {
		return errors.Join(err, p.kill())
	}
	return nil
}

// ready reads what the server said since its start instead of asking it: it may want a password or a certificate.
func (r *Redis) ready(from int) error {
	said, err := os.ReadFile(r.Output())
	if err != nil {
		return err
	}
	for _, sign := range []string{"Ready to accept connections", "Sentinel ID is"} {
		if bytes.Contains(said[min(from, len(said)):], []byte(sign)) {
			return nil
		}
	}
	return errors.New("it has not said yet that it is ready")
}
