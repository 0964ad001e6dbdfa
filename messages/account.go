package messages

import (
	"strconv"
	"strings"
)

// What the engine itself keeps lies beside the users' records, under an account id that no configuration may use.
const (
	reservedAccount = "_"
	accountPrefix   = "account."
	duePrefix       = "due."
)

// Reserved tells a name of the engine's own from a user's.
func (u User) Reserved() bool { return u.Account == reservedAccount }

// DueShard names a record of a partition's due index. It belongs to that partition, whatever the name's own hash would be.
func DueShard(shard int) User {
	return User{Account: reservedAccount, OpenID: duePrefix + strconv.Itoa(shard)}
}

// AccountActor is the identity of an account's own actor. Its partition, its record and its place follow from it like a user's.
func AccountActor(account string) User {
	return User{Account: reservedAccount, OpenID: accountPrefix + account}
}

// OfAccount tells whether u is the identity of an account's own actor, and of which.
func (u User) OfAccount() (account string, ok bool) {
	if u.Account != reservedAccount {
		return "", false
	}
	return strings.CutPrefix(u.OpenID, accountPrefix)
}
