package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
)

// The files of a set of certificates, in one folder.
const (
	caCertFile   = "ca.pem"
	caKeyFile    = "ca-key.pem"
	nodeCertFile = "node.pem"
	nodeKeyFile  = "node-key.pem"
)

// clockMargin lets nodes whose clocks are behind accept a certificate that was made just now.
const clockMargin = time.Hour

func newCertsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates for the traffic between nodes 生成节点间 TLS 证书",
		Long: `Make a private authority and a certificate that all nodes of a cluster may share, for cluster.tls. Nodes accept only each
other: certificates of this authority that carry the cluster's name. Keep ` + caKeyFile + ` away from the nodes; it is needed only to
make further certificates.

Run again, it keeps the authority and makes a new node certificate once the old one has used two thirds of its life;
otherwise it changes nothing. Running nodes take up the new files by themselves.

Exit codes: 0 the set is there · 1 it could not be made · 2 wrong command line`,
		Example: "  hongyan certs --out ./certs --name hongyan",
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	out := flags.String("out", "certs", "folder for the files")
	name := flags.String("name", config.Default().Cluster.Name, "the cluster's name, as in cluster.name")
	days := flags.Int("days", 825, "how long the node certificate is valid; the authority lives for ten years")
	renew := flags.Bool("renew", false, "make a new node certificate even if the old one is young")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *days < 1 || *days > 3650 {
			return usageError(cmd, fmt.Errorf("--days %d: write 1 to 3650", *days))
		}
		s := certificates{dir: *out, name: *name, life: time.Duration(*days) * 24 * time.Hour, now: time.Now()}
		made, err := s.ensure(*renew)
		if err != nil {
			return err
		}
		if !made {
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds good certificates of cluster %s; nothing was changed\n", *out, *name)
			return nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), `%s holds the certificates of cluster %s. In the configuration of every node:

cluster:
  name: %s
  tls: {cert: %s, key: %s, ca: %s}
`, *out, *name, *name, filepath.Join(*out, nodeCertFile), filepath.Join(*out, nodeKeyFile), filepath.Join(*out, caCertFile))
		return nil
	}
	return cmd
}

// certificates is the set in one folder.
type certificates struct {
	dir, name string
	life      time.Duration // of a node's certificate
	now       time.Time
}

// authority is a certificate that signs others.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// ensure makes what is missing, or too old, and tells whether it made anything.
func (c certificates) ensure(renew bool) (bool, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // certificates are public; keys have modes of their own
		return false, fmt.Errorf("make the folder for the certificates: %w", err)
	}
	ca, err := c.authority()
	if err != nil {
		return false, err
	}
	if !renew && c.good(ca) {
		return false, nil
	}
	return true, c.issue(ca)
}

// authority reads the authority, or makes one where there is none.
func (c certificates) authority() (authority, error) {
	certFile, keyFile := filepath.Join(c.dir, caCertFile), filepath.Join(c.dir, caKeyFile)
	cert, certErr := readCertificate(certFile)
	key, keyErr := readKey(keyFile)
	missing := errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist)
	public, _ := certificateKey(cert)
	switch {
	case certErr == nil && keyErr == nil && public != nil && public.Equal(&key.PublicKey):
		return authority{cert, key}, nil
	case certErr == nil && keyErr == nil:
		return authority{}, fmt.Errorf("%s and %s do not belong together: restore them, or use an empty folder", certFile, keyFile)
	case !missing:
		return authority{}, fmt.Errorf("the authority in %s cannot be used: %w", c.dir, errors.Join(certErr, keyErr))
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Hongyan cluster " + c.name},
		NotBefore: c.now.Add(-clockMargin), NotAfter: c.now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority's key: %w", err)
	}
	if cert, err = c.write(certFile, keyFile, template, template, key, key); err != nil {
		return authority{}, err
	}
	return authority{cert, key}, nil
}

// good tells whether the node's certificate is of this authority and name, fits its key, and has a third of its life before it.
func (c certificates) good(ca authority) bool {
	cert, err := readCertificate(filepath.Join(c.dir, nodeCertFile))
	if err != nil {
		return false
	}
	key, err := readKey(filepath.Join(c.dir, nodeKeyFile))
	if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err = cert.Verify(x509.VerifyOptions{DNSName: c.name, Roots: roots, CurrentTime: c.now})
	left, life := cert.NotAfter.Sub(c.now), cert.NotAfter.Sub(cert.NotBefore)
	return err == nil && left > life/3
}

// issue makes the node's certificate, good for both ends of a connection.
func (c certificates) issue(ca authority) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the node's key: %w", err)
	}
	notAfter := c.now.Add(c.life)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
		NotBefore: c.now.Add(-clockMargin), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	_, err = c.write(filepath.Join(c.dir, nodeCertFile), filepath.Join(c.dir, nodeKeyFile), template, ca.cert, key, ca.key)
	return err
}

// write signs the template and puts certificate and key into their files: the key first, so that whoever sees the new
// certificate finds its key.
func (c certificates) write(certFile, keyFile string, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", certFile, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", keyFile, err)
	}
	if err := replaceFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return nil, err
	}
	if err := replaceFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// replaceFile writes beside the file and renames, so that nobody reads half of it.
func replaceFile(file string, data []byte, mode fs.FileMode) error {
	next := file + ".new"
	if err := os.WriteFile(next, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(next, file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if _, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, fmt.Errorf("%s was not made by this command: its key is no ECDSA key", file)
	}
	return cert, nil
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s was not made by this command: it is no ECDSA key", file)
	}
	return private, nil
}

func readPEM(file, kind string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s in PEM form", file, kind)
	}
	return block.Bytes, nil
}

// serial is a random number of 128 bits, as public authorities use.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return new(big.Int).SetBytes(b[:])
}

// readRoots reads the certificates of authorities.
func readRoots(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// certificateKey is the certificate's public key, where it is of the kind that we make.
func certificateKey(cert *x509.Certificate) (*ecdsa.PublicKey, bool) {
	if cert == nil {
		return nil, false
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	return key, ok
}
