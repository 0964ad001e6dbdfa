package stream

import "github.com/nats-io/nats.go"

// Connector is the server of the log as its users see it: in this process (stream/embedded) or outside (stream/outside). The
// layers above take connections from it, one for each part that must not wait for another.
type Connector interface {
	// Connect opens a connection under a name that operators see.
	Connect(name string, opts ...nats.Option) (*nats.Conn, error)
	// Close ends the connections that it gave out, and the server where it is in this process.
	Close() error
}
