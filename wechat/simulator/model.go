package simulator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Model is a language model that the back end asks and that can be made worse, for a page that has knobs for it and shows how the back
// end takes it. The platform knows nothing else of it.
type Model interface {
	Knobs() ModelKnobs
	// SetKnobs changes all of them at once, or none: its error says which value is out of its range.
	SetKnobs(ModelKnobs) error
	Stats() ModelStats
	// Upstreams is how the back end's nodes see the models that they ask. It answers within a second, whatever state the nodes are in.
	Upstreams(ctx context.Context) []Upstream
}

// ModelKnobs say how well the model does.
type ModelKnobs struct {
	Delay       time.Duration // until the first token
	PerToken    time.Duration // between two tokens
	FailureRate float64       // share of the requests that get status 500, 0 to 1
	BreakRate   float64       // share of the answers that break half-way, 0 to 1
	Hang        bool          // takes requests and sends nothing
	Down        bool          // resets every connection
	Reasoning   bool          // reasons aloud before it answers
}

// ModelStats count the model's requests since it started.
type ModelStats struct {
	Requests int64 `json:"requests"`
	InFlight int64 `json:"in_flight"`
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"` // with an error status
	Broken   int64 `json:"broken"` // connections reset
	Gone     int64 `json:"gone"`   // clients that did not wait
	Tokens   int64 `json:"tokens"` // read and written
}

// Upstream is a model, or another remote bot, as one node sees it.
type Upstream struct {
	Node        string             `json:"node,omitempty"` // empty: the only one
	Name        string             `json:"name"`
	InFlight    int                `json:"in_flight"`
	MaxInFlight int                `json:"max_in_flight"`
	Endpoints   []UpstreamEndpoint `json:"endpoints"`
}

// UpstreamEndpoint is one place where it can be asked, and what the breaker in front of it thinks.
type UpstreamEndpoint struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`              // closed, half_open or open
	Since     time.Time  `json:"since"`              // when the breaker entered the state
	RetryAt   *time.Time `json:"retry_at,omitempty"` // when an open breaker lets a probe through
	Failures  int        `json:"failures"`           // in a row
	LastError string     `json:"last_error,omitempty"`
}

const breakerClosed = "closed"

var errNoModel = errors.New("the platform knows no model")

// Transition is a change of one breaker's state.
type Transition struct {
	At       time.Time `json:"at"`
	Node     string    `json:"node,omitempty"`
	Upstream string    `json:"upstream"`
	Endpoint string    `json:"endpoint"`
	To       string    `json:"to"`
}

// maxTransitions bounds what the page tells of the breakers' past; older ones are forgotten.
const maxTransitions = 30

// maxBreakers bounds how many breakers the story follows. Beyond it, those that are not there now are forgotten.
const maxBreakers = 1024

// story notes what becomes of the breakers from one look at them to the next. Where nobody looks, changes that came and went between two
// looks are not told.
type story struct {
	mu   sync.Mutex
	seen map[breaker]UpstreamEndpoint
	told []Transition // newest last
}

// breaker names one.
type breaker struct{ node, upstream, endpoint string }

// look compares the breakers with the last look and returns the story, newest first.
func (s *story) look(upstreams []Upstream) []Transition {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) > maxBreakers {
		s.seen = make(map[breaker]UpstreamEndpoint)
	}
	for _, u := range upstreams {
		for _, e := range u.Endpoints {
			key := breaker{u.Node, u.Name, e.Name}
			last, known := s.seen[key]
			if known && !e.Since.After(last.Since) { // the same, or an answer that was overtaken
				continue
			}
			s.seen[key] = e
			if e.State == breakerClosed && (!known || last.State == breakerClosed) { // nothing has happened to it, or its node began anew
				continue
			}
			s.told = append(s.told, Transition{At: e.Since, Node: u.Node, Upstream: u.Name, Endpoint: e.Name, To: e.State})
		}
	}
	slices.SortStableFunc(s.told, func(a, b Transition) int { return a.At.Compare(b.At) })
	s.told = s.told[max(0, len(s.told)-maxTransitions):]
	out := slices.Clone(s.told)
	slices.Reverse(out)
	return out
}

// knobsJSON is ModelKnobs on the page. An absent one stays as it is.
type knobsJSON struct {
	DelayMS     *float64 `json:"delay_ms,omitempty"`
	PerTokenMS  *float64 `json:"per_token_ms,omitempty"`
	FailureRate *float64 `json:"failure_rate,omitempty"`
	BreakRate   *float64 `json:"break_rate,omitempty"`
	Hang        *bool    `json:"hang,omitempty"`
	Down        *bool    `json:"down,omitempty"`
	Reasoning   *bool    `json:"reasoning,omitempty"`
}

func shownKnobs(k ModelKnobs) knobsJSON {
	delay, perToken := float64(k.Delay)/1e6, float64(k.PerToken)/1e6
	return knobsJSON{&delay, &perToken, &k.FailureRate, &k.BreakRate, &k.Hang, &k.Down, &k.Reasoning}
}

// turned is the knobs after a page has turned some of them.
func (j knobsJSON) turned(k ModelKnobs) (ModelKnobs, error) {
	for _, d := range []struct {
		name string
		from *float64
		to   *time.Duration
	}{{"delay_ms", j.DelayMS, &k.Delay}, {"per_token_ms", j.PerTokenMS, &k.PerToken}} {
		if d.from == nil {
			continue
		}
		if ms := *d.from; ms < 0 || ms > math.MaxInt32 {
			return k, fmt.Errorf("%s is %v; it is a number of milliseconds from 0 on", d.name, ms)
		}
		*d.to = time.Duration(*d.from * 1e6)
	}
	replace(&k.FailureRate, j.FailureRate)
	replace(&k.BreakRate, j.BreakRate)
	replace(&k.Hang, j.Hang)
	replace(&k.Down, j.Down)
	replace(&k.Reasoning, j.Reasoning)
	return k, nil
}

func replace[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// modelResponse is the body of GET and POST /api/model. All is absent where the platform knows no model.
type modelResponse struct {
	Knobs       *knobsJSON   `json:"knobs,omitempty"`
	Stats       *ModelStats  `json:"stats,omitempty"`
	Upstreams   []Upstream   `json:"upstreams,omitempty"`
	Transitions []Transition `json:"transitions,omitempty"` // newest first
}

func (p *Platform) serveModel(w http.ResponseWriter, r *http.Request) {
	respond(w, http.StatusOK, mustJSON(p.lookAtModel(r.Context())))
}

func (p *Platform) lookAtModel(ctx context.Context) modelResponse {
	if p.model == nil {
		return modelResponse{}
	}
	upstreams := p.model.Upstreams(ctx)
	stats, knobs := p.model.Stats(), shownKnobs(p.model.Knobs())
	return modelResponse{Knobs: &knobs, Stats: &stats, Upstreams: upstreams, Transitions: p.story.look(upstreams)}
}

// serveKnobs turns some knobs and answers with all as they are then. Two pages may turn different ones at once.
func (p *Platform) serveKnobs(in knobsJSON) (int, any, error) {
	if p.model == nil {
		return 0, nil, errNoModel
	}
	p.knobs.Lock()
	defer p.knobs.Unlock()
	k, err := in.turned(p.model.Knobs())
	if err == nil {
		err = p.model.SetKnobs(k)
	}
	if err != nil {
		return 0, nil, err
	}
	shown := shownKnobs(p.model.Knobs())
	return http.StatusOK, modelResponse{Knobs: &shown}, nil
}
