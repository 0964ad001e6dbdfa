package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// The errors name the file, and what to do.
func TestLoadTLSRefusesWhatPeersWould(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	good, goodKey := ca.issue(t, "good", nil)
	_, wrongKey := ca.issue(t, "second", nil)
	stranger, strangerKey := other.issue(t, "stranger", nil)
	expired, expiredKey := ca.issue(t, "expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	named, namedKey := ca.issue(t, "named", func(c *x509.Certificate) { c.DNSNames = []string{"another"} })
	server, serverKey := ca.issue(t, "server", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
	for name, c := range map[string]struct{ cert, key, ca, says string }{
		"no key":       {good, "", ca.file, "cluster.tls.key"},
		"missing file": {good + ".not", goodKey, ca.file, "good.pem.not"},
		"wrong key":    {good, wrongKey, ca.file, "belong together"},
		"no CA":        {good, goodKey, goodKey, "holds no certificate"},
		"another CA":   {stranger, strangerKey, ca.file, "stranger.pem"},
		"expired":      {expired, expiredKey, ca.file, "expired.pem"},
		"another name": {named, namedKey, ca.file, "named.pem"},
		"server only":  {server, serverKey, ca.file, "hongyan certs --name test"},
	} {
		if _, err := LoadTLS(c.cert, c.key, c.ca, "test"); err == nil || !contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadTLS(good, goodKey, ca.file, "test"); err != nil {
		t.Error(err)
	}
}

// handshake tells how both sides see a connection.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error, shown *x509.Certificate) { //nolint:revive,staticcheck // two errors of two sides
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	deadline := time.Now().Add(5 * time.Second)
	_, _ = a.SetDeadline(deadline), b.SetDeadline(deadline)
	done := make(chan error, 1)
	s, c := tls.Server(a, server), tls.Client(b, client)
	go func() { // ended by the deadline
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		_ = a.Close()
		done <- err
	}()
	clientErr = c.Handshake()
	if clientErr == nil { // a client learns of a refusal when it reads
		_, clientErr = c.Read(make([]byte, 1))
	}
	if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
		shown = certs[0]
	}
	_ = b.Close()
	return <-done, clientErr, shown
}

func mustTLS(t *testing.T, cert, key, ca string) *TLS {
	t.Helper()
	c, err := LoadTLS(cert, key, ca, "test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.issue(t, "node", nil)
	own := mustTLS(t, cert, key, ca.file)
	if s, c, _ := handshake(t, own.Server, own.Client); s != nil || c != nil {
		t.Fatalf("two nodes of one cluster: %v, %v", s, c)
	}
	// What a stranger shows, each as client and as server; it accepts everything itself.
	shows := map[string]*tls.Certificate{"nothing": nil}
	for name, issued := range map[string]struct {
		by     *authority
		change func(*x509.Certificate)
	}{
		"another CA":   {other, nil},
		"another name": {ca, func(c *x509.Certificate) { c.DNSNames = []string{"hongyan"} }},
		"expired":      {ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
		"not yet":      {ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }},
		"no usage":     {ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }},
	} {
		cert, key := issued.by.issue(t, "stranger", issued.change)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		shows[name] = &pair
	}
	for name, shown := range shows {
		stranger := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
		if shown != nil {
			stranger.Certificates = []tls.Certificate{*shown}
		}
		if s, c, _ := handshake(t, own.Server, stranger); s == nil || c == nil {
			t.Errorf("a client that shows %s is accepted: %v, %v", name, s, c)
		}
		if shown == nil {
			continue // a server without a certificate is none
		}
		stranger.ClientAuth = tls.RequestClientCert
		if _, c, _ := handshake(t, stranger, own.Client); c == nil {
			t.Errorf("a server that shows %s is accepted", name)
		}
	}
	old := own.Client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if s, c, _ := handshake(t, own.Server, old); s == nil || c == nil {
		t.Error("TLS 1.2 is accepted")
	}
}

// Certificates change without a restart, and a change that cannot be used changes nothing.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, "node", nil)
	own := mustTLS(t, cert, key, ca.file)
	_, _, before := handshake(t, own.Server, own.Client)
	ca.issue(t, "node", func(c *x509.Certificate) { c.Subject.CommonName = "the next certificate" })
	s, c, after := handshake(t, own.Server, own.Client)
	if s != nil || c != nil || after.Equal(before) || after.Subject.CommonName != "the next certificate" {
		t.Errorf("after the change: %v, %v, %v", s, c, after.Subject)
	}
	ca.issue(t, "node", func(c *x509.Certificate) { c.DNSNames = []string{"a mistake"} })
	if s, c, now := handshake(t, own.Server, own.Client); s != nil || c != nil || !now.Equal(after) {
		t.Errorf("after a mistake: %v, %v, %v", s, c, now.Subject)
	}
	// The CA changes too: a peer of the new one is accepted, one of the former is not.
	next := newAuthority(t)
	nextCert, nextKey := next.issue(t, "node", nil)
	peer := mustTLS(t, nextCert, nextKey, next.file)
	if s, _, _ := handshake(t, own.Server, peer.Client); s == nil {
		t.Fatal("another CA is accepted")
	}
	formerCert, formerKey := ca.issue(t, "former", nil)
	pair, err := tls.LoadX509KeyPair(formerCert, formerKey)
	if err != nil {
		t.Fatal(err)
	}
	former := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair}}
	for from, to := range map[string]string{next.file: ca.file, nextCert: cert, nextKey: key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, c, _ := handshake(t, own.Server, peer.Client); s != nil || c != nil {
		t.Errorf("the new CA: %v, %v", s, c)
	}
	if s, _, _ := handshake(t, own.Server, former); s == nil {
		t.Error("the former CA is still accepted")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, advertise string
		encrypted         bool
		want              string // of advertise, "!" for an error
	}{
		{"127.0.0.1:0", "", false, ""},
		{"localhost:7", "", false, ""},
		{"[::1]:7", "", false, ""},
		{"127.0.0.1:7", "127.0.0.1:9", false, "127.0.0.1:9"},
		{"127.0.0.1:7", "localhost", false, "localhost:7"},
		{"0.0.0.0:7", "", false, "!"},
		{":7", "", false, "!"},
		{"10.0.0.1:7", "", false, "!"},
		{"127.0.0.1:7", "10.0.0.1", false, "!"},
		{"127.0.0.1:7", "worker-1:7", false, "!"},
		{"127.0.0.1:0", "127.0.0.1", false, "!"},
		{"0.0.0.0:7", "worker-1", true, "worker-1:7"},
		{"0.0.0.0:7", "worker-1:70", true, "worker-1:70"},
		{"0.0.0.0:7", "fe80::1", true, "[fe80::1]:7"},
		{"0.0.0.0:7", "[fe80::1]:70", true, "[fe80::1]:70"},
		{"10.0.0.1:7", "", true, ""},
		{"10.0.0.1:7", "a b:c", true, "!"},
		{"0.0.0.0:0", "worker-1", true, "!"},
	} {
		e, err := newEndpoint(c.listen, c.advertise, c.encrypted)
		if (err != nil) != (c.want == "!") || (err == nil && e.advertise != c.want) {
			t.Errorf("%+v: %+v, %v", c, e, err)
		}
	}
	if e, err := newEndpoint("0.0.0.0:7", "", true); err != nil || e.advertise == "" || strings.HasPrefix(e.advertise, "0.0.0.0") {
		t.Errorf("all addresses: %+v, %v", e, err)
	}
	if _, err := dialLoopback(context.Background(), "10.0.0.1:7"); !errors.Is(err, errPlainOffLoopback) {
		t.Errorf("a plain call off loopback: %v", err)
	}
}

func encryptedSpec(t *testing.T, ca *authority, url, node string) childSpec {
	t.Helper()
	cert, key := ca.issue(t, node, nil)
	return childSpec{NATS: url, Node: node, Partitions: 16, Cert: cert, Key: key, CA: ca.file}
}

// Two processes with mutual TLS form a cluster, and serve each other's users; a plain node is told why it is refused.
func TestMutualTLSBetweenProcesses(t *testing.T) {
	s := startListening(t)
	ca := newAuthority(t)
	a := startChildAs(t, encryptedSpec(t, ca, s.ClientURL(), "a"))
	b := startChildAs(t, encryptedSpec(t, ca, s.ClientURL(), "b"))
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) })
	conn := connect(t, s)
	nodes := map[string]bool{}
	for i := range 20 { // any worker answers, so some questions go from one to the other
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		reply, err := Ask(ctx, conn, "test", messages.User{Account: "demo", OpenID: strings.Repeat("u", i+1)}, &messages.Inspect{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		nodes[reply.(*messages.UserView).GetNode()] = true
	}
	if len(nodes) != 2 {
		t.Errorf("%d nodes answered", len(nodes))
	}
	for _, c := range []*child{a, b} {
		eventually(t, "the peers answer each other", func() bool { return contains(c.log.String(), "a peer answers over the transport") })
	}
	plain := startChild(t, s.ClientURL(), "plain", 16)
	plain.awaitReady(t)
	for _, c := range []*child{a, b, plain} {
		eventually(t, "it is said who is refused", func() bool { return contains(c.log.String(), "has cluster.tls and the other has not") })
	}
}

// evil calls what makes the library panic, and sends what no node of ours would.
func evil(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := remote.NewRemotingClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, first := client.ListProcesses(ctx, &remote.ListProcessesRequest{})
	_, second := client.GetProcessDiagnostics(ctx, &remote.GetProcessDiagnosticsRequest{})
	if first == nil || second == nil {
		t.Error("a call that the library does not implement was served")
	}
	bad := &remote.MessageBatch{
		TypeNames: []string{"nobody.knows.This"}, Targets: []*actor.PID{{Id: PartitionActorID(0)}},
		Envelopes: []*remote.MessageEnvelope{{TypeId: 0, MessageData: []byte{1}}},
	}
	outOfRange := proto.Clone(bad).(*remote.MessageBatch)
	outOfRange.Envelopes[0].Target = 7
	stop := proto.Clone(bad).(*remote.MessageBatch)
	stop.TypeNames[0], stop.Envelopes[0].MessageData = "actor.Stop", nil
	var last error
	for _, batch := range []*remote.MessageBatch{bad, outOfRange, stop} {
		stream, err := client.Receive(ctx)
		if err == nil {
			_ = stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: batch}})
			_ = stream.CloseSend()
			_, err = stream.Recv()
		}
		last = err
	}
	return last
}

// A hostile peer cannot even connect where there is TLS; on loopback in plain it does not bring the process down.
func TestHostilePeer(t *testing.T) {
	s := startListening(t)
	ca, other := newAuthority(t), newAuthority(t)
	spec := encryptedSpec(t, ca, s.ClientURL(), "a")
	spec.Listen = freePort(t)
	a := startChildAs(t, spec)
	a.awaitReady(t)
	before := a.owns()
	cert, key := other.issue(t, "evil", nil)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, creds := range map[string]credentials.TransportCredentials{
		"in plain":               insecure.NewCredentials(),
		"without a certificate":  credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}),
		"with a stranger's cert": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}),
	} {
		if err := evil(t, spec.Listen, creds); err == nil {
			t.Errorf("%s: it got an answer", name)
		}
	}
	if contains(a.log.String(), "a peer's call made the transport panic") {
		t.Error("a call of a stranger came through")
	}
	if n := a.count(func(e childEvent) bool { return e.Kind == "stop" }); n != 0 || len(a.owns()) != len(before) {
		t.Errorf("%d actors were stopped by a stranger", n)
	}

	plain := startChildAs(t, childSpec{NATS: startListening(t).ClientURL(), Node: "plain", Partitions: 4, Listen: freePort(t)})
	plain.awaitReady(t)
	_ = evil(t, plain.spec.Listen, insecure.NewCredentials())
	eventually(t, "the panics were caught", func() bool { return contains(plain.log.String(), "a peer's call made the transport panic") })
	eventually(t, "all partitions run", func() bool { return len(plain.owns()) == 4 })
	if err := plain.cmd.Process.Signal(nilSignal); err != nil {
		t.Errorf("the process died: %v", err)
	}
}
