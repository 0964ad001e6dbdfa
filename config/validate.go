package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validator checks values against each other and against what they mean. The decoder has checked their form.
type validator struct {
	cfg    *Config
	origin *origin
	report *Report
	failed map[string]bool // key paths that the decoder has a fault for: nothing more is said about them
}

func (v *validator) fault(path, message, fix string) {
	if !v.alreadyFailed(path) {
		v.report.Faults = append(v.report.Faults, v.origin.fault(path, message, fix))
	}
}

func (v *validator) warn(path, message, fix string) {
	if !v.alreadyFailed(path) {
		v.report.Warnings = append(v.report.Warnings, v.origin.fault(path, message, fix))
	}
}

// alreadyFailed tells whether the decoder has a fault about the value at path or a part of it.
func (v *validator) alreadyFailed(path string) bool {
	for p, failed := range v.failed {
		if rest, ok := strings.CutPrefix(p, path); failed && ok && (rest == "" || rest[0] == '[') {
			return true
		}
	}
	return false
}

func (v *validator) all() {
	v.node()
	v.listen()
	v.admin()
	v.nats()
	v.natsBots()
	v.state()
	v.cluster()
	v.duration("worker.passivate_after", v.cfg.Worker.PassivateAfter, 24*time.Hour)
	v.accounts()
	v.bots()
	v.limits()
	v.apiKeys()
}

var (
	accountID = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
	nodeID    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

const accountIDForm = "use 1 to 32 of a-z, 0-9, _ and -"

func (v *validator) node() {
	n := v.cfg.Node
	if n.ID != "" && !nodeID.MatchString(n.ID) {
		v.fault("node.id", fmt.Sprintf("%q is not a node id", n.ID), "use 1 to 64 letters, digits, _ and -, or leave it empty")
	}
	if len(n.Roles) == 0 {
		v.fault("node.roles", "the node has no role", "write [ingress, worker, console]")
	}
	for i, r := range n.Roles {
		if slices.Contains(n.Roles[:i], r) {
			v.fault(fmt.Sprintf("node.roles[%d]", i), fmt.Sprintf("the role %s stands here twice", r), "remove one")
		}
	}
	if v.cfg.NATS.Embedded() && len(n.Roles) > 0 {
		for _, r := range []Role{RoleWorker, RoleIngress} {
			if !n.Has(r) {
				v.fault("node.roles", "without nats.url this is the only node, and it has not the role "+string(r),
					"add the role "+string(r)+", or set nats.url")
			}
		}
	}
	if n.DataDir == "" {
		v.fault("node.data_dir", "there is no folder for the data", "write a folder, ./data for example")
	}
}

func (v *validator) listen() {
	l := v.cfg.Listen
	for i, network := range l.TrustedProxies {
		if _, err := netip.ParsePrefix(network); err != nil {
			v.fault(fmt.Sprintf("listen.trusted_proxies[%d]", i), fmt.Sprintf("%q is not a network", network), "write one as 10.0.0.0/8 or 10.1.2.3/32")
		}
	}
	taken := make(map[int]string)
	for _, a := range []struct {
		path, address string
		optional      bool
	}{
		{"listen.callback", l.Callback, false},
		{"listen.admin", l.Admin, false},
		{"listen.cluster", l.Cluster, false},
		{"listen.api", l.API, true},
		{"nats.bots.listen", v.cfg.NATS.Bots.Listen, true},
	} {
		if a.address == "" && a.optional {
			continue
		}
		host, port, ok := v.address(a.path, a.address)
		if !ok {
			continue
		}
		if other, used := taken[port]; used && port != 0 {
			v.fault(a.path, fmt.Sprintf("port %d is also the one of %s", port, other), "give each listener a port of its own")
		}
		taken[port] = a.path
		switch {
		case a.path == "listen.cluster" && !v.cfg.Node.Has(RoleWorker):
			// nobody listens there
		case a.path == "listen.cluster" && !IsLoopback(host) && v.cfg.NATS.Embedded():
			v.fault(a.path, "without nats.url there is one node only, so its cluster listener stays on loopback",
				"write 127.0.0.1:0, or set nats.url")
		case a.path == "listen.cluster" && !IsLoopback(host) && v.cfg.Cluster.TLS == TLS{}:
			v.fault(a.path, "a cluster listener off loopback needs mutual TLS", "set cluster.tls, or write 127.0.0.1:0")
		case a.path == "listen.admin" && !IsLoopback(host) && v.cfg.Admin.Token == "":
			v.warn(a.path, "the admin listener can be reached from other machines and there is no admin.token: health and metrics are open, the admin API is shut",
				"listen on 127.0.0.1, or set admin.token and let only your own network in")
		case a.path == "nats.bots.listen" && !IsLoopback(host) && v.cfg.NATS.Bots.Token == "":
			v.fault(a.path, "bots can connect from other machines, and so can everybody else", "set nats.bots.token, or listen on 127.0.0.1")
		}
	}
}

func (v *validator) admin() {
	a := v.cfg.Admin
	for _, t := range []struct {
		path  string
		token Secret
	}{{"admin.token", a.Token}, {"admin.read_only_token", a.ReadOnlyToken}} {
		if t.token != "" && len(t.token) < 16 {
			v.warn(t.path, "the token is short and can be guessed", "use at least 16 random characters, from `openssl rand -hex 16` for example")
		}
		if strings.ContainsFunc(t.token.Reveal(), notInHeader) {
			v.fault(t.path, "the token has characters that an HTTP header cannot carry", "use ASCII without blanks")
		}
	}
	if a.Token != "" && a.Token == a.ReadOnlyToken {
		v.warn("admin.read_only_token", "the read-only token is the admin token, so its holders may change things", "use two tokens")
	}
	if a.Token == "" && a.ReadOnlyToken == "" {
		v.warn("admin.token", "there is no admin token: the admin API and `hongyan user show` are shut", "set admin.token")
	}
}

func (v *validator) nats() {
	n := v.cfg.NATS
	scheme := ""
	for server := range strings.SplitSeq(n.URL.Reveal(), ",") {
		server = strings.TrimSpace(server)
		if own, _, ok := strings.Cut(server, "://"); ok {
			scheme = own
		} else if scheme != "" { // a further server of the same list
			server = scheme + "://" + server
		}
		if !n.Embedded() {
			v.url("nats.url", server, "nats://host:4222", "nats", "tls", "ws", "wss")
		}
	}
	if n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5 {
		v.fault("nats.replicas", fmt.Sprintf("%d replicas are not possible", n.Replicas), "write 1, 3 or 5")
	}
	if n.Streams < 0 || n.Streams > maxStreams {
		v.fault("nats.streams", fmt.Sprintf("%d streams are not possible", n.Streams), fmt.Sprintf("write a number up to %d, or 0 for the automatic value", maxStreams))
	}
	if n.Streams > v.cfg.Cluster.Partitions {
		v.fault("nats.streams", fmt.Sprintf("there are more streams than partitions (%d)", v.cfg.Cluster.Partitions), "write fewer, or 0 for the automatic value")
	}
	v.tls("nats.tls", n.TLS, false)
	if n.Monitor != "" {
		for server := range strings.SplitSeq(n.Monitor, ",") {
			v.url("nats.monitor", strings.TrimSpace(server), "http://host:8222", "http", "https")
		}
	}
	if n.Embedded() {
		if n.Replicas > 1 {
			v.fault("nats.replicas", "the embedded server is one server, and cannot keep several replicas", "write 1, or set nats.url")
		}
		for path, set := range map[string]bool{
			"nats.credentials": n.Credentials != "", "nats.tls": n.TLS != TLS{}, "nats.monitor": n.Monitor != "",
		} {
			if set {
				v.warn(path, "without nats.url the embedded server is used, and this key says nothing", "remove it, or set nats.url")
			}
		}
	}
	v.atLeast("nats.max_bytes", n.MaxBytes)
	if n.KeepSettled != 0 {
		v.duration("nats.keep_settled", n.KeepSettled, 30*24*time.Hour)
	}
}

// natsBots checks the embedded server's door for bots; its address is checked with the others.
func (v *validator) natsBots() {
	b := v.cfg.NATS.Bots
	if b.Listen != "" && !v.cfg.NATS.Embedded() {
		v.fault("nats.bots.listen", "with nats.url there is no embedded server: bots connect to the one of nats.url", "remove the key")
	}
	switch {
	case b.Token == "":
	case b.Listen == "":
		v.warn("nats.bots.token", "without nats.bots.listen no bot connects, and this key says nothing", "remove it, or set nats.bots.listen")
	case len(b.Token) < minBotToken:
		v.fault("nats.bots.token", "the token is short and can be guessed",
			fmt.Sprintf("use at least %d random characters, from `openssl rand -hex 16` for example", minBotToken))
	case strings.ContainsFunc(b.Token.Reveal(), notInHeader):
		v.fault("nats.bots.token", "the token has characters that a NATS address cannot carry", "use ASCII without blanks")
	}
}

// minBotToken is the length of the shortest nats.bots.token, in bytes.
const minBotToken = 16

// maxStreams bounds nats.streams: each costs every server an open file set and, with replicas, a group of its own.
const maxStreams = 64

// tls checks the files of a connection: a certificate comes with its key, and where it is mutual with the authority too.
func (v *validator) tls(path string, t TLS, mutual bool) {
	switch {
	case t == (TLS{}):
	case mutual && (t.Cert == "" || t.Key == "" || t.CA == ""):
		v.fault(path, "mutual TLS needs cert, key and ca", "set all three, or none")
	case (t.Cert == "") != (t.Key == ""):
		v.fault(path, "a certificate needs its key, and a key its certificate", "set cert and key, or neither")
	}
}

func (v *validator) state() {
	s := v.cfg.State
	v.atLeast("state.max_bytes", s.MaxBytes)
	if s.Store == StoreRedis || v.origin.has("state.redis.url") {
		v.redis(s.Redis)
	}
}

func (v *validator) redis(r Redis) {
	// Several hosts are no URL: what stands between the commas is checked by the store, which says what it cannot read.
	first, rest, several := strings.Cut(r.URL.Reveal(), ",")
	if several {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			first += rest[i:]
		}
	}
	v.url("state.redis.url", first, "redis://127.0.0.1:6379/0", "redis", "rediss")
	v.tls("state.redis.tls", r.TLS, false)
	if (r.Mode == RedisSentinel) != (r.Master != "") {
		v.fault("state.redis.master", "the master's name and the mode sentinel belong together", "set both, or neither")
	}
	if r.Mode == RedisSingle && several {
		v.fault("state.redis.mode", "several hosts are no single server", "write cluster or sentinel, or one host")
	}
	if r.WaitReplicas < 0 || r.WaitReplicas > 8 {
		v.fault("state.redis.wait_replicas", fmt.Sprintf("%d replicas cannot be waited for", r.WaitReplicas), "write 0 to 8")
	}
}

func (v *validator) cluster() {
	c := v.cfg.Cluster
	if !accountID.MatchString(c.Name) {
		v.fault("cluster.name", fmt.Sprintf("%q is not a name for a cluster", c.Name), accountIDForm)
	}
	if c.Partitions < 1 || c.Partitions > 4096 {
		v.fault("cluster.partitions", fmt.Sprintf("%d partitions are not possible", c.Partitions), "write a number from 1 to 4096; 64 suits most")
	}
	if c.Advertise != "" {
		host, port := c.Advertise, "0"
		if h, p, err := net.SplitHostPort(c.Advertise); err == nil {
			host, port = h, p
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" || strings.ContainsAny(host, " /") || n == 0 && port != "0" {
			v.fault("cluster.advertise", fmt.Sprintf("%q is not a host that others can reach", c.Advertise), "write a host name, an address, or host:port")
		}
	}
	v.tls("cluster.tls", c.TLS, true)
}

func (v *validator) apiKeys() {
	for i, k := range v.cfg.APIKeys {
		at := fmt.Sprintf("api_keys[%d]", i)
		if !accountID.MatchString(k.ID) {
			v.fault(at+".id", fmt.Sprintf("%q is not an id", k.ID), accountIDForm)
		}
		if slices.ContainsFunc(v.cfg.APIKeys[:i], func(o APIKey) bool { return o.ID == k.ID && k.ID != "" }) {
			v.fault(at+".id", fmt.Sprintf("the id %q is given twice", k.ID), "use another")
		}
		if k.Secret == "" {
			v.fault(at+".secret", "the key has no secret", "set secret or secret_file")
		}
		for j, id := range k.Accounts {
			if _, ok := v.cfg.Account(id); !ok {
				v.fault(fmt.Sprintf("%s.accounts[%d]", at, j), fmt.Sprintf("there is no account %q", id), didYouMean(id, v.accountIDs()))
			}
		}
	}
}

func (v *validator) accountIDs() []string {
	var ids []string
	for _, a := range v.cfg.Accounts {
		ids = append(ids, a.ID)
	}
	return ids
}
