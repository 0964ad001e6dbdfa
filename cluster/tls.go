package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLS is the mutual TLS of the transport between nodes: TLS 1.3, a certificate from both sides. What counts is that the
// cluster's own CA signed the peer's certificate and that it carries the cluster's name as a DNS name; addresses do not
// count, so one certificate may serve all nodes and nodes may move.
type TLS struct {
	Server, Client *tls.Config

	files *certFiles
}

// LoadTLS reads a node's certificate, its key, and the CA that signs all nodes' certificates, as PEM. name is the cluster's
// name. The files are looked at again before a handshake when they have changed, so that certificates are replaced without a
// restart; a change that cannot be used is logged and the former certificates stay in use.
func LoadTLS(certFile, keyFile, caFile, name string) (*TLS, error) {
	f := &certFiles{cert: certFile, key: keyFile, ca: caFile, name: name, now: time.Now}
	for setting, file := range map[string]string{"cert": certFile, "key": keyFile, "ca": caFile} {
		if file == "" {
			return nil, fmt.Errorf("cluster.tls.%s is empty: mutual TLS needs cert, key and ca; `hongyan certs` makes them", setting)
		}
	}
	stamp, err := f.stat()
	if err != nil {
		return nil, err
	}
	pair, err := f.read()
	if err != nil {
		return nil, err
	}
	f.pair, f.stamp = pair, stamp
	return &TLS{Server: f.server(), Client: f.client(), files: f}, nil
}

// certPair is what a node shows and what it trusts.
type certPair struct {
	own   *tls.Certificate
	roots *x509.CertPool
}

// fileStamp tells versions of a file apart.
type fileStamp struct {
	modified time.Time
	size     int64
}

// certFiles keeps the certificates that stand in three files.
type certFiles struct {
	cert, key, ca, name string
	now                 func() time.Time

	mu    sync.Mutex
	log   *slog.Logger // nil until a transport uses them
	stamp [3]fileStamp
	pair  certPair
}

func (f *certFiles) logTo(l *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = l
}

func (f *certFiles) stat() (stamp [3]fileStamp, err error) {
	for i, file := range []string{f.cert, f.key, f.ca} {
		info, err := os.Stat(file)
		if err != nil {
			return stamp, fmt.Errorf("the cluster's certificate files: %w; `hongyan certs` makes them", err)
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamp, nil
}

// read loads the files and makes sure that a peer with the same files would accept them.
func (f *certFiles) read() (certPair, error) {
	own, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return certPair{}, fmt.Errorf("the node's certificate %s with key %s: %w; both must be PEM and belong together", f.cert, f.key, err)
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return certPair{}, fmt.Errorf("the cluster's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return certPair{}, fmt.Errorf("the cluster's CA %s holds no certificate in PEM form", f.ca)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := verify([]*x509.Certificate{own.Leaf}, roots, f.name, usage, f.now()); err != nil {
			return certPair{}, fmt.Errorf("the node's certificate %s would be refused by the others: %w; it must be signed by %s and carry the DNS name %q for servers and clients; `hongyan certs --name %s` makes such a one",
				f.cert, err, f.ca, f.name, f.name)
		}
	}
	return certPair{own: &own, roots: roots}, nil
}

// current is the pair to use in a handshake. A handshake is rare, three looks at files are cheap beside it.
func (f *certFiles) current() certPair {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp, err := f.stat()
	if err == nil && stamp == f.stamp {
		return f.pair
	}
	var pair certPair
	if err == nil {
		f.stamp = stamp // once for each change
		pair, err = f.read()
	}
	if err != nil {
		f.say(slog.LevelError, "the cluster's certificates have changed and cannot be used; the former ones stay in use", "error", err)
		return f.pair
	}
	f.pair = pair
	f.say(slog.LevelInfo, "the cluster's certificates were read again", "until", pair.own.Leaf.NotAfter)
	return f.pair
}

func (f *certFiles) say(level slog.Level, text string, args ...any) {
	if f.log != nil {
		f.log.Log(context.Background(), level, text, args...) // a handshake brings no context to this place
	}
}

// server requires and verifies a client's certificate. Tickets are off: every connection is verified anew.
func (f *certFiles) server() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert, // verified below, against the CA as it stands now
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.current().own, nil
		},
		VerifyConnection: func(c tls.ConnectionState) error { return f.verifyPeer(c, x509.ExtKeyUsageClientAuth) },
	}
}

func (f *certFiles) client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ServerName: f.name,
		// The library's own check knows the roots of the first moment only. VerifyConnection is the whole check: chain, name,
		// usage and time, against the CA as it stands now.
		InsecureSkipVerify: true, //nolint:gosec // see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return f.current().own, nil
		},
		VerifyConnection: func(c tls.ConnectionState) error { return f.verifyPeer(c, x509.ExtKeyUsageServerAuth) },
	}
}

func (f *certFiles) verifyPeer(c tls.ConnectionState, usage x509.ExtKeyUsage) error {
	err := verify(c.PeerCertificates, f.current().roots, f.name, usage, f.now())
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.say(slog.LevelWarn, "a peer's certificate was refused", "error", err)
		return fmt.Errorf("the peer's certificate: %w", err)
	}
	return nil
}

var errNoCertificate = errors.New("there is none")

func verify(chain []*x509.Certificate, roots *x509.CertPool, name string, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err //nolint:wrapcheck // the callers say whose certificate it is
}
