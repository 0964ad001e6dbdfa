package jetstream

import (
	"encoding/binary"
	"fmt"

	"hongyan/state"
)

// The envelope of a record, big-endian: format (1 byte), flags (1), incarnation, number, epoch, write id (8 each), value.
const (
	envelopeFormat = 1
	envelopeHead   = 2 + 4*8
	flagDeleted    = 1 << 0 // the record is gone; its version stays to refuse older owners
)

// envelope wraps a value; the result shares nothing with it.
func envelope(flags byte, v state.Version, value []byte) []byte {
	buf := make([]byte, 0, envelopeHead+len(value))
	buf = append(buf, envelopeFormat, flags)
	buf = binary.BigEndian.AppendUint64(buf, v.Incarnation)
	buf = binary.BigEndian.AppendUint64(buf, v.Number)
	buf = binary.BigEndian.AppendUint64(buf, v.Epoch)
	buf = binary.BigEndian.AppendUint64(buf, v.WriteID)
	return append(buf, value...)
}

// parseEnvelope reads an envelope. The value is a part of data.
func parseEnvelope(data []byte) (v state.Version, value []byte, deleted bool, err error) {
	if len(data) < envelopeHead {
		return v, nil, false, fmt.Errorf("the stored record is cut off or not ours: %d bytes, the head alone has %d", len(data), envelopeHead)
	}
	if data[0] != envelopeFormat {
		return v, nil, false, fmt.Errorf("the stored record has format %d, this version of Hongyan reads %d; run the version that wrote it",
			data[0], envelopeFormat)
	}
	if data[1]&^flagDeleted != 0 {
		return v, nil, false, fmt.Errorf("the stored record has unknown flags %#x; run the version that wrote it", data[1])
	}
	v.Incarnation = binary.BigEndian.Uint64(data[2:])
	v.Number = binary.BigEndian.Uint64(data[10:])
	v.Epoch = binary.BigEndian.Uint64(data[18:])
	v.WriteID = binary.BigEndian.Uint64(data[26:])
	if v.Incarnation == 0 || v.Number == 0 || v.WriteID == 0 {
		return v, nil, false, fmt.Errorf("the stored record is damaged: incarnation %d, number %d, write id %d; none may be 0",
			v.Incarnation, v.Number, v.WriteID)
	}
	return v, data[envelopeHead:], data[1]&flagDeleted != 0, nil
}
