package jetstream

import (
	"encoding/base64"
	"strconv"
	"strings"

	"hongyan/state"
)

// subjectOf is where a record lives: "$KV.<bucket>.p07.checkpoint" or "$KV.<bucket>.p07.u.<account>.<OpenID in base64url>".
// An OpenID may be any bytes; base64url has no dot, blank or wildcard and fits the alphabet of NATS's own KV tools.
func (s *Store) subjectOf(key state.Key) string {
	if key.IsCheckpoint() {
		return string(append(appendPartition([]byte(s.prefix), key.Partition), ".checkpoint"...))
	}
	id := key.User.OpenID
	var room [256]byte // enough for WeChat's own OpenIDs, so that only the string itself is allocated
	buf := append(room[:0], s.prefix...)
	buf = appendPartition(buf, key.Partition)
	buf = append(buf, ".u."...)
	buf = append(buf, key.User.Account...)
	buf = append(buf, '.')
	buf = base64.RawURLEncoding.AppendEncode(buf, []byte(id))
	return string(buf)
}

func appendPartition(buf []byte, partition int) []byte {
	if partition < 100 {
		return append(buf, 'p', '0'+byte(partition/10), '0'+byte(partition%10))
	}
	return strconv.AppendInt(append(buf, 'p'), int64(partition), 10)
}

// probeSubject is where Ping writes: one record per node, whose name may hold anything.
func probeSubject(prefix, node string) string {
	fit := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, node)
	if fit == "" {
		fit = "_"
	}
	return prefix + "probe." + fit
}
