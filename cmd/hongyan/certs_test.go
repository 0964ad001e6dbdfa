package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certs runs the command and returns its output.
func certs(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), append([]string{"certs"}, args...), &out, &errs)
	return out.String() + errs.String(), code
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	if said, code := certs(t, "--out", dir, "--name", "geese"); code != exitOK || !strings.Contains(said, "name: geese") {
		t.Fatalf("exit code %d: %s", code, said)
	}
	ca, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		t.Fatal(err)
	}
	node, err := readCertificate(filepath.Join(dir, nodeCertFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := node.Verify(x509.VerifyOptions{DNSName: "geese", Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
	for _, key := range []string{caKeyFile, nodeKeyFile} {
		if info, err := os.Stat(filepath.Join(dir, key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
	}

	// Again: nothing changes. For another name or by order: a new certificate of the same authority.
	if said, code := certs(t, "--out", dir, "--name", "geese"); code != exitOK || !strings.Contains(said, "nothing was changed") {
		t.Errorf("exit code %d: %s", code, said)
	}
	for _, args := range [][]string{{"--name", "swans"}, {"--name", "swans", "--renew"}} {
		if said, code := certs(t, append(args, "--out", dir)...); code != exitOK {
			t.Fatalf("exit code %d: %s", code, said)
		}
		next, err := readCertificate(filepath.Join(dir, nodeCertFile))
		if err != nil {
			t.Fatal(err)
		}
		if next.Equal(node) || next.CheckSignatureFrom(ca) != nil || next.VerifyHostname("swans") != nil {
			t.Errorf("%v: not a new certificate of the same authority", args)
		}
		node = next
	}
}

func TestCertificatesAreRenewedInTime(t *testing.T) {
	t.Parallel()
	c := certificates{dir: t.TempDir(), name: "geese", life: 90 * 24 * time.Hour, now: time.Now()}
	if made, err := c.ensure(false); err != nil || !made {
		t.Fatal(made, err)
	}
	for days, want := range map[int]bool{1: false, 50: false, 70: true} {
		later := c
		later.now = c.now.AddDate(0, 0, days)
		ca, err := later.authority()
		if err != nil {
			t.Fatal(err)
		}
		if got := !later.good(ca); got != want {
			t.Errorf("after %d days: renewed %v", days, got)
		}
	}
}

func TestBrokenAuthorityIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs(t, "--out", dir)
	file := filepath.Join(dir, caKeyFile)
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, code := certs(t, "--out", dir)
	if code != exitError || !strings.Contains(said, caKeyFile) {
		t.Errorf("exit code %d: %s", code, said)
	}
	if b, _ := os.ReadFile(file); string(b) != "garbage" {
		t.Error("what cannot be read was overwritten")
	}
	if said, code := certs(t, "--out", dir, "--days", "0"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, said)
	}
}
