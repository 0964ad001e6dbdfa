package upstream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/bots"
)

func TestABreakerOpensAfterFailuresInARowAndProbesItsWayBack(t *testing.T) {
	stage(t, nil, func(s *scene) {
		wrongly(s, s.ask(errBoom), errBoom)
		is(s, "closed", s.state(0))
		wrongly(s, s.ask(errBoom), errBoom)
		opened := time.Now()

		err := s.ask(nil)
		wrongly(s, err, ErrOpen)
		wrongly(s, err, bots.ErrUnavailable)
		is(s, opened, time.Now(), "a refusal waits for nothing")
		e := s.Status().Endpoints[0]
		is(s, "open", e.State)
		is(s, opened, e.Since)
		is(s, opened.Add(10*time.Second), *e.RetryAt)
		is(s, 2, e.Failures)
		is(s, "failed", e.LastError)
		s.counted(2, "hongyan_upstream_state", "a", "model")

		time.Sleep(10*time.Second - time.Millisecond)
		wrongly(s, s.ask(nil), ErrOpen)
		time.Sleep(500 * time.Millisecond)
		is(s, "half_open", s.state(0))
		s.counted(1, "hongyan_upstream_state", "a", "model")

		probe := s.start(s.Context(), after(time.Second, nil))
		wrongly(s, s.ask(nil), ErrOpen, "one probe at a time")
		well(s, <-probe)
		is(s, "closed", s.state(0))
		is(s, 0, s.Status().Endpoints[0].Failures)
		is(s, nil, s.Status().Endpoints[0].RetryAt)
		well(s, s.ask(nil))

		s.counted(0, "hongyan_upstream_state", "a", "model")
		s.counted(2, "hongyan_upstream_calls_total", "a", "broken", "model")
		s.counted(2, "hongyan_upstream_calls_total", "a", "ok", "model")
		s.counted(4, "hongyan_upstream_seconds", "model")
		s.counted(3, "hongyan_upstream_refused_total", "open", "model")
		for _, to := range []string{"open", "half_open", "closed"} {
			s.counted(1, "hongyan_upstream_transitions_total", "a", to, "model")
		}
		is(s, 1, strings.Count(s.said.String(), "level=WARN"), s.said)
		is(s, 1, strings.Count(s.said.String(), "level=INFO"), s.said)
		is(s, 1, strings.Count(s.said.String(), "down_for=11.499s"), s.said)
		is(s, 0, strings.Count(s.said.String(), "boom"), "an error's text may hold anything, and is not logged")
	})
}

func TestAFailedProbeOpensAgainWithoutAnotherWarning(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(2)
		for range 3 {
			time.Sleep(10*time.Second + tick)
			wrongly(s, s.ask(errBoom), errBoom)
			is(s, "open", s.state(0))
		}
		is(s, 1, strings.Count(s.said.String(), "level=WARN"), s.said)
		s.counted(4, "hongyan_upstream_transitions_total", "a", "open", "model")
		is(s, 5, s.Status().Endpoints[0].Failures)
	})
}

func TestHalfOpenLetsAsManyProbesThroughAsAreSet(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Probes = 3 }, func(s *scene) {
		s.fail(2)
		time.Sleep(11 * time.Second)
		var probes []<-chan error
		for range 3 {
			probes = append(probes, s.start(s.Context(), after(time.Second, nil)))
		}
		wrongly(s, s.ask(nil), ErrOpen)
		is(s, "half_open", s.state(0))
		for _, p := range probes {
			well(s, <-p)
		}
		is(s, "closed", s.state(0))
	})
}

func TestFailuresInARowCountHoweverFarApartTheyAre(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(1)
		time.Sleep(time.Hour)
		s.fail(1)
		is(s, "open", s.state(0))
	})
}

func TestABreakerOpensWhereHalfOfTheCallsInItsWindowFail(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Failures = 4 }, func(s *scene) {
		for range 3 { // 6 calls, half of which fail: too few
			well(s, s.ask(nil))
			s.fail(1)
		}
		time.Sleep(11 * time.Second) // and then out of the window
		for range 3 {
			well(s, s.ask(nil))
			s.fail(1)
		}
		well(s, s.ask(nil))
		is(s, "closed", s.state(0))
		s.fail(1)
		is(s, "open", s.state(0), "8 calls, 4 of which failed")
	})
}

func TestAnOutageIsNotHeldAgainstWhoIsBack(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Failures, o.Breaker.Window, o.Breaker.Open = 4, time.Hour, time.Second }, func(s *scene) {
		s.fail(4)
		time.Sleep(2 * time.Second)
		for range 3 { // the first is the probe
			well(s, s.ask(nil))
			s.fail(1)
		}
		is(s, "closed", s.state(0))
	})
}

func TestFewerThanHalfOpenNothing(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Failures = 4 }, func(s *scene) {
		for range 100 {
			well(s, s.ask(nil))
			well(s, s.ask(nil))
			s.fail(1)
			time.Sleep(77 * time.Millisecond)
		}
		is(s, "closed", s.state(0))
	})
}

// A call that takes longer than the window counts all the same: models do.
func TestCallsThatOutlastTheWindowCount(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Failures, o.Breaker.Silence = 4, 0 }, func(s *scene) {
		for i := range 8 {
			came := errBoom
			if i%2 == 0 {
				came = nil
			}
			s.start(s.Context(), after(30*time.Second+time.Duration(i), came))
		}
		s.calls.Wait()
		is(s, "open", s.state(0))
	})
}

func TestWhatBeganBeforeAChangeOfStateSaysNothingAboutTheNewOne(t *testing.T) {
	stage(t, nil, func(s *scene) {
		late := s.start(s.Context(), after(10*time.Second+400*time.Millisecond, nil))
		later := s.start(s.Context(), after(12*time.Second, errBoom))
		s.fail(2)
		well(s, <-late)
		is(s, "half_open", s.state(0), "a success from before is no probe")
		well(s, s.ask(nil))
		wrongly(s, <-later, errBoom)
		is(s, 0, s.Status().Endpoints[0].Failures)
		s.fail(1)
		is(s, "closed", s.state(0))
	})
}

func TestWhoseFaultACallIs(t *testing.T) {
	const nobodys = ""
	for name, c := range map[string]struct {
		err     error
		result  string
		inWords string // as Status shows it; nobodys: it counts for nobody, and no other endpoint is asked
	}{
		"plain error":   {err: errBoom, result: "broken", inWords: "failed"},
		"broken":        {err: &Fault{Kind: Broken, Err: errBoom, Brief: "answered 503"}, result: "broken", inWords: "answered 503"},
		"wrapped fault": {err: fmt.Errorf("asking: %w", &Fault{Kind: Denied, Err: errBoom}), result: "denied", inWords: "refused our key"},
		"overloaded":    {err: &Fault{Kind: Overloaded}, result: "overloaded", inWords: "is overloaded"},
		"own deadline":  {err: context.DeadlineExceeded, result: "timeout", inWords: "did not answer in time"},
		"own cancel":    {err: context.Canceled, result: "broken", inWords: "failed"},
		"refused":       {err: &Fault{Kind: Refused, Err: errBoom}, result: "refused", inWords: nobodys},
	} {
		t.Run(name, func(t *testing.T) {
			stage(t, func(o *Options) { o.Endpoints = append(o.Endpoints, Endpoint{Name: "b"}) }, func(s *scene) {
				var asked []int
				err := s.Do(s.Context(), func(_ context.Context, call Call) error {
					asked = append(asked, call.Endpoint)
					if call.Endpoint == 0 {
						return c.err
					}
					return nil
				})
				s.counted(1, "hongyan_upstream_calls_total", "a", c.result, "model")
				e := s.Status().Endpoints[0]
				is(t, c.inWords, e.LastError)
				if c.inWords == nobodys {
					wrongly(t, err, c.err)
					is(t, "[0]", fmt.Sprint(asked))
					is(t, 0, e.Failures)
					return
				}
				well(t, err)
				is(t, "[0 1]", fmt.Sprint(asked))
				is(t, 1, e.Failures)
			})
		})
	}
}

// An endpoint that is back and refuses a request (its content filter, say) has answered: it is not kept to one call at a time for ever.
func TestARefusalEndsAnOutage(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Probes = 2 }, func(s *scene) {
		refused := &Fault{Kind: Refused, Err: errBoom}
		late := s.start(s.Context(), after(12*time.Second, refused))
		s.fail(2)
		time.Sleep(11 * time.Second)
		failed(s, s.ask(refused))
		is(s, "half_open", s.state(0), "two probes must be answered")
		failed(s, <-late)
		is(s, "half_open", s.state(0), "a refusal of a call from before is no probe's")
		failed(s, s.ask(refused))
		is(s, "closed", s.state(0))
		s.counted(3, "hongyan_upstream_calls_total", "a", "refused", "model")

		ctx, cancel := context.WithCancel(s.Context())
		first := s.hang(ctx)
		well(s, s.ask(nil)) // beside it
		cancel()
		<-first
		for range 20 {
			failed(s, s.ask(refused))
		}
		is(s, "closed", s.state(0))
		is(s, 0, s.Status().Endpoints[0].Failures)
	})
}

// panics returns what f panicked with.
func panics(f func()) (with any) {
	defer func() { with = recover() }()
	f()
	return nil
}

// A probe that says nothing gives its place back, or the breaker would stay half-open for ever.
func TestAProbeThatCountsForNobodyMakesRoomForAnother(t *testing.T) {
	for result, probe := range map[string]func(s *scene){
		"cancelled": func(s *scene) {
			ctx, cancel := context.WithCancel(s.Context())
			came := s.hang(ctx)
			wrongly(s, s.ask(nil), ErrOpen)
			cancel()
			wrongly(s, <-came, context.Canceled)
		},
		"panic": func(s *scene) {
			is(s, any("oops"), panics(func() {
				_ = s.Do(s.Context(), func(context.Context, Call) error { panic("oops") })
			}))
		},
	} {
		t.Run(result, func(t *testing.T) {
			stage(t, nil, func(s *scene) {
				s.fail(2)
				time.Sleep(11 * time.Second)
				for range 5 {
					probe(s)
					is(s, "half_open", s.state(0))
					is(s, 2, s.Status().Endpoints[0].Failures)
				}
				s.counted(5, "hongyan_upstream_calls_total", "a", result, "model")
				well(s, s.ask(nil))
				is(s, "closed", s.state(0))
			})
		})
	}
}

func TestACancelledTurnCountsForNobody(t *testing.T) {
	stage(t, nil, func(s *scene) {
		for range 10 {
			ctx, cancel := context.WithCancel(s.Context())
			came := s.hang(ctx)
			cancel()
			wrongly(s, <-came, context.Canceled)
		}
		over, cancel := context.WithCancel(s.Context())
		cancel()
		wrongly(s, s.Do(over, func(context.Context, Call) error { panic("asked for a turn that is over") }), context.Canceled)
		is(s, "closed", s.state(0))
		is(s, 0, s.Status().Endpoints[0].Failures)
	})
}

func TestADeadlineThatPassesIsTheEndpointsFault(t *testing.T) {
	stage(t, func(o *Options) { o.Endpoints = append(o.Endpoints, Endpoint{Name: "b"}) }, func(s *scene) {
		for range 2 {
			ctx, cancel := context.WithTimeout(s.Context(), time.Second)
			wrongly(s, <-s.hang(ctx), context.DeadlineExceeded)
			cancel()
		}
		is(s, "open", s.state(0))
		is(s, "did not answer in time", s.Status().Endpoints[0].LastError)
		s.counted(2, "hongyan_upstream_calls_total", "a", "timeout", "model")
		is(s, 0, s.Status().Endpoints[1].Failures, "nobody was left to ask it for")
	})
}

func TestRetryAfterLengthensTheRest(t *testing.T) {
	for name, c := range map[string]struct{ says, rests time.Duration }{
		"longer":       {says: 25 * time.Second, rests: 25 * time.Second},
		"shorter":      {says: 3 * time.Second, rests: 10 * time.Second},
		"past bearing": {says: time.Hour, rests: time.Minute},
		"none":         {says: 0, rests: 10 * time.Second},
		"below zero":   {says: -time.Hour, rests: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			stage(t, nil, func(s *scene) {
				overloaded := &Fault{Kind: Overloaded, RetryAfter: c.says}
				failed(s, s.ask(overloaded))
				is(s, "closed", s.state(0), "one alone closes nothing")
				failed(s, s.ask(overloaded))
				is(s, time.Now().Add(c.rests), *s.Status().Endpoints[0].RetryAt)
				time.Sleep(c.rests - time.Millisecond)
				wrongly(s, s.ask(nil), ErrOpen)
				is(s, "open", s.state(0))
				time.Sleep(2 * time.Millisecond)
				well(s, s.ask(nil))
				is(s, "closed", s.state(0))
			})
		})
	}
}

// A probe that hangs until its turn is over must not keep an endpoint that has recovered from being asked.
func TestAProbeThatHangsSharesItsPlaceAfterARest(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(2)
		time.Sleep(11 * time.Second)
		hung, cancel := context.WithTimeout(s.Context(), time.Minute)
		defer cancel()
		first := s.hang(hung)
		time.Sleep(10*time.Second - time.Millisecond)
		wrongly(s, s.ask(nil), ErrOpen)
		time.Sleep(time.Millisecond)
		second := s.hang(hung)
		wrongly(s, s.ask(nil), ErrOpen, "one more, not any number")
		time.Sleep(10 * time.Second)
		well(s, s.ask(nil))
		is(s, "closed", s.state(0))
		wrongly(s, <-first, context.DeadlineExceeded)
		wrongly(s, <-second, context.DeadlineExceeded)
		is(s, "closed", s.state(0), "what hung before says nothing any more")
		is(s, 0, s.Status().Endpoints[0].Failures)
	})
}

func TestACallFromBeforeSharesNoProbesPlace(t *testing.T) {
	stage(t, nil, func(s *scene) {
		ctx, cancel := context.WithCancel(s.Context())
		s.hang(ctx)
		s.fail(2)
		time.Sleep(11 * time.Second)
		s.hang(ctx)
		wrongly(t, s.ask(nil), ErrOpen, "the probe is under way, and the call that hangs is none")
		cancel()
	})
}

func TestProbesThatShareAPlaceFailTogether(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(2)
		time.Sleep(11 * time.Second)
		first := s.start(s.Context(), after(15*time.Second, errBoom))
		time.Sleep(10 * time.Second)
		second := s.start(s.Context(), after(20*time.Second, nil))
		wrongly(s, <-first, errBoom)
		is(s, "half_open", s.state(0), "the other one may do better")
		well(s, <-second)
		is(s, "closed", s.state(0))

		s.fail(2)
		time.Sleep(11 * time.Second)
		first = s.start(s.Context(), after(15*time.Second, errBoom))
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithCancel(s.Context())
		second = s.hang(ctx)
		wrongly(s, <-first, errBoom)
		cancel()
		<-second
		is(s, "open", s.state(0), "one failed, and the other said nothing")
	})
}

func TestProbesThatShareAPlaceAreOneSuccess(t *testing.T) {
	stage(t, func(o *Options) { o.Breaker.Probes = 2 }, func(s *scene) {
		s.fail(2)
		time.Sleep(11 * time.Second)
		first := s.start(s.Context(), after(13*time.Second, nil))
		ctx, cancel := context.WithCancel(s.Context())
		s.hang(ctx) // the other place
		time.Sleep(5 * time.Second)
		cancel()
		synctest.Wait()
		s.start(s.Context(), func(_ context.Context, c Call) error { // it is taken again, by one that speaks
			for range 20 {
				time.Sleep(time.Second)
				c.Alive()
			}
			return nil
		})
		time.Sleep(6 * time.Second)
		second := s.start(s.Context(), after(time.Second, nil)) // beside the first
		well(t, <-second)
		well(t, <-first)
		is(t, "half_open", s.state(0), "two places must succeed")
		s.calls.Wait()
		is(t, "closed", s.state(0))
	})
}

func TestAProbeThatSpeaksKeepsItsPlace(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(2)
		time.Sleep(11 * time.Second)
		s.start(s.Context(), func(_ context.Context, c Call) error {
			for range 30 {
				time.Sleep(time.Second)
				c.Alive()
			}
			return nil
		})
		for range 29 {
			time.Sleep(time.Second)
			synctest.Wait()
			wrongly(s, s.ask(nil), ErrOpen)
		}
		time.Sleep(2 * time.Second)
		is(s, "closed", s.state(0))
	})
}

func TestAnEndpointRecoversBeforeTheEyesOfWhoLooks(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fail(2)
		time.Sleep(10*time.Second + 2*tick)
		synctest.Wait()
		s.counted(1, "hongyan_upstream_state", "a", "model")
		s.counted(1, "hongyan_upstream_transitions_total", "a", "half_open", "model")
		is(s, 1, strings.Count(s.said.String(), "\n"), "half-open is not worth a line:", s.said)
	})
}
