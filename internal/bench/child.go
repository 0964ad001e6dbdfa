package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// child is a server process of this run. It ends with stop and, on Linux, with this process however that ends.
type child struct {
	name  string
	log   string // file that has its stdout and stderr
	pid   int
	stdin io.Closer
	sys   *os.Process
	done  chan struct{} // closed when it has ended
	err   error         // how it ended; valid after done
}

// startChild starts argv; input comes first on its standard input, which stays open until stop.
func startChild(name string, argv []string, input []byte, logPath string) (*child, error) {
	output, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	command := exec.Command(argv[0], argv[1:]...) //nolint:noctx // stop ends it, in order
	command.Stdout, command.Stderr = output, output
	command.Env = environment()
	command.SysProcAttr = childAttributes()
	stdin, err := command.StdinPipe()
	if err != nil {
		_ = output.Close()
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	c := &child{name: name, log: logPath, stdin: stdin, done: make(chan struct{})}
	started := make(chan error, 1)
	// Ends with the child. Linux's parent-death signal belongs to the thread that started it, so that thread has to live
	// as long (golang.org/issue/27505).
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		defer output.Close()
		err := command.Start()
		started <- err
		if err == nil {
			c.err = command.Wait()
		}
	}()
	if err := <-started; err != nil {
		_ = stdin.Close()
		return nil, fmt.Errorf("bench: starting %s: %w", name, err)
	}
	c.sys, c.pid = command.Process, command.Process.Pid
	if _, err := stdin.Write(input); err != nil {
		c.stop(0)
		return nil, fmt.Errorf("bench: %s: %w%s", name, err, c.tail())
	}
	return c, nil
}

// environment is this process's own without what would change the engine's configuration.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "HONGYAN_") })
}

// stop asks the child to end, and kills it when it has not within patience. It returns after the child.
func (c *child) stop(patience time.Duration) {
	_ = c.stdin.Close()
	if patience > 0 && c.sys.Signal(syscall.SIGTERM) == nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-c.done:
			return
		case <-timer.C:
		}
	}
	_ = c.sys.Kill()
	<-c.done
}

// ended is the error of a child that is gone though nobody stopped it; nil while it runs.
func (c *child) ended() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	how := c.err
	if how == nil {
		how = errors.New("exit status 0")
	}
	return fmt.Errorf("bench: the server %q ended by itself: %w%s", c.name, how, c.tail())
}

// tail is the end of the child's log, for an error message.
func (c *child) tail() string {
	const lines, bytes = 10, 8 << 10
	file, err := os.Open(c.log)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > bytes {
		_, _ = file.Seek(-bytes, io.SeekEnd) // a log has a line per message; a seek that fails shows its beginning
	}
	data, err := io.ReadAll(io.LimitReader(file, bytes))
	if err != nil || len(strings.TrimSpace(string(data))) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "; its last lines:\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
