package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"
)

// endpoint is where the transport listens and what it tells others to dial.
type endpoint struct {
	host      string // of the listener, an IPv6 one in brackets: the library joins host and port with a bare colon
	port      int    // 0: any
	advertise string // host:port; empty: the address that is listened on
}

// newEndpoint works out both addresses. Without TLS nothing off loopback is listened on or told: whoever may connect may stop
// any actor.
func newEndpoint(listen, advertise string, encrypted bool) (endpoint, error) {
	host, port, err := splitAddress(listen)
	if err != nil {
		return endpoint{}, fmt.Errorf("the cluster's listen address %q: %w", listen, err)
	}
	if !encrypted && !isLoopback(host) {
		return endpoint{}, fmt.Errorf("the cluster's listen address %q is not on loopback, and its transport is not encrypted: set cluster.tls (`hongyan certs` makes the files) or use 127.0.0.1:0", listen)
	}
	e := endpoint{host: host, port: port}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		e.host = "[" + host + "]"
	}
	if e.advertise, err = advertised(host, port, advertise); err != nil {
		return endpoint{}, err
	}
	if e.advertise == "" || encrypted {
		return e, nil
	}
	if told, _, _ := splitAddress(e.advertise); !isLoopback(told) {
		return endpoint{}, fmt.Errorf("cluster.advertise %q is not on loopback, and the transport is not encrypted: set cluster.tls (`hongyan certs` makes the files)", advertise)
	}
	return e, nil
}

// advertised is what others dial: what is configured, else the listener's host, else this machine's name where the listener
// takes all addresses. It is empty where the address that is listened on will do.
func advertised(host string, port int, advertise string) (string, error) {
	all := host == "" || net.ParseIP(host).IsUnspecified()
	told, toldPort := advertise, port
	if h, p, err := splitAddress(advertise); err == nil {
		told, toldPort = h, p
	}
	if told == "" {
		if !all {
			return "", nil
		}
		name, err := os.Hostname()
		if err != nil || name == "" {
			return "", fmt.Errorf("this machine has no host name that others could dial: set cluster.advertise (%w)", errors.Join(err))
		}
		told = name
	}
	if toldPort == 0 {
		return "", errors.New("others are told a fixed address, so it needs a port: give listen.cluster or cluster.advertise one")
	}
	if told[0] == '[' && told[len(told)-1] == ']' {
		told = told[1 : len(told)-1]
	}
	if net.ParseIP(told) == nil && !hostName.MatchString(told) {
		return "", fmt.Errorf("cluster.advertise %q is neither a host nor host:port", advertise)
	}
	return net.JoinHostPort(told, strconv.Itoa(toldPort)), nil
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z._-]+$`)

func splitAddress(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err //nolint:wrapcheck // the callers name the setting
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, errors.New("the port is not a number from 0 to 65535")
	}
	return host, int(n), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

var errPlainOffLoopback = errors.New("the peer is not on this machine, and this node has no cluster.tls: it is not called")

// dialTimeout bounds the making of a TCP connection to a peer.
const dialTimeout = 2 * time.Second

// dialLoopback is how a node without TLS calls its peers: on this machine only.
func dialLoopback(ctx context.Context, address string) (net.Conn, error) {
	host, _, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if !isLoopback(host) {
		return nil, errPlainOffLoopback
	}
	return dialTCP(ctx, address)
}

// dialTCP gives up early, and lets the kernel look after an idle connection: gRPC's own look comes after 10 s at the earliest.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
	}
	return d.DialContext(ctx, "tcp", address) //nolint:wrapcheck // gRPC says whom it called
}
