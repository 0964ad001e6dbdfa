package chaos

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/term"
)

// TestLong is `make chaos`: several injections of every fault, a leg for each, which the checker judges by itself. What is done is
// noted after every leg; an interrupted run goes on behind it.
func TestLong(t *testing.T) {
	if !*long {
		t.Skip("the long form runs with -long: make chaos")
	}
	plan := fmt.Sprintf("injections %d, rate %d, faults %q", *injections, *rate, *only)
	p, err := openProgress(buildFolder(), plan, *fresh)
	if err != nil {
		t.Fatal(err)
	}
	s := newStatus(p)
	defer s.close()
	if n := len(p.Rows); n > 0 {
		s.print("goes on: %d faults are done already (-fresh begins anew)", n)
	}
	// Ctrl-C ends the leg and everything that runs, in order; the legs before it stay done.
	ctx, cancel := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	for _, nats := range []int{1, 3, diskFull} {
		if !longLegs(ctx, t, p, s, nats) {
			if ctx.Err() != nil {
				s.print("interrupted: the same command goes on behind the %d faults that are done", len(p.Rows))
			}
			return
		}
	}
	s.close()
	table := p.table()
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", table)
	if err := p.finish(); err != nil {
		t.Error(err)
	}
	for _, r := range p.Rows {
		for _, v := range append(r.Violations, r.Breaches...) {
			t.Errorf("%s: %s", r.Fault, v)
		}
	}
}

// longLegs makes the faults of one kind of rig that are not done yet, each on a rig of its own: its log is short enough for nothing of
// it to be purged before the journal has read it. It returns false where the run has to end.
func longLegs(ctx context.Context, t *testing.T, p *progress, s *status, nats int) bool {
	for i, f := range chosen(nats) {
		if p.done(f.name) {
			continue
		}
		dir := filepath.Join(buildFolder(), fmt.Sprintf("run-%d-%d-%d", os.Getpid(), nats, i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		t.Run(f.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() || *keep {
					s.print("the files are in %s", dir)
				} else if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			var done row
			if done, err = longRig(ctx, t, s, f, dir, nats); err != nil {
				t.Error(err)
				return
			}
			for _, v := range append(done.Violations, done.Breaches...) {
				s.print("VIOLATION: %s: %s", f.name, v)
			}
			if n := len(done.Violations) + len(done.Breaches); n > 0 {
				t.Errorf("%d violations", n) // which, says the end, also after an interruption
			}
			if err = p.add(done); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			return false
		}
		injected, messages, violations, banners := p.totals()
		s.print("%s: done. So far %d injections, %s messages, %d violations, %d banners in %v",
			f.name, injected, thousands(messages), violations, banners, time.Since(p.Began).Round(time.Second))
	}
	return true
}

// longRig starts a rig, makes one fault on it, and ends it.
func longRig(ctx context.Context, t *testing.T, s *status, f fault, dir string, nats int) (row, error) {
	s.print("%s: starting %d workers, %d ingresses, NATS, Redis", f.name, workers, ingresses)
	r := openRig(t, dir, nats, s.print)
	s.watch(r)
	defer s.watch(nil)
	return longLeg(ctx, r, f)
}

func longLeg(ctx context.Context, r *rig, f fault) (row, error) {
	rows, verdict, err := r.run(ctx, []fault{f}, func(f fault) int { return max(f.times, *injections) }, *rate)
	if err != nil {
		return row{}, err
	}
	done := rows[0]
	// Everything that was pushed in the leg was judged, the time between injections included.
	done.Messages, _, done.Banners = r.log.counts()
	done.Violations = verdict.Violations
	done.Dead = len(verdict.Unknown)
	for _, n := range verdict.Dead {
		done.Dead += n
	}
	r.say("%s: %v", f.name, verdict)
	return done, nil
}

// status is the last line of a terminal, and the lines above it. Elsewhere there is a line now and then.
type status struct {
	progress *progress
	terminal bool
	stop     chan struct{}
	ended    sync.WaitGroup
	once     sync.Once

	mu    sync.Mutex
	rig   *rig
	doing string
}

func newStatus(p *progress) *status {
	s := &status{progress: p, terminal: term.IsTerminal(int(os.Stdout.Fd())), stop: make(chan struct{})}
	s.ended.Go(s.run) // ended by close
	return s
}

func (s *status) close() {
	s.once.Do(func() {
		close(s.stop)
		s.ended.Wait()
	})
}

func (s *status) watch(r *rig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rig = r
}

// print writes a line for good.
func (s *status) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	s.doing, _, _ = strings.Cut(text, "\n")
	_, _ = fmt.Fprintf(os.Stdout, "%s%s %s\n", s.clear(), time.Now().Format("15:04:05"), text)
}

func (s *status) clear() string {
	if s.terminal {
		return "\r\x1b[K"
	}
	return ""
}

func (s *status) run() {
	every := 10 * time.Second
	if s.terminal {
		every = 500 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.show()
		}
	}
}

func (s *status) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rig == nil {
		return
	}
	pushed, open, banners := s.rig.log.counts()
	line := fmt.Sprintf("%s messages in this leg, %d under way, %d banners; %s", thousands(pushed), open, banners, s.doing)
	if s.terminal {
		if columns, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && len([]rune(line)) >= columns {
			line = string([]rune(line)[:max(columns-1, 0)])
		}
		_, _ = fmt.Fprint(os.Stdout, s.clear()+line)
		return
	}
	_, _ = fmt.Fprintf(os.Stdout, "%s … %s\n", time.Now().Format("15:04:05"), line)
}
