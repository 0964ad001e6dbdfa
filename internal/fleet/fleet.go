package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// stopWithin is how long a process may take to end after it was asked to.
const stopWithin = 15 * time.Second

// Errors that callers tell apart.
var (
	// ErrUnknown: there is no node of that name.
	ErrUnknown = errors.New("there is no such node")
	// ErrState: the node is not in a state for this action; the text says in which one it is.
	ErrState = errors.New("this cannot be done now")
	// ErrClosed: the fleet is ending or has ended.
	ErrClosed = errors.New("the nodes are being stopped for good")
	// ErrSlow: a process did not end in time and still runs.
	ErrSlow = errors.New("the node did not end in time")
)

// Options for New. Only Binary is needed.
type Options struct {
	Binary     string        // program of every node
	Logger     *slog.Logger  // starts and ends; nil drops them
	Output     io.Writer     // takes the output of nodes without a log file, one line at a time; nil drops it
	StopWithin time.Duration // from asking a process to end until it is given up; 15 s when 0
}

// Node is one process of the fleet.
type Node struct {
	Name    string
	Args    []string // of the program
	Env     []string // "key=value", the whole environment; nil: that of this process
	Dir     string   // working folder; empty: that of this process
	LogFile string   // its standard output and error are appended here (0600); empty: they go to Options.Output
}

// Fleet holds the nodes. Its methods may be called at any time by anyone.
type Fleet struct {
	options Options
	log     *slog.Logger
	output  *lines

	mu       sync.Mutex
	children []*child // in the order of Add
	closed   bool
}

// New makes a fleet without nodes.
func New(o Options) *Fleet {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StopWithin == 0 {
		o.StopWithin = stopWithin
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	return &Fleet{options: o, log: o.Logger.With("part", "fleet"), output: &lines{to: o.Output}}
}

// Add makes a node known; Run or Start starts it. A name can be taken once.
func (f *Fleet) Add(n Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.Name == "" {
		return errors.New("a node needs a name")
	}
	if f.child(n.Name) != nil {
		return fmt.Errorf("there are two nodes named %s: give each its own name", n.Name)
	}
	f.children = append(f.children, &child{node: n, state: Stopped, since: time.Now()})
	return nil
}

// Run starts all nodes, and waits for ctx to end. Then it asks all processes to end, kills those that do not within the limit, and
// returns after the last one. It returns an error where a node could not be started, or had to be killed at the end.
func (f *Fleet) Run(ctx context.Context) error {
	var err error
	for _, s := range f.Status() {
		if err = f.Start(s.Name); err != nil {
			break
		}
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, f.close())
}

// close ends everything for good.
func (f *Fleet) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	// The caller's context has ended: only the limit bounds this.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	status := f.Status()
	ended := make(chan error, len(status))
	for _, s := range status {
		go func() { // ends when the process has, which the kill sees to
			err := f.Stop(ctx, s.Name)
			if errors.Is(err, ErrSlow) {
				err = errors.Join(fmt.Errorf("node %s did not end within %v and was killed; what it did not hand over is taken "+
					"over by the next start", s.Name, f.options.StopWithin), f.Kill(ctx, s.Name))
			}
			ended <- err
		}()
	}
	var errs []error
	for range status {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// Start starts the process of a node. On one that runs it does nothing. It returns when there is a process, which is before the node
// is ready.
func (f *Fleet) Start(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(name)
	switch {
	case err != nil:
		return err
	case f.closed:
		return ErrClosed
	case c.state == Running:
		return nil
	case c.state == Paused || c.state == Stopping:
		return c.refuse("start")
	}
	return f.spawn(c)
}

// Stop asks the process of a node to end in order, and returns when it has. After the limit it returns ErrSlow, and the node is still
// Stopping: only Kill helps then. A paused process is woken for it. On a node without a process it does nothing.
func (f *Fleet) Stop(ctx context.Context, name string) error {
	p, err := f.end(name, Stopping, terminate)
	if p == nil || err != nil {
		return err
	}
	limit := time.NewTimer(f.options.StopWithin)
	defer limit.Stop()
	select {
	case <-p.done:
		return nil
	case <-limit.C:
		return fmt.Errorf("%w: %s, process %d, was asked %v ago; kill it, or wait", ErrSlow, name, p.pid(), f.options.StopWithin)
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of node %s: %w", name, ctx.Err())
	}
}

// Kill ends the process of a node at once, without a last word, and returns when it is gone. On a node without a process it does
// nothing.
func (f *Fleet) Kill(ctx context.Context, name string) error {
	p, err := f.end(name, Killed, kill)
	if p == nil || err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of node %s: %w", name, ctx.Err())
	}
}

// end marks why a process is about to end and makes it. It returns nil where there is none.
func (f *Fleet) end(name string, why State, signal func(*process) error) (*process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(name)
	if err != nil || !c.state.alive() {
		return nil, err
	}
	if err := signal(c.process); err != nil {
		return nil, fmt.Errorf("end node %s, process %d: %w", name, c.process.pid(), err)
	}
	if why == Stopping && c.state != Stopping {
		c.enter(Stopping)
	}
	c.asked = why
	return c.process, nil
}

// Pause stops the process of a node as SIGSTOP does: it keeps everything and does nothing. On a paused one it does nothing.
func (f *Fleet) Pause(name string) error {
	return f.hold(name, "pause", Running, Paused, pause)
}

// Resume lets a paused process go on. On one that runs it does nothing.
func (f *Fleet) Resume(name string) error {
	return f.hold(name, "resume", Paused, Running, resume)
}

func (f *Fleet) hold(name, verb string, from, to State, signal func(*process) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(name)
	switch {
	case err != nil:
		return err
	case c.state == to:
		return nil
	case c.state != from:
		return c.refuse(verb)
	}
	if err := signal(c.process); err != nil {
		return fmt.Errorf("%s node %s, process %d: %w", verb, name, c.process.pid(), err)
	}
	c.enter(to)
	f.log.Info("node "+string(to), "node", name, "pid", c.process.pid())
	return nil
}

// Restart stops a node in order and starts it again. One that has ended is only started.
func (f *Fleet) Restart(ctx context.Context, name string) error {
	if err := f.Stop(ctx, name); err != nil {
		return err
	}
	return f.Start(name)
}

// Status tells how each node is, in the order of Add.
func (f *Fleet) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Status, 0, len(f.children))
	for _, c := range f.children {
		out = append(out, c.status())
	}
	return out
}

// child is the node of a name, or nil.
func (f *Fleet) child(name string) *child {
	i := slices.IndexFunc(f.children, func(c *child) bool { return c.node.Name == name })
	if i < 0 {
		return nil
	}
	return f.children[i]
}

func (f *Fleet) find(name string) (*child, error) {
	if c := f.child(name); c != nil {
		return c, nil
	}
	names := make([]string, 0, len(f.children))
	for _, c := range f.children {
		names = append(names, c.node.Name)
	}
	return nil, fmt.Errorf("%w: %q; there are %s", ErrUnknown, name, strings.Join(names, ", "))
}
