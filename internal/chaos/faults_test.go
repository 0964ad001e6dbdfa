package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hongyan/internal/checker"
	"hongyan/internal/servers"
)

// fault is one row of the table.
type fault struct {
	name   string
	target string        // in words
	limit  time.Duration // of each measured time, the target; 0: none
	nats   int           // servers that it needs
	times  int           // injections at least in the long form
	// inject makes the fault, ends it, and returns when the cluster is whole again.
	inject func(ctx context.Context, r *rig) (injury, error)
}

// injury is what one injection did.
type injury struct {
	times    []time.Duration // measured, see fault.target
	notes    []string
	breaches []string // of what the row demands beyond the checker's invariants
}

func (i *injury) note(format string, args ...any) {
	i.notes = append(i.notes, fmt.Sprintf(format, args...))
}
func (i *injury) breach(format string, args ...any) {
	i.breaches = append(i.breaches, fmt.Sprintf(format, args...))
}

const (
	resumeLimit = 45 * time.Second // what did not answer by then is a breach of its own
	cutTime     = 5 * time.Second
	stopTime    = 15 * time.Second // of a SIGSTOP
	drainLimit  = 10 * time.Second // of a SIGTERM
)

// faults are all rows, in the order in which they are made.
func faults() []fault {
	out := []fault{
		{name: "no fault", target: "for comparison: the longest waits of 5 s", nats: 1, inject: noFault},
		{name: "kill -9 an ingress", target: "the retry to another ingress is answered", nats: 1, inject: killIngress},
		{name: "kill -9 a worker", target: "partitions answer again ≤ 1.5 s", limit: 1500 * time.Millisecond, nats: 1, times: 12, inject: killWorker},
		{name: "SIGSTOP a worker for 15 s", target: "a refused write or a self-fence in its log", nats: 1, inject: stopWorker},
		{name: "a worker joins", target: "pause ≤ 300 ms", limit: 300 * time.Millisecond, nats: 1, inject: joinWorker},
		{name: "a worker leaves (SIGTERM)", target: "pause ≤ 300 ms, drain < 10 s", limit: 300 * time.Millisecond, nats: 1, inject: leaveWorker},
		{name: "rolling restart", target: "pause ≤ 300 ms, drain < 10 s", limit: 300 * time.Millisecond, nats: 1, inject: rollWorkers},
	}
	for _, link := range []struct {
		name string
		cut  func(r *rig, d servers.Direction) (heal func())
	}{
		{"worker–NATS", func(r *rig, d servers.Direction) func() {
			n := r.pick(r.workers)
			n.cutNATS(d)
			return n.healNATS
		}},
		{"worker–Redis", func(r *rig, d servers.Direction) func() {
			n := r.pick(r.workers)
			n.redis.Cut(d)
			return n.redis.Heal
		}},
		{"worker–worker", func(r *rig, d servers.Direction) func() {
			n := r.pick(r.workers)
			n.peers.Cut(d)
			return n.peers.Heal
		}},
		{"ingress–NATS", func(r *rig, d servers.Direction) func() {
			n := r.pick(r.ingresses)
			n.cutNATS(d)
			return n.healNATS
		}},
	} {
		for _, way := range []string{"cut", "one-way cut"} {
			out = append(out, fault{
				name: way + " " + link.name, target: "heals ≤ 10 s after the cut ends", limit: 10 * time.Second, nats: 1,
				inject: func(ctx context.Context, r *rig) (injury, error) {
					d := servers.Both
					if way == "one-way cut" {
						d = []servers.Direction{servers.Upstream, servers.Downstream}[r.chance.IntN(2)]
					}
					return cut(ctx, r, d, link.cut)
				},
			})
		}
	}
	return append(out,
		fault{name: "cut off with writes under way", target: "the late writes are refused", nats: 1, inject: lateWrites},
		fault{name: "kill -9 NATS (one server), restart", target: "resumes ≤ 5 s", limit: 5 * time.Second, nats: 1, times: 5, inject: killNATS},
		fault{name: "kill -9 Redis, restart", target: "resumes ≤ 5 s", limit: 5 * time.Second, nats: 1, times: 5, inject: killRedis},
		fault{name: "kill -9 an R3 leader", target: "resumes ≤ 10 s", limit: 10 * time.Second, nats: 3, times: 5, inject: killLeader},
		fault{name: "disk full under the log", target: "/readyz red ≤ 5 s, clean recovery", limit: 5 * time.Second, nats: diskFull, inject: fillDisk},
	)
}

// awaitResume measures from a mark, which was just now, until every partition, and every given host, has answered what was pushed after it.
func (r *rig) awaitResume(ctx context.Context, since mark, hosts []string, i *injury) time.Duration {
	r.load.burst(ctx, partitions)
	var after time.Duration
	var missing []string
	ok := false
	poll(ctx, resumeLimit, func() bool {
		after, missing, ok = r.log.resumed(since, hosts)
		return ok
	})
	if !ok {
		i.breach("no answer within %v from: %s", resumeLimit, strings.Join(missing, ", "))
		return resumeLimit
	}
	return after
}

// killIngress measures until a message that met the dead ingress first is answered by the other one.
func killIngress(ctx context.Context, r *rig) (i injury, err error) {
	victim := r.pick(r.ingresses)
	since := r.log.mark()
	if err := victim.program.Kill(); err != nil {
		return i, err
	}
	retried := func() bool {
		for _, a := range r.log.answers(since.index) {
			if a.first == victim.callback && a.host != victim.callback {
				i.times = []time.Duration{a.at.Sub(a.pushed)}
				i.note("answered at delivery %d", a.deliveries)
				return true
			}
		}
		return false
	}
	if !poll(ctx, resumeLimit, retried) {
		i.breach("no message that met the dead ingress was answered by the other one within %v", resumeLimit)
	}
	if err := victim.start(); err != nil {
		return i, err
	}
	if err := r.awaitReady(ctx, victim); err != nil {
		return i, err
	}
	r.awaitResume(ctx, r.log.mark(), r.hosts(), &i)
	return i, r.awaitWhole(ctx)
}

func killWorker(ctx context.Context, r *rig) (i injury, err error) {
	victim := r.pick(r.workers)
	since := r.log.mark()
	if err := victim.program.Kill(); err != nil {
		return i, err
	}
	i.times = append(i.times, r.awaitResume(ctx, since, nil, &i))
	return i, r.bringBack(ctx, victim)
}

func (r *rig) bringBack(ctx context.Context, n *node) error {
	if err := n.start(); err != nil {
		return err
	}
	if err := r.awaitReady(ctx, n); err != nil {
		return err
	}
	return r.awaitWhole(ctx)
}

// The evidence that a woken owner did no harm: what its log says, and what its metrics count.
var (
	fenceWords   = []string{"this node does not trust itself and drops its partitions", "partition given up: "}
	fenceMetrics = []string{"hongyan_self_fences_total", "hongyan_stale_writes_total"}
)

func stopWorker(ctx context.Context, r *rig) (i injury, err error) {
	victim := r.pick(r.workers)
	before := map[string]float64{}
	for _, m := range fenceMetrics {
		before[m] = victim.metric(m)
	}
	_, said := victim.said(0)
	since := r.log.mark()
	if err := victim.freeze(); err != nil {
		return i, err
	}
	i.times = append(i.times, r.awaitResume(ctx, since, nil, &i))
	pause(ctx, stopTime-time.Since(since.at))
	if err := victim.thaw(); err != nil {
		return i, err
	}
	var words []string
	seen := poll(ctx, 10*time.Second, func() bool {
		words = nil
		lines, _ := victim.said(said)
		for _, line := range lines {
			if slices.ContainsFunc(fenceWords, func(w string) bool { return strings.HasPrefix(line, w) }) && !slices.Contains(words, line) {
				words = append(words, line)
			}
		}
		return len(words) > 0
	})
	for _, m := range fenceMetrics {
		if d := victim.metric(m) - before[m]; d > 0 {
			i.note("%s +%v", m, d)
		}
	}
	if !seen {
		i.breach("%s woke after %v and its log tells of no refused write and no self-fence", victim.name, stopTime)
	}
	i.note("log: %s", strings.Join(words, "; "))
	return i, r.awaitWhole(ctx)
}

// noFault shows what the machine itself does to the same figures.
func noFault(ctx context.Context, r *rig) (i injury, err error) {
	from := r.log.mark()
	pause(ctx, cutTime)
	to := r.log.mark()
	pause(ctx, 500*time.Millisecond) // the answers to what was pushed last
	for _, wait := range r.log.longestWaits(from, to) {
		i.times = append(i.times, wait)
	}
	return i, nil
}

// moved measures a planned change: for each partition that has another owner after it, the longest that a message waited which was
// pushed while it went on.
func (r *rig) moved(ctx context.Context, i *injury, change func() error) error {
	before, err := r.awaitStill(ctx)
	if err != nil {
		return err
	}
	from := r.log.mark()
	if err := change(); err != nil {
		return err
	}
	after, err := r.awaitStill(ctx)
	if err != nil {
		return err
	}
	to := r.log.mark()
	pause(ctx, 500*time.Millisecond) // the answers to what was pushed last
	count := 0
	for p, wait := range r.log.longestWaits(from, to) {
		if before[p] != after[p] {
			count++
			i.times = append(i.times, wait)
		}
	}
	i.note("%d partitions moved", count)
	return nil
}

func joinWorker(ctx context.Context, r *rig) (i injury, err error) {
	if r.spare.running() {
		if _, err := r.spare.stop(); err != nil {
			return i, err
		}
		if err := r.awaitWhole(ctx); err != nil {
			return i, err
		}
	}
	return i, r.moved(ctx, &i, func() error { return r.bringBack(ctx, r.spare) })
}

func leaveWorker(ctx context.Context, r *rig) (i injury, err error) {
	if !r.spare.running() {
		if err := r.bringBack(ctx, r.spare); err != nil {
			return i, err
		}
	}
	return i, r.moved(ctx, &i, func() error {
		if err := r.drain(r.spare, &i); err != nil {
			return err
		}
		return r.awaitWhole(ctx)
	})
}

// drain ends a worker in order.
func (r *rig) drain(n *node, i *injury) error {
	took, err := n.stop()
	i.note("drained in %v", took.Round(time.Millisecond))
	if took >= drainLimit {
		i.breach("%s took %v to stop, more than %v", n.name, took, drainLimit)
	}
	return err
}

func rollWorkers(ctx context.Context, r *rig) (i injury, err error) {
	for _, n := range r.workers {
		err := r.moved(ctx, &i, func() error {
			if err := r.drain(n, &i); err != nil {
				return err
			}
			return r.awaitWhole(ctx)
		})
		if err != nil {
			return i, err
		}
		if err := r.moved(ctx, &i, func() error { return r.bringBack(ctx, n) }); err != nil {
			return i, err
		}
	}
	return i, nil
}

// cut lasts for a while. What is measured begins at its end.
func cut(ctx context.Context, r *rig, d servers.Direction, sever func(*rig, servers.Direction) func()) (i injury, err error) {
	begin := r.log.mark()
	heal := sever(r, d)
	pause(ctx, cutTime)
	during, missing, ok := r.log.resumed(begin, r.hosts())
	heal()
	if ok {
		i.note("%v: all answered within %v of the cut", d, during.Round(time.Millisecond))
	} else {
		i.note("%v: during the cut no answer from %d of %d", d, len(missing), partitions+ingresses)
	}
	i.times = append(i.times, r.awaitResume(ctx, r.log.mark(), r.hosts(), &i))
	return i, r.awaitWhole(ctx)
}

// lateWrites cuts a worker off from both servers. What it was just writing to Redis waits in the cut, as TCP would send it again and
// again, and arrives when others own its partitions: every such write has to be refused by its epoch.
func lateWrites(ctx context.Context, r *rig) (i injury, err error) {
	victim := r.pick(r.workers)
	before := r.history.writes
	begin := r.log.mark()
	r.load.burst(ctx, partitions)
	victim.redis.Cut(servers.Upstream)
	pause(ctx, 2*turnTime) // turns that are under way reach their commit
	victim.cutNATS(servers.Both)
	i.times = append(i.times, r.awaitResume(ctx, begin, nil, &i))
	if err := r.history.follow(); err != nil {
		return i, err
	}
	i.note("%d writes by the new owners before the late ones", r.history.writes-before)
	victim.redis.Heal()
	pause(ctx, time.Second)
	victim.healNATS()
	r.awaitResume(ctx, r.log.mark(), r.hosts(), &i)
	return i, r.awaitWhole(ctx)
}

func killNATS(ctx context.Context, r *rig) (i injury, err error) {
	since := r.log.mark()
	server := r.servers[0]
	if err := errors.Join(server.Kill(), server.Restart(ctx)); err != nil {
		return i, err
	}
	i.note("restarted after %v", time.Since(since.at).Round(time.Millisecond))
	i.times = append(i.times, r.awaitResume(ctx, since, r.hosts(), &i))
	r.outage(since)
	return i, r.awaitWhole(ctx)
}

// outage notes that from the mark until now the log could not accept.
func (r *rig) outage(since mark) {
	r.outages = append(r.outages, checker.Outage{From: since.at, To: time.Now()})
}

func killRedis(ctx context.Context, r *rig) (i injury, err error) {
	since := r.log.mark()
	if err := errors.Join(r.redis.Kill(), r.redis.Restart(ctx)); err != nil {
		return i, err
	}
	i.note("restarted after %v", time.Since(since.at).Round(time.Millisecond))
	i.times = append(i.times, r.awaitResume(ctx, since, r.hosts(), &i))
	return i, r.awaitWhole(ctx)
}

// killLeader kills the server that leads one of the log's streams.
func killLeader(ctx context.Context, r *rig) (i injury, err error) {
	names := logStreams(r.layout.streams)[1:]
	stream := names[r.chance.IntN(len(names))]
	leader, err := r.journal.leader(ctx, stream)
	if err != nil {
		return i, err
	}
	at := slices.IndexFunc(r.servers, func(n *servers.NATS) bool { return n.Name() == leader })
	if at < 0 {
		return i, fmt.Errorf("stream %s is led by %q, which is none of the servers", stream, leader)
	}
	i.note("%s led %s", leader, stream)
	since := r.log.mark()
	if err := r.servers[at].Kill(); err != nil {
		return i, err
	}
	i.times = append(i.times, r.awaitResume(ctx, since, r.hosts(), &i))
	r.outage(since)
	if err := errors.Join(r.servers[at].Restart(ctx), r.servers[at].AwaitHealthy(ctx)); err != nil {
		return i, err
	}
	return i, r.awaitWhole(ctx)
}
