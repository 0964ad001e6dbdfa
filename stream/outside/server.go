package outside

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hongyan/stream"
)

// openPatience is how long a further connection may take once there was a first one.
const openPatience = 30 * time.Second

// Server is the operator's NATS as the parts of a node see it: each takes a connection of its own. It implements
// stream.Connector; its methods may be called from any goroutine.
type Server struct {
	options Options

	mu     sync.Mutex
	conns  []*nats.Conn
	closed bool
}

var _ stream.Connector = (*Server)(nil)

// Open waits until the servers answer, as Connect does, until ctx ends. Name in the options is this node's.
func Open(ctx context.Context, o Options) (*Server, error) {
	first := o
	first.Name = "hongyan start " + o.Name
	conn, err := Connect(ctx, first)
	if err != nil {
		return nil, err
	}
	conn.Close() // each part gets one of its own, under its own name
	return &Server{options: o}, nil
}

// Connect opens a connection for one part of the node; the name that operators see ends with the node's. It tries for half a
// minute.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openPatience)
	defer cancel()
	o := s.options
	o.Name = name + " " + s.options.Name
	conn, err := Connect(ctx, o, opts...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, fmt.Errorf("connect to NATS as %q: the node is closing", name)
	}
	s.conns = append(s.conns, conn)
	return conn, nil
}

// Close ends all connections, once what was published on them is out or two seconds are over.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, conn := range s.conns {
		if conn.IsConnected() {
			_ = conn.FlushTimeout(writeTimeout) // what does not go out is asked for again by whoever waits for it
		}
		conn.Close()
	}
	s.conns = nil
	return nil
}
