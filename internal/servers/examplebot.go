package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// PrepareExampleBot builds or installs one of examples/bots into a folder, and returns what starts it there: "go" with the go command, "node"
// with npm and what the lock file names, "python" as it is. root is the module's folder as the test sees it.
func PrepareExampleBot(root, name, into string) (command []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	source := filepath.Join(root, "examples", "bots", name)
	switch name {
	case "go":
		program := filepath.Join(into, "bot")
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "hongyan/examples/bots/go") //nolint:gosec // a folder of ours
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the example bot in Go: %w\n%s", err, out)
		}
		return []string{program}, nil
	case "node":
		if err := copyFiles(source, into, "bot.js", "package.json", "package-lock.json"); err != nil {
			return nil, err
		}
		install := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		install.Dir = into
		if out, err := install.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm ci for the example bot in JavaScript: %w\n%s", err, out)
		}
		return []string{"node", "bot.js"}, nil
	case "python":
		return []string{"python3", "-B", "bot.py"}, copyFiles(source, into, "bot.py")
	default:
		return nil, fmt.Errorf("there is no example bot %q: go, node and python are", name)
	}
}

func copyFiles(from, to string, names ...string) error {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil { //nolint:gosec // the same
			return err
		}
	}
	return nil
}
