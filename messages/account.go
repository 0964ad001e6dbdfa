package messages

import "strings"

// Accounts' own actors live on the cluster beside the users', under an account id that no configuration may use.
const (
	reservedAccount = "_"
	accountPrefix   = "account."
)

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
