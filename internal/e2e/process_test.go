package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one run of the binary. It never outlives its test.
type process struct {
	t       *testing.T
	command *exec.Cmd
	stdout  buffer
	stderr  buffer
	done    chan struct{} // closed when it has ended
}

// buffer is a bytes.Buffer for a process that writes and a test that reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs the binary in a folder until the test ends, at the latest.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{})}
	p.command = exec.Command(mustBinary(t), args...)
	p.command.Dir = dir
	p.command.Stdout, p.command.Stderr = &p.stdout, &p.stderr
	p.command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HONGYAN_") })
	p.command.SysProcAttr = processAttributes()
	started := make(chan error, 1)
	// Ends with the process. A parent-death signal belongs to the thread that started it, which therefore has to live as long
	// (golang.org/issue/27505).
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // how it ended is in ProcessState
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start hongyan %s: %v", strings.Join(args, " "), err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process by SIGKILL and returns after it.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// signal asks it to end and returns its exit code and how long it took; the test fails where it does not end in time.
func (p *process) signal(s syscall.Signal, within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v; the process said:\n%s", s, err, p.tail())
	}
	return p.wait(within), time.Since(began)
}

// wait is the exit code of a process that ends by itself.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.command.ProcessState.ExitCode()
	case <-timer.C:
		p.t.Fatalf("the process did not end within %v; it said:\n%s", within, p.tail())
		return -1
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// tail is the end of what it said on its standard error.
func (p *process) tail() string {
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// run runs a command of the binary to its end.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, dir, args...)
	code = p.wait(time.Minute)
	return p.stdout.String(), p.stderr.String(), code
}
