package fleet

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLife walks one node through all that can be done to it.
func TestLife(t *testing.T) {
	t.Parallel()
	r := start(t, Options{}, "node")
	const name = "node-1"
	r.hears("node-1 | ready")
	first := r.is(name, Running)
	if first.PID == 0 || !lives(first.PID) {
		t.Fatalf("the node runs as process %d", first.PID)
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("start of one that runs", r.Start(name))
	check("resume of one that runs", r.Resume(name))
	check("pause", r.Pause(name))
	check("pause of a paused one", r.Pause(name))
	eventually(t, "the kernel has stopped it", func() bool { return kernelState(t, first.PID) == "T" })
	if s := r.is(name, Paused); s.PID != first.PID {
		t.Errorf("the paused node is process %d, not %d", s.PID, first.PID)
	}
	if err := r.Start(name); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "resume") {
		t.Errorf("start of a paused node: %v", err)
	}
	check("resume", r.Resume(name))
	eventually(t, "it goes on", func() bool { return kernelState(t, first.PID) != "T" })

	check("stop of a paused one", errors.Join(r.Pause(name), r.Stop(t.Context(), name)))
	r.hears("node-1 | bye") // it ended in order, though it had been paused
	if s := r.is(name, Stopped); s.PID != 0 || s.Code != 0 || s.Exit == "" {
		t.Errorf("a stopped node: %+v", s)
	}
	gone(t, first.PID)
	check("stop of a stopped one", r.Stop(t.Context(), name))
	check("kill of a stopped one", r.Kill(t.Context(), name))
	for verb, err := range map[string]error{"pause": r.Pause(name), "resume": r.Resume(name)} {
		if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "start it first") {
			t.Errorf("%s of a stopped node: %v", verb, err)
		}
	}

	check("start", r.Start(name))
	r.hears("node-1 | ready")
	second := r.is(name, Running)
	if second.PID == first.PID || second.Since.Before(first.Since) {
		t.Errorf("the second run: %+v after %+v", second, first)
	}
	check("kill of a paused one", errors.Join(r.Pause(name), r.Kill(t.Context(), name)))
	if s := r.is(name, Killed); s.Code != -1 || !strings.Contains(s.Exit, "killed") {
		t.Errorf("a killed node: %+v", s)
	}
	check("restart", r.Restart(t.Context(), name))
	r.hears("node-1 | ready")
	check("restart of a running one", r.Restart(t.Context(), name))
	r.hears("node-1 | bye")
	r.hears("node-1 | ready")

	last := r.is(name, Running)
	check("the end of all", r.finish())
	gone(t, last.PID)
	r.hears("node-1 | bye")
	if err := r.Start(name); !errors.Is(err, ErrClosed) {
		t.Errorf("start after the end: %v", err)
	}
}

// kernelState is the letter of proc_pid_stat(5); only Linux tells it.
func kernelState(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatalf("the state of process %d: %v", pid, err)
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := New(Options{Binary: os.Args[0]})
	if f.Add(Node{}) == nil {
		t.Error("a node without a name was taken")
	}
	if err := f.Add(Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if f.Add(Node{Name: "a"}) == nil {
		t.Error("two nodes of one name were taken")
	}
	for verb, err := range map[string]error{
		"start": f.Start("b"), "stop": f.Stop(t.Context(), "b"), "kill": f.Kill(t.Context(), "b"),
		"pause": f.Pause("b"), "resume": f.Resume("b"), "restart": f.Restart(t.Context(), "b"),
	} {
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "there are a") {
			t.Errorf("%s of a node that is not there: %v", verb, err)
		}
	}
}

// TestOwnEnd: a node that ends by itself is shown with its code, keeps its last words, and is not started again.
func TestOwnEnd(t *testing.T) {
	t.Parallel()
	f := New(Options{Binary: os.Args[0]})
	log := filepath.Join(t.TempDir(), "crash.log")
	if err := f.Add(Node{Name: "crash", Env: append(os.Environ(), childMode+"=crash"), LogFile: log}); err != nil {
		t.Fatal(err)
	}
	for run := 1; run <= 2; run++ {
		if err := f.Start("crash"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has ended", func() bool { return f.Status()[0].State == Exited })
		if s := f.Status()[0]; s.Code != 3 || s.Exit != "exit status 3" || s.PID != 0 || s.LogFile != log {
			t.Errorf("a node that ended by itself: %+v", s)
		}
		said, err := os.ReadFile(log)
		if err != nil || strings.Count(string(said), "the configuration has faults\n") != run {
			t.Errorf("the log after run %d: %q, %v", run, said, err)
		}
	}
}

// TestDeaf: a node that does not end when it is asked to is said to be so, and can be killed; at the end of all it is killed, and Run
// says so.
func TestDeaf(t *testing.T) {
	t.Parallel()
	r := start(t, Options{StopWithin: 50 * time.Millisecond}, "deaf")
	r.hears("deaf-1 | ready")
	if err := r.Stop(t.Context(), "deaf-1"); !errors.Is(err, ErrSlow) {
		t.Errorf("stop of a deaf node: %v", err)
	}
	r.is("deaf-1", Stopping)
	for verb, err := range map[string]error{"start": r.Start("deaf-1"), "pause": r.Pause("deaf-1")} {
		if !errors.Is(err, ErrState) {
			t.Errorf("%s of a node that is stopping: %v", verb, err)
		}
	}
	if err := r.Kill(t.Context(), "deaf-1"); err != nil {
		t.Error(err)
	}
	r.is("deaf-1", Killed)
	if err := r.Start("deaf-1"); err != nil {
		t.Fatal(err)
	}
	r.hears("deaf-1 | ready")
	pid := r.is("deaf-1", Running).PID
	err := r.finish()
	if err == nil || !strings.Contains(err.Error(), "deaf-1") || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the end with a deaf node: %v", err)
	}
	gone(t, pid)
}

// TestNoProgram: what cannot be started ends Run, and what was started before it.
func TestNoProgram(t *testing.T) {
	t.Parallel()
	r := start(t, Options{}, "node")
	r.hears("node-1 | ready")
	if err := r.Add(Node{Name: "lost", Dir: filepath.Join(t.TempDir(), "nowhere")}); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("lost"); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("start in a folder that is not there: %v", err)
	}
	if s := r.Status()[1]; s.State != Stopped || s.PID != 0 {
		t.Errorf("a node that could not be started: %+v", s)
	}
	f := New(Options{Binary: filepath.Join(t.TempDir(), "nothing")})
	if err := f.Add(Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "check the program") {
		t.Errorf("a fleet without a program: %v", err)
	}
}

// TestParentDies: however the parent ends, its children do not outlive it, not even a paused one.
func TestParentDies(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "terminated": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), os.Args[0])
			command.Env = append(os.Environ(), childMode+"=parent")
			out, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var children []int
			for _, text := range strings.Fields(line) {
				pid, err := strconv.Atoi(text)
				if err != nil || !lives(pid) {
					t.Fatalf("the parent says its children are %q; %v", line, err)
				}
				children = append(children, pid)
			}
			if len(children) != 2 {
				t.Fatalf("the parent has the children %v, not two", children)
			}
			if err := command.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait() // it was ended on purpose
			for _, pid := range children {
				gone(t, pid)
			}
		})
	}
}

// TestOrphaned: the end of the standard input alone ends a child, where the kernel does not help.
func TestOrphaned(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childMode+"=node")
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	ready, _ := lines.ReadString('\n')
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	last, _ := lines.ReadString('\n')
	if ready != "ready\n" || last != "orphaned\n" {
		t.Errorf("the child says %q and %q", ready, last)
	}
	_ = command.Wait() // its exit code is below
	if code := command.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, not 7", code)
	}
}
