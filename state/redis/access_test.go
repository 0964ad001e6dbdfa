package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"hongyan/internal/servers"
	"hongyan/state"
)

const (
	aclUser     = "hongyan"
	aclPassword = "p@ss/w:rd"
)

// setUser gives the server's user exactly these rules.
func setUser(t *testing.T, admin *goredis.Client, rules string) {
	t.Helper()
	args := []any{"acl", "setuser", aclUser, "reset", "on", ">" + aclPassword}
	for _, r := range strings.Fields(rules) {
		args = append(args, r)
	}
	must(t, admin.Do(t.Context(), args...).Err())
}

func aclURL(addr string) string { return "redis://hongyan:p%40ss%2Fw%3Ard@" + addr }

// exercise uses everything that a store asks of a server, and returns what does not work.
func exercise(t *testing.T, admin *goredis.Client, o Options) error {
	t.Helper()
	must(t, admin.FlushAll(t.Context()).Err())
	must(t, admin.ScriptFlush(t.Context()).Err())
	o.OpTimeout = 10 * time.Second
	store, err := Open(t.Context(), o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer store.Close()
	w := write(1, 1, "first")
	rec, err := store.Commit(t.Context(), testKey, state.Record{}, w)
	if err != nil {
		return err
	}
	if _, err = store.Commit(t.Context(), testKey, state.Record{}, w); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if _, err := store.Load(t.Context(), testKey); err != nil {
		return err
	}
	if err := store.Delete(t.Context(), testKey, rec, 1); err != nil {
		return err
	}
	if err := store.Ping(t.Context()); err != nil {
		return err
	}
	p, err := store.Promise(t.Context())
	if err == nil && (!p.Verified || p.Policy != "noeviction" || len(p.Warnings) > 0) {
		err = fmt.Errorf("promise: %s", p)
	}
	return err
}

// TestACL: the documented rules are enough, and none of them is too much.
func TestACL(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "no"})
	admin := client(t, server.Addr())
	o := Options{URL: aclURL(server.Addr()) + "/1", Prefix: "hongyan"}
	rules := ACLRules(o)
	setUser(t, admin, rules)
	if err := exercise(t, admin, o); err != nil {
		t.Fatalf("with %s: %v", rules, err)
	}
	for _, rule := range strings.Fields(rules) {
		if !strings.HasPrefix(rule, "+") && !strings.HasPrefix(rule, "~") {
			continue
		}
		without := strings.ReplaceAll(rules+" ", " "+rule+" ", " ")
		setUser(t, admin, without)
		err := exercise(t, admin, o)
		if rule == "+info" && err == nil {
			continue // where CONFIG may be read, INFO only counts replicas
		}
		if err == nil {
			t.Errorf("it works without %s", rule)
		} else if strings.Contains(err.Error(), aclPassword) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	setUser(t, admin, rules)
	o.Prefix = "others"
	if err := exercise(t, admin, o); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("another cluster's keys: %v", err)
	}
	o.Prefix, o.URL = "hongyan", "redis://hongyan:wrong@"+server.Addr()
	if err := exercise(t, admin, o); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestPromise says what is in force, and what cannot be known.
func TestPromise(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "always"})
	admin := client(t, server.Addr())
	store := openStore(t, Options{URL: urlOf(server.Addr())})
	for _, tt := range []struct {
		set  [][2]string
		disk bool
		text string
	}{
		{nil, true, "is on the master's disk"},
		{[][2]string{{"no-appendfsync-on-rewrite", "yes"}}, false, "set no-appendfsync-on-rewrite no"},
		{[][2]string{{"no-appendfsync-on-rewrite", "no"}, {"appendfsync", "everysec"}}, false, "not a power cut (appendfsync everysec)"},
		{[][2]string{{"appendfsync", "no"}}, false, "not a power cut (appendfsync no)"},
		{[][2]string{{"appendonly", "no"}}, false, "its restart loses everything"},
	} {
		for _, kv := range tt.set {
			must(t, admin.ConfigSet(t.Context(), kv[0], kv[1]).Err())
		}
		p, err := store.Promise(t.Context())
		if err != nil || p.Disk != tt.disk || !p.Verified || !strings.Contains(p.String(), tt.text) {
			t.Errorf("%v: %+v, %v: %s", tt.set, p, err, p)
		}
	}
	must(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	if p, err := store.Promise(t.Context()); !errors.Is(err, ErrEvicts) || p.Policy != "allkeys-lru" {
		t.Errorf("a server that evicts: %+v, %v", p, err)
	}
	must(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	must(t, admin.ConfigSet(t.Context(), "appendonly", "yes").Err())
	must(t, admin.ConfigSet(t.Context(), "appendfsync", "always").Err())

	o := Options{URL: aclURL(server.Addr())}
	setUser(t, admin, strings.ReplaceAll(ACLRules(o), "+config|get", ""))
	p, err := openStore(t, o).Promise(t.Context())
	if err != nil || p.Verified || p.Disk || p.Policy != "noeviction" || !strings.Contains(p.String(), "cannot be verified") {
		t.Errorf("without CONFIG: %+v, %v: %s", p, err, p)
	}
	setUser(t, admin, strings.NewReplacer("+config|get", "", "+info", "").Replace(ACLRules(o)))
	o.WaitReplicas = 1
	p, err = openStore(t, o).Promise(t.Context())
	if err != nil || p.Verified || p.Disk || p.Policy != "" || len(p.Warnings) != 2 {
		t.Errorf("without CONFIG and INFO: %+v, %v: %s", p, err, p)
	}
}

// authority signs certificates for loopback.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = template, a.newKey(t)
	a.cert = a.sign(t, "ca", template, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// sign writes <name>.pem and <name>-key.pem.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	for file, block := range map[string]*pem.Block{
		a.file(name + ".pem"):     {Type: "CERTIFICATE", Bytes: der},
		a.file(name + "-key.pem"): {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate for server and client.
func (a *authority) issue(t *testing.T, name string, serial int64) tls.Certificate {
	t.Helper()
	a.sign(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.newKey(t))
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+"-key.pem"))
	must(t, err)
	return pair
}

// TestTLS: a server that wants certificates gets ours, and we want its.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.issue(t, "server", 2)
	cert := ours.issue(t, "client", 3)
	port := freePort(t)
	server := startRedis(t, servers.RedisOptions{AppendOnly: "always", Args: []string{
		"--port", "0", "--tls-port", port, "--tls-auth-clients", "yes", "--tls-ca-cert-file", ours.file("ca.pem"),
		"--tls-cert-file", ours.file("server.pem"), "--tls-key-file", ours.file("server-key.pem"),
	}})
	url := "rediss://127.0.0.1:" + port
	good := &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	store := openStore(t, Options{URL: url, TLS: good, OpTimeout: 2 * time.Second})
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, strings.Repeat("x", 100<<10))
	must(t, store.Ping(t.Context()))
	must(t, server.Kill())
	must(t, server.Restart(t.Context()))
	second := write(1, 2, "second")
	until(t, "the server again", func() bool {
		_, err := store.Commit(t.Context(), testKey, rec, second)
		return err == nil
	})

	for name, config := range map[string]*tls.Config{
		"unknown authority":     nil,
		"another authority":     {RootCAs: theirs.pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		"no client certificate": {RootCAs: ours.pool, MinVersion: tls.VersionTLS12},
		"another server's name": {RootCAs: ours.pool, Certificates: []tls.Certificate{cert}, ServerName: "redis.example", MinVersion: tls.VersionTLS12},
	} {
		if _, err := Open(t.Context(), Options{URL: url, TLS: config}); !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(t.Context(), Options{URL: "redis://127.0.0.1:" + port}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("plain: %v", err)
	}
}
