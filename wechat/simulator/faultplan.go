package simulator

import (
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"
)

// plan is what goes wrong with one call.
type plan struct {
	faults []Fault
	delays map[When]time.Duration
}

// draw decides which faults a call meets.
func (s *faultSet) draw(c *call) plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.active) == 0 {
		return plan{}
	}
	s.expire()
	now := s.now()
	out := plan{delays: map[When]time.Duration{}}
	for _, f := range s.active {
		if !f.open(now) || !f.concerns(c) || f.Rate > 0 && s.chance() >= f.Rate {
			continue
		}
		if f.Kind == FaultStale && (c.token == nil || c.token.generation >= f.Below) {
			continue
		}
		f.used++
		out.faults = append(out.faults, f.Fault)
		if f.Kind == FaultLatency {
			out.delays[f.When] += f.Latency + time.Duration(s.chance()*float64(f.Jitter))
		}
	}
	return out
}

// concerns tells whether a fault is about a call.
func (f Fault) concerns(c *call) bool {
	if f.Account != "" && c.note.Account != f.Account {
		return false
	}
	if prefix, ok := strings.CutSuffix(f.Call, "*"); ok {
		return strings.HasPrefix(c.path, prefix)
	}
	return f.Call == "" || f.Call == c.path
}

func (p plan) latency(when When) time.Duration { return p.delays[when] }

func (p plan) names() string {
	names := make([]string, 0, len(p.faults))
	for _, f := range p.faults {
		names = append(names, f.ID)
	}
	return strings.Join(names, " ")
}

// code is the errcode that the call gets instead of an effect; 0 for none.
func (p plan) code() int {
	for _, f := range p.faults {
		if f.Kind == FaultCode {
			return f.Code
		}
	}
	return 0
}

func (p plan) refuses(t *token) bool {
	return slices.ContainsFunc(p.faults, func(f Fault) bool { return f.Kind == FaultStale && t.generation < f.Below })
}

// breaking is the fault that ends the call without an answer of WeChat's, on one side of its effect.
func (p plan) breaking(when When) *Fault {
	for i := range p.faults {
		f := &p.faults[i]
		switch f.Kind {
		case FaultDown, FaultRefuse:
			if when == Before {
				return f
			}
		case FaultLost:
			if when == After {
				return f
			}
		case FaultReset, FaultStatus:
			if f.When == when {
				return f
			}
		case FaultLatency, FaultCode, FaultStale, FaultInvalidate:
		}
	}
	return nil
}

// breakOff ends a call as a fault says.
func (c *call) breakOff(w http.ResponseWriter, f *Fault) {
	switch f.Kind {
	case FaultStatus, FaultDown:
		status := f.Status
		if f.Kind == FaultDown {
			status = http.StatusServiceUnavailable
		}
		c.end(status, "")
		http.Error(w, http.StatusText(status), status)
		return
	case FaultLost:
		select {
		case <-c.r.Context().Done():
		case <-c.p.ctx.Done():
		}
	default:
	}
	c.end(0, "no answer: "+string(f.Kind))
	reset(w)
}

// reset ends the connection as a crashed server does: with RST, where the transport is TCP.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection that cannot be taken over
	}
	if tcp, ok := connection.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // without it the end is an orderly one, which is bad enough
	}
	_ = connection.Close()
}

// systemChance draws from [0, 1).
func systemChance() float64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}
