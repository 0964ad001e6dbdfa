package servers

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction says which way of a proxied connection is meant.
type Direction int

// The directions, as seen from the client that dialed the proxy.
const (
	Upstream   Direction = 1 << iota // from the client to the target
	Downstream                       // from the target to the client
	Both       = Upstream | Downstream
)

// String is the direction's name.
func (d Direction) String() string {
	switch d {
	case Upstream:
		return "upstream"
	case Downstream:
		return "downstream"
	case Both:
		return "both ways"
	}
	return fmt.Sprintf("direction %d", int(d))
}

// dialTime bounds how long the proxy tries to reach its target for one client.
const dialTime = 5 * time.Second

// Proxy passes TCP connections on to a target and can be cut like a network: without a word to either side. What was sent into a
// cut waits, as TCP would send it again, and arrives after Heal. All methods are safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	cut   Direction
	ways  map[Direction]chan struct{} // closed while the way is open
	conns map[net.Conn]struct{}       // both ends of everything that is proxied
}

// NewProxy listens on a free loopback port and passes what connects on to target, a host:port that need not answer yet.
// The caller calls Close.
func NewProxy(target string) (*Proxy, error) {
	listener, err := Listen()
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{listener: listener, target: target, ways: map[Direction]chan struct{}{}, conns: map[net.Conn]struct{}{}}
	for _, way := range []Direction{Upstream, Downstream} {
		p.ways[way] = make(chan struct{})
		close(p.ways[way])
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept) // ended by Close
	return p, nil
}

// Addr is the host:port that clients dial.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut lets nothing through any more in a direction, in addition to what was cut before. No connection is closed or refused: a
// new one is taken, and hears nothing, because TCP cannot shake hands with one of its two ways alone.
func (p *Proxy) Cut(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for way := range p.ways {
		if d&way != 0 && p.cut&way == 0 {
			p.ways[way] = make(chan struct{})
		}
	}
	p.cut |= d & Both
}

// Heal opens both ways. What had been sent into the cut arrives.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for way, open := range p.ways {
		if p.cut&way != 0 {
			close(open)
		}
	}
	p.cut = 0
}

// Break resets every connection that is open, on both sides.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // RST instead of FIN
		}
		_ = conn.Close()
	}
}

// Close ends the proxy and all its connections, and returns when nothing of it runs.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close()
	p.Break()
	p.running.Wait()
}

// open is closed while a way is open.
func (p *Proxy) open(way Direction) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ways[way]
}

// pass returns when a way is open; false when the proxy or the connection ended before.
func (p *Proxy) pass(ctx context.Context, way Direction) bool {
	select {
	case <-p.open(way):
		return ctx.Err() == nil
	default:
	}
	select {
	case <-p.open(way):
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // only Close closes it
		}
		if p.keep(conn) {
			p.running.Go(func() { p.serve(conn) }) // ended by either side, by Break and by Close
		}
	}
}

// keep notes a connection for Break and Close; false where the proxy has ended.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	_ = conn.Close()
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if !p.pass(ctx, Upstream) || !p.pass(ctx, Downstream) {
		return
	}
	dialer := net.Dialer{Timeout: dialTime}
	server, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		if tcp, ok := client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // nobody listens there: as near to "connection refused" as a proxy comes
		}
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	copyWay := func(to, from net.Conn, way Direction) {
		defer cancel() // one end is gone: the other way ends, too
		p.copy(ctx, to, from, way)
	}
	both.Go(func() { copyWay(server, client, Upstream) })   // ended below
	both.Go(func() { copyWay(client, server, Downstream) }) // ended below
	<-ctx.Done()
	_, _ = client.Close(), server.Close()
	both.Wait()
}

// copy moves bytes one way until an end is closed. The end of the stream waits for an open way like every byte.
func (p *Proxy) copy(ctx context.Context, to, from net.Conn, way Direction) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !p.pass(ctx, way) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
