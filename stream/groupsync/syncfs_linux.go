package groupsync

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openSyncer takes syncfs(2) where it tells of write errors, that is from Linux 5.8 on; on older kernels it walks the folder.
func openSyncer(dir string) (syncer, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, fmt.Errorf("ask the kernel for its version: %w", err)
	}
	if !syncfsReportsErrors(unix.ByteSliceToString(name.Release[:])) {
		return openWalk(dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &syncfs{dir: f}, nil
}

// syncfsReportsErrors tells it by the kernel's release, such as "6.1.0-18-amd64" (syncfs(2), "VERSIONS").
func syncfsReportsErrors(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 8
}

// syncfs writes back the whole file system, data, folders and journal, in one call.
type syncfs struct{ dir *os.File }

// Sync holds the folder's descriptor from before the writes on, so that the kernel tells it of every write error since.
func (s *syncfs) Sync() error {
	for {
		err := unix.Syncfs(int(s.dir.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("syncfs", err)
		}
	}
}

func (s *syncfs) Mode() string { return "syncfs: one call writes back the whole file system" }

func (s *syncfs) Close() error { return s.dir.Close() }
