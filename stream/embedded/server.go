// Package embedded runs a NATS server with JetStream inside this process: the log and the default store of a machine that
// has nothing but Hongyan (DESIGN §4). It owns its folder, guarded by a lock, and by default listens on no port.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"hongyan/stream"
)

// The wait for the listener, after the store has been read; reading the store itself is not bounded.
const (
	startTimeout = 10 * time.Second
	startPoll    = 20 * time.Millisecond // how soon a fatal line of the server is noticed
)

// Options for Start. Only StoreDir is needed.
type Options struct {
	StoreDir   string       // folder of the log and the store; made when missing (0700); one process at a time
	ServerName string       // as shown in NATS's own tools; "hongyan" when empty
	MaxStore   int64        // bytes that all streams together may take; 0: three quarters of what the disk has free
	Listen     string       // host:port on loopback for other processes of this machine, port 0 for any free one; empty: in this process only
	Token      string       // what other processes must show; needed with Listen
	Bots       Door         // where bots outside this process connect; not together with Listen
	Monitor    bool         // with Listen: NATS's monitoring endpoint on the same host, at a free port, where others see how the server syncs
	SyncAlways bool         // fsync before every acknowledgement: for writers that no barrier of this process covers
	Logger     *slog.Logger // the server's warnings and errors; nil drops them
}

// Server is a running NATS server.
type Server struct {
	nats   *server.Server
	token  string // of our own connections; empty where nobody else can connect
	logger *slog.Logger
	lock   *folderLock
	close  sync.Once
	closed error

	mu    sync.Mutex
	conns []*nats.Conn // all that Connect made
}

// Start opens the folder, runs the server and returns when clients can connect. The caller ends it with Close, or by Run.
func Start(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	logger := opts.Logger.With("part", "nats-server")
	dir, err := prepareFolder(opts.StoreDir)
	if err != nil {
		return nil, err
	}
	config, err := configure(dir, opts)
	if err != nil {
		return nil, err
	}
	token := ""
	if !config.DontListen {
		token = admit(config, opts)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	ns, err := start(config, logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded NATS server on folder %s: %w", dir, err), lock.Release())
	}
	return &Server{nats: ns, token: token, logger: logger, lock: lock}, nil
}

// prepareFolder makes the folder and returns its absolute path.
func prepareFolder(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("embedded NATS server: no store folder given; set node.data_dir")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("store folder %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("store folder: %w; make it by hand, give this user the right to write there, or set node.data_dir", err)
	}
	return dir, nil
}

func configure(dir string, opts Options) (*server.Options, error) {
	config := &server.Options{
		ServerName:             opts.ServerName,
		JetStream:              true,
		StoreDir:               dir,
		JetStreamMaxStore:      opts.MaxStore,
		DontListen:             opts.Listen == "" && opts.Bots.Listen == "",
		NoSigs:                 true, // signals belong to cmd
		SyncAlways:             opts.SyncAlways,
		DisableJetStreamBanner: true,
	}
	if config.ServerName == "" {
		config.ServerName = "hongyan"
	}
	switch {
	case opts.Bots.Listen != "":
		return config, openDoor(config, opts)
	case opts.Listen != "":
		return config, listen(config, opts)
	default:
		return config, nil
	}
}

// listen opens the server to other processes. They are those of this machine: what leaves it needs TLS and users, and so a
// server that the operator has set up.
func listen(config *server.Options, opts Options) error {
	host, port, err := net.SplitHostPort(opts.Listen)
	if err == nil {
		config.Host = host
		config.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return fmt.Errorf("embedded NATS server: address %q is not of the form host:port: %w", opts.Listen, err)
	}
	if !loopback(host) {
		return fmt.Errorf("embedded NATS server: address %q is not on loopback; use 127.0.0.1, or run a NATS server of your own and "+
			"set nats.url", opts.Listen)
	}
	if opts.Token == "" {
		return fmt.Errorf("embedded NATS server: a token is needed to listen on %s, where every user of this machine could write", opts.Listen)
	}
	if config.Port == 0 {
		config.Port = server.RANDOM_PORT
	}
	if opts.Monitor {
		config.HTTPHost, config.HTTPPort = host, server.RANDOM_PORT
	}
	return nil
}

// start runs the server. Its failures reach us only as fatal log lines, so the log is asked for them.
func start(config *server.Options, logger *slog.Logger) (*server.Server, error) {
	ns, err := server.NewServer(config)
	if err != nil {
		return nil, err
	}
	log := &natsLog{to: logger}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	ready := false
	for waited := time.Duration(0); !ready && log.Fatal() == nil && waited < startTimeout; waited += startPoll {
		ready = ns.ReadyForConnections(startPoll)
	}
	if err := log.Fatal(); err != nil {
		stop(ns)
		return nil, explain(err, config)
	}
	if !ready {
		stop(ns)
		return nil, fmt.Errorf("not ready after %v; see the log for why", startTimeout)
	}
	if !ns.JetStreamEnabled() {
		stop(ns)
		return nil, errors.New("JetStream did not start; see the log for why, and check free disk space and the folder's permissions")
	}
	return ns, nil
}

// explain adds to a fatal line of the server what the operator can do about it.
func explain(fatal error, config *server.Options) error {
	if !config.DontListen {
		return fmt.Errorf("%w; check that address %s:%d is free and belongs to this machine, that the folder is writable "+
			"and that its disk has space", fatal, config.Host, config.Port)
	}
	return fmt.Errorf("%w; check that the folder is writable by this user and that its disk has space", fatal)
}

func stop(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// Connect opens a connection inside this process, without a port. It reconnects for ever and keeps nothing while it is cut
// off: a publish then fails at once instead of landing after its caller gave up. The connection hears its own messages,
// since the parts of one process talk over it; pass nats.NoEcho() where that is not wanted. opts override all of this.
// Close closes the connection, if nobody did before.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	logger := s.logger.With("connection", name)
	all := append([]nats.Option{
		nats.InProcessServer(s.nats),
		nats.Name(name),
		nats.Token(s.token), // empty: none
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			logger.Warn("NATS reported an error", "subject", subjectOf(sub), "error", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("connection to the embedded NATS server was cut", "error", err)
			}
		}),
	}, opts...)
	conn, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect %q to the embedded NATS server: %w", name, err)
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	return conn, nil
}

func subjectOf(sub *nats.Subscription) string {
	if sub == nil {
		return ""
	}
	return stream.Redact(sub.Subject)
}

// URL is where other processes connect, without the token; empty when the server listens on no port.
func (s *Server) URL() string {
	if addr := s.nats.Addr(); addr != nil {
		return "nats://" + addr.String()
	}
	return ""
}

// MonitorURL is the monitoring endpoint, empty when there is none.
func (s *Server) MonitorURL() string {
	if addr := s.nats.MonitorAddr(); addr != nil {
		return "http://" + addr.String()
	}
	return ""
}

// Run keeps the server until ctx ends, closes it and returns nil; it returns an error if the server stops by itself.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	// Ended by Close below, or by the server's own end.
	go func() {
		s.nats.WaitForShutdown()
		close(stopped)
	}()
	select {
	case <-ctx.Done():
		err := s.Close()
		<-stopped
		return err
	case <-stopped:
		return errors.Join(errors.New("the embedded NATS server stopped by itself; see the log for why"), s.Close())
	}
}

// Close ends the server in order: connections, streams written out and synced, the folder's lock. It may be called again.
func (s *Server) Close() error {
	s.close.Do(func() {
		s.mu.Lock()
		for _, conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		stop(s.nats)
		s.closed = s.lock.Release()
	})
	return s.closed
}
