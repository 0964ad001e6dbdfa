package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/messages"
)

// BenchmarkActivationBesidePassivations compares how long it takes to activate a user among 100,000 idle ones in peace and while
// 2,000 of them stop: the p99 of both and their ratio. A lookup that is told of each stop and walks a table was once a second.
func BenchmarkActivationBesidePassivations(b *testing.B) {
	const idle, stops, probes = 100_000, 2_000, 2_000
	system := actor.NewActorSystem(actor.WithDeadLetterRequestLogging(false))
	defer system.Shutdown()
	root := system.Root
	partition := root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &testPartition{store: newTenures(), own: Ownership{Epoch: 1}, takenOver: func() {}}
	}))
	next := 0
	activate := func() string {
		next++
		reply, err := root.RequestFuture(partition, &messages.Activate{Account: "demo", OpenId: fmt.Sprintf("user-%d", next)}, 10*time.Second).Result()
		if err != nil {
			b.Fatal(err)
		}
		return reply.(*messages.Activated).GetActorId()
	}
	p99 := func() time.Duration {
		var took []time.Duration
		for range probes {
			began := time.Now()
			activate()
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	users := make([]string, idle)
	for i := range users {
		users[i] = activate()
	}
	b.ResetTimer()
	var peace, storm time.Duration
	for round := range b.N {
		peace += p99()
		done := make(chan struct{})
		go func() { // ended below
			defer close(done)
			for i := range stops {
				root.Stop(system.NewLocalPID(users[(round*stops+i)%idle]))
			}
		}()
		storm += p99()
		<-done
	}
	b.ReportMetric(float64(peace.Microseconds())/float64(b.N), "peace-p99-µs")
	b.ReportMetric(float64(storm.Microseconds())/float64(b.N), "storm-p99-µs")
	b.ReportMetric(float64(storm)/float64(peace), "ratio")
}
