package script

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

const (
	defaultWithin = 5 * time.Second
	maxUsers      = 100_000
)

// check completes what was left out and finds what makes no sense. All faults come at once.
func (s *Script) check() error {
	var faults []error
	wrong := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s:%d: "+format, append([]any{s.file, line}, args...)...))
	}
	if len(s.Users) == 0 && s.Load == nil {
		wrong(1, "the script has neither users nor a load")
	}
	seen := map[string]int{}
	for i := range s.Users {
		u := &s.Users[i]
		u.Count, u.Repeat = max(u.Count, 1), max(u.Repeat, 1)
		switch {
		case u.ID == "":
			wrong(u.line, "a user needs an id")
		case seen[u.Account+"\x00"+u.ID] > 0:
			wrong(u.line, "user %q stands in line %d already", u.ID, seen[u.Account+"\x00"+u.ID])
		case len(u.Steps) == 0:
			wrong(u.line, "user %q has no steps", u.ID)
		case u.Count > maxUsers:
			wrong(u.line, "count %d is more than %d", u.Count, maxUsers)
		}
		seen[u.Account+"\x00"+u.ID] = u.line
		for j := range u.Steps {
			u.Steps[j].check(wrong)
		}
	}
	if l := s.Load; l != nil {
		l.check(wrong)
	}
	return errors.Join(faults...)
}

func (s *Step) check(wrong func(line int, format string, args ...any)) {
	kinds := 0
	for _, set := range []bool{s.Text != "", s.Event.Name != "", s.Message != nil, s.Receive != nil} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		wrong(s.line, "a step is one of text, event, message, receive")
	}
	if kinds == 0 && s.After == 0 && s.Expect == nil && s.Wait == 0 {
		wrong(s.line, "the step does nothing; give it text, event, message, receive, after or expect")
	}
	if s.Count > 1 && !s.sends() {
		wrong(s.line, "count is for steps that send something")
	}
	s.Count = max(s.Count, 1)
	if s.Expect != nil {
		s.Expect.check(wrong)
	}
}

func (e *Expect) check(wrong func(line int, format string, args ...any)) {
	if e.Within == 0 {
		e.Within = Span(defaultWithin)
	}
	if e.Matches != "" {
		var err error
		if e.pattern, err = regexp.Compile(e.Matches); err != nil {
			wrong(e.line, "matches: %v", err)
		}
	}
	if e.Via != "" && e.Via != ViaPassive && e.Via != ViaCustom {
		wrong(e.line, "via %q is neither passive nor custom", e.Via)
	}
	conditions := len(e.Contains) > 0 || e.Equals != nil || e.Matches != "" || e.Type != "" || e.Via != "" || e.Messages > 1
	if e.Silent && e.Banner || (e.Silent || e.Banner) && conditions {
		wrong(e.line, "silent and banner stand alone: nothing else can be expected with them")
	}
	e.Messages = max(e.Messages, 1)
}

func (l *Load) check(wrong func(line int, format string, args ...any)) {
	if l.ID == "" {
		l.ID = "load"
	}
	if l.Users == 0 {
		l.Users = 100
	}
	if l.Text == "" {
		l.Text = "{n}"
	}
	switch {
	case l.Rate <= 0:
		wrong(l.line, "a load needs a rate, for example 50/s")
	case l.Total <= 0:
		wrong(l.line, "a load needs a total number of messages")
	case l.Users < 0 || l.Users > maxUsers:
		wrong(l.line, "users %d is not between 1 and %d", l.Users, maxUsers)
	}
	if l.Expect != nil {
		l.Expect.check(wrong)
	}
}
