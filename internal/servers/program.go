package servers

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// Program is one run of any program, with its output in a file: the engine itself, in tests of many nodes.
type Program struct{ process *process }

// StartProgram starts a program in a folder; what it says is appended to output. It sees this process's environment without
// variables that begin with one of the names in hide. The caller calls Kill or Stop; the process ends with the test process at the latest.
func StartProgram(dir, output string, hide []string, path string, args ...string) (*Program, error) {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc(hide, func(name string) bool { return strings.HasPrefix(v, name) })
	})
	p, err := runIn(dir, env, output, path, args...)
	if err != nil {
		return nil, err
	}
	return &Program{p}, nil
}

// PID is the process id.
func (p *Program) PID() int { return p.process.pid() }

// Running tells whether the process lives; a stopped one (SIGSTOP) does.
func (p *Program) Running() bool { return p.process.running() }

// Kill ends it by SIGKILL and returns after it.
func (p *Program) Kill() error { return p.process.kill() }

// Stop ends it by SIGTERM and returns after it. What does not end within 30 s is killed, and an error.
func (p *Program) Stop() error { return p.process.stop() }

// Signal sends a signal and does not wait.
func (p *Program) Signal(s syscall.Signal) error { return p.process.command.Process.Signal(s) }

// ExitCode is how it ended: -1 while it runs, and after a signal.
func (p *Program) ExitCode() int {
	if p.process.running() {
		return -1
	}
	return p.process.command.ProcessState.ExitCode()
}

// Tail is the end of what it said.
func (p *Program) Tail() string { return p.process.tail() }
