package crypt_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/wechat/crypt"
)

const (
	testToken = "AAAAA"
	testKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	testApp   = "wxb11529c136998cb6"
)

func testCodec(t testing.TB) *crypt.Codec {
	t.Helper()
	c, err := crypt.NewCodec(testToken, testKey, testApp)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealRaw encrypts a plain layout as it is, so that tests can break any part of it.
func sealRaw(t testing.TB, layout []byte) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(testKey + "=")
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, len(layout))
	cipher.NewCBCEncrypter(block, key[:16]).CryptBlocks(out, layout)
	return base64.StdEncoding.EncodeToString(out)
}

// layoutOf is random ‖ length ‖ msg ‖ id ‖ padding with the given length field.
func layoutOf(msg, id string, length uint32) []byte {
	l := bytes.Repeat([]byte{'r'}, 16)
	l = binary.BigEndian.AppendUint32(l, length)
	l = append(append(l, msg...), id...)
	pad := 32 - len(l)%32
	return append(l, bytes.Repeat([]byte{byte(pad)}, pad)...)
}

func TestDecryptRefuses(t *testing.T) {
	t.Parallel()
	c := testCodec(t)
	good := layoutOf("hello", testApp, 5)
	change := func(f func(l []byte)) []byte {
		l := slices.Clone(good)
		f(l)
		return l
	}
	if plain, err := c.Decrypt(sealRaw(t, good)); err != nil || string(plain) != "hello" {
		t.Fatalf("the unbroken one: %q, %v", plain, err)
	}
	last := len(good) - 1
	for name, encrypt := range map[string]string{
		"empty":                "",
		"not base64":           "!!!!",
		"one block":            sealRaw(t, good[:16]),
		"half a block":         base64.StdEncoding.EncodeToString(good[:40]),
		"pad 0":                sealRaw(t, change(func(l []byte) { l[last] = 0 })),
		"pad 33":               sealRaw(t, append(bytes.Repeat([]byte{33}, 64), bytes.Repeat([]byte{33}, 32)...)),
		"uneven pad":           sealRaw(t, change(func(l []byte) { l[last-1]++ })),
		"first pad byte wrong": sealRaw(t, change(func(l []byte) { l[len(l)-int(l[last])]++ })),
		"only padding":         sealRaw(t, bytes.Repeat([]byte{32}, 32)),
		"too short inside":     sealRaw(t, append(make([]byte, 16), bytes.Repeat([]byte{16}, 16)...)),
		"length too long":      sealRaw(t, layoutOf("hello", testApp, 6)),
		"length beyond":        sealRaw(t, layoutOf("hello", testApp, 500)),
		"length negative":      sealRaw(t, layoutOf("hello", testApp, 0xFFFFFFFF)),
		"length too short":     sealRaw(t, layoutOf("hello", testApp, 4)),
		"other receiver":       sealRaw(t, layoutOf("hello", "wxb11529c136998cb7", 5)),
		"longer receiver":      sealRaw(t, layoutOf("hello", testApp+"0", 5)),
		"no receiver":          sealRaw(t, layoutOf("hello", "", 5)),
	} {
		if plain, err := c.Decrypt(encrypt); !errors.Is(err, crypt.ErrDecrypt) || err.Error() != crypt.ErrDecrypt.Error() {
			t.Errorf("%s: %q, %v; want ErrDecrypt and nothing else", name, plain, err)
		}
	}
}

// Every bit of a ciphertext counts, apart from the 16 random bytes that nobody reads.
func TestDecryptFlippedBits(t *testing.T) {
	t.Parallel()
	c := testCodec(t)
	msg := strings.Repeat("m", 50)
	raw, err := base64.StdEncoding.DecodeString(c.Encrypt([]byte(msg), [16]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			broken := slices.Clone(raw)
			broken[i] ^= 1 << bit
			plain, err := c.Decrypt(base64.StdEncoding.EncodeToString(broken))
			if err == nil && string(plain) == msg {
				t.Errorf("bit %d of byte %d makes no difference", bit, i)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c := testCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		random := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "random"))
		encrypt := c.Encrypt(plain, random)
		got, err := c.Decrypt(encrypt)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %q, %v", got, err)
		}
		if cap(got) != len(got) {
			t.Fatal("appending to the message would overwrite what stands behind it")
		}
	})
}

func TestNewCodec(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][3]string{
		"no token":     {"", testKey, testApp},
		"no receiver":  {testToken, testKey, ""},
		"short key":    {testToken, testKey[1:], testApp},
		"padded key":   {testToken, testKey + "=", testApp},
		"bad key":      {testToken, "-" + testKey[1:], testApp},
		"line in key":  {testToken, "\n" + testKey[1:], testApp},
		"equals inner": {testToken, testKey[:42] + "=", testApp},
	} {
		c, err := crypt.NewCodec(args[0], args[1], args[2])
		if err == nil || c != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), testKey[2:40]) || strings.Contains(err.Error(), testToken) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

func TestCodecHidesItsSecrets(t *testing.T) {
	t.Parallel()
	c := testCodec(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, c); got != "crypt.Codec(secret)" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "b", false}, {"a", "", false}, {"", "a", false},
		{"abc", "abcd", false}, {"abcd", "abc", false}, {"abcd", "abcD", false}, {"Abcd", "abcd", false},
	} {
		if got := crypt.Equal(c.a, c.b); got != c.want {
			t.Errorf("Equal(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	parts := []string{"c", "a", "b"}
	if got := crypt.Signature(parts...); got != "a9993e364706816aba3e25717850c26c9cd0d89d" {
		t.Errorf("got %s", got)
	}
	if !slices.Equal(parts, []string{"c", "a", "b"}) {
		t.Error("the parts were sorted in place")
	}
	long := strings.Repeat("x", 5000)
	if crypt.Signature(long, "1", "2", "3", "4") != crypt.Signature("4", "3", long, "2", "1") {
		t.Error("the order of many long parts matters")
	}
	c := testCodec(t)
	sig := c.Sign("1", "2", "3")
	for _, wrong := range []string{"", sig[:39], sig + "0", strings.ToUpper(sig), "0" + sig[1:]} {
		if wrong != sig && c.VerifyMessage(wrong, "1", "2", "3") {
			t.Errorf("%q passes", wrong)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	for _, v := range readVectors(f) {
		if v["encrypt"] != "" {
			f.Add(v["encrypt"])
		}
	}
	c := testCodec(f)
	f.Add(c.Encrypt([]byte("hello"), [16]byte{}))
	f.Add(sealRaw(f, layoutOf("hello", testApp, 0xFFFFFFFF)))
	f.Fuzz(func(t *testing.T, text string) {
		plain, err := c.Decrypt(text)
		if err != nil {
			if !errors.Is(err, crypt.ErrDecrypt) || plain != nil {
				t.Fatalf("%q, %v", plain, err)
			}
		}
		// Also as a layout under the right key, which random ciphertexts never reach.
		layout := []byte(text)
		layout = layout[:len(layout)/16*16]
		if plain, err = c.Decrypt(sealRaw(t, layout)); err != nil {
			return
		}
		pad := int(layout[len(layout)-1])
		want := layout[:len(layout)-pad]
		if string(want[20:]) != string(plain)+testApp || int(binary.BigEndian.Uint32(want[16:20])) != len(plain) {
			t.Fatalf("layout %q gave %q", layout, plain)
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	v := readVectors(b)["S4"]
	c := codecOf(b, v)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decrypt(v["encrypt"]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	v := readVectors(b)["S4"]
	c := codecOf(b, v)
	plain := []byte(v["plaintext"])
	b.ReportAllocs()
	for b.Loop() {
		c.Encrypt(plain, [16]byte{})
	}
}

func BenchmarkVerify(b *testing.B) {
	v := readVectors(b)["S4"]
	c := codecOf(b, v)
	b.ReportAllocs()
	for b.Loop() {
		if !c.VerifyMessage(v["msg_signature"], v["timestamp"], v["nonce"], v["encrypt"]) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		crypt.Signature("AAAAA", "1714036504", "1514711492")
	}
}
