package ingress

import (
	"strconv"
	"time"

	"hongyan/messages"
	"hongyan/wechat"
	"hongyan/wechat/crypt"
)

// reason says why a request was refused, for counters and logs. The sender never learns it.
type reason string

const (
	genuine         reason = ""
	reasonAccount   reason = "unknown_account"
	reasonQuery     reason = "query"     // too long, repeated or badly escaped parameters, a timestamp that is no number
	reasonSignature reason = "signature" // signature or msg_signature is wrong or missing
	reasonStale     reason = "stale"     // properly signed, but outside the clock-skew window
	reasonMode      reason = "mode"      // not in the encryption mode that the account is set to
	reasonTooLarge  reason = "too_large" // the body is over the limit
	reasonBody      reason = "body"      // the body could not be read to its end
	reasonDecrypt   reason = "decrypt"   // properly signed, but the ciphertext or its receiver id is wrong
	reasonMalformed reason = "malformed" // neither a push nor an envelope
	reasonAddress   reason = "address"   // genuine but for the address that it came from
)

// Bounds of what a genuine URL carries, in bytes.
const (
	maxTimestamp = 18 // digits: an int64 holds them
	maxNonce     = 128
	maxEchostr   = 1024
	sizeSHA1Hex  = 40
	// maxCiphertext is in bytes of base64. Before the signature over it is checked, a stranger has it copied several times;
	// WeChat's pushes have a few KB.
	maxCiphertext = 256 << 10
)

// door is what verification needs of one account.
type door struct {
	id     string
	mode   Mode
	skew   time.Duration // 0: the timestamp is not compared
	tokens [2]string     // current, previous; a random one stands for a previous one that is not set
	// codecs by token and key, in the order of tokens: current and previous key. Empty in plain mode.
	codecs [2][]*crypt.Codec
}

// push is a callback that proved genuine.
type push struct {
	in *messages.Inbound
	// seal is the pair of token and key that verified the push; nil where it came in the clear. The reply is sealed with it,
	// for during a rotation the platform may know only this one.
	seal   *crypt.Codec
	format messages.Format // of the envelope, or of the push itself where there is none
}

// verifyHandshake decides about a GET (wechat-protocol §1.2). It is the same in all modes.
func (d *door) verifyHandshake(q *query, now time.Time) reason {
	if q.echostr == "" || len(q.echostr) > maxEchostr {
		return reasonQuery
	}
	return d.verifyURL(q, now)
}

// verifyHead decides about a POST as far as its URL tells, so that most forgeries end before their body is read.
func (d *door) verifyHead(q *query, now time.Time) reason {
	if d.mode == ModePlain {
		return d.verifyURL(q, now)
	}
	if _, ok := q.seconds(); !ok {
		return reasonQuery
	}
	// A request without encryption is a downgrade: its signature would not cover the body (wechat-protocol §1.3).
	if q.encryptType != "aes" {
		return reasonMode
	}
	if len(q.msgSignature) != sizeSHA1Hex {
		return reasonSignature
	}
	return genuine
}

// verifyURL checks `signature`, which covers token, timestamp and nonce, and then the timestamp's age.
func (d *door) verifyURL(q *query, now time.Time) reason {
	if _, ok := q.seconds(); !ok {
		return reasonQuery
	}
	current := crypt.Equal(crypt.Signature(d.tokens[0], q.timestamp, q.nonce), q.signature)
	previous := crypt.Equal(crypt.Signature(d.tokens[1], q.timestamp, q.nonce), q.signature)
	if !current && !previous {
		return reasonSignature
	}
	return d.verifyAge(q, now)
}

// verifyAge is the freshness window, on both sides. It comes after the signature, so that "stale" means a genuine push or a
// replay of one, and never a guess.
func (d *door) verifyAge(q *query, now time.Time) reason {
	seconds, _ := q.seconds()
	if age := now.Unix() - seconds; d.skew > 0 && max(age, -age) > int64(d.skew/time.Second) {
		return reasonStale
	}
	return genuine
}

// seconds is the timestamp as Unix seconds. It is false where timestamp or nonce are not what WeChat sends.
func (q *query) seconds() (int64, bool) {
	if q.timestamp == "" || len(q.timestamp) > maxTimestamp || len(q.nonce) > maxNonce {
		return 0, false
	}
	for _, c := range []byte(q.timestamp) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(q.timestamp, 10, 64)
	return n, err == nil
}

// verifyPush decides about a POST whose head was genuine: it opens the envelope where the account's mode has one, and decodes.
func (d *door) verifyPush(q *query, body []byte, now time.Time) (push, reason) {
	p, why := d.unseal(q, &body, now)
	if why != genuine {
		return push{}, why
	}
	in, err := wechat.Decode(d.id, body)
	switch {
	case p.seal == nil && q.encryptType == "aes" && in.GetMsgType() == "":
		return push{}, reasonMode // the platform is in safe mode, the configuration in plain: nothing in it can be read
	case err != nil:
		return push{}, reasonMalformed
	}
	in.Nonce, in.Encrypted = q.nonce, p.seal != nil
	if p.in = in; p.seal == nil {
		p.format = in.GetFormat()
	}
	return p, genuine
}

// unseal puts the decrypted push in the place of the envelope in *body. In compat mode the envelope's own fields are passed
// over: msg_signature does not cover them.
func (d *door) unseal(q *query, body *[]byte, now time.Time) (push, reason) {
	if d.mode == ModePlain {
		return push{}, genuine
	}
	envelope, err := wechat.DecodeEnvelope(*body)
	if err != nil {
		return push{}, reasonMalformed
	}
	switch {
	case envelope.Encrypt == "":
		return push{}, reasonMode
	case len(envelope.Encrypt) > maxCiphertext:
		return push{}, reasonTooLarge
	}
	current := d.codecs[0][0].VerifyMessage(q.msgSignature, q.timestamp, q.nonce, envelope.Encrypt)
	previous := d.codecs[1][0].VerifyMessage(q.msgSignature, q.timestamp, q.nonce, envelope.Encrypt)
	codecs := d.codecs[0]
	switch {
	case current:
	case previous:
		codecs = d.codecs[1]
	default:
		return push{}, reasonSignature
	}
	if why := d.verifyAge(q, now); why != genuine {
		return push{}, why
	}
	for _, codec := range codecs {
		if plain, err := codec.Decrypt(envelope.Encrypt); err == nil {
			*body = plain
			return push{seal: codec, format: envelope.Format}, genuine
		}
	}
	return push{}, reasonDecrypt
}
