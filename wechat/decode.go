// Package wechat is WeChat as a protocol, without I/O and without a clock: a verified body becomes a messages.Inbound, and an
// answer becomes the bytes of a passive reply. Its packages xml, json and crypt do the parts; tree is what the two formats
// have in common.
package wechat

import (
	"bytes"
	"fmt"
	"strconv"

	"hongyan/messages"
	"hongyan/wechat/tree"
)

// MaxBody is the size in bytes from which on Decode and DecodeEnvelope refuse a body unread. WeChat's pushes have a few
// kilobytes; a payload of 64 KiB, the most that is kept raw, has 152 KiB in compat mode.
const MaxBody = 256 << 10

const (
	maxRaw = 64 << 10 // bytes of messages.Inbound.Raw
	maxID  = 256      // bytes of an OpenID, a MsgId and the like; WeChat's have about 30. They become keys of stores.
)

// Decode turns the decrypted body of a push to account into an Inbound with everything but Nonce and Encrypted, which the
// caller knows. XML or JSON is told by the first byte that is neither a blank nor of a byte order mark. The result shares no
// memory with body. Errors wrap ErrMalformed.
//
// What is refused is the list of DESIGN §8, and besides: a message without a CreateTime (it is part of its identity), a
// CreateTime that is not all digits, coordinates and sizes that are no numbers, and a payload over 64 KiB that would have to
// be kept raw. An event without a CreateTime has 0. A push without a MsgType (a third-party platform's InfoType, the probe of
// cloud hosting) is of unknown kind.
func Decode(account string, body []byte) (*messages.Inbound, error) {
	var room [nodeRoom]tree.Node
	p, err := parse(room[:0], body)
	if err != nil {
		return nil, err
	}
	in := &messages.Inbound{
		Account: account,
		OpenId:  p.text(fieldFromUserName),
		ToUser:  p.text(fieldToUserName),
		MsgType: p.text(fieldMsgType),
		MsgId:   p.text(fieldMsgId),
		Format:  p.format,
	}
	if in.MsgId == "" {
		in.MsgId = p.text(fieldMsgID)
	}
	for _, id := range [...]string{in.OpenId, in.ToUser, in.MsgType, in.MsgId} {
		if !validID(id) {
			return nil, fmt.Errorf("%w: an id is too long or has a control character", ErrMalformed)
		}
	}
	if in.CreateTime, err = p.whole(fieldCreateTime); err != nil {
		return nil, err
	}
	var keep bool
	if isEvent(in.MsgType) {
		keep, err = p.event(in)
	} else {
		keep, err = p.message(in)
	}
	if err != nil {
		return nil, err
	}
	if keep {
		if len(body) > maxRaw {
			return nil, fmt.Errorf("%w: payload of unknown form over %d bytes", ErrMalformed, maxRaw)
		}
		in.Raw = bytes.Clone(body)
	}
	key := messages.DedupeKey(in)
	in.Key = key[:]
	return in, nil
}

// Envelope is the outer body of a push in compat or safe mode.
type Envelope struct {
	ToUserName string
	Encrypt    string // base64 text as received; empty where the push is not encrypted
	Format     messages.Format
	Plain      bool // the push stands beside Encrypt in plain: compat mode, or no encryption at all
}

// DecodeEnvelope reads the outer body with the strictness of Decode. It does not judge whether Encrypt must be there: that is
// the account's mode. Errors wrap ErrMalformed.
func DecodeEnvelope(body []byte) (Envelope, error) {
	var room [nodeRoom]tree.Node
	p, err := parse(room[:0], body)
	if err != nil {
		return Envelope{}, err
	}
	e := Envelope{
		ToUserName: p.text(fieldToUserName),
		Encrypt:    p.text(fieldEncrypt),
		Format:     p.format,
		Plain:      p.has(fieldMsgType) || p.has(fieldFromUserName) || p.has(fieldInfoType),
	}
	if !validID(e.ToUserName) {
		return Envelope{}, fmt.Errorf("%w: an id is too long or has a control character", ErrMalformed)
	}
	return e, nil
}

// validID keeps out of keys and subjects what no WeChat id has.
func validID(id string) bool {
	if len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if id[i] < 0x20 || id[i] == 0x7F {
			return false
		}
	}
	return true
}

// whole is the value of a field with a number of 0 or more; an absent or empty one is 0.
func (p *push) whole(f field) (int64, error) {
	s := p.text(f)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, notANumber(f)
	}
	return int64(n), nil
}

func notANumber(f field) error {
	return fmt.Errorf("%w: %s is not a number", ErrMalformed, fieldNames[f])
}

// decimal is a value of degrees or metres; empty is 0.
func decimal(s string) (float64, bool) {
	if s == "" {
		return 0, true
	}
	for i := range len(s) { // ParseFloat knows more than numbers: inf, nan, hex
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '.', c == '-', c == '+', c == 'e', c == 'E':
		default:
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
