package redis

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// lanes is how many round trips to one server may be under way at once, for writes and for reads each. With two, one batch is
// on its way while the server works on the other; more would make batches smaller.
const lanes = 2

// silence keeps go-redis from printing to stderr: what it knows is in the errors that it returns.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

var silenced sync.Once

// node is one server: a master, or whatever the sentinels call the master.
type node struct {
	addr   string
	client *goredis.Client
	reads  batcher
	writes batcher
}

// connect makes a node; it dials when it is used. failed is told when the node could not be used, redirect sends an operation on.
func (s *Store) connect(addr string, redirect func(from *node, o *op, addr string), failed func()) *node {
	silenced.Do(func() { goredis.SetLogger(silence{}) })
	n := &node{addr: addr, client: s.client(addr)}
	for _, b := range []*batcher{&n.reads, &n.writes} {
		b.client, b.timeout, b.metrics, b.failed = n.client, s.opts.OpTimeout, s.metrics, failed
		if redirect != nil {
			b.redirect = func(o *op, addr string) { redirect(n, o, addr) }
		}
		b.start(lanes)
	}
	n.writes.replicas = s.opts.WaitReplicas
	return n
}

// batcher of an operation.
func (n *node) batcher(o *op) *batcher {
	if o.write {
		return &n.writes
	}
	return &n.reads
}

// stop refuses what waits and what comes later.
func (n *node) stop() {
	n.reads.stop()
	n.writes.stop()
}

// close stops and returns when nothing is under way any more.
func (n *node) close() error {
	n.stop()
	n.reads.lanes.Wait()
	n.writes.lanes.Wait()
	return n.client.Close()
}

// client is go-redis's, with nothing in it that hides an outcome: no retries, one dial per attempt, deadlines from the context.
// RESP2 and no push messages, since nothing here subscribes.
func (s *Store) client(addr string) *goredis.Client {
	const pool = 2*lanes + 4 // lanes, and a few for asking the server about itself
	o, t := s.opts, s.target
	name := "hongyan"
	if s.node != "" {
		name += ":" + s.node
	}
	if o.Mode == ModeSentinel {
		return goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: t.addrs, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
			ClientName: name, Username: t.username, Password: t.password, DB: t.db, Protocol: 2,
			Dialer: dialer(t.tls, o.OpTimeout), DialTimeout: o.OpTimeout, DialerRetries: 1,
			ReadTimeout: o.OpTimeout, WriteTimeout: o.OpTimeout, ContextTimeoutEnabled: true,
			MaxRetries: -1, PoolSize: pool, PipelinePoolSize: -1, DisableIdentity: true,
		})
	}
	return goredis.NewClient(&goredis.Options{
		Addr: addr, ClientName: name, Username: t.username, Password: t.password, DB: t.db, Protocol: 2,
		Dialer: dialer(t.tls, o.OpTimeout), DialTimeout: o.OpTimeout, DialerRetries: 1,
		ReadTimeout: o.OpTimeout, WriteTimeout: o.OpTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: pool, PipelinePoolSize: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// dialer dials with TLS where config is not nil. An empty server name is the dialled host.
func dialer(config *tls.Config, timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}
	if config == nil {
		return plain.DialContext
	}
	return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext
}
