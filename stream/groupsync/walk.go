package groupsync

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// mtimeSlack covers file systems with coarse time stamps: a file changed this shortly before it was synced may have been
// changed again without its time showing it, so it is synced once more. FAT has the coarsest stamps, 2 s.
const mtimeSlack = 2 * time.Second

// walk is the way without syncfs: fsync every file below root that changed since it was last synced, and the folders.
// It is slower, it reads every folder in every round, and it is as honest.
type walk struct {
	root string
	seen map[string]synced // by path; only the leader's goroutine uses it
}

// synced is a file or folder as it was made durable last.
type synced struct {
	info    fs.FileInfo
	settled bool // it had not changed for longer than mtimeSlack by then
}

func (s synced) is(info fs.FileInfo) bool { return s.info != nil && os.SameFile(s.info, info) }

func openWalk(root string) (syncer, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: root, Err: errors.New("not a folder")}
	}
	return &walk{root: root, seen: map[string]synced{}}, nil
}

// Sync goes over the folders twice. A file that is renamed while the first pass looks may be missed by it, and is where the
// second pass finds it; one that is renamed only while the second pass looks was seen by the first. Servers rename a file
// once, when it is whole.
func (w *walk) Sync() error {
	round := map[string]synced{}
	for range 2 {
		if err := w.pass(round); err != nil {
			return err
		}
	}
	maps.Copy(w.seen, round)
	maps.DeleteFunc(w.seen, func(path string, _ synced) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	return nil
}

// pass makes durable what changed and is not in round yet, and adds it there.
func (w *walk) pass(round map[string]synced) error {
	return filepath.WalkDir(w.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() && !entry.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if round[path].is(info) || w.unchanged(path, info) {
			return nil
		}
		if err := fsyncPath(path, info.IsDir()); err != nil {
			return ignoreGone(err)
		}
		round[path] = synced{info: info, settled: time.Since(info.ModTime()) > mtimeSlack}
		return nil
	})
}

// unchanged tells that the file was made durable before and has not been written since.
func (w *walk) unchanged(path string, info fs.FileInfo) bool {
	last := w.seen[path]
	return last.settled && last.is(info) && last.info.Size() == info.Size() && last.info.ModTime().Equal(info.ModTime())
}

func fsyncPath(path string, dir bool) error {
	flag := os.O_RDONLY
	if runtime.GOOS == "windows" {
		if dir {
			return nil // NTFS journals its folders and has no call for one of them
		}
		flag = os.O_RDWR // FlushFileBuffers wants a handle that may write
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ignoreGone forgives a file that was deleted while the walk looked: what is deleted needs no fsync.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (w *walk) Mode() string {
	return "walk: no usable syncfs here, so every changed file and folder is fsynced one by one, which is slower"
}

func (w *walk) Close() error { return nil }
