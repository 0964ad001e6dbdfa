package e2e

import (
	"fmt"
	"testing"
	"time"

	"hongyan/bots/model/example"
	"hongyan/internal/checker"
)

// What a call of a model may take of the engine at most: a place is the turn, the client's connection with its two goroutines, and the call's
// own; an open exchange is the server's goroutine and its watch on the connection, a line that answers it, and a push through WeChat's API.
const (
	goroutinesOfAPlace     = 4
	goroutinesOfAnExchange = 4
	bytesOfAPlace          = 256 << 10
	bytesOfAUser           = 32 << 10
	bytesBesides           = 64 << 20 // the log's and the store's caches, and what the collector has not collected yet
)

// TestSlowModel: a model takes 20 s, and far more is asked than has room at it. Users who ask the rules do not notice, memory and goroutines
// stay within bounds that follow from max_in_flight, and everybody gets an answer: the model's, or the apology at once.
func TestSlowModel(t *testing.T) {
	realProcess(t)
	const thinks, rulesRate = 20 * time.Second, 40
	places, perSecond, idle, lasts := 256, 60, 5*time.Second, 24*time.Second
	if *long {
		places, perSecond, idle, lasts = 512, 100, 30*time.Second, 2*time.Minute
	}
	m := openModel(t, example.Knobs{Delay: thinks})
	d := newDeskWith(t, settings{durability: "disk", rules: modelRules, bots: m.bot(fmt.Sprintf(", max_in_flight: %d", places))},
		official{id: "push", push: true, chain: "rules, model"})
	d.openAPI()
	d.startReady()

	rules := func(phase string) *stream {
		return write(t, rulesRate, func(i int) { d.ask("push", fmt.Sprintf("oRules-%04d", i%100), fmt.Sprintf("rule-%s-%d", phase, i)) })
	}
	warm := rules("warm")
	pause(t, time.Second)
	warm.end()
	quiet := rules("idle")
	pause(t, idle)
	quiet.end()
	before := d.size()

	users := perSecond * int(thinks/time.Second) * 3 / 2 // each writes again only after the model has answered
	beside := rules("load")
	load := write(t, perSecond, func(i int) { d.ask("push", fmt.Sprintf("oModel-%05d", i%users), fmt.Sprintf("model-%d", i)) })
	began := time.Now()
	first, second := d.largest(t, began.Add(lasts/2)), d.largest(t, began.Add(lasts))
	asked := load.end()
	beside.end()
	m.turn(example.Knobs{}) // whoever still waits is answered
	d.wait()
	d.settled(time.Minute)

	found, named := d.named()
	accept(t, found)
	if letters := d.letters(); len(letters) > 0 {
		t.Errorf("dead letters for which there is no reason here: %+v", letters)
	}
	t.Logf("%d questions to the model in %v: %d answers, %d apologies", asked, lasts, len(named.Model), len(named.Sorry))
	if len(named.Model)+len(named.Sorry) != asked || len(named.Model) < places || len(named.Sorry) == 0 {
		t.Errorf("%d answers of the model and %d apologies to %d questions, with %d places", len(named.Model), len(named.Sorry), asked, places)
	}
	if busy := d.metrics()[`hongyan_upstream_refused_total{reason="busy",upstream="model"}`]; int(busy) != len(named.Sorry) {
		t.Errorf("%v turns were counted as refused because all places were taken; %d users got the apology", busy, len(named.Sorry))
	}
	sorry := waitsOf(found, "model-", func(a *checker.Asked) bool { return named.Sorry[a.Name] })
	t.Logf("apologies: %v", sorry)
	judgeWaits(t, waitsOf(found, "rule-idle-", anybody), waitsOf(found, "rule-load-", anybody))
	judgeSize(t, before, first, second, places, perSecond, min(asked, users))
}

// judgeWaits holds the rules' users under load against those of the idle engine. The long form holds the target: at most twice as long, and
// what differs by less than 5 ms is no difference. The short one runs beside other tests, on machines that have other work.
func judgeWaits(t *testing.T, idle, load waits) {
	t.Helper()
	t.Logf("users of the rules, idle:       %v", idle)
	t.Logf("users of the rules, under load: %v", load)
	limit := max(4*idle.p99, idle.p99+time.Second)
	if *long {
		limit = max(2*idle.p99, idle.p99+5*time.Millisecond)
	}
	if load.p99 > limit {
		t.Errorf("users of the rules waited %v at p99 while the model was slow, more than %v; %v without", load.p99, limit, idle.p99)
	}
}

// size is what the engine takes of the machine.
type size struct{ goroutines, bytes float64 }

func (s size) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f MiB", s.goroutines, s.bytes/(1<<20))
}

func (n *node) size() size {
	n.t.Helper()
	m := n.metrics()
	s := size{m["go_goroutines"], m["process_resident_memory_bytes"]}
	if s.goroutines == 0 || s.bytes == 0 {
		n.t.Errorf("/metrics does not tell goroutines and memory: %v", s)
	}
	return s
}

// largest is the largest size until a moment, looked at twice a second.
func (n *node) largest(t *testing.T, until time.Time) (most size) {
	t.Helper()
	for time.Now().Before(until) && t.Context().Err() == nil {
		now := n.size()
		most.goroutines, most.bytes = max(most.goroutines, now.goroutines), max(most.bytes, now.bytes)
		pause(t, 500*time.Millisecond)
	}
	return most
}

// judgeSize holds the engine's size against what its places, its open exchanges (of the last five seconds) and its users may take, and the
// second half of the load against the first one.
func judgeSize(t *testing.T, before, first, second size, places, perSecond, users int) {
	t.Helper()
	t.Logf("idle: %v; first half: %v; second half: %v", before, first, second)
	exchanges := float64(5 * perSecond)
	goroutines := before.goroutines + goroutinesOfAPlace*float64(places) + goroutinesOfAnExchange*exchanges
	bytes := before.bytes + bytesBesides + bytesOfAPlace*float64(places) + bytesOfAUser*float64(users)
	t.Logf("bounds: %v", size{goroutines, bytes})
	most := size{max(first.goroutines, second.goroutines), max(first.bytes, second.bytes)}
	if most.goroutines > goroutines || most.bytes > bytes {
		t.Errorf("the engine took %v; with %d places it may take %v", most, places, size{goroutines, bytes})
	}
	if second.goroutines > first.goroutines*1.1+50 {
		t.Errorf("goroutines grew from %.0f in the first half of the load to %.0f in the second", first.goroutines, second.goroutines)
	}
	if grown := second.bytes - first.bytes; grown > bytesBesides/2+bytesOfAUser*float64(users)/2 {
		t.Errorf("memory grew by %.0f MiB from the first half of the load to the second", grown/(1<<20))
	}
}
