// Package example is an OpenAI-compatible endpoint without a model behind it: what `hongyan dev`, tests and benches ask where nobody has
// a key. It says in every answer that it is an example, and makes the answer from what it was sent, so that one can see what reached it.
// It can be made slow, failing, silent and absent while it runs (Knobs).
package example

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Model is the only name that GET /v1/models lists. Requests may name any.
const Model = "example"

// MaxInFlight is how many requests are taken at a time; more get status 429.
const MaxInFlight = 4096

// MaxDelay bounds the delays of Knobs.
const MaxDelay = 10 * time.Minute

// maxBody bounds a request, in bytes: some pictures of WeChat's 10 MB as base64 have room.
const maxBody = 32 << 20

// Options configure an Endpoint. All may be zero.
type Options struct {
	Logger *slog.Logger     // nil: logs nothing
	Now    func() time.Time // nil: time.Now
	Random func() float64   // draws from [0,1) for the rates of Knobs; safe for concurrent use; nil: true chance
}

// Knobs say how well the endpoint does. The zero value is a good one. All hold for requests that are under way, too.
type Knobs struct {
	Delay       time.Duration // from the request's arrival to the first token, 0 to MaxDelay
	PerToken    time.Duration // between two tokens of a stream, 0 to MaxDelay
	FailureRate float64       // share of the requests that get status 500 in place of the first token, 0 to 1
	BreakRate   float64       // share whose connection is reset half-way through the answer, 0 to 1
	Hang        bool          // nothing is sent any more until it ends or the client goes
	Down        bool          // every connection is reset
	Reasoning   bool          // answers have reasoning_content before their text
}

func (k Knobs) check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"the delay", k.Delay}, {"the delay of each token", k.PerToken}} {
		if d.value < 0 || d.value > MaxDelay {
			return fmt.Errorf("%s is %v; it is 0 to %v", d.name, d.value, MaxDelay)
		}
	}
	for _, r := range []struct {
		name  string
		value float64
	}{{"the failure rate", k.FailureRate}, {"the rate of broken streams", k.BreakRate}} {
		if math.IsNaN(r.value) || r.value < 0 || r.value > 1 {
			return fmt.Errorf("%s is %v; it is 0 to 1", r.name, r.value)
		}
	}
	return nil
}

// Stats count questions (POST /v1/chat/completions) since the start. Requests = InFlight + Answered + Failed + Broken + Gone.
type Stats struct {
	Requests         int64 // that came
	InFlight         int64 // under way now
	Answered         int64 // to the end
	Failed           int64 // with an error status
	Broken           int64 // connections reset, before or within the answer
	Gone             int64 // clients that did not wait
	PromptTokens     int64 // of the answered ones, estimated
	CompletionTokens int64 // the same
}

// Endpoint answers. Make it with New; it is safe for concurrent use, and starts nothing.
type Endpoint struct {
	log    *slog.Logger
	now    func() time.Time
	random func() float64
	serial atomic.Int64 // of answers, for their ids

	mu      sync.Mutex
	knobs   Knobs
	changed chan struct{} // closed with the next change of knobs
	stats   Stats
}

// New makes an endpoint with good knobs.
func New(o Options) *Endpoint {
	e := &Endpoint{log: o.Logger, now: o.Now, random: o.Random, changed: make(chan struct{})}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.random == nil {
		e.random = rand.Float64
	}
	return e
}

// Knobs are those in use.
func (e *Endpoint) Knobs() Knobs {
	k, _ := e.watch()
	return k
}

// watch is the knobs in use, and a channel that is closed when they change.
func (e *Endpoint) watch() (Knobs, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.knobs, e.changed
}

// SetKnobs changes all knobs at once. The error says which value is out of its range; nothing has changed then.
func (e *Endpoint) SetKnobs(k Knobs) error {
	if err := k.check(); err != nil {
		return fmt.Errorf("example model: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.knobs = k
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// Stats are the counts of this moment.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// Handler serves the API. Any key is good.
//
//	POST /v1/chat/completions  streaming and not
//	GET  /v1/models            the one model
func (e *Endpoint) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", e.serveChat)
	mux.HandleFunc("GET /v1/models", e.serveModels)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, apiError{
			Message: fmt.Sprintf("The example model knows POST /v1/chat/completions and GET /v1/models, not %s %s.", r.Method, r.URL.Path),
			Type:    invalidRequest,
		})
	})
	return mux
}

func (e *Endpoint) serveModels(w http.ResponseWriter, _ *http.Request) {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	if e.Knobs().Down {
		reset(w)
		return
	}
	_ = respond(w, http.StatusOK, struct { // whoever asked has gone
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{{Model, "model", e.now().Unix(), "hongyan"}}})
}

// fate is how a request ends; goesOn while it has not.
type fate int

const (
	goesOn fate = iota
	answered
	failed
	broken // its connection is to be reset
	gone
)

// enter counts a request in. False: there are too many.
func (e *Endpoint) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Requests++
	if e.stats.InFlight >= MaxInFlight {
		e.stats.Failed++
		return false
	}
	e.stats.InFlight++
	return true
}

// leave counts it out.
func (e *Endpoint) leave(how fate, used usage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.InFlight--
	switch how {
	case answered:
		e.stats.Answered++
		e.stats.PromptTokens += int64(used.PromptTokens)
		e.stats.CompletionTokens += int64(used.CompletionTokens)
	case failed:
		e.stats.Failed++
	case broken:
		e.stats.Broken++
	case goesOn, gone:
		e.stats.Gone++
	}
}

// wait passes the time that the knobs ask for, counted from since, and follows them while they change.
func (e *Endpoint) wait(done <-chan struct{}, since time.Time, length func(Knobs) time.Duration) fate {
	for {
		k, changed := e.watch()
		if k.Down {
			return broken
		}
		left := length(k) - e.now().Sub(since)
		if left <= 0 && !k.Hang {
			return goesOn
		}
		timer := time.NewTimer(left)
		due := timer.C
		if k.Hang {
			due = nil
		}
		select {
		case <-due:
		case <-changed:
		case <-done:
			timer.Stop()
			return gone
		}
		timer.Stop()
	}
}

// strikes draws whether something of this rate happens now.
func (e *Endpoint) strikes(rate float64) bool { return rate > 0 && e.random() < rate }

// reset ends the connection as a server does that died. It returns where the server can give the connection away, and panics with
// http.ErrAbortHandler, which net/http knows, where it cannot.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		err = tcp.SetLinger(0) // a reset instead of an orderly end
	}
	_ = errors.Join(err, conn.Close()) // it is to be gone
}
