package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// room is how many bytes the folder may take altogether: what is free and what it holds already. The caps that come from it are
// the same at every start, however full the log was at the last one.
func room(dir string) (uint64, error) {
	free, err := freeDisk(dir)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err == nil {
			free += uint64(info.Size())
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the size of %s: %w", dir, err)
	}
	return free, nil
}
