package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// dialShare is which part of a call's time a connection may take to be made, so that another host can be tried after it.
	dialShare = 3
	// idleFor is how long a connection is kept without use. It is short because a request that is written while the other side
	// closes the connection has an unknown outcome, which for a message to a user means a dead letter.
	idleFor = 10 * time.Second
	// maxIdle is how many connections are kept to one host.
	maxIdle = 64
	// maxHeader is the longest header of an answer, in bytes.
	maxHeader = 64 << 10
)

// countedConn counts the bytes of HTTP that were written to it, below which there may be TLS: a request of which none was written
// never reached WeChat. One connection carries one request at a time, because HTTP/2 is off.
type countedConn struct {
	net.Conn

	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// newTransport makes the connections of one client. dialTime bounds name look-up, connection and TLS handshake together.
func newTransport(dialTime time.Duration, tlsConfig *tls.Config) *http.Transport {
	dialer := &net.Dialer{KeepAlive: 15 * time.Second}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: conn}, nil
	}
	dialTLS := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		config := tlsConfig.Clone()
		var err error
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // its error says no more than err
			return nil, err
		}
		return &countedConn{Conn: secure}, nil
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dial, DialTLSContext: dialTLS, TLSClientConfig: tlsConfig, TLSHandshakeTimeout: dialTime,
		Protocols: protocols, DisableCompression: true,
		MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleFor,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// counter finds the counted connection in what net/http calls its connection: behind an HTTP proxy its own TLS lies above ours.
func counter(conn net.Conn) *countedConn {
	for {
		if c, ok := conn.(*countedConn); ok {
			return c
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = below.NetConn()
	}
}
