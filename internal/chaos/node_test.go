package chaos

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hongyan/internal/checker"
	"hongyan/internal/servers"
)

// Credentials of the tests' account.
const (
	testToken      = "chaosTokenKx81vQzR7mD"
	testAESKey     = "chaosabcdefghijklmnopqrstuvwxyz0123456789AB"
	testAppID      = "wx5f0c2a9be17d4638"
	testOriginalID = "gh_chaos01234567"
	testAdminToken = "chaosAdminPq73hXw2LsV9tB"
)

// turnTime is how long a bot thinks, so that some messages are always under way.
const turnTime = 30 * time.Millisecond

// node is one process of the engine as an operator runs it: a folder, a configuration, `hongyan serve`. Everything that it talks
// to, and every peer that talks to it, goes through a proxy of its own.
type node struct {
	name            string
	worker          bool
	dir             string
	callback, admin string
	nats            []*servers.Proxy // to each NATS server
	redis           *servers.Proxy   // workers only
	peers           *servers.Proxy   // from the other workers; workers only
	program         *servers.Program
	started         time.Time
}

// layout is what all nodes of a rig share.
type layout struct {
	partitions, streams, replicas int
	natsAddrs                     []string
	natsMonitor                   string
	redisAddr                     string
	accounts                      string // all accounts, in place of the one that most rigs have
	rules                         string // the rules file, in place of one that answers after turnTime
}

// accountText is what every account of these tests has in a configuration.
func accountText(id, appID string) string {
	return fmt.Sprintf("  - id: %s\n    app_id: %s\n    original_id: %s\n    token: %s\n    encoding_aes_key: %s\n    bot: [rules]\n",
		id, appID, testOriginalID, testToken, testAESKey) + checker.ReplyTexts
}

// newNode makes the proxies and writes the configuration. Nothing runs yet.
func newNode(dir, name string, worker bool, l layout) (*node, error) {
	n := &node{name: name, worker: worker, dir: filepath.Join(dir, name)}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, err
	}
	var natsHosts []string
	for _, address := range l.natsAddrs {
		p, err := servers.NewProxy(address)
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
		n.nats, natsHosts = append(n.nats, p), append(natsHosts, p.Addr())
	}
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = servers.FreePort(); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	loopback := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	n.callback, n.admin = loopback(ports[0]), loopback(ports[1])
	roles, inner, advertise := "ingress", loopback(ports[2]), ""
	if worker {
		var errRedis, errPeers error
		n.redis, errRedis = servers.NewProxy(l.redisAddr)
		n.peers, errPeers = servers.NewProxy(inner)
		if err := errors.Join(errRedis, errPeers); err != nil {
			return nil, errors.Join(err, n.close())
		}
		roles, advertise = "worker, console", n.peers.Addr()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "node: {id: %s, roles: [%s], data_dir: data}\n", name, roles)
	fmt.Fprintf(&b, "listen: {callback: %q, admin: %q, cluster: %q}\nadmin: {token: %s}\n", n.callback, n.admin, inner, testAdminToken)
	fmt.Fprintf(&b, "nats: {url: \"nats://%s\", replicas: %d, streams: %d, durability: disk, max_bytes: 256MiB, keep_settled: 1h, monitor: %q}\n",
		strings.Join(natsHosts, ","), l.replicas, l.streams, l.natsMonitor)
	if worker {
		fmt.Fprintf(&b, "state: {store: redis, redis: {url: \"redis://%s/0\"}}\n", n.redis.Addr())
	} else {
		fmt.Fprintf(&b, "state: {store: redis, redis: {url: \"redis://%s/0\"}}\n", l.redisAddr)
	}
	fmt.Fprintf(&b, "cluster: {name: chaos, partitions: %d, advertise: %q}\n", l.partitions, advertise)
	fmt.Fprintf(&b, "bots: {rules: {type: rules, file: rules.yaml}}\nlog: {level: info, format: json}\n")
	b.WriteString("limits: {user_rate: 0, account_rate: 0}\n") // the loads write faster than people may
	b.WriteString("accounts:\n" + cmp.Or(l.accounts, accountText("demo", testAppID)))
	for file, content := range map[string]string{"hongyan.yaml": b.String(), "rules.yaml": cmp.Or(l.rules, checker.Rules(turnTime))} {
		if err := os.WriteFile(filepath.Join(n.dir, file), []byte(content), 0o600); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

// close ends what is left of it.
func (n *node) close() error {
	var err error
	if n.program != nil {
		err = n.program.Kill()
	}
	for _, p := range append([]*servers.Proxy{n.redis, n.peers}, n.nats...) {
		if p != nil {
			p.Close()
		}
	}
	return err
}

func (n *node) output() string { return filepath.Join(n.dir, "output.log") }

// start begins a run and does not wait for it.
func (n *node) start() error {
	path, err := engine()
	if err != nil {
		return err
	}
	n.started = time.Now()
	n.program, err = servers.StartProgram(n.dir, n.output(), []string{"HONGYAN_"}, path, "serve", "-c", "hongyan.yaml")
	return err
}

func (n *node) running() bool { return n.program != nil && n.program.Running() }

// ready asks /readyz.
func (n *node) ready() bool {
	status, _, err := n.get("/readyz")
	return err == nil && status == http.StatusOK
}

// stop ends it by SIGTERM, which has to be an orderly end: exit code 0.
func (n *node) stop() (took time.Duration, err error) {
	began := time.Now()
	err = n.program.Stop()
	took = time.Since(began)
	if code := n.program.ExitCode(); err == nil && code != 0 {
		err = fmt.Errorf("%s ended with exit code %d after SIGTERM; it said:\n%s", n.name, code, n.program.Tail())
	}
	return took, err
}

// freeze and thaw are SIGSTOP and SIGCONT.
func (n *node) freeze() error { return n.program.Signal(syscall.SIGSTOP) }
func (n *node) thaw() error   { return n.program.Signal(syscall.SIGCONT) }

// cutNATS cuts the node from all NATS servers.
func (n *node) cutNATS(d servers.Direction) {
	for _, p := range n.nats {
		p.Cut(d)
	}
}

func (n *node) healNATS() {
	for _, p := range n.nats {
		p.Heal()
	}
}

// get asks the admin listener. The connection is not kept.
func (n *node) get(path string) (status int, body string, err error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+testAdminToken)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// metric is the sum of a metric's series whose labels contain all that is asked for; 0 where the node does not answer.
func (n *node) metric(name string, labels ...string) float64 {
	_, body, err := n.get("/metrics")
	if err != nil {
		return 0
	}
	var sum float64
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		family, set, _ := strings.Cut(series, "{")
		if !ok || family != name {
			continue
		}
		fits := true
		for _, label := range labels {
			fits = fits && strings.Contains(set, label)
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil && fits {
			sum += v
		}
	}
	return sum
}

// said are the messages of the node's log behind an offset, which it returns anew.
func (n *node) said(from int64) (messages []string, end int64) {
	f, err := os.Open(n.output())
	if err != nil {
		return nil, from
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, from
	}
	end = from
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		end += int64(len(lines.Bytes())) + 1
		var l struct {
			Message string `json:"msg"`
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil {
			messages = append(messages, l.Message)
		}
	}
	return messages, end
}
