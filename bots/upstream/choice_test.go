package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hongyan/bots"
)

// endpoints are some with these weights, named a, b, c ….
func endpoints(weights ...int) func(*Options) {
	return func(o *Options) {
		o.Endpoints = nil
		for i, w := range weights {
			o.Endpoints = append(o.Endpoints, Endpoint{Name: string(rune('a' + i)), Weight: w})
		}
		o.Random = rand.New(rand.NewPCG(1, 2)).Float64
	}
}

// asks makes n calls and returns how many each endpoint got; those of failing ones fail.
func (s *scene) asks(n int, failing ...int) map[int]int {
	got := make(map[int]int)
	for range n {
		_ = s.Do(s.Context(), func(_ context.Context, c Call) error {
			got[c.Endpoint]++
			for _, f := range failing {
				if f == c.Endpoint {
					return errBoom
				}
			}
			return nil
		})
	}
	return got
}

func TestEndpointsShareTheLoadByWeight(t *testing.T) {
	stage(t, endpoints(1, 3, 0, 6), func(s *scene) {
		const n = 10_000
		got := s.asks(n)
		for i, part := range []float64{.1, .3, 0, .6} {
			if off := math.Abs(float64(got[i])/n - part); off > .02 {
				t.Errorf("endpoint %d got %d of %d calls, want %v of them", i, got[i], n, part)
			}
		}
		is(t, 0, got[2], "weight 0 while others work")
	})
}

func TestWeightZeroIsAskedWhereAllOthersFail(t *testing.T) {
	stage(t, endpoints(0, 1, 0, 1), func(s *scene) {
		got := s.asks(2, 1, 3)
		is(t, 2, got[1])
		is(t, 2, got[3])
		is(t, 2, got[0], "the first of weight 0 stands in, in the same call")
		is(t, "open", s.state(1))
		is(t, "open", s.state(3))

		got = s.asks(5)
		is(t, 5, got[0], "the others rest")
		got = s.asks(2, 0)
		is(t, 2, got[2], "then the next of weight 0")

		time.Sleep(11 * time.Second)
		got = s.asks(10)
		is(t, 0, got[0]+got[2], "the others may be asked again")
		is(t, "closed", s.state(1))
		is(t, "closed", s.state(3))
		is(t, "half_open", s.state(0), "nobody asked it, and it is not needed")
	})
}

func TestEachEndpointIsAskedOnceAtTheMost(t *testing.T) {
	stage(t, endpoints(1, 1, 1, 0), func(s *scene) {
		got := make(map[int]int)
		last := -1
		err := s.Do(s.Context(), func(_ context.Context, c Call) error {
			got[c.Endpoint]++
			last = c.Endpoint
			return fmt.Errorf("endpoint %d: %w", c.Endpoint, errBoom)
		})
		wrongly(t, err, errBoom)
		is(t, "map[0:1 1:1 2:1 3:1]", fmt.Sprint(got))
		is(t, 3, last, "weight 0 comes last")
		if !strings.Contains(err.Error(), "upstream model: endpoint d: endpoint 3: boom") {
			t.Errorf("the error is not the last endpoint's: %v", err)
		}
	})
}

func TestARequestAtFaultIsNotCarriedAround(t *testing.T) {
	stage(t, endpoints(1, 1, 1), func(s *scene) {
		calls := 0
		err := s.Do(s.Context(), func(context.Context, Call) error {
			calls++
			return &Fault{Kind: Refused, Err: errBoom}
		})
		wrongly(t, err, errBoom)
		is(t, 1, calls)
	})
}

func TestWhereAllRestTheLastErrorIsNotThatOfARefusal(t *testing.T) {
	stage(t, endpoints(1, 1), func(s *scene) {
		s.asks(2, 0, 1)
		calls := 0
		err := s.Do(s.Context(), func(context.Context, Call) error { calls++; return nil })
		wrongly(t, err, ErrOpen)
		is(t, 0, calls)
		s.counted(1, "hongyan_upstream_refused_total", "open", "model")
	})
}

func TestEqualNamesOfEndpointsAreToldApart(t *testing.T) {
	stage(t, func(o *Options) {
		o.Endpoints = []Endpoint{{Name: "api.example.com", Weight: 1}, {Name: "api.example.com", Weight: 2}}
	}, func(s *scene) {
		is(t, "api.example.com", s.Status().Endpoints[0].Name)
		is(t, "api.example.com#2", s.Status().Endpoints[1].Name)
		is(t, 2, s.Status().Endpoints[1].Weight)
	})
}

func TestPlacesAreNeverWaitedFor(t *testing.T) {
	stage(t, func(o *Options) { o.MaxInFlight = 3 }, func(s *scene) {
		ctx, cancel := context.WithCancel(s.Context())
		for range 3 {
			s.hang(ctx)
		}
		is(t, 3, s.Status().InFlight)
		s.counted(3, "hongyan_upstream_in_flight", "model")
		start := time.Now()
		err := s.ask(nil)
		wrongly(t, err, ErrBusy)
		wrongly(t, err, bots.ErrUnavailable)
		is(t, 0, time.Since(start))
		s.counted(1, "hongyan_upstream_refused_total", "busy", "model")
		cancel()
		s.calls.Wait()
		well(t, s.ask(nil))
		s.counted(0, "hongyan_upstream_in_flight", "model")
	})
}

// begun makes as many calls a second as it can, for so many seconds, and returns how many began in each.
func (s *scene) begun(seconds int) (each []int) {
	for range seconds {
		n := 0
		for range 100 {
			if err := s.ask(nil); err == nil {
				n++
			} else {
				wrongly(s, err, ErrRate)
				wrongly(s, err, bots.ErrUnavailable)
			}
			time.Sleep(10 * time.Millisecond)
		}
		each = append(each, n)
	}
	return each
}

func TestTheRateIsThisNodesShare(t *testing.T) {
	share := 1.0
	stage(t, func(o *Options) { o.Rate, o.Share = 20, func() float64 { return share } }, func(s *scene) {
		is(t, "[39 20 20]", fmt.Sprint(s.begun(3)), "one second's worth at once, and then the rate")
		share = .25
		s.begun(2)
		is(t, "[5 5]", fmt.Sprint(s.begun(2)))
		share = 0
		s.begun(2)
		is(t, "[0 0]", fmt.Sprint(s.begun(2)))
		share = math.NaN()
		s.begun(2)
		is(t, "[0]", fmt.Sprint(s.begun(1)))
		share = 7
		s.begun(2)
		is(t, "[20]", fmt.Sprint(s.begun(1)), "a share is 1 at the most")
	})
}

func TestASlowRateHasRoomForOne(t *testing.T) {
	stage(t, func(o *Options) { o.Rate = 1. / 30 }, func(s *scene) {
		total := 0
		for _, n := range s.begun(60) {
			total += n
		}
		is(t, 2, total)
		s.counted(5998, "hongyan_upstream_refused_total", "rate", "model")
	})
}

func TestOverTheRateAProbeIsNotLost(t *testing.T) {
	stage(t, func(o *Options) { o.Rate = 1. / 60; o.Breaker.Failures = 1 }, func(s *scene) {
		s.fail(1)
		time.Sleep(20 * time.Second)
		wrongly(t, s.ask(nil), ErrRate)
		wrongly(t, s.ask(nil), ErrRate)
		time.Sleep(time.Minute)
		well(t, s.ask(nil))
		is(t, "closed", s.state(0))
	})
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"no name":         {Endpoints: []Endpoint{{}}},
		"no endpoint":     {Name: "x"},
		"-1 places":       {Name: "x", Endpoints: []Endpoint{{}}, MaxInFlight: -1},
		"a rate of NaN":   {Name: "x", Endpoints: []Endpoint{{}}, Rate: math.NaN()},
		"the weight -3":   {Name: "x", Endpoints: []Endpoint{{Name: "a", Weight: -3}}},
		"below zero":      {Name: "x", Endpoints: []Endpoint{{}}, Breaker: Settings{Open: -1}},
		"a rate of +Inf":  {Name: "x", Endpoints: []Endpoint{{}}, Rate: math.Inf(1)},
		"a rate of -0.25": {Name: "x", Endpoints: []Endpoint{{}}, Rate: -.25},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something about %q", err, want)
		}
	}
}

func TestStatusAsOperatorsGetIt(t *testing.T) {
	stage(t, endpoints(2, 0), func(s *scene) {
		s.asks(2, 0)
		began := time.Now()
		got, err := json.Marshal(s.Status())
		well(t, err)
		want := fmt.Sprintf(`{"name":"model","max_in_flight":100,"in_flight":0,"endpoints":[`+
			`{"name":"a","state":"open","since":%q,"retry_at":%q,"weight":2,"failures":2,"last_error":"failed"},`+
			`{"name":"b","state":"closed","since":%q,"weight":0,"failures":0}]}`,
			began.Format(time.RFC3339Nano), began.Add(10*time.Second).Format(time.RFC3339Nano), began.Format(time.RFC3339Nano))
		is(t, want, string(got))
	})
}

func TestUpstreamsShareOneRegistry(t *testing.T) {
	stage(t, nil, func(s *scene) {
		other, err := New(Options{Name: "other", Endpoints: []Endpoint{{Name: "z"}}, Registerer: s.counts})
		well(t, err)
		well(t, other.Do(s.Context(), func(context.Context, Call) error { return nil }))
		well(t, s.ask(nil))
		s.counted(1, "hongyan_upstream_calls_total", "z", "ok", "other")
		s.counted(1, "hongyan_upstream_calls_total", "a", "ok", "model")
	})
}
