package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrLocked: another process, or another server in this one, has the folder open.
var ErrLocked = errors.New("the store folder is in use")

// lockName is the lock's file below the folder. It stays when the lock is gone; only the lock on it counts.
const lockName = "hongyan.lock"

// folderLock keeps a folder for one process. The kernel drops it when the process ends, however it ends.
type folderLock struct{ file *os.File }

// lockFolder takes the folder's lock and writes this process's id into the lock file for the others to name.
func lockFolder(dir string) (*folderLock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w; give this user the right to write in %s, or set node.data_dir", err, dir)
	}
	if err := lockFile(file); err != nil {
		defer file.Close()
		if errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("%w: %s is held by %s; stop that one or choose another node.data_dir", ErrLocked, dir, holder(file))
		}
		return nil, fmt.Errorf("lock %s: %w; the folder must lie on a file system with locks, a local disk for instance", path, err)
	}
	if err := writeHolder(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w; check the disk's free space", path, err), file.Close())
	}
	return &folderLock{file: file}, nil
}

// Release gives the folder free. It may be called once. Closing the file would not do: a child process that is being started
// at this moment has a copy of it until it runs its own program.
func (l *folderLock) Release() error { return errors.Join(unlockFile(l.file), l.file.Close()) }

func writeHolder(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names who has the lock, as far as the file tells.
func holder(file *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	pid := strings.TrimSpace(string(text))
	if err != nil || pid == "" {
		return "another process"
	}
	return "process " + pid
}
