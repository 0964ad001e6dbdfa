package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long an orderly end may take before it is an error.
const stopTime = 30 * time.Second

// process is one run of a server's program, with its output in a file.
type process struct {
	command *exec.Cmd
	output  string
	done    chan struct{} // closed when it has ended
	mu      sync.Mutex    // orders signals against each other
}

// run starts a program whose output is appended to a file. The process ends with the test process at the latest.
func run(output, program string, args ...string) (*process, error) {
	return runIn("", nil, output, program, args...)
}

// runIn is run in a folder and with an environment of its own; empty and nil are those of this process.
func runIn(dir string, env []string, output, program string, args ...string) (*process, error) {
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{command: exec.Command(program, args...), output: output, done: make(chan struct{})} //nolint:gosec,noctx // tests name the program, and end it themselves
	p.command.Dir, p.command.Env = dir, env
	p.command.Stdout, p.command.Stderr = file, file
	p.command.SysProcAttr = processAttributes()
	started := make(chan error, 1)
	// Ends with the process. A parent-death signal belongs to the thread that started it, which therefore has to live as long
	// (golang.org/issue/27505).
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer file.Close()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // how it ended is in ProcessState
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends it by SIGKILL and returns after it.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// stop ends it by SIGTERM and returns after it; what does not end in time is killed, and an error.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = p.command.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed; it said: %s", p.command.Path, stopTime, p.tail())
	}
}

// await polls until the server answers, it ends, or ctx does.
func (p *process) await(ctx context.Context, what string, answers func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := answers()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended at its start; it said: %s", p.command.Path, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w (%w); it said: %s", p.command.Path, what, ctx.Err(), err, p.tail())
		}
	}
}

// tail is the end of what it said.
func (p *process) tail() string {
	data, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
