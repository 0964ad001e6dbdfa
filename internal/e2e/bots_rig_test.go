package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/bots/model/example"
	"hongyan/bots/upstream"
	"hongyan/internal/checker"
)

// model is the example endpoint on a port of its own, in the test's process, with everything that it was asked.
type model struct {
	*example.Endpoint
	t       *testing.T
	address string

	mu    sync.Mutex
	asked []prompt
}

// prompt is one request: the conversation as the model sees it.
type prompt struct {
	At   time.Time
	User string `json:"user"`
	Said []said `json:"messages"`
}

type said struct{ Role, Content string }

// question is what the model was asked at last.
func (p prompt) question() string {
	if len(p.Said) == 0 {
		return ""
	}
	return p.Said[len(p.Said)-1].Content
}

// openModel serves an example model until the test ends.
func openModel(t *testing.T, k example.Knobs) *model {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{Endpoint: example.New(example.Options{}), t: t, address: listener.Addr().String()}
	m.turn(k)
	server := &http.Server{Handler: m.noted(m.Handler()), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() { // ended by Close
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the example model: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		poll(t.Context(), 10*time.Second, func() bool { return m.Stats().InFlight == 0 })
	})
	return m
}

// noted keeps the requests.
func (m *model) noted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		p := prompt{At: time.Now()}
		if err == nil {
			err = json.Unmarshal(body, &p)
		}
		if err != nil && r.Context().Err() == nil {
			m.t.Errorf("the model was asked in a form that it does not know: %v", err)
		}
		m.mu.Lock()
		m.asked = append(m.asked, p)
		m.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// prompts are all requests so far, in the order in which they came.
func (m *model) prompts() []prompt {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

// turn sets the knobs.
func (m *model) turn(k example.Knobs) {
	m.t.Helper()
	if err := m.SetKnobs(k); err != nil {
		m.t.Fatal(err)
	}
}

// bot is the bot "model" of a configuration, with more of its keys.
func (m *model) bot(more string) string {
	return fmt.Sprintf("  model: {type: openai, base_url: \"http://%s/v1\", api_key: none, model: %s%s}\n", m.address, example.Model, more)
}

// modelRules answer questions whose names begin with rule-; all others go to the next bot.
const modelRules = "rules:\n  - {match: regexp, value: '^问 (rule-\\S+)$', reply: '《$1》'}\n"

// named is the checker's word on everything so far, with the model's answers.
func (d *desk) named() (*checker.Delivery, checker.Named) {
	d.t.Helper()
	records, n := checker.NameAnswers(d.platform.Witness())
	return checker.Deliveries(records, checker.OneAnswer, nil), n
}

// settled returns when nothing is under way in the engine any more.
func (d *desk) settled(within time.Duration) {
	d.t.Helper()
	eventually(d.t, within, "nothing is under way in the engine any more", func() bool { return d.metrics()["wechat_message_queue_length"] == 0 })
}

// upstream is a remote bot's upstream as GET /api/v1/bots tells it.
func (d *desk) upstream(bot string) upstream.Status {
	d.t.Helper()
	var told struct {
		Bots []struct {
			Name     string
			Upstream *upstream.Status
		}
	}
	d.readJSON("/api/v1/bots", &told)
	for _, b := range told.Bots {
		if b.Name == bot && b.Upstream != nil {
			return *b.Upstream
		}
	}
	d.t.Fatalf("/api/v1/bots does not tell of the bot %s: %+v", bot, told)
	return upstream.Status{}
}

// waitsOf are the waits of users whose questions' names begin so, in what the checker found.
func waitsOf(found *checker.Delivery, prefix string, among func(*checker.Asked) bool) waits {
	var all []time.Duration
	for name, a := range found.Asked {
		if strings.HasPrefix(name, prefix) && among(a) {
			all = append(all, a.After())
		}
	}
	if len(all) == 0 {
		return waits{}
	}
	slices.Sort(all)
	return waits{count: len(all), p50: all[len(all)/2], p99: all[len(all)*99/100], max: all[len(all)-1]}
}

func anybody(*checker.Asked) bool { return true }

// stream lets users write, one question each time, at a steady rate until it is ended; what it did not come to in time it leaves out.
type stream struct {
	stop  chan struct{}
	ended chan int
}

// write begins a stream of so many questions a second. ask gets the number of each.
func write(t *testing.T, perSecond int, ask func(i int)) *stream {
	s := &stream{stop: make(chan struct{}), ended: make(chan int, 1)}
	go func() { // ended by end, and by the test
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				ask(i)
			case <-s.stop:
				s.ended <- i
				return
			case <-t.Context().Done():
				s.ended <- i
				return
			}
		}
	}()
	return s
}

// end returns how many questions there were.
func (s *stream) end() int {
	close(s.stop)
	return <-s.ended
}
