package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childMode makes this test binary play the part of a node.
const childMode = "HONGYAN_FLEET_TEST_CHILD"

// TestMain is also the children's main: they are this binary.
func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(play(mode))
	}
	goleak.VerifyTestMain(m)
}

// play is what a child does; it returns the exit code.
func play(mode string) int {
	switch mode {
	case "node": // ends in order when it is asked to, or is orphaned
		terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		ctx := Orphaned(terminated, os.Stdin)
		fmt.Println("ready")
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), ErrOrphaned) {
			fmt.Println("orphaned")
			return 7
		}
		fmt.Print("bye") // without a line end
		return 0
	case "deaf": // does not end when it is asked to
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		<-Orphaned(context.Background(), os.Stdin).Done()
		return 7
	case "crash":
		fmt.Fprintln(os.Stderr, "the configuration has faults")
		return 3
	case "parent": // runs two nodes, one of them paused, and tells their process ids
		return parent()
	default:
		return 99
	}
}

// parent is a process with a fleet, for the test that kills it.
func parent() int {
	f := New(Options{Binary: os.Args[0], Output: os.Stderr})
	for _, name := range []string{"a", "b"} {
		if err := f.Add(Node{Name: name, Env: append(os.Environ(), childMode+"=node")}); err != nil {
			return 1
		}
	}
	go func() {
		tick := time.NewTicker(time.Millisecond)
		for len(pids(f)) < 2 {
			<-tick.C
		}
		if f.Pause("b") != nil {
			os.Exit(2)
		}
		fmt.Println(strings.Trim(fmt.Sprint(pids(f)), "[]"))
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if f.Run(ctx) != nil {
		return 1
	}
	return 0
}

func pids(f *Fleet) []int {
	var out []int
	for _, s := range f.Status() {
		if s.PID != 0 {
			out = append(out, s.PID)
		}
	}
	return out
}

// rig is a running fleet whose nodes play the given modes, and what they said.
type rig struct {
	*Fleet
	t    *testing.T
	said *record
	end  context.CancelFunc
	done chan error
}

// record keeps lines.
type record struct {
	lines chan string
	seen  []string
}

func (r *record) Write(b []byte) (int, error) {
	r.lines <- string(b)
	return len(b), nil
}

// start runs a fleet of nodes named mode-1, mode-2 and so on.
func start(t *testing.T, o Options, modes ...string) *rig {
	t.Helper()
	r := &rig{t: t, said: &record{lines: make(chan string, 100)}, done: make(chan error, 1)}
	o.Binary, o.Output = os.Args[0], r.said
	r.Fleet = New(o)
	for i, mode := range modes {
		if err := r.Add(Node{Name: fmt.Sprintf("%s-%d", mode, i+1), Env: append(os.Environ(), childMode+"="+mode)}); err != nil {
			t.Fatal(err)
		}
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(t.Context())
	go func() { r.done <- r.Run(ctx) }()
	t.Cleanup(func() {
		r.end()
		if r.done != nil {
			<-r.done
		}
	})
	return r
}

// finish ends the fleet and returns what Run did.
func (r *rig) finish() error {
	r.t.Helper()
	r.end()
	err := <-r.done
	r.done = nil
	return err
}

// hears waits for a line.
func (r *rig) hears(line string) {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		for i, l := range r.said.seen {
			if strings.TrimSpace(l) == line {
				r.said.seen = append(r.said.seen[:i], r.said.seen[i+1:]...)
				return
			}
		}
		select {
		case l := <-r.said.lines:
			r.said.seen = append(r.said.seen, l)
		case <-limit:
			r.t.Fatalf("nobody said %q; what was said: %q", line, r.said.seen)
		}
	}
}

// is waits until the node is in the state, and returns its status.
func (r *rig) is(name string, state State) Status {
	r.t.Helper()
	var last Status
	eventually(r.t, fmt.Sprintf("node %s is %s", name, state), func() bool {
		for _, s := range r.Status() {
			if s.Name == name {
				last = s
			}
		}
		return last.State == state
	})
	return last
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
		timer := time.NewTimer(5 * time.Millisecond)
		<-timer.C
	}
}

// gone waits until the kernel knows no such process, or only its remains.
func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !lives(pid) })
}

// lives tells whether a process runs or is stopped; a zombie has ended.
func lives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if state, ok := strings.CutPrefix(lines.Text(), "State:"); ok {
			return !strings.HasPrefix(strings.TrimSpace(state), "Z")
		}
	}
	return true
}
