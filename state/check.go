package state

import (
	"errors"
	"fmt"
	"regexp"
)

// ErrCorrupt: the store has something under the key that cannot be read. It is left as it is; an operator has to look.
var ErrCorrupt = errors.New("the stored record cannot be read")

// ErrInvalid: the call itself cannot be right, such as a write without an id or a value larger than the store can take.
// Nothing was sent, and the same call will never succeed.
var ErrInvalid = errors.New("the store was called wrongly")

// MaxOpenIDBytes bounds an OpenID in a key. WeChat's have 28 bytes; with this bound every store's own key stays within limits.
const MaxOpenIDBytes = 512

var accountID = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`) // DESIGN §8

// Check refuses a key that no store takes, with ErrInvalid. The account's form matters: stores build their keys from it.
func (k Key) Check() error {
	switch {
	case k.Partition < 0:
		return fmt.Errorf("%w: partition %d is negative", ErrInvalid, k.Partition)
	case k.IsCheckpoint():
		return nil
	case !accountID.MatchString(k.User.Account):
		return fmt.Errorf("%w: account id %q is not of the form %s", ErrInvalid, k.User.Account, accountID)
	case k.User.OpenID == "" || len(k.User.OpenID) > MaxOpenIDBytes:
		return fmt.Errorf("%w: an OpenID of %d bytes; 1 to %d are allowed", ErrInvalid, len(k.User.OpenID), MaxOpenIDBytes)
	}
	return nil
}

// CheckCommit is what every store checks before it sends a Commit: ErrInvalid, or ErrStaleEpoch where base says already that
// the writer is no longer the owner.
func CheckCommit(key Key, base Record, w Write) error {
	if err := key.Check(); err != nil {
		return err
	}
	switch {
	case w.WriteID == 0:
		return fmt.Errorf("%w: %s: a write needs an id other than 0", ErrInvalid, key)
	case base.Version == Version{} && w.Incarnation == 0:
		return fmt.Errorf("%w: %s: a new record needs an incarnation other than 0", ErrInvalid, key)
	case w.Number != 0 && w.Number <= base.Version.Number:
		return fmt.Errorf("%w: %s: version %d cannot follow version %d", ErrInvalid, key, w.Number, base.Version.Number)
	}
	return checkEpoch(key, base, w.Epoch)
}

// CheckDelete is CheckCommit for Delete.
func CheckDelete(key Key, base Record, epoch uint64) error {
	if err := key.Check(); err != nil {
		return err
	}
	if base.Version == (Version{}) {
		return fmt.Errorf("%w: %s: a delete needs the record that it deletes", ErrInvalid, key)
	}
	return checkEpoch(key, base, epoch)
}

func checkEpoch(key Key, base Record, epoch uint64) error {
	if base.Version.Epoch > epoch {
		return fmt.Errorf("%w: %s has epoch %d, the writer %d", ErrStaleEpoch, key, base.Version.Epoch, epoch)
	}
	return nil
}

// Next is the version that w makes of base, which may be the zero record.
func Next(base Record, w Write) Version {
	v := Version{Incarnation: base.Version.Incarnation, Number: base.Version.Number + 1, Epoch: w.Epoch, WriteID: w.WriteID}
	if base.Version == (Version{}) {
		v.Incarnation = w.Incarnation
	}
	if w.Number != 0 {
		v.Number = w.Number
	}
	return v
}

// Behind tells whether a store that now has found (the zero Version: no record) lost writes that it had acknowledged: held is
// the version that the store's own answer gave the caller. Such a store is repaired, not obeyed (DESIGN §3 rule 9).
func Behind(found, held Version) bool {
	if held == (Version{}) {
		return false
	}
	return found == Version{} || (found.Incarnation == held.Incarnation && found.Number < held.Number)
}

// SameWrite tells whether a and b name the same write of a record. The epoch is left out: a deleted record's mark keeps the
// version of its last write under the epoch of who deleted it.
func SameWrite(a, b Version) bool {
	return a.Incarnation == b.Incarnation && a.Number == b.Number && a.WriteID == b.WriteID
}

// Refuse says, once a comparison failed, why: current is what the store has instead of base. ErrStaleEpoch or ErrConflict.
func Refuse(key Key, current Version, epoch uint64) error {
	if current.Epoch > epoch {
		return fmt.Errorf("%w: %s has epoch %d, the writer %d", ErrStaleEpoch, key, current.Epoch, epoch)
	}
	return fmt.Errorf("%w: %s is at version %d of epoch %d", ErrConflict, key, current.Number, current.Epoch)
}
