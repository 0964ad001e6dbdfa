// Package outside is the way to NATS servers that the operator runs: the connection, what those servers are, and which promise
// of durability holds with them (DESIGN §3 rule 11).
package outside

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/stream"
)

// The times of a connection. A cut without a word is noticed after two pings without an answer, which is between 2 and 3 s; a
// blocked write must end before that, since it holds the connection's lock.
const (
	pingEvery     = time.Second
	pingsLost     = 2
	writeTimeout  = 2 * time.Second
	dialTimeout   = 2 * time.Second // of one server, TLS and greeting included
	reconnectWait = 100 * time.Millisecond
	reconnectMore = 150 * time.Millisecond // random, on top
	retryFirst    = 250 * time.Millisecond // between the attempts of a start, doubled up to
	retryMost     = 5 * time.Second
)

// Options of Connect. URL and Name are needed.
type Options struct {
	URL         string      // nats://user:password@host:4222, several separated by commas; tls:// for TLS
	Credentials string      // a .creds file; empty: what the URL says
	TLS         *tls.Config // nil: as the URL's scheme says, with the system's authorities
	Name        string      // of the connection, as NATS's own tools show it: "hongyan log n1"
	Inbox       string      // this process's own name in reply subjects, _INBOX.hy.<Inbox>; empty: made from Name
	Logger      *slog.Logger
	Registerer  prometheus.Registerer // nil keeps the metrics to itself
}

// Connect waits for a connection and keeps trying, with a line in the log for each failure, until ctx ends. The connection
// reconnects for ever and keeps nothing while it is cut off: a publish then fails at once instead of landing after its caller
// gave up. The caller closes it.
//
// Errors and log lines name servers, never passwords.
func Connect(ctx context.Context, o Options, more ...nats.Option) (*nats.Conn, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	addresses, err := parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	logger := o.Logger.With("part", "nats", "connection", o.Name)
	link := &link{name: o.Name, addresses: addresses, logger: logger, metrics: newMetrics(o.Registerer)}
	began := time.Now()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		conn, err := nats.Connect(o.URL, append(link.options(o), more...)...)
		if err == nil {
			link.up(conn)
			return conn, nil
		}
		err = errors.New(link.redact(err)) // its text alone: the wrapped ones have the addresses in them
		logger.Warn("NATS cannot be reached; trying again", "servers", Servers(o.URL), "error", err, "in", wait.String(),
			"since", time.Since(began).Round(time.Second).String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS at %s: %w (last: %w); check nats.url and that the servers run", Servers(o.URL), ctx.Err(), err)
		}
	}
}

var notToken = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// options are those of one connection.
func (l *link) options(o Options) []nats.Option {
	inbox := o.Inbox
	if inbox == "" {
		inbox = o.Name
	}
	out := []nats.Option{
		nats.Name(o.Name),
		nats.CustomInboxPrefix("_INBOX.hy." + strings.Trim(notToken.ReplaceAllString(inbox, "-"), "-")),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectMore, reconnectMore),
		nats.IgnoreAuthErrorAbort(), // two refusals in a row, as while servers change their accounts, must not end it for ever
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsLost),
		nats.FlusherTimeout(writeTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.lost(err) }),
		nats.ReconnectHandler(l.back),
		nats.ClosedHandler(func(*nats.Conn) { l.metrics.connected.WithLabelValues(l.name).Set(0) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = stream.Redact(sub.Subject)
			}
			l.logger.Warn("NATS reported an error", "subject", subject, "error", l.redact(err))
		}),
	}
	if o.Credentials != "" {
		out = append(out, nats.UserCredentials(o.Credentials))
	}
	if o.TLS != nil {
		out = append(out, nats.Secure(o.TLS))
	}
	return out
}

// link tells of one connection's losses and returns.
type link struct {
	name      string
	addresses []*url.URL
	logger    *slog.Logger
	metrics   metrics
	since     atomic.Int64 // Unix nanoseconds of the loss; 0 while connected
}

func (l *link) redact(err error) string { return redact(err.Error(), l.addresses) }

func (l *link) up(conn *nats.Conn) {
	l.metrics.connected.WithLabelValues(l.name).Set(1)
	l.metrics.lost.WithLabelValues(l.name).Add(0)
	l.logger.Info("connected to NATS", "server", conn.ConnectedServerName(), "version", conn.ConnectedServerVersion(),
		"cluster", conn.ConnectedClusterName())
}

func (l *link) lost(err error) {
	l.metrics.connected.WithLabelValues(l.name).Set(0)
	if err == nil {
		return // closed by us
	}
	l.since.Store(time.Now().UnixNano())
	l.metrics.lost.WithLabelValues(l.name).Inc()
	l.logger.Warn("the connection to NATS is lost; reconnecting", "error", l.redact(err))
}

func (l *link) back(conn *nats.Conn) {
	l.metrics.connected.WithLabelValues(l.name).Set(1)
	away := time.Duration(0)
	if since := l.since.Swap(0); since != 0 {
		away = time.Since(time.Unix(0, since)).Round(time.Millisecond)
	}
	l.logger.Info("the connection to NATS is back", "server", conn.ConnectedServerName(), "away", away.String())
}
