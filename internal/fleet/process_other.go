//go:build !unix

package fleet

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// attributes are the defaults: there is no parent-death signal, the end of the standard input has to do.
func attributes() *syscall.SysProcAttr { return nil }

// terminate ends the child's standard input, because there is no SIGTERM.
func terminate(p *process) error {
	if err := p.stdin.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func kill(p *process) error {
	if err := p.command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func pause(*process) error {
	return fmt.Errorf("a process cannot be paused on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func resume(*process) error {
	return fmt.Errorf("a process cannot be resumed on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
