package redis

import (
	"encoding/binary"

	"hongyan/state"
)

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
