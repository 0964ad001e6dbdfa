package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// FaultKind is a way in which the API fails.
type FaultKind string

// The kinds. All but FaultDown and FaultRefuse choose calls by Fault.Call, Rate and Count.
const (
	FaultLatency    FaultKind = "latency"     // the call, or its answer, is late by Latency and up to Jitter more
	FaultReset      FaultKind = "reset"       // the connection is reset
	FaultStatus     FaultKind = "status"      // HTTP Status (503 when zero) without errcode
	FaultCode       FaultKind = "errcode"     // Code as WeChat's answer; nothing happens
	FaultLost       FaultKind = "lost"        // the effect happens, and no answer ever comes: the connection stays open in silence
	FaultStale      FaultKind = "stale"       // 40001 for every token whose generation is below Below (zero: the next one to come)
	FaultInvalidate FaultKind = "invalidate"  // 40001 storm: at injection all tokens become worthless, once, and the next are good
	FaultDown       FaultKind = "unavailable" // 503 for every call
	FaultRefuse     FaultKind = "down"        // nobody listens (ServeAPI), or every connection is reset (APIHandler)
)

// When says on which side of the effect a fault strikes.
type When string

// Before: the call has no effect. After: it had its effect, and the caller does not learn it.
const (
	Before When = "before"
	After  When = "after"
)

// Fault is one thing that goes wrong at the API, until it is cleared, used up or over.
type Fault struct {
	ID      string        // chosen when empty
	Kind    FaultKind     //
	Account string        // only this account's calls; empty: all
	Call    string        // only this path, or with a * at its end all paths that begin so; empty: all
	When    When          // before (default) or after the effect: latency, reset, status
	Latency time.Duration // latency
	Jitter  time.Duration // latency: up to so much more, evenly
	Status  int           // status: 503 when zero
	Code    int           // errcode
	Below   uint64        // stale: generations below this one are refused
	Rate    float64       // share of the calls, 0 to 1; zero: all
	Count   int           // so many calls at most; zero: no bound
	After   time.Duration // begins so long after injection, on the platform's clock
	For     time.Duration // ends so long after its begin; zero: until it is cleared
}

// ErrFault is a fault that cannot be injected; its text says why.
var ErrFault = errors.New("fault cannot be injected")

// faultSet is what is injected. Its lock is taken inside the api's.
type faultSet struct {
	mu      sync.Mutex
	serial  int
	active  []*activeFault
	now     func() time.Time
	chance  func() float64
	changed chan struct{} // closed and replaced with every change
}

type activeFault struct {
	Fault
	from, until time.Time // until is zero without an end
	used        int
}

func (f *activeFault) open(now time.Time) bool {
	return !now.Before(f.from) && (f.until.IsZero() || now.Before(f.until))
}

// Inject makes the API fail in one more way and returns the fault's id. What it says must make sense (ErrFault).
func (p *Platform) Inject(f Fault) (string, error) {
	if err := p.checkFault(&f); err != nil {
		return "", err
	}
	if f.Kind == FaultInvalidate {
		return "", p.injectInvalidation(f)
	}
	if f.Kind == FaultStale && f.Below == 0 {
		if f.Account == "" {
			return "", fmt.Errorf("%w: stale needs below, or the account whose next token is the first good one", ErrFault)
		}
		f.Below = p.TokenGeneration(f.Account) + 1
	}
	s := &p.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	if f.ID == "" {
		f.ID = fmt.Sprintf("%s-%d", f.Kind, s.serial)
	}
	s.active = slices.DeleteFunc(s.active, func(other *activeFault) bool { return other.ID == f.ID })
	a := &activeFault{Fault: f, from: s.now().Add(f.After)}
	if f.For > 0 {
		a.until = a.from.Add(f.For)
	}
	s.active = append(s.active, a)
	s.tell()
	p.witness.add(Record{At: s.now(), Kind: RecordFault, Account: f.Account, Fault: f.ID, Detail: "injected: " + string(mustJSON(f))})
	return f.ID, nil
}

func (p *Platform) injectInvalidation(f Fault) error {
	accounts := p.order
	if f.Account != "" {
		accounts = []string{f.Account}
	}
	for _, id := range accounts {
		if err := p.InvalidateTokens(id); err != nil {
			return err
		}
	}
	return nil
}

func (p *Platform) checkFault(f *Fault) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrFault}, args...)...)
	}
	if f.When == "" {
		f.When = Before
	}
	switch f.Kind {
	case FaultLatency:
		if f.Latency <= 0 && f.Jitter <= 0 {
			return no("latency needs latency or jitter, for example 200ms")
		}
	case FaultStatus:
		if f.Status == 0 {
			f.Status = http.StatusServiceUnavailable
		}
		if f.Status < 400 || f.Status > 599 {
			return no("status %d is none from 400 to 599", f.Status)
		}
	case FaultCode:
		if f.Code == 0 {
			return no("errcode needs a code other than 0")
		}
	case FaultReset, FaultLost, FaultStale, FaultInvalidate, FaultDown, FaultRefuse:
	default:
		return no("kind %q is none of latency, reset, status, errcode, lost, stale, invalidate, unavailable, down", f.Kind)
	}
	switch {
	case f.When != Before && f.When != After:
		return no("when %q is neither before nor after", f.When)
	case f.Rate < 0 || f.Rate > 1:
		return no("rate %v is not between 0 and 1", f.Rate)
	case f.Count < 0 || f.Latency < 0 || f.Jitter < 0 || f.After < 0 || f.For < 0:
		return no("count and durations cannot be negative")
	case f.Account != "" && p.accounts[f.Account] == nil:
		return no("there is no account %q on this platform", f.Account)
	case f.Call != "" && !strings.HasPrefix(f.Call, "/"):
		return no("call %q is no path; write for example %s", f.Call, CallCustomSend)
	}
	return nil
}

// Clear ends the fault with that id; an empty id ends all. It tells how many ended.
func (p *Platform) Clear(id string) int {
	s := &p.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.active)
	s.active = slices.DeleteFunc(s.active, func(f *activeFault) bool { return id == "" || f.ID == id })
	n := before - len(s.active)
	if n > 0 {
		s.tell()
		p.witness.add(Record{At: s.now(), Kind: RecordFault, Fault: id, Detail: fmt.Sprintf("cleared: %d", n)})
	}
	return n
}

// Faults lists what is injected and not over yet.
func (p *Platform) Faults() []Fault {
	s := &p.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	out := make([]Fault, 0, len(s.active))
	for _, f := range s.active {
		out = append(out, f.Fault)
	}
	return out
}

func (s *faultSet) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// expire drops faults that are over or used up.
func (s *faultSet) expire() {
	now := s.now()
	s.active = slices.DeleteFunc(s.active, func(f *activeFault) bool {
		return !f.until.IsZero() && !now.Before(f.until) || f.Count > 0 && f.used >= f.Count
	})
}

// refusing tells whether nobody should listen now, a channel that closes with the next change, and how long the answer holds by
// the clock alone (0: until a change).
func (s *faultSet) refusing() (refuse bool, changed <-chan struct{}, holds time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	now := s.now()
	next := time.Time{}
	sooner := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, f := range s.active {
		if f.Kind != FaultRefuse {
			continue
		}
		refuse = refuse || f.open(now)
		sooner(f.from)
		sooner(f.until)
	}
	if !next.IsZero() {
		holds = next.Sub(now)
	}
	return refuse, s.changed, holds
}

// faultJSON is a fault as HTTP and scripts have it: durations are texts such as "1.5s".
type faultJSON struct {
	ID      string    `json:"id,omitempty"`
	Kind    FaultKind `json:"kind"`
	Account string    `json:"account,omitempty"`
	Call    string    `json:"call,omitempty"`
	When    When      `json:"when,omitempty"`
	Latency string    `json:"latency,omitempty"`
	Jitter  string    `json:"jitter,omitempty"`
	Status  int       `json:"status,omitempty"`
	Code    int       `json:"code,omitempty"`
	Below   uint64    `json:"below,omitempty"`
	Rate    float64   `json:"rate,omitempty"`
	Count   int       `json:"count,omitempty"`
	After   string    `json:"after,omitempty"`
	For     string    `json:"for,omitempty"`
}

// MarshalJSON writes durations as texts.
func (f Fault) MarshalJSON() ([]byte, error) {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return json.Marshal(faultJSON{
		f.ID, f.Kind, f.Account, f.Call, f.When, text(f.Latency), text(f.Jitter), f.Status, f.Code, f.Below, f.Rate, f.Count, text(f.After), text(f.For),
	})
}

// UnmarshalJSON reverses MarshalJSON.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var in faultJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // a misspelt key would be a fault of another kind
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", ErrFault, err)
	}
	*f = Fault{
		ID: in.ID, Kind: in.Kind, Account: in.Account, Call: in.Call, When: in.When, Status: in.Status, Code: in.Code,
		Below: in.Below, Rate: in.Rate, Count: in.Count,
	}
	for _, d := range []struct {
		name, text string
		into       *time.Duration
	}{{"latency", in.Latency, &f.Latency}, {"jitter", in.Jitter, &f.Jitter}, {"after", in.After, &f.After}, {"for", in.For, &f.For}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.into, err = time.ParseDuration(d.text); err != nil {
			return fmt.Errorf("%w: %s %q is no duration; write for example 1.5s", ErrFault, d.name, d.text)
		}
	}
	return nil
}
