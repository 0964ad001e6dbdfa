package upstream

import (
	"context"
	"testing"
	"time"
)

func TestReadyTakesNothingAndSaysWhatDoWould(t *testing.T) {
	stage(t, func(o *Options) { o.MaxInFlight, o.Rate = 2, 1 }, func(s *scene) {
		for range 10 {
			well(s, s.Ready())
		}
		s.counted(0, "hongyan_upstream_in_flight", "model")
		well(s, s.ask(nil)) // the rate's one call a second is still there
		time.Sleep(2 * time.Second)

		ctx, cancel := context.WithCancel(s.Context())
		first := s.hang(ctx)
		time.Sleep(time.Second)
		well(s, s.Ready())
		second := s.hang(ctx)
		time.Sleep(time.Second)
		wrongly(s, s.Ready(), ErrBusy)
		s.counted(1, "hongyan_upstream_refused_total", "busy", "model")
		cancel()
		<-first
		<-second
		well(s, s.Ready())
	})
}

func TestReadyWithABreakerThatIsNotClosed(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Probes = 2 }, func(s *scene) {
		s.fail(2)
		wrongly(s, s.Ready(), ErrOpen)
		s.counted(1, "hongyan_upstream_refused_total", "open", "model")
		time.Sleep(11 * time.Second)
		for range 5 {
			well(s, s.Ready())
		}
		ctx, cancel := context.WithCancel(s.Context())
		first := s.hang(ctx)
		well(s, s.Ready())
		second := s.hang(ctx)
		wrongly(s, s.Ready(), ErrOpen, "both probes are under way")
		wrongly(s, s.ask(nil), ErrOpen)
		time.Sleep(10 * time.Second)
		well(s, s.Ready()) // a silent probe shares its place
		cancel()
		<-first
		<-second
		well(s, s.Ready()) // probes that counted for nobody have given theirs back
		is(s, "half_open", s.state(0))
		well(s, s.ask(nil))
		well(s, s.Ready())
		well(s, s.ask(nil))
		is(s, "closed", s.state(0))
	})
}

func TestReadyWhereNoEndpointIs(t *testing.T) {
	stage(t, func(o *Options) { o.Endpoints = append(o.Endpoints, Endpoint{Name: "b"}) }, func(s *scene) {
		s.fail(2)
		is(s, "open", s.state(0))
		is(s, "open", s.state(1))
		wrongly(s, s.Ready(), ErrOpen)
	})
}

func TestReadyWhereOneEndpointIs(t *testing.T) {
	stage(t, func(o *Options) { o.Endpoints = append(o.Endpoints, Endpoint{Name: "b"}) }, func(s *scene) {
		for range 2 {
			well(s, s.Do(s.Context(), func(_ context.Context, c Call) error {
				if c.Endpoint == 0 {
					return errBoom
				}
				return nil
			}))
		}
		is(s, "open", s.state(0))
		well(s, s.Ready())
	})
}
