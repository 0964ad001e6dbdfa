package servers

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// buildTime bounds the build of the engine, from nothing and on a busy machine.
const buildTime = 10 * time.Minute

// BuildEngine builds hongyan from the tree that is tested into a folder, and returns its path. root is the module's folder as the
// test sees it, "../.." for one in internal/….
func BuildEngine(root, into string) (string, error) {
	if err := dependOnTree(root); err != nil {
		return "", err
	}
	path := filepath.Join(into, "hongyan")
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "hongyan/cmd/hongyan") //nolint:gosec // a folder of ours
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hongyan: %w\n%s", err, out)
	}
	return path, nil
}

// dependOnTree reads every folder of the module that has source. The go command notes what a test opens, and so runs these tests
// again when the engine has changed; it knows nothing of the packages that only the binary imports.
func dependOnTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "data" || name == "testdata") {
			return fs.SkipDir
		}
		return nil
	})
}
