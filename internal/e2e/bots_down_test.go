package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hongyan/bots/model/example"
	"hongyan/bots/upstream"
	"hongyan/internal/checker"
)

// restFor is how long the breaker of these tests stays open.
const restFor = 2 * time.Second

// The targets: from the fault until the breaker is open, from the end of the fault until it is closed, and for an apology meanwhile. The short
// form runs beside other tests, on machines that have other work; the long one holds the targets themselves.
type downTargets struct{ open, recover, sorry time.Duration }

func targets() downTargets {
	if *long {
		return downTargets{open: 5 * time.Second, recover: restFor + 2*time.Second, sorry: time.Second}
	}
	return downTargets{open: 10 * time.Second, recover: restFor + 8*time.Second, sorry: generous}
}

// trouble is one way in which a model fails, and when.
type trouble struct {
	name             string
	knobs            example.Knobs
	began, open, end time.Time // the fault, the breaker, the fault's end
	closed           time.Time
}

// TestModelDown: the model is gone, hangs, answers 500, breaks its streams. Each time its breaker opens soon, and users get the apology at
// once; and when the model is well again, they are answered by it. Nobody sees the banner, and users of the rules notice nothing. Metrics
// and API tell the story.
func TestModelDown(t *testing.T) {
	realProcess(t)
	well := example.Knobs{Delay: 100 * time.Millisecond}
	outages := []*trouble{
		{name: "down", knobs: example.Knobs{Down: true}},
		{name: "hangs", knobs: example.Knobs{Hang: true}},
		{name: "answers 500", knobs: example.Knobs{Delay: well.Delay, FailureRate: 1}},
		{name: "breaks its streams", knobs: example.Knobs{Delay: well.Delay, BreakRate: 1}},
	}
	m := openModel(t, well)
	d := newDeskWith(t, settings{durability: "os", rules: modelRules, bots: m.bot(fmt.Sprintf(", breaker: {open: %v}", restFor))},
		official{id: "plain", chain: "rules, model"})
	d.openAPI()
	d.startReady()

	const users = 400 // many, so that nobody's own breaker has a say
	load := write(t, 20, func(i int) { d.ask("plain", fmt.Sprintf("oModel-%04d", i%users), fmt.Sprintf("model-%d", i)) })
	rules := write(t, 20, func(i int) { d.ask("plain", fmt.Sprintf("oRules-%04d", i%users), fmt.Sprintf("rule-%d", i)) })
	for _, o := range outages {
		d.trouble(m, o, well)
	}
	asked := load.end()
	rules.end()
	d.wait()
	d.settled(time.Minute)

	found, named := d.named()
	accept(t, found)
	all := waitsOf(found, "rule-", anybody)
	t.Logf("users of the rules: %v", all)
	if all.p99 > generous {
		t.Errorf("users of the rules waited %v at p99", all.p99)
	}
	if len(named.Model)+len(named.Sorry) != asked {
		t.Errorf("%d answers of the model and %d apologies to %d questions", len(named.Model), len(named.Sorry), asked)
	}
	for _, o := range outages {
		judgeOutage(t, found, named, o)
	}
	d.judgeStory(outages, asked, len(named.Sorry))
}

// trouble lets the model fail, and be well again.
func (d *desk) trouble(m *model, o *trouble, well example.Knobs) {
	d.t.Helper()
	answered := m.Stats().Answered
	eventually(d.t, 10*time.Second, "the model answers", func() bool { return m.Stats().Answered >= answered+20 })
	m.turn(o.knobs)
	o.began = time.Now()
	var seen upstream.Status
	is := func(state string) func() bool {
		return func() bool { seen = d.upstream("model"); return seen.Endpoints[0].State == state }
	}
	eventually(d.t, targets().open, "the breaker of a model that "+o.name+" is open", is("open"))
	o.open = time.Now()
	if e := seen.Endpoints[0]; e.Name != m.address || e.RetryAt == nil || e.LastError == "" || e.Failures == 0 || strings.Contains(e.LastError, "问") {
		d.t.Errorf("%s: /api/v1/bots tells of the open breaker: %+v", o.name, e)
	}
	if v := d.metrics()[d.series("hongyan_upstream_state", m)]; v == 0 {
		d.t.Errorf("%s: hongyan_upstream_state is %v while the breaker is open", o.name, v)
	}
	pause(d.t, restFor*3/2) // a probe fails meanwhile
	answered = m.Stats().Answered
	m.turn(well)
	o.end = time.Now()
	eventually(d.t, targets().recover, "the breaker is closed after the model "+o.name, is("closed"))
	o.closed = time.Now()
	eventually(d.t, 10*time.Second, "the model answers again", func() bool { return m.Stats().Answered >= answered+20 })
	d.t.Logf("%-18s  open after %.2f s, closed %.2f s after the end", o.name, o.open.Sub(o.began).Seconds(), o.closed.Sub(o.end).Seconds())
}

// series is a metric of the model's only endpoint.
func (d *desk) series(name string, m *model) string {
	return fmt.Sprintf(`%s{endpoint=%q,upstream="model"}`, name, m.address)
}

// judgeOutage looks at those who asked while the breaker was open, and at those who asked after it was closed.
func judgeOutage(t *testing.T, found *checker.Delivery, named checker.Named, o *trouble) {
	t.Helper()
	within := func(a *checker.Asked, from, to time.Time) bool { return a.Pushed.After(from) && a.Pushed.Before(to) }
	sorry := waitsOf(found, "model-", func(a *checker.Asked) bool { return named.Sorry[a.Name] && within(a, o.open, o.end) })
	t.Logf("%-18s  apologies while open: %v", o.name, sorry)
	if sorry.count < 20 || sorry.p99 > targets().sorry {
		t.Errorf("%s: while the breaker was open, %d users got the apology, after %v at p99", o.name, sorry.count, sorry.p99)
	}
	answered := waitsOf(found, "model-", func(a *checker.Asked) bool {
		_, ok := named.Model[a.Name]
		return ok && within(a, o.began, o.open)
	})
	late := waitsOf(found, "model-", func(a *checker.Asked) bool {
		return named.Sorry[a.Name] && within(a, o.closed, o.closed.Add(time.Second))
	})
	if late.count > 0 {
		t.Errorf("%s: %d users got the apology in the second after the breaker was closed", o.name, late.count)
	}
	if o.knobs.Down && answered.count > 0 {
		t.Errorf("%s: %d users were answered by a model that is gone", o.name, answered.count)
	}
}

// judgeStory compares what the metrics tell with what happened.
func (d *desk) judgeStory(outages []*trouble, asked, sorry int) {
	d.t.Helper()
	m := d.metrics()
	count := func(name, labels string) (sum int) {
		for series, v := range m {
			if strings.HasPrefix(series, name+"{") && strings.Contains(series, labels) {
				sum += int(v)
			}
		}
		return sum
	}
	opened, half, closed := count("hongyan_upstream_transitions_total", `to="open"`), count("hongyan_upstream_transitions_total", `to="half_open"`),
		count("hongyan_upstream_transitions_total", `to="closed"`)
	refused, ok := count("hongyan_upstream_refused_total", `reason="open"`), count("hongyan_upstream_calls_total", `result="ok"`)
	calls := count("hongyan_upstream_calls_total", "")
	d.t.Logf("metrics: opened %d times, half-open %d, closed %d; refused %d; %d calls, %d of them well; %d questions, %d apologies",
		opened, half, closed, refused, calls, ok, asked, sorry)
	if closed != len(outages) || opened < len(outages) || half != opened {
		d.t.Errorf("%d outages: the breaker opened %d times, was half-open %d times and closed %d times", len(outages), opened, half, closed)
	}
	if refused+calls != asked || asked-ok != sorry || refused == 0 {
		d.t.Errorf("%d questions and %d apologies: %d turns were refused, %d calls made, %d of them well", asked, sorry, refused, calls, ok)
	}
}
