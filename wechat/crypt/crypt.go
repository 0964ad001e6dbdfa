// Package crypt is WeChat's message protection (wechat-protocol §1.4, §1.5): SHA-1 signatures over sorted parts, and
// AES-256-CBC with a 32-byte padding block and the receiver's id inside. It is pure: random bytes come from the caller.
package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	keyChars   = 43 // length of EncodingAESKey
	keyBytes   = 32
	randomSize = 16
	headerSize = randomSize + 4 // random bytes and the big-endian length of the message
	padBlock   = 32             // PKCS#7 block, twice the cipher's own
)

// ErrDecrypt is every failure of Decrypt. It never says which check failed, so that nobody can ask a node about ciphertexts.
var ErrDecrypt = errors.New("the payload does not decrypt")

// Codec seals and opens the payloads of one account under one token and one key. It is immutable and safe for concurrent
// use. During a rotation an account has two.
type Codec struct {
	token    string
	receiver []byte
	block    cipher.Block
	iv       [aes.BlockSize]byte
}

// NewCodec builds a codec from the account's token, its EncodingAESKey (43 characters) and the id that stands at the end of
// every payload (the AppID; a component's AppID or a CorpID for the neighbours of wechat-protocol §7). Errors never show the
// token or the key.
func NewCodec(token, encodingAESKey, receiverID string) (*Codec, error) {
	switch {
	case token == "":
		return nil, errors.New("token is empty; take it from the account's server settings")
	case receiverID == "":
		return nil, errors.New("receiver id (the account's AppID) is empty")
	case len(encodingAESKey) != keyChars:
		return nil, fmt.Errorf("encoding AES key has %d characters; WeChat's have %d", len(encodingAESKey), keyChars)
	}
	// Not Strict: the last character of real keys often carries spare bits that are not zero.
	key, err := base64.StdEncoding.DecodeString(encodingAESKey + "=")
	if err != nil || len(key) != keyBytes {
		return nil, errors.New("encoding AES key has a character outside A-Z, a-z, 0-9")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("encoding AES key: %w", err)
	}
	c := &Codec{token: token, receiver: []byte(receiverID), block: block}
	copy(c.iv[:], key)
	return c, nil
}

// Format keeps the token and the key out of every log line, whatever the verb.
func (c *Codec) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "crypt.Codec(secret)") }

// Sign is the msg_signature over an encrypted payload, 40 lower-case hex digits.
func (c *Codec) Sign(timestamp, nonce, encrypt string) string {
	return Signature(c.token, timestamp, nonce, encrypt)
}

// VerifyMessage tells whether signature is the msg_signature of the base64 text encrypt, exactly as it was received. Its
// time does not depend on where the two differ.
func (c *Codec) VerifyMessage(signature, timestamp, nonce, encrypt string) bool {
	sum := digest([]string{c.token, timestamp, nonce, encrypt})
	return Equal(signature, string(sum[:]))
}

// Decrypt opens the base64 text encrypt and returns the message in it. The checks are those of wechat-protocol §1.5 in that
// order. Beyond what the ciphertext's length shows anyway, none of them returns early, and all end in ErrDecrypt.
func (c *Codec) Decrypt(encrypt string) ([]byte, error) {
	buf, err := base64.StdEncoding.DecodeString(encrypt)
	if err != nil || len(buf) < padBlock || len(buf)%aes.BlockSize != 0 {
		return nil, ErrDecrypt
	}
	cipher.NewCBCDecrypter(c.block, c.iv[:]).CryptBlocks(buf, buf)

	pad := int(buf[len(buf)-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, padBlock)
	for i, b := range buf[len(buf)-padBlock:] {
		inPad := subtle.ConstantTimeLessOrEq(padBlock-i, pad)
		good &= subtle.ConstantTimeSelect(inPad, subtle.ConstantTimeByteEq(b, byte(pad)), 1)
	}
	pad = subtle.ConstantTimeSelect(good, pad, 0)

	end := len(buf) - pad // what is left without the padding
	good &= subtle.ConstantTimeLessOrEq(headerSize, end)
	tail := len(buf) // where the receiver id begins; stays there when the length lies
	if size := binary.BigEndian.Uint32(buf[randomSize:]); uint64(size)+headerSize <= uint64(end) {
		tail = headerSize + int(size)
	}
	// The slices below are within buf whether or not the checks held: a wrong length leaves an empty id, which no codec has.
	good &= subtle.ConstantTimeCompare(buf[min(tail, end):end], c.receiver)
	if good != 1 {
		return nil, ErrDecrypt
	}
	return buf[headerSize:tail:tail], nil
}

// Encrypt seals plain behind the 16 random bytes, which must be drawn afresh for each payload, and returns base64 text.
func (c *Codec) Encrypt(plain []byte, random [16]byte) string {
	size := headerSize + len(plain) + len(c.receiver)
	pad := padBlock - size%padBlock
	buf := make([]byte, 0, size+pad)
	buf = append(buf, random[:]...)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(plain)))
	buf = append(buf, plain...)
	buf = append(buf, c.receiver...)
	for range pad {
		buf = append(buf, byte(pad))
	}
	cipher.NewCBCEncrypter(c.block, c.iv[:]).CryptBlocks(buf, buf)
	return base64.StdEncoding.EncodeToString(buf)
}
