package upstream

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Status is an upstream as operators see it, on this node.
type Status struct {
	Name        string           `json:"name"`
	MaxInFlight int              `json:"max_in_flight"`
	InFlight    int              `json:"in_flight"`
	Endpoints   []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is one endpoint with its breaker.
type EndpointStatus struct {
	Name      string     `json:"name"`
	State     string     `json:"state"` // closed, half_open or open
	Since     time.Time  `json:"since"`
	RetryAt   *time.Time `json:"retry_at,omitempty"` // when an open breaker lets a probe through
	Weight    int        `json:"weight"`
	Failures  int        `json:"failures"`             // in a row; 0 after one success
	LastError string     `json:"last_error,omitempty"` // the last failure in words for operators: no secret, nothing of a body
}

// Status returns how the upstream is now.
func (u *Upstream) Status() Status {
	u.mu.Lock()
	defer u.unlock()
	now := u.now()
	s := Status{Name: u.name, MaxInFlight: u.places, InFlight: u.inFlight}
	for _, e := range u.endpoints {
		e.refresh(now)
		es := EndpointStatus{
			Name: e.name, State: stateName(e.state), Since: e.since, Weight: e.weight, Failures: e.tally.row, LastError: e.lastError,
		}
		if e.state == gobreaker.StateOpen {
			at := e.retryAt()
			es.RetryAt = &at
		}
		s.Endpoints = append(s.Endpoints, es)
	}
	return s
}
