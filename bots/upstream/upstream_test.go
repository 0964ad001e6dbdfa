package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is an upstream in a bubble of synctest, with what it says and counts.
type scene struct {
	*testing.T
	*Upstream
	counts *prometheus.Registry
	said   *lines
	calls  sync.WaitGroup
}

// lines keeps what was logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// stage runs play in a bubble, with an upstream of two-failure breakers on one endpoint, unless set changes that, and its Run.
func stage(t *testing.T, set func(*Options), play func(s *scene)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, counts: prometheus.NewRegistry(), said: &lines{}}
		opts := Options{
			Name: "model", Endpoints: []Endpoint{{Name: "a", Weight: 1}}, MaxInFlight: 100,
			Breaker:    Settings{Failures: 2, Window: 10 * time.Second, Open: 10 * time.Second, Probes: 1, Silence: 4 * time.Second},
			Logger:     slog.New(slog.NewTextHandler(s.said, nil)),
			Registerer: s.counts,
		}
		if set != nil {
			set(&opts)
		}
		up, err := New(opts)
		well(t, err)
		s.Upstream = up
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- up.Run(ctx) }() // ends when ctx does
		play(s)
		s.calls.Wait()
		cancel()
		well(t, <-ended)
		is(t, 0, up.Status().InFlight, "all places are given back")
		up.mu.Lock()
		defer up.mu.Unlock()
		for _, e := range up.endpoints {
			is(t, 0, len(e.visits), "nobody is at endpoint", e.name)
		}
	})
}

var errBoom = errors.New("boom")

// ask makes one call that ends at once with err, and returns what Do said.
func (s *scene) ask(err error) error {
	return s.Do(s.Context(), func(context.Context, Call) error { return err })
}

// hang makes one call that ends when it is cancelled, and sends what Do said.
func (s *scene) hang(ctx context.Context) <-chan error {
	return s.start(ctx, func(ctx context.Context, _ Call) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// start makes one call beside the test, and returns when it is under way.
func (s *scene) start(ctx context.Context, call func(context.Context, Call) error) <-chan error {
	came := make(chan error, 1)
	s.calls.Go(func() { came <- s.Do(ctx, call) })
	synctest.Wait()
	return came
}

// after returns a call that ends so much later.
func after(d time.Duration, err error) func(context.Context, Call) error {
	return func(ctx context.Context, _ Call) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *scene) state(endpoint int) string { return s.Status().Endpoints[endpoint].State }

// counted checks one metric, by its labels in the order of their names.
func (s *scene) counted(want float64, name string, labels ...string) {
	s.Helper()
	families, err := s.counts.Gather()
	well(s, err)
	value := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				value = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	is(s, want, value, name, labels)
}

// is checks for equality.
func is[T comparable](t testing.TB, want, got T, about ...any) {
	t.Helper()
	if got != want {
		t.Errorf("%v, want %v %s", got, want, fmt.Sprintln(about...))
	}
}

// well ends the test where there is an error.
func well(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// failed ends the test where there is none.
func failed(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("it went well, and must not")
	}
}

// wrongly ends the test where err is not because of want.
func wrongly(t testing.TB, err, want error, about ...any) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v %s", err, want, fmt.Sprintln(about...))
	}
}

// fail makes n calls that fail.
func (s *scene) fail(n int) {
	s.Helper()
	for range n {
		wrongly(s, s.ask(errBoom), errBoom)
	}
}
