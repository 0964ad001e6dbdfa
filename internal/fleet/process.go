package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// process is one run of a node.
type process struct {
	command *exec.Cmd
	stdin   io.Closer     // its end tells the child that the parent is gone
	done    chan struct{} // closed when the process has ended and the node's state says so
}

func (p *process) pid() int { return p.command.Process.Pid }

// outputDelay is how long a grandchild may keep the output open after the process has ended.
const outputDelay = time.Second

// spawn starts the process of a node. The fleet's lock is held.
func (f *Fleet) spawn(c *child) error {
	output, err := f.outputOf(c.node)
	if err != nil {
		return fmt.Errorf("start node %s: %w", c.node.Name, err)
	}
	p := &process{command: exec.Command(f.options.Binary, c.node.Args...), done: make(chan struct{})} //nolint:gosec,noctx // the caller's own program; ended by Stop, Kill and Run
	p.command.Dir, p.command.Env = c.node.Dir, c.node.Env
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = attributes()
	p.command.WaitDelay = outputDelay
	stdin, err := p.command.StdinPipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start node %s: %w", c.node.Name, err), output.Close())
	}
	p.stdin = stdin

	started := make(chan error, 1)
	// Ends with the process, which Run sees to. A parent-death signal belongs to the thread that started the process, and which
	// therefore has to live as long (golang.org/issue/27505).
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // how it ended is in ProcessState
			f.ended(c, p)
		}
		_ = output.Close() // nothing was written by us
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start node %s: %w; check the program %s", c.node.Name, err, f.options.Binary)
	}
	c.process, c.asked = p, ""
	c.enter(Running)
	f.log.Info("node started", "node", c.node.Name, "pid", p.pid())
	return nil
}

// ended notes the end of a process.
func (f *Fleet) ended(c *child, p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer close(p.done)
	c.code, c.exit = p.command.ProcessState.ExitCode(), p.command.ProcessState.String()
	switch c.asked {
	case Stopping:
		c.enter(Stopped)
		f.log.Info("node stopped", "node", c.node.Name, "exit", c.exit)
	case Killed:
		c.enter(Killed)
		f.log.Info("node killed", "node", c.node.Name)
	default:
		c.enter(Exited)
		f.log.Warn("a node ended by itself; see its log, and start it again by hand", "node", c.node.Name, "exit", c.exit, "log", c.node.LogFile)
	}
}

// outputOf is where a node writes. A log file is handed to the process itself, so that its last words are kept whatever becomes of us.
func (f *Fleet) outputOf(n Node) (io.WriteCloser, error) {
	if n.LogFile == "" {
		return f.output.of(n.Name), nil
	}
	file, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	return file, nil
}

// lines lets several processes write to one place without mixing their lines.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) of(name string) io.WriteCloser { return &source{lines: l, name: name} }

// source is the output of one process, cut into lines that begin with its name.
type source struct {
	*lines
	name string
	rest []byte // of a line that is not complete
}

// Write implements io.Writer.
func (s *source) Write(b []byte) (int, error) {
	s.rest = append(s.rest, b...)
	for {
		line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		s.rest = rest
		if err := s.print(line); err != nil {
			return 0, err
		}
	}
}

// Close writes what stands without a line end.
func (s *source) Close() error {
	if len(s.rest) == 0 {
		return nil
	}
	return s.print(s.rest)
}

func (s *source) print(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := fmt.Fprintf(s.to, "%s | %s\n", s.name, line)
	return err
}
