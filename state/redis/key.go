package redis

import (
	"fmt"
	"strconv"

	"hongyan/state"
)

// Keys. The hash tag {pNN} keeps all that belongs to a partition in one slot, so that one script reaches a user's record and
// the partition's checkpoint, and a Redis Cluster moves a partition as a whole. The OpenID stands last, as the bytes it has.
//
//	<prefix>:{p07}:checkpoint
//	<prefix>:{p07}:user:<account>:<OpenID>
//	<prefix>:{p07}:probe:<node>

// tag is a partition's hash tag, without its braces.
func tag(partition int) string { return fmt.Sprintf("p%02d", partition) }

func (s *Store) checkpointKey(partition int) string {
	return s.prefix + ":{" + tag(partition) + "}:checkpoint"
}

func (s *Store) keyOf(key state.Key) string {
	if key.IsCheckpoint() {
		return s.checkpointKey(key.Partition)
	}
	return s.prefix + ":{" + tag(key.Partition) + "}:user:" + key.User.Account + ":" + key.User.OpenID
}

func (s *Store) probeKey(partition int) string {
	return s.prefix + ":{" + tag(partition) + "}:probe:" + s.node
}

// slots is how many slots a Redis Cluster has.
const slots = 16384

// slotOf is the slot of a partition's hash tag: CRC-16/XMODEM of it (Redis Cluster specification, "Key distribution model").
func slotOf(partition int) int {
	var crc uint16
	var buf [24]byte
	text := append(buf[:0], 'p')
	if partition < 10 {
		text = append(text, '0')
	}
	for _, b := range strconv.AppendInt(text, int64(partition), 10) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % slots)
}
