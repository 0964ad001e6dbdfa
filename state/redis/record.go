package redis

import (
	"encoding/binary"
	"fmt"

	"hongyan/state"
)

// A record is one string: a header, big-endian, and the value behind it. The header is format (1 byte), flags (1), incarnation,
// number, epoch, write id (8 each). change.lua reads it by position. One string costs a commit a third less than one hash with
// five fields, and the script reads the header without the value (docs/decisions/0009-redis.md).
const (
	recordFormat = 1
	headerBytes  = 2 + 4*8
	flagDeleted  = 1 << 0 // the record is gone; its version stays to refuse older owners
)

// encodeRecord is the stored form; it shares nothing with value.
func encodeRecord(flags byte, v state.Version, value []byte) []byte {
	buf := make([]byte, 0, headerBytes+len(value))
	buf = append(buf, recordFormat, flags)
	buf = binary.BigEndian.AppendUint64(buf, v.Incarnation)
	buf = binary.BigEndian.AppendUint64(buf, v.Number)
	buf = binary.BigEndian.AppendUint64(buf, v.Epoch)
	buf = binary.BigEndian.AppendUint64(buf, v.WriteID)
	return append(buf, value...)
}

// decodeRecord reads the stored form. The value is a part of data. The error is state.ErrCorrupt.
func decodeRecord(data []byte) (v state.Version, value []byte, deleted bool, err error) {
	switch {
	case len(data) < headerBytes:
		return v, nil, false, fmt.Errorf("%w: it is cut off or not ours: %d bytes, the header alone has %d",
			state.ErrCorrupt, len(data), headerBytes)
	case data[0] != recordFormat || data[1]&^flagDeleted != 0:
		return v, nil, false, fmt.Errorf("%w: it has format %d and flags %#x, this version of Hongyan reads format %d and no other flag "+
			"than %d; run the version that wrote it", state.ErrCorrupt, data[0], data[1], recordFormat, flagDeleted)
	}
	v.Incarnation = binary.BigEndian.Uint64(data[2:])
	v.Number = binary.BigEndian.Uint64(data[10:])
	v.Epoch = binary.BigEndian.Uint64(data[18:])
	v.WriteID = binary.BigEndian.Uint64(data[26:])
	if v.Incarnation == 0 || v.Number == 0 || v.WriteID == 0 {
		return v, nil, false, fmt.Errorf("%w: incarnation %d, number %d, write id %d; none may be 0",
			state.ErrCorrupt, v.Incarnation, v.Number, v.WriteID)
	}
	return v, data[headerBytes:], data[1]&flagDeleted != 0, nil
}

// identity is what change.lua compares of a base: nothing for the zero Version.
func identity(v state.Version) []byte {
	if v == (state.Version{}) {
		return nil
	}
	buf := make([]byte, 0, 24)
	buf = binary.BigEndian.AppendUint64(buf, v.Incarnation)
	buf = binary.BigEndian.AppendUint64(buf, v.Number)
	return binary.BigEndian.AppendUint64(buf, v.WriteID)
}

// epochOf reads the epoch that the script cut out of a checkpoint; 0 where there is none.
func epochOf(text string) uint64 {
	if len(text) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(text))
}
