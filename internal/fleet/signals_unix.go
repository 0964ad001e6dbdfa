//go:build unix

package fleet

import (
	"errors"
	"os"
	"syscall"
)

// terminate asks the process to end. One that is paused hears it only when it goes on.
func terminate(p *process) error {
	return errors.Join(send(p, syscall.SIGTERM), send(p, syscall.SIGCONT))
}

func kill(p *process) error { return send(p, syscall.SIGKILL) }

func pause(p *process) error { return send(p, syscall.SIGSTOP) }

func resume(p *process) error { return send(p, syscall.SIGCONT) }

// send is without effect on a process that has just ended.
func send(p *process, s syscall.Signal) error {
	if err := p.command.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
