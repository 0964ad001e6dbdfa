package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// row is what is known of one fault: a line of the table.
type row struct {
	Fault      string          `json:"fault"`
	Target     string          `json:"target"`
	Limit      time.Duration   `json:"limit_ns"`
	Injections int             `json:"injections"`
	Messages   int             `json:"messages"`
	Times      []time.Duration `json:"times_ns"`
	Breaches   []string        `json:"breaches"` // of what the row demands
	Violations []string        `json:"violations"`
	Banners    int             `json:"banners"`
	Dead       int             `json:"dead_letters"`
	Notes      []string        `json:"notes"`
}

// missed are the measured times above the target.
func (r row) missed() int {
	count := 0
	for _, t := range r.Times {
		if r.Limit > 0 && t > r.Limit {
			count++
		}
	}
	return count
}

const (
	warmUp      = 1500 * time.Millisecond
	betweenMost = 1500 * time.Millisecond
	// settleLimit is how long it may take until everything that was accepted has come to its end.
	settleLimit = 90 * time.Second
)

// run makes injections under load and checks. Each fault is made as often as times says; the rows come in the order of the faults.
// The error is for what keeps the rig from going on; what was found until then is in the rows.
func (r *rig) run(ctx context.Context, list []fault, times func(fault) int, rate int) (rows []row, verdict *checker.Verdict, err error) {
	r.log.forget()
	r.journal.forget()
	r.outages = nil
	r.load = newLoad(r.platform, partitions, rate, r.chance)
	r.load.start(ctx)
	pause(ctx, warmUp)
	if err = r.awaitWhole(ctx); err == nil {
		for _, f := range list {
			done := row{Fault: f.name, Target: f.target, Limit: f.limit}
			err = r.injectAll(ctx, f, times(f), &done)
			rows = append(rows, done)
			if err != nil {
				err = fmt.Errorf("%s: %w", f.name, err)
				break
			}
		}
	}
	r.healAll()
	if stopErr := r.load.stop(); stopErr != nil && err == nil {
		err = stopErr
	}
	if err != nil {
		return rows, nil, err
	}
	unsettled := r.settle(ctx)
	verdict = r.check()
	verdict.Violations = append(verdict.Violations, unsettled...)
	return rows, verdict, ctx.Err()
}

func (r *rig) injectAll(ctx context.Context, f fault, times int, done *row) error {
	for k := range times {
		pause(ctx, time.Duration(r.chance.Int64N(int64(betweenMost))))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pushed, _, banners := r.log.counts()
		r.say("%s, %d of %d", f.name, k+1, times)
		i, err := f.inject(ctx, r)
		if err != nil {
			return err
		}
		// No message shall meet one injection after the other with all its three deliveries: that would be a fault of its own.
		r.awaitEnds(ctx)
		pushedNow, _, bannersNow := r.log.counts()
		done.Injections++
		done.Messages += pushedNow - pushed
		done.Banners += bannersNow - banners
		done.Times = append(done.Times, i.times...)
		done.Breaches = append(done.Breaches, i.breaches...)
		done.Notes = append(done.Notes, i.notes...)
		r.say("%s, %d of %d: %v %q %q", f.name, k+1, times, rounded(i.times), i.notes, i.breaches)
	}
	return nil
}

// awaitEnds returns when everything that was pushed until now has come to its end on the platform.
func (r *rig) awaitEnds(ctx context.Context) {
	until := time.Now()
	poll(ctx, 4*simulator.DefaultCutoff, func() bool { return r.log.endedUntil(until) })
}

func rounded(times []time.Duration) []time.Duration {
	out := slices.Clone(times)
	for i := range out {
		out[i] = out[i].Round(time.Millisecond)
	}
	return out
}

// healAll takes away what an injection that failed may have left.
func (r *rig) healAll() {
	for _, n := range append(r.nodes(), r.spare) {
		n.healNATS()
		for _, p := range []interface{ Heal() }{n.redis, n.peers} {
			if n.worker {
				p.Heal()
			}
		}
		if n.running() {
			_ = n.thaw()
		}
	}
}

// settle waits until all that the log took has come to its end in the records and every partition's floor has passed it. Users whose
// answers were kept write until they have them all. It returns what is not so in the end.
func (r *rig) settle(ctx context.Context) (violations []string) {
	r.say("the load has stopped; waiting until everything has come to its end")
	poked := make(map[string]time.Time)
	settled := func() bool {
		violations = nil
		if err := r.journal.follow(ctx); err != nil {
			violations = append(violations, fmt.Sprintf("the log cannot be read: %v", err))
			return false
		}
		if err := r.history.follow(); err != nil {
			violations = append(violations, fmt.Sprintf("the records' history cannot be read: %v", err))
			return false
		}
		_, distinct := r.journal.told(r.load.users)
		for _, openID := range r.load.users {
			why, poke := r.unsettled(openID, distinct[openID])
			if why == "" {
				continue
			}
			violations = append(violations, fmt.Sprintf("I1: user %s (partition %d): %s", openID, partitionOf(openID, partitions), why))
			if poke && time.Since(poked[openID]) > 6*time.Second {
				poked[openID] = time.Now()
				r.load.say(ctx, openID)
			}
		}
		_, open, _ := r.log.counts()
		return len(violations) == 0 && open == 0
	}
	poll(ctx, settleLimit, settled)
	r.load.pushes.Wait()
	return violations
}

// unsettled says what of a user with so many messages in the log has not come to its end; poke, that one more message would help.
func (r *rig) unsettled(openID string, inLog int) (why string, poke bool) {
	u := r.history.user(openID)
	if u == nil {
		if inLog == 0 {
			return "", false
		}
		return fmt.Sprintf("%d messages in the log and no record", inLog), false
	}
	ended := 0
	for _, m := range u.Messages {
		if m.Outcome != "none" {
			ended++
		}
	}
	switch floor, last := r.history.floors[tagOf(partitionOf(openID, partitions))], r.journal.newest(openID); {
	case ended < inLog:
		return fmt.Sprintf("%d messages in the log, %d of them with an end", inLog, ended), false
	case len(u.Dead) > 0:
		return "a dead letter is not published", false
	case len(u.Kept) > 0:
		return fmt.Sprintf("%d answers are kept", len(u.Kept)), true
	case floor < last:
		return fmt.Sprintf("the checkpoint's floor is %d, the user's last entry is %d", floor, last), false
	}
	return "", false
}

// tagOf is a partition's part of its keys' names.
func tagOf(partition int) string { return fmt.Sprintf("p%02d", partition) }

// check compares all that is known.
func (r *rig) check() *checker.Verdict {
	s := r.log.story()
	s.Down = r.outages
	s.Journal, _ = r.journal.told(r.load.users)
	s.Users = make(map[string]checker.User, len(r.load.users))
	for _, openID := range r.load.users {
		if u := r.history.user(openID); u != nil {
			s.Users[openID] = *u
		}
	}
	v := checker.Check(s)
	v.Violations = append(v.Violations, r.history.faults...)
	r.history.faults = nil
	// Probes leave gaps, too. An entry that was missed shows: its answer would belong to no accepted message.
	if len(v.Violations) > 0 {
		r.say("sequences that nobody read: %v", r.journal.missed())
	}
	return v
}
