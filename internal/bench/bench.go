package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// ErrFailed says that the run is worth nothing because an answer was wrong or missing; the report tells which.
var ErrFailed = errors.New("bench: answers were wrong or missing")

const (
	readyPatience = 60 * time.Second
	stopPatience  = 15 * time.Second
)

// Options are what a run measures. The zero value is not usable; Validate says what is wrong with one.
type Options struct {
	Mode        string        // ModePlain or ModeSafe
	Durability  []string      // engine targets: os, disk; none measures the bare handler alone
	Stores      []string      // StoreJetStream, StoreRedis
	Nodes       []int         // 1: one process; more: as many workers, one ingress and a NATS server
	Users       int           // at least Connections
	Spread      string        // UsersUniform or UsersZipf
	Connections int           // closed-loop workers, one keep-alive connection each
	Rounds      int           // cycles over all targets
	Round       time.Duration // length of one target's turn
	WarmUp      time.Duration // before the first cycle; longer where not every user was visited yet
	Latency     bool          // add an open-loop round per target
	Rate        float64       // its msg/s; 0 is half of what that target reached
	Seed        uint64        // who writes what; 0 draws one
	Dir         string        // where the servers keep their data, deleted afterwards; empty is the system's temporary folder
	Keep        bool          // leave data, configuration and logs there
	Executable  string        // the hongyan binary; empty is this process's own
}

// Validate names everything that is wrong with the options.
func (o *Options) Validate() error {
	var problems []error
	fault := func(wrong bool, format string, arguments ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, arguments...))
		}
	}
	fault(!validMode(o.Mode), "--mode is %q; choose plain or safe", o.Mode)
	o.topologyFaults(fault)
	fault(o.Spread != UsersUniform && o.Spread != UsersZipf, "--spread is %q; choose uniform or zipf", o.Spread)
	fault(o.Connections < 1 || o.Connections > 10_000, "--connections is %d; choose 1 to 10000", o.Connections)
	fault(o.Users < o.Connections || o.Users > 100_000_000, "--users is %d; choose at least as many as connections (%d)",
		o.Users, o.Connections)
	fault(o.Rounds < 1, "--rounds is %d; choose 1 or more", o.Rounds)
	fault(o.Round <= 0 || o.Round > 5*time.Minute, "--round is %s; choose up to 5m", o.Round)
	fault(o.WarmUp < 0 || o.WarmUp > 5*time.Minute, "--warm-up is %s; choose up to 5m", o.WarmUp)
	fault(o.Rate < 0, "--rate is %g; choose messages per second, or 0 for half of what a target reached", o.Rate)
	return errors.Join(problems...)
}

// Run measures. It starts the servers, returns after they have ended, and deletes what they kept. With ErrFailed the
// report is there all the same; with any other error it is nil.
func Run(ctx context.Context, options Options, progress Progress) (report *Report, err error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if options.Executable == "" {
		if options.Executable, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("bench: finding this program's file: %w", err)
		}
	}
	dir, err := os.MkdirTemp(options.Dir, "hongyan-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if !options.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	account := NewAccount(options.Mode)
	bare, err := barePlan(options.Executable, account)
	if err != nil {
		return nil, err
	}
	plans := []plan{bare}
	for _, topology := range options.topologies() {
		engine, err := enginePlan(options.Executable, dir, topology, account)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", topology.name(), err)
		}
		plans = append(plans, engine)
	}
	return measure(ctx, options, account, plans, dir, progress)
}

// run is one measurement in the making.
type run struct {
	Options
	account   Account
	targets   []*target
	generator *generator
	progress  Progress
	spent     time.Duration // measuring time behind
	report    *Report
}

// measure runs the plans' servers, the first being the yardstick, and measures them.
func measure(ctx context.Context, options Options, account Account, plans []plan, dir string, progress Progress) (*Report, error) {
	if options.Seed == 0 {
		options.Seed = rand.Uint64()
	}
	machine, err := describeMachine(dir)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	started := time.Now()
	// MsgIds grow from the present, in microseconds: unique even beside those of another run on the same data.
	generator, err := newGenerator(account, options.Connections, options.Users, options.Spread, uint64(started.UnixMicro()), options.Seed)
	if err != nil {
		return nil, err
	}
	r := &run{
		Options: options, account: account, generator: generator, progress: progress,
		report: &Report{
			Schema: Schema, Started: started.UTC().Truncate(time.Second), Machine: machine,
			Settings: Settings{
				Mode: options.Mode, Durability: append([]string{}, options.Durability...),
				Stores: append([]string{}, options.Stores...), Nodes: append([]int{}, options.Nodes...), Users: options.Users, Spread: options.Spread,
				Connections: options.Connections, Rounds: options.Rounds, RoundSeconds: options.Round.Seconds(),
				WarmUpSeconds: options.WarmUp.Seconds(), Seed: options.Seed,
			},
		},
	}
	defer r.stop()
	for _, p := range plans {
		t, err := startTarget(p, dir)
		if err != nil {
			return nil, err
		}
		r.targets = append(r.targets, t)
		r.report.Targets = append(r.report.Targets, Target{Name: p.name})
	}
	err = r.all(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("bench: interrupted: %w", ctx.Err())
	case err != nil && !errors.Is(err, ErrFailed):
		return nil, err
	}
	r.report.Passed = r.report.Answers.right()
	if !r.report.Passed {
		return r.report, ErrFailed
	}
	return r.report, nil
}

func (r *run) stop() {
	r.progress.Close()
	for _, t := range r.targets {
		t.stop(stopPatience)
	}
}

// all goes through the run's steps. It ends early with ErrFailed: after a fault no figure counts.
func (r *run) all(ctx context.Context) error {
	turns := len(r.targets)
	total := time.Duration(turns) * (r.WarmUp + time.Duration(r.Rounds)*r.Round)
	if r.Latency {
		total += time.Duration(turns) * r.Round
	}
	r.progress.Plan(total)
	for _, t := range r.targets {
		r.progress.At("starting "+t.name, 0)
		if err := t.awaitReady(ctx, r.generator.feeds[0].render, readyPatience); err != nil {
			return err
		}
	}
	if err := r.compare(); err != nil {
		return err
	}
	for i := range r.targets {
		if err := r.warmUp(ctx, i); err != nil {
			return err
		}
	}
	for cycle := range r.Rounds {
		for turn := range turns {
			if err := r.closedRound(ctx, (cycle+turn)%turns, cycle+1); err != nil {
				return err
			}
		}
	}
	bare := &r.report.Targets[0]
	for i := range r.report.Targets {
		t := &r.report.Targets[i]
		t.summarize()
		t.ResidentNow, t.ResidentPeak = r.targets[i].resident()
		if i > 0 {
			r.report.Ratios = append(r.report.Ratios, t.ratioTo(bare))
		}
	}
	if r.Latency {
		for i := range r.targets {
			if err := r.openRound(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare sends one message of each rule to every target and holds their answers, byte by byte but for the time, beside
// the yardstick's: only servers that do the same work may be compared.
func (r *run) compare() error {
	yardstick, err := r.firstAnswers(r.targets[0])
	if err != nil {
		return err
	}
	for _, t := range r.targets[1:] {
		answers, err := r.firstAnswers(t)
		if err != nil {
			return err
		}
		for i := range answers {
			if !bytes.Equal(answers[i], yardstick[i]) {
				return fmt.Errorf("bench: %s and %s answer the same message with different bytes:\n  %q\n  %q",
					r.targets[0].name, t.name, yardstick[i], answers[i])
			}
		}
	}
	return nil
}

// firstAnswers are one target's answers to one message of each rule, decrypted and without their time.
func (r *run) firstAnswers(t *target) ([][]byte, error) {
	c := newConn(t.callback)
	defer c.close()
	f := r.generator.feeds[0]
	answers := make([][]byte, len(f.render.rules))
	for rule := range answers {
		want, now := expectation{user: f.first, rule: rule}, time.Now()
		status, body, err := c.exchange(f.render.render(nil, want, f.takeID(), now), now.Add(answerTimeout))
		if err == nil {
			err = r.generator.check.check(status, body, want)
		}
		if err != nil {
			return nil, fmt.Errorf("bench: %s does not answer its first messages: %w%s", t.name, err, t.tail())
		}
		plain, err := r.generator.check.open(body)
		if err != nil {
			return nil, err
		}
		answers[rule] = masked(bytes.Clone(plain))
	}
	return answers, nil
}

// drive makes one measurement of target i and books its faults.
func (r *run) drive(ctx context.Context, i int, step string, planned round) (outcome, usage, error) {
	t := r.targets[i]
	planned.address, planned.expected = t.callback, max(t.rate, planned.rate)
	r.progress.At(step, r.spent)
	var used usage
	planned.begin = func() { used = r.usage() }
	planned.end = func() { used = r.usage().since(used) }
	planned.tick = func(elapsed time.Duration) { r.progress.At(step, r.spent+min(elapsed, planned.duration)) }
	o, err := r.generator.run(ctx, planned)
	r.spent += planned.duration
	if err != nil {
		return o, used, err
	}
	r.report.Answers.add(step, o)
	r.progress.Done(step, o.String())
	if o.missing+o.wrong > 0 {
		if err := t.ended(); err != nil {
			r.report.Answers.Faults = append(r.report.Answers.Faults, err.Error())
		}
		return o, used, ErrFailed
	}
	if planned.rate == 0 {
		t.rate = o.perSecond()
	}
	return o, used, nil
}

func (r *run) warmUp(ctx context.Context, i int) error {
	_, _, err := r.drive(ctx, i, "warm-up "+r.targets[i].name, round{duration: r.WarmUp, everybody: true})
	return err
}

func (r *run) closedRound(ctx context.Context, i, cycle int) error {
	step := fmt.Sprintf("round %d/%d %s", cycle, r.Rounds, r.targets[i].name)
	o, used, err := r.drive(ctx, i, step, round{duration: r.Round})
	if err != nil {
		return err
	}
	t := &r.report.Targets[i]
	t.Rounds = append(t.Rounds, Round{
		Cycle: cycle, Messages: o.messages, Seconds: o.elapsed.Seconds(), PerSecond: o.perSecond(),
		P50MS: milliseconds(quantile(o.latencies, 0.5)), P99MS: milliseconds(quantile(o.latencies, 0.99)),
		MaxMS:           milliseconds(quantile(o.latencies, 1)),
		CPUMicros:       perMessage(used.targets[i], o.messages),
		ClientCPUMicros: perMessage(used.client, o.messages),
		IdleCPU:         used.others(i).Seconds() / o.elapsed.Seconds(),
		ForeignCPU:      used.foreign().Seconds() / o.elapsed.Seconds(),
		RenderedLate:    o.late,
	})
	return nil
}

func (r *run) openRound(ctx context.Context, i int) error {
	rate := r.Rate
	if rate == 0 {
		rate = r.report.Targets[i].PerSecond.Median / 2
	}
	step := fmt.Sprintf("latency %s at %.0f/s", r.targets[i].name, rate)
	o, used, err := r.drive(ctx, i, step, round{duration: r.Round, rate: rate})
	if err != nil {
		return err
	}
	r.report.Latency = append(r.report.Latency, OpenRound{
		Name: r.targets[i].name, Rate: rate, Reached: o.perSecond(), Messages: o.messages,
		P50MS: milliseconds(quantile(o.latencies, 0.5)), P99MS: milliseconds(quantile(o.latencies, 0.99)),
		P999MS: milliseconds(quantile(o.latencies, 0.999)), MaxMS: milliseconds(quantile(o.latencies, 1)),
		CPUMicros: perMessage(used.targets[i], o.messages),
	})
	return nil
}

// usage is processor time: of the targets, in their order, of this process, and of everything on this machine.
type usage struct {
	targets []time.Duration
	client  time.Duration
	machine time.Duration
}

func (r *run) usage() usage {
	var u usage
	for _, t := range r.targets {
		u.targets = append(u.targets, t.cpu())
	}
	u.client = cpuTime(os.Getpid())
	u.machine = machineTime()
	return u
}

func (u usage) since(before usage) usage {
	for i := range u.targets {
		u.targets[i] -= before.targets[i]
	}
	u.client -= before.client
	u.machine -= before.machine
	return u
}

func (u usage) others(but int) (sum time.Duration) {
	for i, spent := range u.targets {
		if i != but {
			sum += spent
		}
	}
	return sum
}

// foreign is what processes used that have no part in the run.
func (u usage) foreign() time.Duration {
	return max(0, u.machine-u.client-u.others(-1))
}

// perMessage is processor time in microseconds per message.
func perMessage(spent time.Duration, messages int) float64 {
	return over(float64(spent)/float64(time.Microsecond), float64(messages))
}

// String is a round in one line.
func (o outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f msgs/s, p50 %.2f ms, p99 %.2f ms", o.perSecond(), milliseconds(quantile(o.latencies, 0.5)),
		milliseconds(quantile(o.latencies, 0.99)))
	if o.missing+o.wrong > 0 {
		fmt.Fprintf(&b, ", %d missing, %d wrong", o.missing, o.wrong)
	}
	return b.String()
}
