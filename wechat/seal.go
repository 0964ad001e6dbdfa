package wechat

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"hongyan/messages"
	"hongyan/wechat/crypt"
)

// SealReply is the encrypted envelope (wechat-protocol §1.5) of a reply that EncodeReply made, in the given format.
// timestamp is in Unix seconds, on our clock; nonce may be the request's; random must be drawn afresh for each reply. A bare
// success or an empty reply is returned as it is: WeChat wants those unencrypted.
func SealReply(
	c *crypt.Codec, format messages.Format, plain []byte, timestamp int64, nonce string, random [16]byte,
) ([]byte, error) {
	if len(plain) == 0 || bytes.Equal(plain, Success) {
		return plain, nil
	}
	if c == nil {
		return nil, errors.New("seal reply: no codec; the account needs its encoding AES key")
	}
	encrypt := c.Encrypt(plain, random)
	nonce = strings.Map(visible, nonce) // what is signed must be what is written
	w := newWriter(format, len(encrypt)+len(nonce)+256)
	w.text("Encrypt", encrypt)
	w.text("MsgSignature", c.Sign(strconv.FormatInt(timestamp, 10), nonce, encrypt))
	w.number("TimeStamp", timestamp)
	w.text("Nonce", nonce)
	return w.finish(), nil
}

// visible drops what the writer would drop or a parser would change.
func visible(r rune) rune {
	if r <= ' ' || r == 0xFFFE || r == 0xFFFF {
		return -1
	}
	return r
}
