//go:build unix

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeDisk is how many bytes a new file below dir may take.
func freeDisk(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("find the free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
