package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
	"pgregory.net/rapid"
)

// plan is what happens to one call, at whatever endpoint it is.
type plan struct {
	begins  time.Duration
	takes   time.Duration // to its end, at each endpoint
	speaks  time.Duration // every so often; 0: never
	cancels time.Duration // from above, after so long; 0: never
	expires time.Duration
	ends    string
	deaf    bool // it does not look at its context
}

func drawPlan(t *rapid.T) plan {
	ms := func(label string, most int) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, label)) * time.Millisecond
	}
	p := plan{
		begins: ms("begins", 120_000), takes: ms("takes", 40_000), ends: rapid.SampledFrom([]string{
			"well", "well", "well", "plain", "broken", "refused", "denied", "overloaded", "panic", "goexit",
		}).Draw(t, "ends"),
		deaf: rapid.IntRange(0, 9).Draw(t, "deaf") == 0,
	}
	if rapid.IntRange(0, 3).Draw(t, "quick") > 0 {
		p.takes /= 50
	}
	switch rapid.IntRange(0, 5).Draw(t, "turn") {
	case 0:
		p.cancels = ms("cancels", 20_000) + 1
	case 1:
		p.expires = ms("expires", 20_000) + 1
	case 2:
		p.speaks = ms("speaks", 5000) + time.Millisecond
	}
	return p
}

// call plays the plan.
func (p plan) call(ctx context.Context, c Call) error {
	end := time.After(p.takes)
	for {
		var next <-chan time.Time
		if p.speaks > 0 {
			next = time.After(p.speaks)
		}
		done := ctx.Done()
		if p.deaf {
			done = nil
		}
		select {
		case <-next:
			c.Alive()
			continue
		case <-done:
			return ctx.Err()
		case <-end:
		}
		switch p.ends {
		case "well":
			return nil
		case "plain":
			return errBoom
		case "broken":
			return &Fault{Kind: Broken, Err: errBoom}
		case "refused":
			return &Fault{Kind: Refused, Err: errBoom}
		case "denied":
			return &Fault{Kind: Denied, Err: errBoom}
		case "overloaded":
			return &Fault{Kind: Overloaded, RetryAfter: p.takes * 10, Err: errBoom}
		case "goexit":
			runtime.Goexit()
		}
		panic(errBoom)
	}
}

// run makes the call when it is time, in a goroutine of its own.
func (p plan) run(ctx context.Context, u *Upstream, inside *atomic.Int32, crowded *atomic.Bool) error {
	time.Sleep(p.begins)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.cancels > 0 {
		defer time.AfterFunc(p.cancels, cancel).Stop()
	}
	if p.expires > 0 {
		var cut context.CancelFunc
		ctx, cut = context.WithTimeout(ctx, p.expires)
		defer cut()
	}
	defer func() {
		if r := recover(); r != nil && r != errBoom { //nolint:errorlint // the very value that was thrown
			panic(r)
		}
	}()
	return u.Do(ctx, func(ctx context.Context, c Call) error {
		defer inside.Add(-1)
		if inside.Add(1) > int32(u.places) {
			crowded.Store(true)
		}
		return p.call(ctx, c)
	})
}

// Whatever happens to calls, places are given back, the breakers are told of each call once, and good calls close them again.
func TestWhateverHappensPlacesComeBackAndBreakersClose(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		opts := Options{
			Name: "model", MaxInFlight: rapid.IntRange(1, 8).Draw(rt, "places"),
			Breaker: Settings{
				Failures: rapid.IntRange(1, 4).Draw(rt, "failures"),
				Window:   time.Duration(rapid.IntRange(1, 20).Draw(rt, "window")) * time.Second,
				Open:     time.Duration(rapid.IntRange(1, 20).Draw(rt, "open")) * time.Second,
				Probes:   rapid.IntRange(1, 3).Draw(rt, "probes"),
				Silence:  time.Duration(rapid.IntRange(0, 3).Draw(rt, "silence")) * time.Second,
			},
			Rate:   float64(rapid.IntRange(0, 3).Draw(rt, "rate")),
			Random: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)).Float64,
			Logger: slog.New(slog.DiscardHandler),
		}
		for i := range rapid.IntRange(1, 3).Draw(rt, "endpoints") {
			opts.Endpoints = append(opts.Endpoints, Endpoint{Name: fmt.Sprint(i), Weight: rapid.IntRange(1, 3).Draw(rt, "weight")})
		}
		plans := rapid.SliceOfN(rapid.Custom(drawPlan), 1, 120).Draw(rt, "plans")
		var fault error
		synctest.Test(t, func(t *testing.T) { fault = play(t.Context(), opts, plans) })
		if fault != nil {
			rt.Fatal(fault)
		}
	})
}

// play carries the plans out, and says what is wrong at the end.
func play(ctx context.Context, opts Options, plans []plan) error {
	u, err := New(opts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all, run sync.WaitGroup
	run.Go(func() { _ = u.Run(ctx) })
	defer run.Wait()
	defer cancel()
	var inside atomic.Int32
	var crowded atomic.Bool
	for _, p := range plans {
		all.Go(func() { _ = p.run(ctx, u, &inside, &crowded) })
	}
	all.Wait()
	if crowded.Load() {
		return errors.New("more calls were inside than there are places")
	}
	if err := u.empty(); err != nil {
		return err
	}
	time.Sleep(2 * time.Minute) // past the longest rest
	for range 200 {
		if err := u.Do(ctx, func(context.Context, Call) error { return nil }); err != nil && !errors.Is(err, ErrRate) {
			return fmt.Errorf("a good call after all rests: %w", err)
		}
		time.Sleep(time.Second)
	}
	for _, e := range u.endpoints {
		c := e.breaker.Counts()
		switch {
		case e.state != gobreaker.StateClosed || e.breaker.State() != gobreaker.StateClosed:
			return fmt.Errorf("endpoint %s is %s after 200 good calls", e.name, stateName(e.state))
		case c.Requests != c.TotalSuccesses+c.TotalFailures+c.TotalExclusions:
			return fmt.Errorf("the breaker of endpoint %s was not told once of each call: %+v", e.name, c)
		}
	}
	return u.empty()
}

// empty says where a place was not given back.
func (u *Upstream) empty() error {
	u.mu.Lock()
	defer u.unlock()
	if u.inFlight != 0 {
		return fmt.Errorf("%d places are still taken", u.inFlight)
	}
	for _, e := range u.endpoints {
		if len(e.visits) != 0 {
			return fmt.Errorf("%d calls are still at endpoint %s", len(e.visits), e.name)
		}
	}
	return nil
}

func BenchmarkDo(b *testing.B) {
	u, err := New(Options{Name: "model", Endpoints: []Endpoint{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}})
	well(b, err)
	ctx := b.Context()
	call := func(context.Context, Call) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := u.Do(ctx, call); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefused(b *testing.B) {
	u, err := New(Options{
		Name: "model", Endpoints: []Endpoint{{Name: "a", Weight: 1}}, Breaker: Settings{Failures: 1, Open: time.Hour},
		Logger: slog.New(slog.DiscardHandler),
	})
	well(b, err)
	ctx := b.Context()
	call := func(context.Context, Call) error { return errBoom }
	_ = u.Do(ctx, call)
	b.ReportAllocs()
	for b.Loop() {
		if err := u.Do(ctx, call); !errors.Is(err, ErrOpen) {
			b.Fatal(err)
		}
	}
}
