package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

const (
	burstUsers = 60
	burstEvery = 40 * time.Millisecond
	// crowd is how many results WeChat delivers at a time. It publishes no figure.
	crowd = 64
	// generous bounds a wait of another user on any machine; what it really was is logged, and stands in docs/reliability.md.
	generous = 3 * time.Second
)

// TestBurst: the results of a mass notification come in a burst. Each is acknowledged, none at the price of a redelivery, and other users
// go on being answered.
func TestBurst(t *testing.T) {
	realProcess(t)
	events, steady := 5_000, 4*time.Second
	if *long {
		events, steady = 100_000, 30*time.Second
	}
	d := newDesk(t, slowRules(), official{id: "push", push: true})
	d.openAPI()
	d.startReady()

	d.steadily("warm", time.Second, nil)
	without := d.steadily("without", steady, nil)
	var result simulator.BurstResult
	with := d.steadily("with", steady, func() {
		var err error
		result, err = d.platform.Burst(t.Context(), "push", simulator.Burst{Count: events, Concurrency: crowd, Message: simulator.TemplateResults})
		if err != nil {
			t.Errorf("burst: %v", err)
		}
	})
	t.Logf("burst: %v", result)
	t.Logf("other users without it: %v", without)
	t.Logf("other users with it:    %v", with)
	if result.Silent != events || result.Retried > 0 {
		t.Errorf("of %d events %d were acknowledged, %d of them by a redelivery: %v", events, result.Silent, result.Retried, result)
	}
	if with.p99 > generous {
		t.Errorf("other users waited %v at p99 during the burst, %v without it", with.p99, without.p99)
	}
	accept(t, d.quiet(checker.OneAnswer))
	var backlog float64
	eventually(t, 30*time.Second, "the burst is settled", func() bool {
		backlog = d.metrics()["wechat_message_queue_length"]
		return backlog == 0
	})
}

// waits are how long users waited for their answers.
type waits struct {
	count         int
	p50, p99, max time.Duration
}

func (w waits) String() string {
	return fmt.Sprintf("%d answers, p50 %v, p99 %v, longest %v", w.count, w.p50.Round(100*time.Microsecond), w.p99.Round(100*time.Microsecond),
		w.max.Round(100*time.Microsecond))
}

// steadily lets users write at a steady rate, for a time, or for as long as beside lasts where it is not nil.
func (d *desk) steadily(phase string, lasts time.Duration, beside func()) waits {
	d.t.Helper()
	ended := make(chan struct{})
	if beside == nil {
		beside = func() { pause(d.t, lasts) }
	}
	go func() { // ends with beside
		defer close(ended)
		beside()
	}()
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	prefix := phase + "-"
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			d.ask("push", fmt.Sprintf("oSteady-%04d", i%burstUsers), fmt.Sprintf("%s%d", prefix, i))
			continue
		case <-ended:
		}
		break
	}
	d.wait()
	var all []time.Duration
	for name, a := range d.quiet(checker.OneAnswer).Asked {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			all = append(all, a.After())
		}
	}
	if len(all) == 0 {
		d.t.Fatalf("nobody wrote in the phase %q", phase)
	}
	slices.Sort(all)
	return waits{count: len(all), p50: all[len(all)/2], p99: all[len(all)*99/100], max: all[len(all)-1]}
}
