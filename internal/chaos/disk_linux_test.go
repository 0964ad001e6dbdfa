package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// inNamespace is set in the environment of a test process that runs in a user and mount namespace of its own.
const inNamespace = "HONGYAN_CHAOS_NAMESPACE"

// becomeRoot runs this test process again in a user and mount namespace of its own, where it may mount, unless it may already. It
// returns where that cannot be done; the test of a full disk says then what to do.
func becomeRoot() {
	if os.Geteuid() == 0 || os.Getenv(inNamespace) != "" {
		return
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return
	}
	words := []string{unshare, "--user", "--map-root-user", "--mount"}
	if exec.Command(words[0], append(words[1:], "true")...).Run() != nil {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	words = append(append(words, self), os.Args[1:]...)
	_ = syscall.Exec(unshare, words, append(os.Environ(), inNamespace+"=1"))
}

// smallDisk mounts a tmpfs until the test ends.
func smallDisk(t *testing.T, dir string) (string, error) {
	path := filepath.Join(dir, "disk")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size="+diskSize); err != nil {
		return "", fmt.Errorf("mount a tmpfs on %s: %w. The test of a full disk needs the right to mount: run it as root, or let users "+
			"make namespaces of their own (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces; package util-linux for unshare)",
			path, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
	return path, nil
}
