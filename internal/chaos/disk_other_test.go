//go:build !linux

package chaos

import (
	"errors"
	"testing"
)

func becomeRoot() {}

// smallDisk says that there is no way to make one here.
func smallDisk(*testing.T, string) (string, error) {
	return "", errors.New("the test of a full disk mounts a tmpfs, which only Linux has: run it in a Linux container or virtual machine")
}
