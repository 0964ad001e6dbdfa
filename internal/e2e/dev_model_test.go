package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// modelPanel is what the phone page shows of the example model and the breakers in front of it.
type modelPanel struct {
	Stats     struct{ Requests, Answered, Broken, Failed, Gone int }
	Upstreams []struct {
		Node, Name string
		Endpoints  []struct{ State string }
	}
	Transitions []struct{ Node, To string }
}

func (d *dev) model() modelPanel {
	d.t.Helper()
	_, body, err := get(d.admin + "/phone/api/model")
	var m modelPanel
	if err = errors.Join(err, json.Unmarshal([]byte(body), &m)); err != nil {
		d.t.Fatalf("the phone's panel of the model: %v: %s", err, body)
	}
	return m
}

// breakers are the states, by node; the one process has the name "".
func (m modelPanel) breakers() map[string]string {
	out := make(map[string]string)
	for _, u := range m.Upstreams {
		for _, e := range u.Endpoints {
			out[u.Node] = e.State
		}
	}
	return out
}

// turn turns knobs of the model as the page does.
func (d *dev) turn(knobs string) {
	d.t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(d.admin+"/phone/api/model", "application/json", strings.NewReader(knobs))
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("turn %s: status %d", knobs, resp.StatusCode)
	}
}

// TestDevModel: without a key, a model answers what the rules do not; slow, hanging and down it does as the knobs say, the breaker opens
// and closes again, and the page tells of it.
func TestDevModel(t *testing.T) {
	realProcess(t)
	dir := t.TempDir()
	d := startDev(t, dir)
	if answer, stderr, code := run(t, dir, "send", "--account", "demo", "--user", "u1", "讲个笑话"); code != 0 ||
		!strings.Contains(answer, "示例模型") || !strings.Contains(answer, "讲个笑话") {
		t.Fatalf("hongyan send: exit code %d, %q, %s", code, answer, stderr)
	}
	wants := func(openID, question, part string) time.Duration {
		t.Helper()
		began := time.Now()
		if b := d.chat(openID, question); b.Answer == nil || !strings.Contains(b.Answer.Content, part) {
			t.Fatalf("%q is answered with %+v, not %q; %s", question, b.Answer, part, d.proc.tail())
		}
		return time.Since(began)
	}
	wants("u1", "我刚才说了什么", "“讲个笑话”")
	wants("u1", "你好", "您好！") // by the rules

	d.turn(`{"delay_ms": 1500}`)
	if took := wants("u1", "慢慢说", "示例模型"); took < 1500*time.Millisecond {
		t.Errorf("with a delay of 1.5 s the answer came after %v", took)
	}

	d.turn(`{"delay_ms": 0, "down": true}`)
	for i := range 3 {
		wants("u2", fmt.Sprint("在不在", i), "抱歉")
	}
	eventually(t, 5*time.Second, "the breaker is open", func() bool { return d.model().breakers()[""] == "open" })
	before := d.model().Stats
	wants("u1", "还在吗", "抱歉")
	wants("u1", "你好", "您好！")
	if after := d.model().Stats; after != before && d.model().breakers()[""] == "open" && len(d.model().Transitions) == 1 {
		t.Errorf("behind an open breaker the model was asked: %+v, then %+v", before, after)
	}

	d.turn(`{"down": false}`)
	eventually(t, 20*time.Second, "the breaker lets a probe through", func() bool { return d.model().breakers()[""] == "half_open" })
	wants("u2", "好了吗", "示例模型")
	eventually(t, 5*time.Second, "the breaker is closed", func() bool { return d.model().breakers()[""] == "closed" })
	told := make(map[string]bool)
	for _, c := range d.model().Transitions {
		told[c.To] = true
	}
	if !told["open"] || !told["half_open"] || !told["closed"] {
		t.Errorf("the page tells of %v", d.model().Transitions)
	}
	wants("u1", "现在呢", "示例模型")

	d.turn(`{"hang": true}`)
	asked := d.model().Stats.Requests
	id := d.say("u1", "请稍等")
	eventually(t, 10*time.Second, "the model has the question", func() bool { return d.model().Stats.Requests > asked })
	d.turn(`{"hang": false}`)
	eventually(t, 20*time.Second, "the question that hung is answered", func() bool {
		b := d.bubbles("u1")[id]
		return b.Done && b.Answer != nil && strings.Contains(b.Answer.Content, "请稍等")
	})
}
