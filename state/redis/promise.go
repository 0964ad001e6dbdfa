package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Promise is what the servers do with a write before they acknowledge it, as they say themselves (DESIGN §3 rule 11). With several
// masters it is what the weakest of them promises.
type Promise struct {
	// Disk: every acknowledged write is fsynced on the master. Only appendonly yes with appendfsync always, and without
	// no-appendfsync-on-rewrite, makes it so.
	Disk bool
	// Verified is false where a server did not let us look, so that Disk is not known to hold.
	Verified bool
	// AppendFsync is "always", "everysec", "no"; "off" without an append-only file; "" where it cannot be verified.
	AppendFsync string
	// Replicas is how many are connected, WaitReplicas how many have to have a write before it counts.
	Replicas, WaitReplicas int
	// Policy is maxmemory-policy; "" where it cannot be verified.
	Policy string
	// MaxMemory is maxmemory in bytes; 0: the machine's whole memory, and then the kernel ends the server.
	MaxMemory int64
	// Warnings say what an operator should change, in plain words.
	Warnings []string
}

// ErrEvicts: a server may drop users' records when its memory is full. Nobody should start on it.
var ErrEvicts = errors.New("Redis evicts keys when its memory is full, which would drop users' records; set maxmemory-policy noeviction") //nolint:staticcheck // a name

// String says it in plain words, in one line.
func (p Promise) String() string {
	var b strings.Builder
	switch {
	case !p.Verified:
		b.WriteString("whether a commit survives a power cut cannot be verified: the server does not let this user read its configuration")
	case p.Disk:
		b.WriteString("an acknowledged commit is on the master's disk (appendfsync always)")
	case p.AppendFsync == "off":
		b.WriteString("an acknowledged commit is in the master's memory only (appendonly no): its restart loses everything")
	default:
		fmt.Fprintf(&b, "an acknowledged commit survives the end of the Redis process, not a power cut (appendfsync %s)", p.AppendFsync)
	}
	switch {
	case p.WaitReplicas > 0:
		fmt.Fprintf(&b, "; %d of %d connected replicas have it", p.WaitReplicas, p.Replicas)
	case p.Replicas > 0:
		fmt.Fprintf(&b, "; its %d replicas get it later, so a fail-over may lose the latest commits, which their owner then repairs", p.Replicas)
	}
	for _, w := range p.Warnings {
		b.WriteString("; ")
		b.WriteString(w)
	}
	return b.String()
}

// Promise asks every master. ErrEvicts is its own error; others are those of a read. It returns what it found with ErrEvicts too.
func (s *Store) Promise(ctx context.Context) (Promise, error) {
	var weakest Promise
	var evicts error
	first := true
	for n := range s.topology.masters(0) {
		facts, err := s.ask(ctx, n)
		if err != nil {
			return Promise{}, fmt.Errorf("what Redis at %s promises: %w", n.addr, err)
		}
		p := facts.promise(s.opts.WaitReplicas)
		if p.Policy != "" && p.Policy != "noeviction" {
			evicts = fmt.Errorf("Redis at %s has maxmemory-policy %s: %w", n.addr, p.Policy, ErrEvicts) //nolint:staticcheck // a name
		}
		if first || p.weakerThan(weakest) {
			weakest, first = p, false
		}
	}
	return weakest, evicts
}

func (p Promise) weakerThan(other Promise) bool {
	rank := func(p Promise) int {
		switch {
		case p.Verified && p.AppendFsync == "off":
			return 0
		case !p.Verified:
			return 1
		case p.AppendFsync == "no":
			return 2
		case !p.Disk:
			return 3
		default:
			return 4
		}
	}
	if a, b := rank(p), rank(other); a != b {
		return a < b
	}
	return p.Replicas < other.Replicas
}

// facts are a server's own words: configuration where it lets us read it, and INFO.
type facts map[string]string

// ask reads them. What an ACL denies is missing; any other failure is an error.
func (s *Store) ask(ctx context.Context, n *node) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.OpTimeout)
	defer cancel()
	f := facts{}
	for _, section := range []string{"persistence", "replication", "memory"} {
		text, err := n.client.Info(ctx, section).Result()
		if err != nil && code(err) != "NOPERM" {
			return nil, meaning(err, false)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if key, value, ok := strings.Cut(strings.TrimRight(line, "\r"), ":"); ok {
				f["info "+key] = value
			}
		}
	}
	for _, name := range []string{"appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy"} {
		values, err := n.client.ConfigGet(ctx, name).Result()
		var reply goredis.Error
		if err != nil && !errors.As(err, &reply) { // a managed Redis refuses CONFIG in many words
			return nil, meaning(err, false)
		}
		if value, ok := values[name]; ok {
			f[name] = value
		}
	}
	return f, nil
}

// either is what the configuration says, else INFO.
func (f facts) either(config, info string) string {
	if v, ok := f[config]; ok {
		return v
	}
	return f["info "+info]
}

func (f facts) promise(wait int) Promise {
	p := Promise{WaitReplicas: wait, AppendFsync: f["appendfsync"], Policy: f.either("maxmemory-policy", "maxmemory_policy")}
	p.Replicas, _ = strconv.Atoi(f["info connected_slaves"])
	p.MaxMemory, _ = strconv.ParseInt(f.either("maxmemory", "maxmemory"), 10, 64)
	appendOnly := f.either("appendonly", "aof_enabled")
	switch {
	case appendOnly == "no" || appendOnly == "0":
		p.AppendFsync, p.Verified = "off", true
	case p.AppendFsync != "" && appendOnly != "":
		p.Verified = true
	}
	rewrites := f["no-appendfsync-on-rewrite"] == "yes"
	p.Disk = p.Verified && p.AppendFsync == "always" && !rewrites
	warn := func(is bool, text string) {
		if is {
			p.Warnings = append(p.Warnings, text)
		}
	}
	warn(p.Verified && p.AppendFsync == "always" && rewrites,
		"but not while the append-only file is rewritten: set no-appendfsync-on-rewrite no")
	warn(f["info connected_slaves"] == "" && wait > 0, "how many replicas are connected cannot be verified")
	warn(f["info connected_slaves"] != "" && p.Replicas < wait,
		fmt.Sprintf("%d replicas have to acknowledge and %d are connected: every commit is unknown until they are", wait, p.Replicas))
	warn(p.Policy == "", "whether it evicts records cannot be verified: set maxmemory-policy noeviction")
	warn(f["info aof_last_write_status"] == "err", "its append-only file cannot be written at the moment: look at its disk")
	return p
}
