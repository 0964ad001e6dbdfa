package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// Credentials of the tests' account. They stand in no log: TestRefusals looks for them.
const (
	testToken      = "e2eTokenKx81vQzR7mD"
	testAESKey     = "e2eKeyabcdefghijklmnopqrstuvwxyz0123456789A"
	testAppID      = "wx5f0c2a9be17d4638"
	testOriginalID = "gh_e2e0123456789"
	testAdminToken = "e2eAdminPq73hXw2LsV9tB"
)

// partitions are fewer than users, so that several share one floor, one checkpoint and one crash counter.
const partitions = 8

// node is one engine as an operator runs it: a folder, a configuration, and `hongyan serve`, once or again and again.
type node struct {
	t               *testing.T
	dir             string
	callback, admin string
	proc            *process
	past            strings.Builder // what the former runs said on their standard error
	down            []checker.Outage
}

// settings are what tests vary.
type settings struct {
	durability string // disk or os
	level      string // of the log; info where empty
	logBytes   string // nats.max_bytes; 64MiB where empty
	partitions int    // 8 where 0
	rules      string // the rules file
	account    string // more lines of the account, indented by four
	chain      string // the account's bots; rules where empty
	accounts   string // all accounts, in place of the one that tests have otherwise
	bots       string // more bots, indented by two
	nats       string // address of an outside NATS; empty: the embedded one
	id         string // of the node; e2e where empty
	roles      string // all where empty
	twin       bool   // a desk has a second worker; with nats
	limits     string // limits of the configuration; off where empty: the loads of these tests write faster than people may
	more       string // more top-level keys
}

// newNode writes the configuration. Nothing runs yet.
func newNode(t *testing.T, s settings) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), callback: freeAddress(t), admin: freeAddress(t)}
	s.level, s.logBytes, s.partitions = cmp.Or(s.level, "info"), cmp.Or(s.logBytes, "64MiB"), cmp.Or(s.partitions, partitions)
	s.limits = cmp.Or(s.limits, "{user_rate: 0, account_rate: 0}")
	if s.accounts == "" {
		s.accounts = accountText("demo", testAppID, s.chain) + s.account
	}
	text := fmt.Sprintf(`node: {id: %s, roles: [%s], data_dir: data}
listen: {callback: %q, admin: %q, cluster: "127.0.0.1:0"}
admin: {token: %s}
nats: {url: %q, durability: %s, max_bytes: %s, keep_settled: 1h}
state: {max_bytes: 256MiB}
cluster: {partitions: %d}
bots:
  rules: {type: rules, file: rules.yaml}
%s
limits: %s
log: {level: %s, format: json}
accounts:
%s
%s`, cmp.Or(s.id, "e2e"), cmp.Or(s.roles, "ingress, worker, console"), n.callback, n.admin, testAdminToken, s.nats, s.durability, s.logBytes, s.partitions, s.bots, s.limits, s.level,
		s.accounts, s.more)
	for name, content := range map[string]string{"hongyan.yaml": text, "rules.yaml": s.rules} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// accountText is what every account of these tests has in a configuration. chain are its bots; rules where empty.
func accountText(id, appID, chain string) string {
	return fmt.Sprintf("  - id: %s\n    app_id: %s\n    original_id: %s\n    token: %s\n    encoding_aes_key: %s\n    bot: [%s]\n",
		id, appID, testOriginalID, testToken, testAESKey, cmp.Or(chain, "rules"))
}

// platform is a simulated WeChat on which the node's account is registered. It lives as long as the test.
func (n *node) platform() *simulator.Platform {
	n.t.Helper()
	p, err := simulator.New(simulator.Options{Accounts: []simulator.Account{{
		ID: "demo", AppID: testAppID, OriginalID: testOriginalID, Token: testToken, AESKey: testAESKey, Mode: simulator.ModeSafe,
		CallbackURL: "http://" + n.callback + "/wechat/callback/demo",
	}}})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(p.Close)
	return p
}

// start begins a run and does not wait for it.
func (n *node) start() {
	n.t.Helper()
	if n.proc != nil {
		n.past.WriteString(n.proc.stderr.String())
	}
	if len(n.down) == 0 {
		n.down = append(n.down, checker.Outage{From: time.Now()})
	}
	n.proc = start(n.t, n.dir, "serve", "-c", "hongyan.yaml")
}

// startLimit is generous: machines that test have other things to do.
const startLimit = time.Minute

// awaitReady returns when the callback port is open, which it is only on a node that is ready.
func (n *node) awaitReady() {
	n.t.Helper()
	ready := poll(n.t.Context(), startLimit, func() bool {
		conn, err := net.DialTimeout("tcp", n.callback, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || !n.proc.running()
	})
	if !ready || !n.proc.running() {
		n.t.Fatalf("the node is not ready; it said:\n%s", n.proc.tail())
	}
	n.down[len(n.down)-1].To = time.Now()
}

func (n *node) startReady() {
	n.t.Helper()
	n.start()
	n.awaitReady()
}

// kill ends the run by SIGKILL.
func (n *node) kill() {
	n.t.Helper()
	if !n.proc.running() {
		n.t.Fatalf("the node ended by itself; it said:\n%s", n.proc.tail())
	}
	if last := n.down[len(n.down)-1]; !last.To.IsZero() { // it was ready
		n.down = append(n.down, checker.Outage{From: time.Now()})
	}
	n.proc.kill()
}

// stopLimit is what an operator's service manager waits at least (DESIGN: drain < 10 s).
const stopLimit = 10 * time.Second

// stop ends the run by SIGTERM: exit code 0, in time.
func (n *node) stop() time.Duration {
	n.t.Helper()
	n.down = append(n.down, checker.Outage{From: time.Now()})
	code, took := n.proc.signal(syscall.SIGTERM, 3*stopLimit)
	if code != 0 {
		n.t.Errorf("after SIGTERM the node ended with exit code %d; it said:\n%s", code, n.proc.tail())
	}
	if took > stopLimit {
		n.t.Errorf("the node took %v to stop, more than %v; it said:\n%s", took, stopLimit, n.proc.tail())
	}
	return took
}

// said is the standard error of all runs.
func (n *node) said() string { return n.past.String() + n.proc.stderr.String() }

// get asks the admin listener. The connection is not kept.
func (n *node) get(path string) (status int, body string, err error) {
	return get("http://" + n.admin + path)
}

func get(address string) (status int, body string, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(address)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// metrics reads /metrics: every series with its labels as it is written, and its value.
func (n *node) metrics() map[string]float64 {
	n.t.Helper()
	status, body, err := n.get("/metrics")
	if err != nil || status != http.StatusOK {
		n.t.Fatalf("/metrics: status %d, %v", status, err)
	}
	return parseMetrics(body)
}

func parseMetrics(body string) map[string]float64 {
	out := make(map[string]float64)
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			out[line[:i]] = v
		}
	}
	return out
}

// show runs `hongyan user show`.
func (n *node) show(openID string) checker.User {
	n.t.Helper()
	return show(n.t, n.dir, "demo/"+openID, "-c", "hongyan.yaml")
}

func show(t *testing.T, dir string, args ...string) checker.User {
	t.Helper()
	stdout, stderr, code := run(t, dir, append([]string{"user", "show", "-o", "json"}, args...)...)
	if code != 0 {
		t.Fatalf("user show %v: exit code %d: %s", args, code, stderr)
	}
	var u checker.User
	if err := json.Unmarshal([]byte(stdout), &u); err != nil {
		t.Fatalf("user show %v: %v\n%s", args, err, stdout)
	}
	return u
}
