package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// train gives endpoint a history of calls that took so long to speak.
func (s *scene) train(n int, first time.Duration) {
	s.Helper()
	for range n {
		well(s, s.Do(s.Context(), after(first, nil)))
	}
}

// crowdOf has n calls hang from now on.
func (s *scene) crowdOf(n int) (came []<-chan error) {
	for range n {
		came = append(came, s.hang(s.Context()))
	}
	return came
}

// loose ends the calls that a test left hanging.
func loose(s *scene) (ctx context.Context, cut func()) {
	ctx, cancel := context.WithCancel(s.Context())
	return ctx, func() { cancel(); s.calls.Wait() }
}

func TestAHungEndpointIsNoticedWithinFiveSeconds(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Failures = 5 }, func(s *scene) {
		s.train(known, 500*time.Millisecond)
		hung := time.Now()
		came := s.crowdOf(crowd)
		for _, c := range came {
			wrongly(t, <-c, ErrSilent)
		}
		if took := time.Since(hung); took > 5*time.Second || took <= 4*time.Second {
			t.Errorf("it took %v", took)
		}
		e := s.Status().Endpoints[0]
		is(t, "open", e.State, "3 calls are fewer than 5 failures, and open it")
		is(t, 3, e.Failures)
		is(t, "fell silent: 3 calls waited, and nothing came for 4s", e.LastError)
		s.counted(3, "hongyan_upstream_calls_total", "a", "silent", "model")
		wrongly(t, s.ask(nil), ErrOpen)

		time.Sleep(11 * time.Second)
		well(t, s.ask(nil))
		s.fail(4)
		is(t, "closed", s.state(0), "it is judged as any other again")
	})
}

func TestSilenceIsNotATurnsCancellation(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(known, time.Millisecond)
		for _, c := range s.crowdOf(crowd) {
			err := <-c
			wrongly(t, err, ErrSilent)
			is(t, false, errors.Is(err, context.Canceled), "who looks for a cancelled turn must not find one")
		}
		well(t, s.Context().Err())
	})
}

// The whole crowd goes on to the other endpoint, those that began a moment ago too, and its users get their answers.
func TestASilentEndpointsCallsGoOnToAnother(t *testing.T) {
	stage(t, endpoints(1, 0), func(s *scene) {
		s.train(known, 100*time.Millisecond)
		call := func(ctx context.Context, c Call) error {
			if c.Endpoint == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		var came []<-chan error
		for range 9 { // two a second
			came = append(came, s.start(s.Context(), call))
			time.Sleep(500 * time.Millisecond)
		}
		for _, c := range came {
			well(t, <-c)
		}
		is(t, "open", s.state(0))
		is(t, "closed", s.state(1))
	})
}

// At one message a second the third call is there only two seconds after the first, and the hang is noticed within five all the same.
func TestAHangIsNoticedAtOneCallASecond(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(known, 500*time.Millisecond)
		hung := time.Now()
		first := s.hang(s.Context())
		for range 4 {
			time.Sleep(time.Second)
			s.hang(s.Context())
		}
		wrongly(t, <-first, ErrSilent)
		if took := time.Since(hung); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestWhoIsNotJudged(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		set  func(*Options)
		play func(s *scene, ctx context.Context)
	}{
		"an endpoint without a history": {play: func(s *scene, ctx context.Context) {
			s.train(known-1, second/2)
			s.hangs(ctx, 10)
			time.Sleep(time.Minute)
		}},
		"where silence is off": {set: func(o *Options) { o.Breaker.Silence = 0 }, play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			s.hangs(ctx, 10)
			time.Sleep(time.Minute)
		}},
		"two calls": {play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			s.hangs(ctx, 2)
			time.Sleep(time.Minute)
		}},
		"a slow model": {play: func(s *scene, ctx context.Context) {
			s.train(10, 20*second)
			s.hangs(ctx, 10)
			time.Sleep(59 * second)
		}},
		"a model with a slow tenth": {play: func(s *scene, ctx context.Context) {
			s.train(28, second/2)
			s.train(4, 20*second)
			s.hangs(ctx, 10)
			time.Sleep(59 * second)
		}},
		"calls that began just now, after an idle hour": {play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			time.Sleep(time.Hour)
			s.hangs(ctx, 10)
			time.Sleep(4*second - 1)
		}},
		"one slow call with others that just began": {play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			s.hangs(ctx, 1)
			time.Sleep(2*second + second/2)
			s.hangs(ctx, 10)
			time.Sleep(2*second - second/4)
		}},
		"an endpoint that speaks on one call": {play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			s.hangs(ctx, 10)
			s.start(ctx, func(_ context.Context, c Call) error {
				for range 30 {
					time.Sleep(3 * second)
					c.Alive()
				}
				return nil
			})
			time.Sleep(time.Minute)
		}},
		"an endpoint that ends some calls": {play: func(s *scene, ctx context.Context) {
			s.train(10, second/2)
			s.hangs(ctx, 10)
			for range 20 {
				well(s, s.Do(ctx, after(3*second, nil)))
			}
		}},
		"one that sends headers at once and then thinks": {play: func(s *scene, ctx context.Context) {
			headersFirst := func(ctx context.Context, c Call) error {
				c.Alive()
				return after(20*second, nil)(ctx, c)
			}
			for range 3 {
				well(s, s.Do(ctx, headersFirst))
			}
			for range 10 {
				s.start(ctx, headersFirst)
			}
			time.Sleep(19 * second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			stage(t, c.set, func(s *scene) {
				ctx, cut := loose(s)
				c.play(s, ctx)
				synctest.Wait()
				is(t, "closed", s.state(0))
				cut()
				is(t, 0, s.Status().Endpoints[0].Failures)
			})
		})
	}
}

// hangs has n calls hang until ctx ends.
func (s *scene) hangs(ctx context.Context, n int) {
	for range n {
		s.hang(ctx)
	}
}

func TestASlowModelThatHangsIsNoticedToo(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(10, 20*time.Second)
		hung := time.Now()
		for _, c := range s.crowdOf(5) {
			wrongly(t, <-c, ErrSilent)
		}
		if took := time.Since(hung); took < 60*time.Second || took > 61*time.Second {
			t.Errorf("it took %v, want three times the usual 20 s", took)
		}
	})
}

func TestAStreamThatStopsIsNoticed(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		var came []<-chan error
		for range 3 {
			came = append(came, s.start(s.Context(), func(ctx context.Context, c Call) error {
				for range 50 {
					time.Sleep(100 * time.Millisecond)
					c.Alive()
				}
				<-ctx.Done()
				return ctx.Err()
			}))
		}
		time.Sleep(5 * time.Second)
		stopped := time.Now()
		for _, c := range came {
			wrongly(t, <-c, ErrSilent)
		}
		if took := time.Since(stopped); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestALongStreamTeachesTheSilencesInItNotItsLength(t *testing.T) {
	stage(t, nil, func(s *scene) {
		for range 5 {
			well(t, s.Do(s.Context(), func(_ context.Context, c Call) error {
				for range 200 {
					time.Sleep(100 * time.Millisecond)
					c.Alive()
				}
				return nil
			}))
		}
		usual, _ := s.endpoints[0].usual.silence()
		is(t, 100*time.Millisecond, usual)
	})
}

// A deadline that passes is nothing that the endpoint said, and neither is a sign of life of a call that is long over.
func TestWhatIsNoSignOfLife(t *testing.T) {
	for name, c := range map[string]func(s *scene, late func()){
		"a deadline": func(s *scene, _ func()) {
			ctx, cancel := context.WithTimeout(s.Context(), time.Second)
			defer cancel()
			s.hang(ctx)
			<-ctx.Done()
		},
		"a turn that is cancelled": func(s *scene, _ func()) {
			ctx, cancel := context.WithCancel(s.Context())
			s.hang(ctx)
			time.Sleep(time.Second)
			cancel()
		},
		"a call that is over": func(_ *scene, late func()) {
			time.Sleep(time.Second)
			late()
		},
	} {
		t.Run(name, func(t *testing.T) {
			stage(t, func(o *Options) { o.Breaker.Failures = 100 }, func(s *scene) {
				s.train(10, 500*time.Millisecond)
				var late func()
				well(t, s.Do(s.Context(), func(_ context.Context, c Call) error { late = c.Alive; return nil }))
				hung := s.crowdOf(crowd)
				for range 5 {
					c(s, late)
				}
				synctest.Wait()
				is(t, "open", s.state(0))
				wrongly(t, <-hung[0], ErrSilent)
			})
		})
	}
}

func TestProbesAreNotJudged(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Probes = 3 }, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		s.fail(2)
		time.Sleep(11 * time.Second)
		for range 3 {
			s.start(s.Context(), after(20*time.Second, nil))
		}
		s.calls.Wait()
		is(t, "closed", s.state(0))
	})
}

func TestWhereNobodyWatchesFailuresCountAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u, err := New(Options{Name: "model", Endpoints: []Endpoint{{Name: "a"}}, Breaker: Settings{Failures: 1}})
		well(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		well(t, u.Run(ctx))
		time.Sleep(time.Minute)
		wrongly(t, u.Do(t.Context(), func(context.Context, Call) error { return errBoom }), errBoom)
		is(t, "open", u.Status().Endpoints[0].State)
	})
}

func TestTwoPlacesAreACrowdWhereThereAreNoMore(t *testing.T) {
	stage(t, func(o *Options) { o.MaxInFlight = 2 }, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		for _, c := range s.crowdOf(2) {
			wrongly(t, <-c, ErrSilent)
		}
	})
}

// An endpoint that has become slow is condemned once. Its probe takes as long as it needs, and what it took is usual from then on.
func TestASlowProbeTeachesTheNewUsual(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(recent, 500*time.Millisecond)
		for _, c := range s.crowdOf(5) {
			wrongly(t, <-c, ErrSilent)
		}
		time.Sleep(11 * time.Second)
		well(t, s.Do(s.Context(), after(20*time.Second, nil)))
		is(t, "closed", s.state(0))
		for range 3 { // 10 at a time, 20 s each
			for range 10 {
				s.start(s.Context(), after(20*time.Second, nil))
			}
			s.calls.Wait()
		}
		is(t, "closed", s.state(0))
		s.counted(1, "hongyan_upstream_transitions_total", "a", "open", "model")

		s.train(recent, 500*time.Millisecond) // quick again
		hung := time.Now()
		for _, c := range s.crowdOf(5) {
			wrongly(t, <-c, ErrSilent)
		}
		if took := time.Since(hung); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAFreakChangesNothing(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(recent, 500*time.Millisecond)
		s.train(3, 20*time.Second)
		usual, _ := s.endpoints[0].usual.silence()
		is(t, 500*time.Millisecond, usual)
	})
}

// Calls that hang since before the breaker opened say nothing about an endpoint that has recovered.
func TestCallsLeftOverFromAnOutageCondemnNobody(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		ctx, cut := loose(s)
		s.hangs(ctx, 10)
		s.fail(2)
		time.Sleep(11 * time.Second)
		well(t, s.ask(nil))
		time.Sleep(time.Minute)
		is(t, "closed", s.state(0))
		is(t, 10, s.Status().InFlight, "and they may still come")
		cut()
	})
}

// What hung over an outage and came after all, 40 s late, does not make 40 s usual.
func TestCallsLeftOverFromAnOutageTeachNothing(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		for range 40 {
			s.start(s.Context(), after(40*time.Second, nil))
		}
		s.fail(2)
		s.calls.Wait()
		well(t, s.ask(nil))
		hung := time.Now()
		for _, c := range s.crowdOf(3) {
			wrongly(t, <-c, ErrSilent)
		}
		if took := time.Since(hung); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTheUsualIsTheNinetiethPercentileOfTheLast(t *testing.T) {
	t.Parallel()
	var h usual
	if _, ok := h.silence(); ok {
		t.Error("nothing is known of an endpoint that was never asked")
	}
	for i := range 10 {
		h.add(time.Duration(i+1) * time.Second)
	}
	got, _ := h.silence()
	is(t, 9*time.Second, got)
	for range recent - 4 {
		h.add(time.Second)
	}
	got, _ = h.silence()
	is(t, 7*time.Second, got, "of 32, the last four are 7, 8, 9 and 10: the 29th")
}

// Between taking its place and having a context to be ended by, a call can be condemned with the others.
func TestACallThatIsCondemnedBeforeItBeginsEndsAtOnce(t *testing.T) {
	t.Parallel()
	u, err := New(Options{Name: "model", Endpoints: []Endpoint{{Name: "a"}}})
	well(t, err)
	v, err := u.enter()
	well(t, err)
	u.mu.Lock()
	u.endpoints[0].condemn(1, time.Second)
	u.unlock()
	again, err := u.visit(t.Context(), v, func(ctx context.Context, _ Call) error {
		<-ctx.Done()
		return ctx.Err()
	})
	wrongly(t, err, ErrSilent)
	is(t, true, again)
	u.leave()
	well(t, u.empty())
}
