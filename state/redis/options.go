package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Mode is how the servers of a URL belong together.
type Mode string

// The modes.
const (
	ModeSingle   Mode = "single"   // one server; also what "" means
	ModeCluster  Mode = "cluster"  // a Redis Cluster; the URL names some of its nodes
	ModeSentinel Mode = "sentinel" // a master with replicas; the URL names the sentinels that watch it
)

// Defaults of Options.
const (
	DefaultPrefix       = "hongyan"
	DefaultOpTimeout    = time.Second
	DefaultTombstoneTTL = 24 * time.Hour
	redisPort           = "6379"
	sentinelPort        = "26379"
)

// Options for Open. Only URL is needed.
type Options struct {
	// URL is redis://user:password@host:6379,host2:6379/0, or rediss:// for TLS. The user may be missing, a port too (6379, or
	// 26379 in mode sentinel). Reserved characters of the password are written as %XX. A cluster has database 0 only.
	URL  string
	Mode Mode

	Master           string // the name under which the sentinels know the master
	SentinelUsername string // of the sentinels themselves; user and password of the URL are the servers'
	SentinelPassword string

	// TLS goes with rediss:// only, and holds for sentinels too. Nil: the system's certificate authorities, TLS 1.2 or later.
	TLS *tls.Config

	Prefix       string // of every key; the cluster's name, so that several can share a server. DefaultPrefix when empty
	WaitReplicas int    // how many replicas must have a write before it counts; 0: the master alone
	Node         string // this node's name, for its probe and its connections' names

	OpTimeout time.Duration // how long one exchange with a server may take; DefaultOpTimeout when 0
	// TombstoneTTL is how long a deleted record's mark stays, which refuses writers of an older epoch. DefaultTombstoneTTL
	// when 0; at least 1 ms.
	TombstoneTTL time.Duration

	Logger     *slog.Logger          // nil: silence
	Registerer prometheus.Registerer // takes the metrics; nil keeps them to the store
}

// Check says whether Open could work with these options, without connecting. Its errors show no password.
func (o Options) Check() error {
	_, err := o.target()
	return err
}

// target is what the options mean.
type target struct {
	addrs              []string // host:port
	username, password string
	db                 int
	tls                *tls.Config // nil: plain
}

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (o Options) target() (target, error) {
	switch o.Mode {
	case "", ModeSingle, ModeCluster, ModeSentinel:
	default:
		return target{}, fmt.Errorf("redis mode %q is none of single, cluster, sentinel", o.Mode)
	}
	t, err := parseURL(o.URL, o.Mode)
	if err != nil {
		return target{}, fmt.Errorf("redis URL: %w; the form is redis://user:password@host:6379/0, or rediss:// for TLS", err)
	}
	switch {
	case o.Mode != ModeCluster && o.Mode != ModeSentinel && len(t.addrs) > 1:
		err = fmt.Errorf("redis URL: it has %d addresses; say with the mode whether they are a cluster or sentinels", len(t.addrs))
	case o.Mode == ModeCluster && t.db != 0:
		err = fmt.Errorf("redis URL: a cluster has database 0 only, not %d", t.db)
	case o.Mode == ModeSentinel && o.Master == "":
		err = errors.New("redis mode sentinel needs the master's name, as in the sentinels' \"sentinel monitor\" line")
	case o.Mode != ModeSentinel && (o.Master != "" || o.SentinelUsername != "" || o.SentinelPassword != ""):
		err = errors.New("a master's name and the sentinels' user and password are for redis mode sentinel only")
	case o.TLS != nil && t.tls == nil:
		err = errors.New("redis URL: there are TLS settings, but redis:// is plain; write rediss://")
	case o.Prefix != "" && !prefixForm.MatchString(o.Prefix):
		err = fmt.Errorf("redis key prefix %q is not of the form %s", o.Prefix, prefixForm)
	case o.WaitReplicas < 0 || o.OpTimeout < 0 || o.TombstoneTTL < 0 || (o.TombstoneTTL > 0 && o.TombstoneTTL < time.Millisecond):
		err = errors.New("redis: replicas to wait for and durations are not negative, and a mark stays 1 ms at least")
	}
	if err != nil {
		return target{}, err
	}
	if o.TLS != nil {
		t.tls = o.TLS.Clone()
	}
	return t, nil
}

// withDefaults fills in what is empty.
func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = ModeSingle
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.OpTimeout == 0 {
		o.OpTimeout = DefaultOpTimeout
	}
	if o.TombstoneTTL == 0 {
		o.TombstoneTTL = DefaultTombstoneTTL
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// parseURL does by hand what net/url does not: several hosts, and errors without the password.
func parseURL(text string, mode Mode) (target, error) {
	var t target
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case text == "":
		return t, errors.New("it is empty")
	case ok && scheme == "redis":
	case ok && scheme == "rediss":
		t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	default:
		return t, errors.New("it does not start with redis:// or rediss://")
	}
	if strings.ContainsAny(rest, "?#") {
		return t, errors.New("it has a ? or #, and there is nothing to set behind it; in a password write %3F or %23")
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
		var userErr, passwordErr error
		t.username, userErr = url.PathUnescape(user)
		t.password, passwordErr = url.PathUnescape(password)
		if userErr != nil || passwordErr != nil {
			return t, errors.New("user or password has a % that is not followed by two hexadecimal digits; write %25 for it")
		}
		if t.username != "" && t.password == "" {
			return t, errors.New("it has a user but no password")
		}
	}
	hosts, db, _ := strings.Cut(rest, "/")
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return t, errors.New("what follows the / is no database number; in a password write %2F")
		}
		t.db = int(n)
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := address(host, mode)
		if err != nil {
			return t, err
		}
		t.addrs = append(t.addrs, addr)
	}
	return t, nil
}

// address completes host, host:port, [v6] or [v6]:port. Its errors name no host: what looks like one may be a part of a password.
func address(text string, mode Mode) (string, error) {
	port := redisPort
	if mode == ModeSentinel {
		port = sentinelPort
	}
	host := text
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	} else if strings.Contains(text, ":") {
		return "", errors.New("an address is neither host, host:port nor [IPv6]:port")
	}
	if host == "" {
		return "", errors.New("an address has no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("an address has a port that is not 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}
