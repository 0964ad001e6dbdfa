package state

import (
	"encoding/binary"
	"fmt"
)

// Stores that keep plain bytes put a record into an envelope: a header, big-endian, and the value behind it. The header is format
// (1 byte), flags (1), incarnation, number, epoch, write id (8 each). state/redis/change.lua reads it by position.
const (
	EnvelopeHead   = 2 + 4*8 // bytes of the header
	envelopeFormat = 1
	flagDeleted    = 1 << 0 // the record is gone; its version stays to refuse older owners
)

// EncodeEnvelope is the stored form of a record, or of the mark that a deleted one leaves; it shares nothing with value.
func EncodeEnvelope(deleted bool, v Version, value []byte) []byte {
	var flags byte
	if deleted {
		flags = flagDeleted
	}
	buf := make([]byte, 0, EnvelopeHead+len(value))
	buf = append(buf, envelopeFormat, flags)
	buf = binary.BigEndian.AppendUint64(buf, v.Incarnation)
	buf = binary.BigEndian.AppendUint64(buf, v.Number)
	buf = binary.BigEndian.AppendUint64(buf, v.Epoch)
	buf = binary.BigEndian.AppendUint64(buf, v.WriteID)
	return append(buf, value...)
}

// DecodeEnvelope reads the stored form. The value is a part of data. The error is ErrCorrupt.
func DecodeEnvelope(data []byte) (v Version, value []byte, deleted bool, err error) {
	switch {
	case len(data) < EnvelopeHead:
		return v, nil, false, fmt.Errorf("%w: it is cut off or not ours: %d bytes, the header alone has %d",
			ErrCorrupt, len(data), EnvelopeHead)
	case data[0] != envelopeFormat || data[1]&^flagDeleted != 0:
		return v, nil, false, fmt.Errorf("%w: it has format %d and flags %#x, this version of Hongyan reads format %d and no other flag "+
			"than %d; run the version that wrote it", ErrCorrupt, data[0], data[1], envelopeFormat, flagDeleted)
	}
	v.Incarnation = binary.BigEndian.Uint64(data[2:])
	v.Number = binary.BigEndian.Uint64(data[10:])
	v.Epoch = binary.BigEndian.Uint64(data[18:])
	v.WriteID = binary.BigEndian.Uint64(data[26:])
	if v.Incarnation == 0 || v.Number == 0 || v.WriteID == 0 {
		return v, nil, false, fmt.Errorf("%w: incarnation %d, number %d, write id %d; none may be 0",
			ErrCorrupt, v.Incarnation, v.Number, v.WriteID)
	}
	return v, data[EnvelopeHead:], data[1]&flagDeleted != 0, nil
}
