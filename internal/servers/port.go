package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports below the range from which systems take those of outgoing connections: such a port is still free when a killed server
// starts again.
const (
	firstPort = 10_000
	lastPort  = 20_000
)

var ports = struct {
	sync.Mutex
	next int
}{next: firstPort + rand.IntN(lastPort-firstPort)} //nolint:gosec // no secret; it keeps two test processes on one machine apart

// Listen listens on a loopback port that this process gives to nobody else and that no outgoing connection takes.
func Listen() (net.Listener, error) {
	ports.Lock()
	defer ports.Unlock()
	for range lastPort - firstPort {
		if ports.next++; ports.next >= lastPort {
			ports.next = firstPort
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.next))); err == nil {
			return l, nil
		}
	}
	return nil, errors.New("no port from 10000 to 19999 is free on 127.0.0.1")
}

// FreePort is a port as Listen would take it; nobody listens on it when it is returned.
func FreePort() (int, error) {
	l, err := Listen()
	if err != nil {
		return 0, err
	}
	defer l.Close()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%v is no TCP address", l.Addr())
	}
	return address.Port, nil
}
