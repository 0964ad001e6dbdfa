package upstream

import (
	"net"
	"net/http"
	"time"
)

// NewTransport is the HTTP transport of one upstream of so many places. Connections are kept, as many as there are places, and one that
// cannot be made fails within seconds. Nothing bounds the wait for an answer, for models think; the call's context does. Who made it
// ends its idle connections with CloseIdleConnections.
func NewTransport(maxInFlight int) *http.Transport {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    3 * time.Second,
		MaxIdleConns:           max(maxInFlight, 1),
		MaxIdleConnsPerHost:    max(maxInFlight, 1),
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		// All calls share one connection of HTTP/2. Where its other end is gone without a word they would all wait for their deadlines, and so
		// would every probe; a ping finds out.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
}
