package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Check is one condition of readiness. Probe does the real thing, a write to the log for example, and returns nil if it
// worked; its context ends after two seconds.
type Check struct {
	Name  string
	Probe func(ctx context.Context) error
}

const (
	probeLimit = 2 * time.Second // of one check
	probeFresh = time.Second     // as long a result is used again, so that probing is no load
)

// Result is the last outcome of one check.
type Result struct {
	Name      string `json:"name"`
	OK        bool   `json:"ok"`
	Error     string `json:"error,omitempty"`
	ElapsedMS int64  `json:"elapsed_ms"`
	AgeMS     int64  `json:"age_ms"` // -1 where it never ran
	at        time.Time
}

// prober runs the checks, all at once, for many callers at most once a second.
type prober struct {
	checks []Check
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	results []Result // one per check
	running []bool   // a probe of this check has not returned yet
}

func newProber(checks []Check, now func() time.Time) *prober {
	p := &prober{checks: checks, now: now, results: make([]Result, len(checks)), running: make([]bool, len(checks))}
	for i, c := range checks {
		p.results[i] = Result{Name: c.Name, Error: "not checked yet"}
	}
	return p
}

// last returns the results as they are, without probing.
func (p *prober) last() []Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	out := make([]Result, len(p.results))
	for i, r := range p.results {
		r.AgeMS = -1
		if !r.at.IsZero() {
			r.AgeMS = max(now.Sub(r.at).Milliseconds(), 0)
		}
		out[i] = r
	}
	return out
}

// probe returns results that are at most a second old.
func (p *prober) probe() (results []Result, ready bool) {
	_, _, _ = p.flight.Do("", func() (any, error) {
		if !p.fresh() {
			p.run()
		}
		return nil, nil
	})
	results, ready = p.last(), true
	for _, r := range results {
		ready = ready && r.OK
	}
	return results, ready
}

func (p *prober) fresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, r := range p.results {
		if r.at.IsZero() || now.Sub(r.at) >= probeFresh {
			return false
		}
	}
	return true
}

// run probes everything and returns after probeLimit at the latest, whatever the probes do. The context is not the
// caller's: the results are for everyone.
func (p *prober) run() {
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	done := make(chan int, len(p.checks))
	waiting := 0
	for i := range p.checks {
		if p.begin(i) {
			waiting++
			go func() { // ends when the probe does; begin keeps a second one from starting before
				p.end(i, attempt(ctx, p.checks[i].Probe))
				done <- i
			}()
		}
	}
	for range waiting {
		select {
		case <-done:
		case <-ctx.Done():
			p.overdue()
			return
		}
	}
	p.overdue()
}

// begin marks a check as running; false where it still is.
func (p *prober) begin(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[i] {
		return false
	}
	p.running[i] = true
	p.results[i].at = p.now()
	return true
}

func (p *prober) end(i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	r := Result{Name: p.checks[i].Name, OK: err == nil, ElapsedMS: now.Sub(p.results[i].at).Milliseconds(), at: now}
	if err != nil {
		r.Error = err.Error()
	}
	p.results[i], p.running[i] = r, false
}

// overdue fails the checks whose probes have not returned.
func (p *prober) overdue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, running := range p.running {
		if running {
			p.results[i].OK = false
			p.results[i].Error = fmt.Sprintf("no word within %s", probeLimit)
		}
	}
}

// attempt runs a probe; a panic in it is a failed check, not the end of the node.
func attempt(ctx context.Context, probe func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check panicked: %v", r)
		}
	}()
	if err := probe(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no word within %s: %w", probeLimit, err)
		}
		return err
	}
	return nil
}

// live says that the process answers.
func (h *handler) live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// ready probes and answers 200 or 503, as text, or as JSON for those who ask for it.
func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	results, ready := h.checks.probe()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		h.writeJSON(w, status, map[string]any{"ready": ready, "checks": results})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(readyText(results, ready)))
}

func readyText(results []Result, ready bool) string {
	var b strings.Builder
	if ready {
		b.WriteString("ready\n")
	} else {
		b.WriteString("not ready\n")
	}
	for _, r := range results {
		if r.OK {
			fmt.Fprintf(&b, "  ok    %s  %d ms\n", r.Name, r.ElapsedMS)
		} else {
			fmt.Fprintf(&b, "  FAIL  %s  %s\n", r.Name, r.Error)
		}
	}
	return b.String()
}

// health tells the last known results without probing; it is always 200.
func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	results := h.checks.last()
	status := "ok"
	for _, r := range results {
		switch {
		case r.AgeMS < 0 && status == "ok":
			status = "unchecked"
		case r.AgeMS >= 0 && !r.OK:
			status = "failing"
		}
	}
	h.writeJSON(w, http.StatusOK, map[string]any{
		"status":   status,
		"version":  h.Version,
		"node":     h.Node,
		"uptime_s": int64(h.Now().Sub(h.started).Seconds()),
		"checks":   results,
	})
}
