package script

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hongyan/wechat/simulator"
)

// How something came to a user.
const (
	ViaPassive = "passive"
	ViaCustom  = "custom"
	viaBanner  = "banner"
)

// seen is one thing that appeared on a user's phone.
type seen struct {
	at     time.Time
	via    string
	answer *simulator.Answer // nil for the banner
}

// inbox is what one user saw, in order. It is written by the platform's log and read by the user's steps.
type inbox struct {
	mu      sync.Mutex
	items   []seen
	changed chan struct{} // closed and replaced with every item
	row     *row          // of the user's newest message
	sentAt  time.Time     // of that message
}

func newInbox() *inbox { return &inbox{changed: make(chan struct{})} }

func (b *inbox) put(s seen) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, s)
	close(b.changed)
	b.changed = make(chan struct{})
}

// since are the items from number n on, and a channel that closes when there are more.
func (b *inbox) since(n int) ([]seen, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.items[min(n, len(b.items)):len(b.items):len(b.items)], b.changed
}

func (b *inbox) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items)
}

// fulfilled tells whether items make the expectation true.
func (e *Expect) fulfilled(items []seen, fill func(string) string) bool {
	count := 0
	for _, s := range items {
		if e.accepts(s, fill) {
			count++
		}
	}
	return count >= e.Messages
}

func (e *Expect) accepts(s seen, fill func(string) string) bool {
	if e.Banner || s.via == viaBanner {
		return e.Banner && s.via == viaBanner
	}
	text := words(s.answer)
	switch {
	case e.Via != "" && e.Via != s.via,
		e.Type != "" && e.Type != s.answer.Type,
		e.Equals != nil && fill(*e.Equals) != text,
		e.pattern != nil && !e.pattern.MatchString(text),
		slices.ContainsFunc(e.Contains, func(part string) bool { return !strings.Contains(text, fill(part)) }):
		return false
	}
	return true
}

// words is all text of an answer.
func words(a *simulator.Answer) string {
	parts := []string{a.Content, a.Title, a.Description}
	for _, article := range a.Articles {
		parts = append(parts, article.Title, article.Description)
	}
	if a.Menu != nil {
		parts = append(parts, a.Menu.Head)
		for _, item := range a.Menu.Items {
			parts = append(parts, item.Content)
		}
		parts = append(parts, a.Menu.Tail)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
}

// describe is the expectation in words.
func (e *Expect) describe(fill func(string) string) string {
	what := "an answer"
	switch {
	case e.Silent:
		return fmt.Sprintf("nothing for %v", e.Within)
	case e.Banner:
		return fmt.Sprintf("the fault banner within %v", e.Within)
	case e.Messages > 1:
		what = fmt.Sprintf("%d messages", e.Messages)
	}
	if e.Type != "" {
		what += " of type " + e.Type
	}
	if e.Via != "" {
		what += " by way of " + e.Via
	}
	for _, part := range e.Contains {
		what += fmt.Sprintf(" containing %q", fill(part))
	}
	if e.Equals != nil {
		what += fmt.Sprintf(" equal to %q", fill(*e.Equals))
	}
	if e.Matches != "" {
		what += fmt.Sprintf(" matching %q", e.Matches)
	}
	return fmt.Sprintf("%s within %v", what, e.Within)
}

// sawText tells what came instead.
func sawText(items []seen) string {
	if len(items) == 0 {
		return "saw nothing"
	}
	var parts []string
	for _, s := range items[:min(3, len(items))] {
		if s.via == viaBanner {
			parts = append(parts, "the fault banner")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s %q", s.via, s.answer.Type, cut(words(s.answer), 60)))
	}
	if len(items) > 3 {
		parts = append(parts, fmt.Sprintf("and %d more", len(items)-3))
	}
	return "saw " + strings.Join(parts, ", ")
}

// cut shortens a text to so many characters.
func cut(text string, characters int) string {
	if r := []rune(text); len(r) > characters {
		return string(r[:characters-1]) + "…"
	}
	return text
}
