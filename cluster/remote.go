package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoactor "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// maxBatchBytes bounds one gRPC message, which is a batch of up to writerBatch actor messages; gRPC's own bound of 4 MiB
	// breaks the stream when 1,000 replies with a user's state meet in one.
	maxBatchBytes = 32 << 20
	writerBatch   = 128
	// writerQueue is the first size of a queue that grows: the library's default takes 16 MB for every peer.
	writerQueue = 1024
	// maxStreams bounds what one connection may open; a peer needs one.
	maxStreams = 8
	// handshakeTimeout bounds TLS and HTTP/2 before the first call.
	handshakeTimeout = 3 * time.Second
	// A connection on which nothing came for pingIdle is pinged, and closed pingPatience later. gRPC raises a client's own
	// pingIdle to 10 s, so peers look for themselves what came back, see links.
	pingIdle       = 2 * time.Second
	clientPingIdle = 10 * time.Second
	pingPatience   = 3 * time.Second
	// neverGossip silences the library's gossip: its expiry is one-sided and blocks members for ever, its lists are read and
	// written without a lock, and all that it could tell is known from our membership.
	neverGossip = 365 * 24 * time.Hour
)

// transport owns proto.actor: its actor system, its remoting, and its idea of a cluster.
type transport struct {
	system   *actor.ActorSystem
	cluster  *protoactor.Cluster
	provider *provider
	router   *router
	board    *board
	listen   string
	log      *slog.Logger

	started chan struct{} // closed when StartMember returned or panicked
	failure error         // set before that
	begun   bool
	end     sync.Once
}

func newTransport(o Options, r *router, b *board) (*transport, error) {
	address, err := newEndpoint(o.Listen, o.Advertise, o.TLS != nil)
	if err != nil {
		return nil, err
	}
	t := &transport{
		provider: &provider{listening: make(chan struct{})},
		router:   r, board: b, listen: o.Listen, log: o.Logger, started: make(chan struct{}),
	}
	own, theirs := credentialsOf(o.TLS, o.Logger)
	dial := dialLoopback
	if o.TLS != nil {
		dial = dialTCP
	}
	t.system = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return libraryLogger(o.Logger) }),
		actor.WithDeadLetterRequestLogging(false),
	)
	transportConfig := remote.Configure(address.host, address.port,
		remote.WithAdvertisedHost(address.advertise),
		remote.WithServerOptions(
			grpc.Creds(own),
			grpc.MaxRecvMsgSize(maxBatchBytes), grpc.MaxSendMsgSize(maxBatchBytes),
			grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshakeTimeout),
			grpc.ChainUnaryInterceptor(t.recoverUnary), grpc.ChainStreamInterceptor(t.recoverStream),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingIdle, Timeout: pingPatience}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingIdle, PermitWithoutStream: true}),
			grpc.WaitForHandlers(true), // so that nothing is left when the server has stopped
		),
		remote.WithDialOptions(
			grpc.WithTransportCredentials(theirs), grpc.WithContextDialer(dial), grpc.WithStreamInterceptor(quietEnd),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBatchBytes), grpc.MaxCallSendMsgSize(maxBatchBytes)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPingIdle, Timeout: pingPatience, PermitWithoutStream: true}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: handshakeTimeout,
			}),
		),
		remote.WithEndpointWriterBatchSize(writerBatch),
		remote.WithEndpointWriterQueueSize(writerQueue),
	)
	// One try, and 2 s of the library's own patience behind it: during both, what is sent to that peer waits. Then it is told
	// to be undeliverable, and the next message tries again.
	transportConfig.MaxRetryCount = 1
	config := protoactor.Configure(o.Name, t.provider, &lookup{router: r}, transportConfig,
		protoactor.WithHeartbeatExpiration(neverGossip),
		protoactor.WithClusterContextProducer(func(*protoactor.Cluster) protoactor.Context { return r }),
	)
	config.GossipInterval = neverGossip
	t.cluster = protoactor.New(t.system, config)
	return t, nil
}

// credentialsOf is how this node serves and calls; without TLS in plain, which newEndpoint and dialLoopback keep on this machine.
func credentialsOf(t *TLS, log *slog.Logger) (own, theirs credentials.TransportCredentials) {
	if t == nil {
		return insecure.NewCredentials(), insecure.NewCredentials()
	}
	if t.files != nil {
		t.files.logTo(log)
	}
	return credentials.NewTLS(t.Server), credentials.NewTLS(t.Client)
}

// start brings the transport up and returns as soon as it listens; the library then sleeps for a second of its own. The
// goroutine ends by itself after that, and stop waits for it.
func (t *transport) start(ctx context.Context) error {
	t.begun = true
	go func() {
		defer close(t.started)
		defer func() {
			if r := recover(); r != nil { // the library panics where it cannot listen
				t.failure = fmt.Errorf("start the cluster's transport on %s: %v", t.listen, r)
			}
		}()
		t.cluster.StartMember()
	}()
	select {
	case <-t.provider.listening:
		return nil
	case <-t.started:
		return t.failure
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends the transport, once. It does not call Cluster.Shutdown, which sleeps for two seconds to let partitions move:
// ours have moved by now.
func (t *transport) stop() (err error) {
	t.end.Do(func() { err = t.shutdown() })
	return err
}

func (t *transport) shutdown() error {
	if !t.begun {
		t.system.Shutdown()
		return nil
	}
	<-t.started
	t.system.Shutdown() // ends the gossip loop
	if t.failure != nil {
		return nil //nolint:nilerr // it was reported, and nothing listens
	}
	return protect("the cluster's transport", func() {
		// The others leave the list first: that is what closes our connections to them. Only then the server ends, at once,
		// because the library's graceful end sends on channels that it closes at the same time, and waits for peers for 10 s.
		self := Member{ID: t.system.ID, Address: t.system.Address()}
		t.cluster.MemberList.UpdateClusterTopology(protoactor.Members{self.proto()})
		t.cluster.Gossip.Shutdown()
		t.cluster.Remote.Shutdown(false)
	})
}

// protect turns a panic of the library into an error.
func protect(what string, f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("end %s: %v", what, r)
		}
	}()
	f()
	return nil
}

// recoverUnary and recoverStream survive what a peer can do to the library: an unimplemented call panics, an unknown type
// name is a nil dereference.
func (t *transport) recoverUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer t.recovered(&err)
	return next(ctx, req)
}

func (t *transport) recoverStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer t.recovered(&err)
	return next(srv, stream)
}

// quietEnd makes the end of a connection that this node closes look like an orderly end of its stream. The library takes every
// other end for a loss of the peer, by address: closing a connection would close the next one to the same peer, that one the
// next, and so on, several hundred times a second.
func quietEnd(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return quietStream{stream}, nil
}

type quietStream struct{ grpc.ClientStream }

func (s quietStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if status.Code(err) == codes.Canceled {
		return io.EOF
	}
	return err //nolint:wrapcheck // the library looks at it
}

func (t *transport) recovered(err *error) {
	if r := recover(); r != nil {
		t.log.Error("a peer's call made the transport panic", "panic", describePanic(r), "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the call cannot be served")
	}
}
