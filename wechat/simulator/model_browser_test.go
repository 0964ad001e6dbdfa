package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hongyan/messages"
)

// asked is a model with a breaker in front of it, as a back end would have both: it follows its knobs, and three failures open the
// breaker, which one answer closes after a rest.
type asked struct {
	mu       sync.Mutex
	knobs    ModelKnobs
	stats    ModelStats
	endpoint UpstreamEndpoint
	others   []Upstream
}

const restOfBreaker = time.Second

func newAsked() *asked {
	return &asked{endpoint: UpstreamEndpoint{Name: "127.0.0.1:8091", State: breakerClosed, Since: time.Now()}}
}

func (a *asked) Knobs() ModelKnobs {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.knobs
}

func (a *asked) SetKnobs(k ModelKnobs) error {
	if k.FailureRate > 1 {
		return errors.New("the failure rate is 0 to 1")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.knobs = k
	return nil
}

func (a *asked) Stats() ModelStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

func (a *asked) Upstreams(context.Context) []Upstream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Upstream{{Name: "model", MaxInFlight: 512, Endpoints: []UpstreamEndpoint{a.endpoint}}}, a.others...)
}

func (a *asked) turn(state string) {
	a.endpoint.State, a.endpoint.Since, a.endpoint.RetryAt = state, time.Now(), nil
	if state == "open" {
		at := a.endpoint.Since.Add(restOfBreaker)
		a.endpoint.RetryAt = &at
	}
}

// answer is what the back end says to one message.
func (a *asked) answer(ctx context.Context) string {
	const sorry = "抱歉，我现在有点忙。"
	a.mu.Lock()
	e := &a.endpoint
	if e.State == "open" && time.Since(e.Since) < restOfBreaker {
		a.mu.Unlock()
		return sorry
	}
	if e.State == "open" {
		a.turn("half_open")
	}
	a.stats.Requests++
	delay := a.knobs.Delay
	a.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.knobs.Down {
		a.stats.Broken++
		e.LastError = "connection reset by peer"
		if e.Failures++; e.Failures >= 3 || e.State == "half_open" {
			a.turn("open")
		}
		return sorry
	}
	a.stats.Answered++
	e.Failures = 0
	if e.State != breakerClosed {
		a.turn(breakerClosed)
	}
	return "模型的回答"
}

// TestModelInBrowser: the knobs reach the model, and what becomes of the breaker is told.
func TestModelInBrowser(t *testing.T) {
	t.Parallel()
	model := newAsked()
	var r rig
	r = newRig(t, ModeSafe, FormatXML, func(w http.ResponseWriter, req *http.Request, d delivered, _ int) {
		answer := model.answer(req.Context())
		m := Message{Type: d.Fields["MsgType"], MsgID: d.Fields["MsgId"]}
		r.Trace(messages.TraceEvent{
			At: time.Now(), Stage: messages.StageBot, Account: "demo", OpenID: d.Fields["FromUserName"], MsgID: m.MsgID,
			Key: m.key("demo", d.Fields["FromUserName"]), Partition: -1, Detail: "rules passed, model answered 1.234s",
		})
		_, _ = w.Write([]byte(r.back.replyText(d, answer)))
	}, func(o *Options) { o.Model = model })
	server := httptest.NewServer(http.StripPrefix("/phone", r.Handler()))
	t.Cleanup(func() { r.Close(); server.Close() })
	p := openPage(t, server.URL+"/phone", "zh-CN")
	slide := func(knob string, value any) {
		t.Helper()
		p.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => { const s = document.querySelector('input[data-knob="%s"]'); s.value = %v;
			s.dispatchEvent(new Event('input', { bubbles: true })); })()`, knob, value)))
	}
	press := func(knob string) {
		t.Helper()
		p.run(chromedp.Click(chromedp.CSS(`button[data-knob="` + knob + `"]`)))
	}
	state := func(word string) {
		t.Helper()
		p.until("the breaker is "+word, fmt.Sprintf(`document.querySelector('li[data-upstream="model"] .breaker')?.innerText.includes(%q)`, word))
		p.until("the summary says so", fmt.Sprintf(`document.getElementById('model-worst').innerText === %q`, word))
	}
	count := func(name, want string) {
		t.Helper()
		p.until(name+" "+want, fmt.Sprintf(`document.querySelector('[data-stat="%s"] dd')?.innerText === %q`, name, want))
	}
	last := func(text string) {
		t.Helper()
		p.until("the last answer is "+text, fmt.Sprintf(`[...document.querySelectorAll('.row.answer .bubble')].at(-1)?.innerText.includes(%q)`, text))
	}
	p.run(chromedp.Click(chromedp.CSS("#model summary")))
	state("正常")

	slide("delay_ms", 1500)
	p.until("the delay is shown", `document.querySelector('input[data-knob="delay_ms"]').getAttribute('aria-valuetext') === '1.5 s'`)
	until(t, "the delay arrives", func() bool { return model.Knobs().Delay == 1500*time.Millisecond })
	p.write("慢一点")
	last("模型的回答")
	p.until("the answer took its time", `Number(/([\d.]+) s/.exec(document.querySelector('.row.own .trail summary').innerText)?.[1]) >= 1.5`)
	p.run(chromedp.Click(chromedp.CSS(".row.own .trail summary")))
	p.shows("rules 不处理 → model 已回答 1.234s")
	slide("delay_ms", 0)
	slide("failure_rate", 0.35)
	until(t, "both arrive", func() bool { k := model.Knobs(); return k.Delay == 0 && k.FailureRate == 0.35 })

	press("down")
	p.until("the switch is on", `document.querySelector('button[data-knob="down"]').getAttribute('aria-pressed') === 'true'`)
	until(t, "the switch arrives", func() bool { return model.Knobs().Down })
	for i := range 3 {
		p.write(fmt.Sprint("坏", i))
		count("failed", fmt.Sprint(i+1))
	}
	last("抱歉")
	state("熔断")
	p.until("a screen reader hears it", `document.getElementById('model-news').textContent === 'model 127.0.0.1:8091: 熔断'`)
	p.until("when it tries again", `/秒后试探|即将试探/.test(document.querySelector('li[data-upstream="model"]').innerText)`)
	p.until("why", `document.querySelector('li[data-upstream="model"]').innerText.includes('connection reset by peer')`)
	for _, dark := range []bool{false, true} {
		p.shot("model", 1280, 800, dark)
	}
	p.run(chromedp.Evaluate[chromedp.Void](`document.body.dataset.view = 'list'`))
	p.shot("model", 360, 740, false)
	p.run(chromedp.EmulateViewport(360, 740))
	if wide := p.text(`String(Math.max(...[...document.querySelectorAll('#model *')].map(e => e.getBoundingClientRect().right)))`); len(wide) > 3 && wide > "360" {
		t.Errorf("at 360 pixels the panel ends at %s", wide)
	}
	p.run(chromedp.Evaluate[chromedp.Void](`document.body.dataset.view = 'chat'`), chromedp.EmulateViewport(1280, 800))

	press("down")
	until(t, "the switch is off", func() bool { return !model.Knobs().Down })
	p.run(chromedp.Evaluate[chromedp.Void](`document.querySelector('[data-stat]').dataset.old = 'yes'`))
	p.until("the panel is drawn anew", `!document.querySelector('[data-stat]').dataset.old`)
	p.until("the keyboard's place stays", `document.activeElement.dataset.knob === 'down'`)
	until(t, "the breaker rests", func() bool { return time.Since(model.Upstreams(t.Context())[0].Endpoints[0].Since) > restOfBreaker })
	p.write("好了吗")
	last("模型的回答")
	state("正常")
	p.until("the story, newest first", `[...document.querySelectorAll('#transitions .breaker')].map(b => b.innerText).join(' ').startsWith('正常')`)
	p.until("the story has its middle", `document.getElementById('transitions').innerText.includes('熔断')`)
	p.run(chromedp.Click(chromedp.CSS("#language")))
	state("Closed")
	p.until("the knobs are in English", `document.getElementById('model-knobs').innerText.includes('Delay')`)
	p.shows("rules passed → model answered 1.234s")
	p.calm()
	p.run(chromedp.Reload())
	p.until("the story outlives the page", `document.getElementById('transitions')?.textContent.includes('Open')`)
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not seen", what)
		}
	}
}

// TestNoModel: a platform that knows no model shows no panel, and has nothing to turn.
func TestNoModel(t *testing.T) {
	t.Parallel()
	h := newRig(t, ModePlain, FormatXML, silent, nil).Handler()
	if w := serve(h, http.MethodGet, "/api/model", ""); w.Code != http.StatusOK || w.Body.String() != "{}" {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if w := serve(h, http.MethodPost, "/api/model", `{"down":true}`); w.Code != http.StatusNotFound {
		t.Errorf("a knob without a model: status %d", w.Code)
	}
}

// TestModelAPI: a page turns the knobs that it names and no others.
func TestModelAPI(t *testing.T) {
	t.Parallel()
	model := newAsked()
	model.knobs = ModelKnobs{PerToken: 5 * time.Millisecond, BreakRate: 0.25, Reasoning: true}
	h := newRig(t, ModePlain, FormatXML, silent, func(o *Options) { o.Model = model }).Handler()
	want := model.knobs
	for _, c := range []struct {
		body   string
		header []string
		status int
		change func()
	}{
		{`{"delay_ms":1500}`, nil, http.StatusOK, func() { want.Delay = 1500 * time.Millisecond }},
		{`{"failure_rate":0.5,"hang":true}`, nil, http.StatusOK, func() { want.FailureRate, want.Hang = 0.5, true }},
		{`{"break_rate":0,"hang":false,"per_token_ms":0,"reasoning":false}`, nil, http.StatusOK, func() {
			want.BreakRate, want.Hang, want.PerToken, want.Reasoning = 0, false, 0, false
		}},
		{`{}`, nil, http.StatusOK, func() {}},
		{`{"delay_ms":-1}`, nil, http.StatusBadRequest, func() {}},
		{`{"delay_ms":1e300,"down":true}`, nil, http.StatusBadRequest, func() {}},
		{`{"failure_rate":2}`, nil, http.StatusBadRequest, func() {}},
		{`{"down":1}`, nil, http.StatusBadRequest, func() {}},
		{`{"down":true}`, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType, func() {}},
		{`{"down":true}`, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden, func() {}},
	} {
		c.change()
		if w := serve(h, http.MethodPost, "/api/model", c.body, c.header...); w.Code != c.status || model.Knobs() != want {
			t.Errorf("%s: status %d, not %d; the knobs are %+v", c.body, w.Code, c.status, model.Knobs())
		}
	}
	var out modelResponse
	if err := json.Unmarshal(serve(h, http.MethodGet, "/api/model", "").Body.Bytes(), &out); err != nil ||
		*out.Knobs.DelayMS != 1500 || len(out.Upstreams) != 1 || out.Stats == nil || len(out.Transitions) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestStory: what is told of the breakers, from one look to the next.
func TestStory(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(1_800_000_000+int64(second), 0) }
	one := func(node, state string, since int) []Upstream {
		return []Upstream{{Node: node, Name: "model", Endpoints: []UpstreamEndpoint{{Name: "e", State: state, Since: at(since)}}}}
	}
	var s story
	for i, look := range []struct {
		upstreams []Upstream
		told      string
	}{
		{one("a", "closed", 0), ""},
		{one("a", "open", 5), "a open 5"},
		{one("a", "open", 5), "a open 5"},
		{one("b", "open", 3), "a open 5, b open 3"}, // known late; in order of time
		{one("a", "half_open", 9), "a half_open 9, a open 5, b open 3"},
		{one("a", "open", 5), "a half_open 9, a open 5, b open 3"}, // an answer that was overtaken
		{one("a", "open", 10), "a open 10, a half_open 9, a open 5, b open 3"},
		{one("a", "open", 20), "a open 20, a open 10, a half_open 9, a open 5, b open 3"}, // the half-open one between was not seen
		{one("a", "closed", 25), "a closed 25, a open 20, a open 10, a half_open 9, a open 5, b open 3"},
		{one("a", "closed", 40), "a closed 25, a open 20, a open 10, a half_open 9, a open 5, b open 3"}, // the node began anew
		{nil, "a closed 25, a open 20, a open 10, a half_open 9, a open 5, b open 3"},
	} {
		told := ""
		for j, c := range s.look(look.upstreams) {
			if j > 0 {
				told += ", "
			}
			told += fmt.Sprint(c.Node, " ", c.To, " ", c.At.Unix()-1_800_000_000)
		}
		if told != look.told {
			t.Errorf("look %d: %s; not %s", i, told, look.told)
		}
	}
	for i := range 2 * maxTransitions {
		state := []string{"open", "half_open"}[i%2]
		if told := s.look(one("a", state, 100+i)); len(told) > maxTransitions || !told[0].At.Equal(at(100+i)) {
			t.Fatalf("%d are told, the newest of %v", len(told), told[0].At)
		}
	}
	for i := range 2 * maxBreakers {
		s.look(one(fmt.Sprint("node-", i), "closed", i))
	}
	if len(s.seen) > maxBreakers+1 {
		t.Errorf("%d breakers are remembered", len(s.seen))
	}
}
