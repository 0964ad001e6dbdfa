package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// worker is one line of `hongyan dev status -o json`.
type worker struct {
	Name       string
	State      string
	PID        int
	Code       int
	Exit       string
	Partitions *int
}

// workers asks the running dev as `hongyan dev status` does.
func (d *dev) workers() map[string]worker {
	d.t.Helper()
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.admin+"/dev/nodes", http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+devToken.FindStringSubmatch(d.config())[1]) // the admin's stands first
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(request)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var all struct{ Nodes []worker }
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("/dev/nodes: status %d, %v", resp.StatusCode, err)
	}
	out := make(map[string]worker)
	for _, w := range all.Nodes {
		out[w.Name] = w
	}
	return out
}

// devPartitions is how many partitions dev's log has.
const devPartitions = 64

// spread waits until the workers that are named, and no others, own all partitions.
func (d *dev) spread(names ...string) {
	d.t.Helper()
	var last map[string]worker
	ok := poll(d.t.Context(), time.Minute, func() bool {
		last = d.workers()
		owned := 0
		for _, name := range names {
			if w := last[name]; w.State != "running" || w.Partitions == nil || *w.Partitions == 0 {
				return false
			}
			owned += *last[name].Partitions
		}
		return owned == devPartitions
	})
	if !ok {
		d.t.Fatalf("%v do not own all partitions: %s\n%s", names, describe(last), d.workerLogs())
	}
}

func describe(workers map[string]worker) string {
	b, err := json.Marshal(workers)
	return fmt.Sprint(string(b), err)
}

// workerLogs is what the workers said.
func (d *dev) workerLogs() string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(d.dir, "data", "nodes", "*.log"))
	for _, file := range files {
		said, err := os.ReadFile(file)
		fmt.Fprintf(&b, "== %s %v\n%s\n", filepath.Base(file), err, said[max(0, len(said)-2000):])
	}
	return b.String()
}

// do runs `hongyan dev <action> <name>`.
func (d *dev) do(action, name string) {
	d.t.Helper()
	if stdout, stderr, code := run(d.t, d.dir, "dev", action, name); code != 0 || !strings.Contains(stdout, name) {
		d.t.Fatalf("dev %s %s: exit code %d: %s%s", action, name, code, stdout, stderr)
	}
}

// tap presses a button of the phone page's panel.
func (d *dev) tap(action, name string) {
	d.t.Helper()
	body := fmt.Sprintf(`{"name":%q,"action":%q}`, name, action)
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(d.admin+"/phone/api/nodes", "application/json", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var said bytes.Buffer
	_, err = said.ReadFrom(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("the phone's %s of %s: status %d, %v: %s", action, name, resp.StatusCode, err, said.String())
	}
}

// answered sends one message of each of several users at once, so that every worker has some of them, and wants the answer of the rules
// to each. On a machine that is busy with other tests an answer may miss WeChat's time: such a user writes again, which brings the kept
// answer along, at most twice.
func (d *dev) answered(when string) {
	d.t.Helper()
	const tries = 3
	began := time.Now()
	waiting := []string{"n0", "n1", "n2", "n3", "n4", "n5"}
	var said []string
	for range tries {
		var late []string
		sends := make([]*process, len(waiting))
		for i, user := range waiting {
			sends[i] = start(d.t, d.dir, "send", "--user", user, "你好")
		}
		for i, p := range sends {
			if code := p.wait(time.Minute); code != 0 || !strings.HasPrefix(p.stdout.String(), "您好！") {
				late = append(late, waiting[i])
				said = append(said, fmt.Sprintf("%s: exit code %d, %q %s", waiting[i], code, p.stdout.String(), p.stderr.String()))
			}
		}
		if waiting = late; len(waiting) == 0 {
			d.t.Logf("%s: all answered within %v; late: %q", when, time.Since(began).Round(time.Millisecond), said)
			return
		}
	}
	d.t.Errorf("%s: not answered: %v: %s\n%s", when, waiting, strings.Join(said, "\n"), d.workerLogs())
}

// TestDevNodes: three workers as processes; each way to take one away while people chat; Ctrl-C; and one process on the same folder.
func TestDevNodes(t *testing.T) {
	realProcess(t)
	dir := t.TempDir()
	d := startDev(t, dir, "--nodes", "3")
	d.answered("after the start")
	d.spread("worker-1", "worker-2", "worker-3")
	pids := d.pids(3)

	d.do("kill", "worker-2")
	d.answered("after a kill")
	if w := d.workers()["worker-2"]; w.State != "killed" || w.PID != 0 || w.Code != -1 {
		t.Errorf("the killed worker: %+v", w)
	}
	d.spread("worker-1", "worker-3")
	d.do("start", "worker-2")
	d.spread("worker-1", "worker-2", "worker-3")

	chatting(t, d)

	d.do("pause", "worker-1")
	d.answered("after a pause")
	d.spread("worker-2", "worker-3")
	d.do("resume", "worker-1")
	d.answered("after the pause")
	d.spread("worker-1", "worker-2", "worker-3")

	d.do("stop", "worker-3")
	d.answered("after a stop")
	if w := d.workers()["worker-3"]; w.State != "stopped" || w.Code != 0 || w.Exit == "" {
		t.Errorf("the stopped worker: %+v", w)
	}
	d.spread("worker-1", "worker-2")
	ownEnd(t, d)
	d.do("start", "worker-1")
	d.do("start", "worker-3")
	d.spread("worker-1", "worker-2", "worker-3")

	status(t, d)
	refusedCommands(t, d)
	if u := show(t, dir, "demo/n1"); u.Counts.Turns < 5 || u.Counts.Dead != 0 {
		t.Errorf("user show of one who wrote all the time: %+v", u.Counts)
	}

	pids = append(pids, d.pids(3)...)
	code, took := d.proc.signal(syscall.SIGINT, 3*stopLimit)
	t.Logf("Ctrl-C: ended in %v", took)
	if code != 0 || took > stopLimit {
		t.Errorf("after Ctrl-C dev ended with exit code %d in %v; it said:\n%s\n%s", code, took, d.proc.tail(), d.workerLogs())
	}
	allGone(t, pids)
	if _, stderr, code := run(t, dir, "dev", "status"); code != 1 || !strings.Contains(stderr, "does not run") {
		t.Errorf("dev status without dev: exit code %d: %s", code, stderr)
	}
	oneProcess(t, dir)
}

// pids are the processes of the workers, as many as there must be.
func (d *dev) pids(want int) []int {
	d.t.Helper()
	var out []int
	for _, w := range d.workers() {
		if w.PID != 0 {
			out = append(out, w.PID)
		}
	}
	if len(out) != want {
		d.t.Errorf("%d workers have a process, not %d", len(out), want)
	}
	return out
}

// chatting: the phone page kills a worker while messages of both users are under way, and both are answered.
func chatting(t *testing.T, d *dev) {
	var ids []uint64
	for range 3 {
		ids = append(ids, d.say("u1", "你好"))
	}
	d.tap("kill", "worker-3")
	ids = append(ids, d.say("u1", "帮助"))
	other := d.chat("u2", "你好")
	if other.Answer == nil || other.Banner {
		t.Errorf("the phone shows %+v", other)
	}
	for _, id := range ids {
		eventually(t, 30*time.Second, "the phone's message ends", func() bool { return d.bubbles("u1")[id].Done })
		if b := d.bubbles("u1")[id]; b.Answer == nil || b.Banner {
			t.Errorf("the phone shows %+v", b)
		}
	}
	d.tap("start", "worker-3")
	d.spread("worker-1", "worker-2", "worker-3")
}

// ownEnd: a worker that dies without having been told to is shown so, stays dead, and leaves dev running.
func ownEnd(t *testing.T, d *dev) {
	pid := d.workers()["worker-1"].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the dead worker is shown", func() bool {
		w := d.workers()["worker-1"]
		return w.State == "exited" && w.Code == -1 && strings.Contains(w.Exit, "killed")
	})
	d.answered("with one worker left")
	if w := d.workers()["worker-1"]; w.State != "exited" {
		t.Errorf("the dead worker is %s again", w.State)
	}
}

// status: the command lists what the phone shows, for people and for programs.
func status(t *testing.T, d *dev) {
	stdout, stderr, code := run(t, d.dir, "dev", "status", "-o", "json")
	var all struct{ Nodes []worker }
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 0 || len(all.Nodes) != 3 || all.Nodes[1].Name != "worker-2" ||
		all.Nodes[1].State != "running" || all.Nodes[1].PID != d.workers()["worker-2"].PID {
		t.Errorf("dev status -o json: exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	stdout, stderr, code = run(t, d.dir, "dev", "status")
	if code != 0 || strings.Count(stdout, "running") != 3 || !strings.Contains(stdout, "PARTITIONS") {
		t.Errorf("dev status: exit code %d: %s%s", code, stdout, stderr)
	}
}

// refusedCommands: what cannot be done has its exit code and says why; strangers get nothing.
func refusedCommands(t *testing.T, d *dev) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"dev", "kill", "worker-9"}, 3, "worker-1, worker-2, worker-3"},
		{[]string{"dev", "kill"}, 2, "hongyan dev kill --help"},
		{[]string{"dev", "reboot", "worker-1"}, 2, "reboot"},
		{[]string{"dev", "kill", "worker-1", "-o", "xml"}, 2, "xml"},
		{[]string{"dev", "--nodes", "0"}, 2, "--nodes 0"},
		{[]string{"dev", "--nodes", "3", "--data", "data"}, 1, "in use"},
	} {
		if _, stderr, code := run(t, d.dir, c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("hongyan %v: exit code %d, not %d, with %q: %s", c.args, code, c.code, c.says, stderr)
		}
	}
	for path, want := range map[string]int{"/dev/nodes": http.StatusUnauthorized, "/phone/api/nodes": http.StatusOK} {
		if status, body, err := get(d.admin + path); err != nil || status != want {
			t.Errorf("%s: status %d, not %d, %v: %s", path, status, want, err, body)
		}
	}
	if len(d.pids(3)) == 3 {
		d.spread("worker-1", "worker-2", "worker-3") // the refused ones did nothing, the second dev least of all
	}
}

// allGone waits until there are no such processes.
func allGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, 10*time.Second, fmt.Sprintf("process %d is gone", pid), func() bool { return !lives(pid) })
	}
}

// lives tells whether a process exists and has not ended; what nobody has waited for yet has.
func lives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return len(fields) == 0 || fields[0] != "Z"
}

// oneProcess: dev without workers of its own goes on with what the workers left, and says why it has none to show.
func oneProcess(t *testing.T, dir string) {
	d := startDev(t, dir)
	if u := show(t, dir, "demo/n1"); u.Counts.Turns < 5 {
		t.Errorf("one process does not know what the workers did: %+v", u.Counts)
	}
	d.answered("in one process")
	for _, args := range [][]string{{"dev", "status"}, {"dev", "kill", "worker-1"}} {
		if _, stderr, code := run(t, dir, args...); code != 1 || !strings.Contains(stderr, "--nodes") {
			t.Errorf("hongyan %v without nodes: exit code %d: %s", args, code, stderr)
		}
	}
	if code, _ := d.proc.signal(syscall.SIGTERM, 3*stopLimit); code != 0 {
		t.Errorf("after SIGTERM dev ended with exit code %d", code)
	}
}

// TestDevNodesKilled: when dev itself is killed, no worker outlives it, not even a paused one; and the next run goes on.
func TestDevNodesKilled(t *testing.T) {
	realProcess(t)
	dir := t.TempDir()
	d := startDev(t, dir, "--nodes", "2", "--durability", "os")
	d.spread("worker-1", "worker-2")
	d.answered("before the kill")
	d.do("pause", "worker-1")
	pids := d.pids(2)
	d.proc.kill()
	allGone(t, pids)
	d = startDev(t, dir, "--nodes", "2", "--durability", "os")
	d.answered("after the kill of everything")
	d.spread("worker-1", "worker-2")
	pids = d.pids(2)
	if code, took := d.proc.signal(syscall.SIGTERM, 3*stopLimit); code != 0 {
		t.Errorf("after SIGTERM dev ended with exit code %d after %v: %s", code, took, d.proc.tail())
	}
	allGone(t, pids)
}
