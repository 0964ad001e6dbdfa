package messages

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// KeySize is the length of a dedupe key in bytes.
const KeySize = 16

// Key is a message's dedupe key: the first 16 bytes of SHA-256 over the compound that wechat-protocol §3 gives. MsgId alone
// collides between users, and FromUserName+CreateTime alone joins two events of one second.
type Key [KeySize]byte

// String is the key in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// KeyOf is the key that stands in in.Key, which DedupeKey filled.
func KeyOf(in *Inbound) Key {
	var k Key
	copy(k[:], in.GetKey())
	return k
}

// DedupeKey computes the compound key of in: account, sender, MsgId and CreateTime for messages; for events also the event's
// name, key and ticket, and the ids in its detail that tell apart two results of one second. Fields are length-prefixed so that
// no two compounds have one encoding. A redelivery has the same key. The rest of an event's payload does not enter: WeChat
// repeats it unchanged.
func DedupeKey(in *Inbound) Key {
	buf := make([]byte, 0, 192)
	put := func(s string) {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	put(in.GetAccount())
	put(in.GetOpenId())
	put(in.GetMsgId())
	buf = binary.AppendVarint(buf, in.GetCreateTime())
	if e := in.GetEvent(); e != nil {
		put("event")
		put(e.GetName())
		put(e.GetKey())
		put(e.GetTicket())
		if job := e.GetPublishJob(); job.GetPublishId() != "" {
			put("publish")
			put(job.GetPublishId())
		}
		for _, msg := range e.GetSubscribeMsgs().GetItems() {
			if msg.GetMsgId() != "" {
				put("sent")
				put(msg.GetMsgId())
			}
		}
	} else if in.GetMsgId() == "" { // neither MsgId nor event: the type and the payload are all there is
		put(in.GetMsgType())
		put(string(in.GetRaw()))
	}
	sum := sha256.Sum256(buf)
	return Key(sum[:KeySize])
}

// MarshalText is the key in hex, so that JSON shows it as logs do.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// SameEntry tells whether both name one entry of the log: by its id, which a log that was replaced keeps, else by its position.
func (r *Redriven) SameEntry(other *Redriven) bool {
	if r.GetEntry() != "" || other.GetEntry() != "" {
		return r.GetEntry() == other.GetEntry()
	}
	return r.GetGeneration() == other.GetGeneration() && r.GetSequence() == other.GetSequence()
}

// AttemptKey is the key of a dead letter that is run again, as key#attempt of that letter: another one than the message's own and than
// those of its other letters, since each part of an answer may have one, and the same in each replay of that attempt (DESIGN §3 rule 19).
func AttemptKey(key Key, letter string, attempt int32) Key {
	data := binary.BigEndian.AppendUint32(append(key[:len(key):len(key)], '#'), uint32(attempt))
	sum := sha256.Sum256(append(data, letter...))
	return Key(sum[:KeySize])
}
