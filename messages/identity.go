package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// User names one WeChat user of one account. Two accounts see two OpenIDs of one person and so two users.
type User struct {
	Account string // our account id, [a-z0-9_-]{1,32}
	OpenID  string // FromUserName as WeChat sends it
}

// Identity is the user's name on the cluster: "<account>/<openid>". Account ids have no slash, so it can be split again.
func (u User) Identity() string { return u.Account + "/" + u.OpenID }

// ParseIdentity reverses Identity.
func ParseIdentity(identity string) (User, error) {
	account, openID, ok := strings.Cut(identity, "/")
	if !ok || account == "" || openID == "" {
		return User{}, fmt.Errorf("identity %q is not of the form account/openid", identity)
	}
	return User{Account: account, OpenID: openID}, nil
}

// Partition is xxhash64(account, 0x00, openid) mod partitions: the unit of log, lease, placement and failover (DESIGN §2).
// It is fixed for the life of the log; partitions must be positive.
func (u User) Partition(partitions int) int {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(u.Account)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(u.OpenID)
	return int(d.Sum64() % uint64(partitions))
}

// Hash is the user as logs may show it: 12 hex digits of SHA-256 over the identity. OpenIDs never stand in a log line.
func (u User) Hash() string {
	sum := sha256.Sum256([]byte(u.Identity()))
	return hex.EncodeToString(sum[:6])
}

// Position is a place in the log. Generation rises when the log was replaced or lost its tail (DESIGN §3 rule 4); Sequence
// is the stream's own, starting at 1.
type Position struct {
	Generation uint64
	Sequence   uint64
}

// After tells whether p lies behind q in the order of the log.
func (p Position) After(q Position) bool {
	if p.Generation != q.Generation {
		return p.Generation > q.Generation
	}
	return p.Sequence > q.Sequence
}

// String is "generation:sequence".
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Generation, p.Sequence) }
