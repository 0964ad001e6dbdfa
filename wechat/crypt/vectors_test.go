package crypt_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"hongyan/wechat/crypt"
)

// readVectors reads testdata/vectors.txt: name → key → value.
func readVectors(t testing.TB) map[string]map[string]string {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	vectors := map[string]map[string]string{}
	var v map[string]string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "["), "]"); ok && strings.HasPrefix(line, "[") {
			v = map[string]string{}
			vectors[name] = v
			continue
		}
		if key, value, ok := strings.Cut(line, ": "); ok && v != nil {
			v[key] = value
		}
	}
	if len(vectors) != 14 {
		t.Fatalf("%d vectors, want 14", len(vectors))
	}
	if p, ok := vectors["J1"]["plaintext"]; !ok || p == "" {
		t.Fatal("vector J1 has no plaintext")
	}
	for _, v := range vectors {
		v["plaintext"] = strings.ReplaceAll(v["plaintext"], `\n`, "\n")
	}
	return vectors
}

func codecOf(t testing.TB, v map[string]string) *crypt.Codec {
	t.Helper()
	c, err := crypt.NewCodec(v["token"], v["EncodingAESKey"], v["receiver id"])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVectors(t *testing.T) {
	t.Parallel()
	signatures, messages := 0, 0
	for name, v := range readVectors(t) {
		if name == "S2" {
			continue // TestS2IsRefused
		}
		if want := v["signature"]; want != "" {
			signatures++
			if got := crypt.Signature(v["token"], v["timestamp"], v["nonce"]); got != want {
				t.Errorf("%s: signature %s, want %s", name, got, want)
			}
		}
		if v["encrypt"] == "" {
			continue
		}
		messages++
		c := codecOf(t, v)
		if want := v["msg_signature"]; want != "" {
			signatures++
			if got := c.Sign(v["timestamp"], v["nonce"], v["encrypt"]); got != want {
				t.Errorf("%s: msg_signature %s, want %s", name, got, want)
			}
			if !c.VerifyMessage(want, v["timestamp"], v["nonce"], v["encrypt"]) {
				t.Errorf("%s: VerifyMessage refuses", name)
			}
		}
		plain, err := c.Decrypt(v["encrypt"])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(plain) != v["plaintext"] {
			t.Errorf("%s: plaintext %q, want %q", name, plain, v["plaintext"])
		}
		if got := c.Encrypt(plain, [16]byte([]byte(v["random16"]))); got != v["encrypt"] {
			t.Errorf("%s: sealed again it is %s, want %s", name, got, v["encrypt"])
		}
	}
	if signatures != 15 || messages != 9 {
		t.Errorf("saw %d signatures and %d messages, want 15 and 9", signatures, messages)
	}
}

// S2 was published with a signature that does not match and a padding byte of 40: both must stop it, each alone.
func TestS2IsRefused(t *testing.T) {
	t.Parallel()
	v := readVectors(t)["S2"]
	c := codecOf(t, v)
	if c.VerifyMessage(v["msg_signature"], v["timestamp"], v["nonce"], v["encrypt"]) {
		t.Error("its own signature passes")
	}
	again := c.Sign(v["timestamp"], v["nonce"], v["encrypt"])
	if !c.VerifyMessage(again, v["timestamp"], v["nonce"], v["encrypt"]) {
		t.Error("a right signature does not pass")
	}
	if plain, err := c.Decrypt(v["encrypt"]); !errors.Is(err, crypt.ErrDecrypt) {
		t.Errorf("decrypts to %q, %v", plain, err)
	}
}
