package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The stores of users and checkpoints that can be measured.
const (
	StoreJetStream = "jetstream"
	StoreRedis     = "redis"
)

// topology is one way to run the engine.
type topology struct {
	durability string // os or disk
	store      string
	nodes      int // 1: everything in one process; more: as many workers, one ingress and a NATS server, a process each
}

// topologies are all combinations that the options ask for: each durability, with each store, on each number of nodes.
func (o *Options) topologies() []topology {
	var all []topology
	for _, nodes := range o.Nodes {
		for _, store := range o.Stores {
			for _, durability := range o.Durability {
				all = append(all, topology{durability, store, nodes})
			}
		}
	}
	return all
}

// name is the target's name in reports: the durability, then what differs from the default of one node and JetStream KV.
func (t topology) name() string {
	name := t.durability
	if t.store != StoreJetStream {
		name += "+" + t.store
	}
	if t.nodes > 1 {
		name += "@" + strconv.Itoa(t.nodes)
	}
	return name
}

// faults of the topology options.
func (o *Options) topologyFaults(fault func(wrong bool, format string, arguments ...any)) {
	for i, d := range o.Durability {
		fault(d != "os" && d != "disk", "--durability has %q; choose from os and disk", d)
		fault(slices.Contains(o.Durability[:i], d), "--durability names %q twice", d)
	}
	for i, s := range o.Stores {
		fault(s != StoreJetStream && s != StoreRedis, "--store has %q; choose from jetstream and redis", s)
		fault(slices.Contains(o.Stores[:i], s), "--store names %q twice", s)
	}
	for i, n := range o.Nodes {
		fault(n < 1 || n > 16, "--nodes has %d; choose from 1 to 16", n)
		fault(slices.Contains(o.Nodes[:i], n), "--nodes names %d twice", n)
	}
	fault(len(o.Durability) > 0 && (len(o.Stores) == 0 || len(o.Nodes) == 0), "--store and --nodes must name at least one each")
}

// layout is the topology as processes and files under construction.
type layout struct {
	topology
	executable string
	home       string
	account    Account
	plan       plan
	nats       string // address of the NATS server, with its token before the host; empty: embedded
	redis      string // address of the Redis server
}

// enginePlan writes the configurations of one topology below dir. Apart from limits, which are off because the load is one,
// everything is the engine's default.
func enginePlan(executable, dir string, t topology, account Account) (plan, error) {
	l := layout{topology: t, executable: executable, home: filepath.Join(dir, t.name()), account: account, plan: plan{name: t.name()}}
	if err := os.MkdirAll(l.home, 0o700); err != nil {
		return plan{}, err
	}
	if err := os.WriteFile(filepath.Join(l.home, "rules.yaml"), rulesYAML(), 0o600); err != nil {
		return plan{}, err
	}
	steps := []func() error{l.addRedis, l.addNATS}
	if t.nodes == 1 {
		steps = append(steps, func() error { return l.addNode("node", "ingress, worker, console") })
	} else {
		for n := range t.nodes {
			steps = append(steps, func() error { return l.addNode("worker-"+strconv.Itoa(n+1), "worker") })
		}
		steps = append(steps, func() error { return l.addNode("ingress", "ingress") })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return plan{}, err
		}
	}
	return l.plan, nil
}

// addRedis plans the Redis server that has the durability of the log: with disk each commit is fsynced before its reply.
func (l *layout) addRedis() (err error) {
	if l.store != StoreRedis {
		return nil
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("redis-server is not installed (Debian: apt install redis-server); it is needed for --store redis")
	}
	if l.redis, err = freeAddress(); err != nil {
		return err
	}
	data := filepath.Join(l.home, "redis")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	fsync := map[string]string{"os": "everysec", "disk": "always"}[l.durability]
	_, port, _ := strings.Cut(l.redis, ":")
	l.plan.servers = append(l.plan.servers, server{name: "redis", argv: []string{
		binary, "--bind", "127.0.0.1", "--port", port, "--dir", data, "--save", "", "--appendonly", "yes", "--appendfsync", fsync,
		"--maxmemory-policy", "noeviction", "--daemonize", "no",
	}})
	return nil
}

// addNATS plans the NATS server that several nodes share.
func (l *layout) addNATS() error {
	if l.nodes == 1 {
		return nil
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	token := randomHex(16)
	l.nats = token + "@" + address
	argv := []string{l.executable, "bench", "nats", "--listen", address, "--dir", filepath.Join(l.home, "nats")}
	if l.durability == "disk" {
		argv = append(argv, "--sync")
	}
	l.plan.servers = append(l.plan.servers, server{name: "nats", argv: argv, input: []byte(token + "\n")})
	return nil
}

// addNode writes a node's configuration and plans its process.
func (l *layout) addNode(name, roles string) error {
	callback, err := freeAddress()
	if err != nil {
		return err
	}
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	file := filepath.Join(l.home, name+".yaml")
	if err := os.WriteFile(file, l.configuration(name, roles, callback, admin), 0o600); err != nil {
		return err
	}
	if strings.Contains(roles, "ingress") {
		l.plan.callback = callback
	}
	l.plan.servers = append(l.plan.servers, server{name: name, argv: []string{l.executable, "serve", "-c", file}})
	l.plan.ready = append(l.plan.ready, "http://"+admin+"/readyz")
	return nil
}

func (l *layout) configuration(name, roles, callback, admin string) []byte {
	outside := ""
	if l.nats != "" {
		outside = "nats://" + l.nats
	}
	state := "{store: jetstream}"
	if l.redis != "" {
		state = "{store: redis, redis: {url: " + quote("redis://"+l.redis+"/0") + "}}"
	}
	return fmt.Appendf(nil, `node: {id: %s, data_dir: %s, roles: [%s]}
listen: {callback: %s, admin: %s, cluster: "127.0.0.1:0"}
admin: {token: %s}
nats: {durability: %s, url: %s}
state: %s
accounts:
  - id: %s
    app_id: %s
    original_id: %s
    mode: %s
    token: %s
    encoding_aes_key: %s
    max_clock_skew: %s
    bot: [rules]
bots:
  rules: {type: rules, file: rules.yaml}
# Who is measured writes faster than people may.
limits: {user_rate: 0, account_rate: 0}
`, quote("bench-"+name), quote("data-"+name), roles, quote(callback), quote(admin), quote(randomHex(16)), quote(l.durability),
		quote(outside), state,
		quote(l.account.ID), quote(l.account.AppID), quote(l.account.OriginalID), l.account.Mode, quote(l.account.Token),
		quote(l.account.AESKey), clockSkew)
}
