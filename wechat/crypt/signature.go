package crypt

import (
	"crypto/sha1" // as WeChat's signatures are; nothing else here is
	"encoding/hex"
	"slices"
)

// Signature is WeChat's signature over parts: sorted bytewise, joined without a separator, SHA-1, 40 lower-case hex digits
// (wechat-protocol §1.4). parts is not changed.
func Signature(parts ...string) string {
	sum := digest(parts)
	return string(sum[:])
}

// digest is Signature as an array. Up to four parts, which is all that WeChat uses, and a kilobyte need no heap.
func digest(parts []string) [2 * sha1.Size]byte {
	var few [4]string
	sorted := append(few[:0], parts...)
	slices.Sort(sorted)
	buf := make([]byte, 0, 1024)
	for _, p := range sorted {
		buf = append(buf, p...)
	}
	sum := sha1.Sum(buf)
	var out [2 * sha1.Size]byte
	hex.Encode(out[:], sum[:])
	return out
}

// Equal compares what came from outside with what is expected. Its time depends on the lengths alone, never on the content;
// texts of different lengths take as long as two of the length of got.
func Equal(got, want string) bool {
	same := len(got) == len(want)
	if !same {
		want = got
	}
	var diff byte
	for i := range len(got) {
		diff |= got[i] ^ want[i]
	}
	return same && diff == 0
}
