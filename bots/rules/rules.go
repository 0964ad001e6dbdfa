// Package rules is the bot that answers from a file: a list of rules, the first that matches wins (DESIGN §8). It reads the
// file strictly, says of each fault where it is, and takes up changes while it runs; a broken file keeps the old rules.
//
//	rules:
//	  - {match: event,    value: subscribe,  reply: 欢迎！}
//	  - {match: exact,    value: [你好, hi],  reply: "您好！"}
//	  - {match: regexp,   value: "^(.+)天气$", reply: $1今天晴}
//	  - {match: contains, value: 广告,        reply: ""}
//	  - {match: menu,     value: HELP,       reply: 请回复“帮助”, delay: 200ms}
//	  - {match: default,  reply: 抱歉，没有听懂}
//
// How each kind matches, and what a rule without a match is:
//
//   - exact and contains compare texts in folded form, see Fold: blanks, case and full-width letters make no difference.
//   - regexp searches the text as the user wrote it, without the blanks around it, in RE2 syntax; (?i) makes case equal. Its
//     reply may hold $1 or ${name} for what a group matched, and $$ for a dollar. Where that leaves nothing to say, the
//     rule does not match.
//   - event compares an event's name and menu a CLICK event's key; names without regard to case, keys exactly.
//   - default answers every message that a user wrote, pictures and voices included, but no event. It stands last.
//
// An empty reply is deliberate silence. A delay waits before the answer and serves to try out slow bots.
package rules

import (
	"regexp"
	"strings"
	"time"

	"hongyan/messages"
)

// MaxDelay is the longest delay that a rule may have.
const MaxDelay = time.Minute

// Reply is what a rule says. An empty Text is deliberate silence.
type Reply struct {
	Text  string
	More  []string      // further answers, in order
	Delay time.Duration // to wait before answering
}

// Set is one file's rules, checked and compiled. It never changes and may be used by many goroutines.
type Set struct {
	rules []rule
}

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// rule is one rule of the file.
type rule struct {
	kind     kind
	values   []string         // folded, or as they are compared
	patterns []*regexp.Regexp // regexp only
	template template         // regexp only: the reply in parts
	reply    string
	more     []string
	delay    time.Duration
	line     int
}

// kind is how a rule matches.
type kind string

const (
	exact    kind = "exact"
	contains kind = "contains"
	pattern  kind = "regexp"
	event    kind = "event"
	menu     kind = "menu"
	fallback kind = "default"
)

// Match finds the first rule for in, and reports false where there is none.
func (s *Set) Match(in *messages.Inbound) (Reply, bool) {
	q := questionOf(in)
	for i := range s.rules {
		r := &s.rules[i]
		if text, ok := r.match(&q); ok {
			return Reply{Text: text, More: r.more, Delay: r.delay}, true
		}
	}
	return Reply{}, false
}

// question is an inbound push as rules look at it.
type question struct {
	written bool   // a message that a user wrote
	text    string // a text message without the blanks around it
	folded  string
	event   string // lower-case name of an event
	menuKey string // key of a CLICK event
}

func questionOf(in *messages.Inbound) question {
	kind := in.GetKind()
	q := question{written: kind != messages.Kind_KIND_UNKNOWN && !kind.IsEvent()}
	switch {
	case kind == messages.Kind_KIND_TEXT:
		q.text = strings.TrimSpace(in.GetText().GetContent())
		q.folded = Fold(q.text)
	case in.GetEvent() != nil:
		q.event = strings.ToLower(strings.TrimSpace(in.GetEvent().GetName()))
		if kind == messages.Kind_KIND_CLICK {
			q.menuKey = in.GetEvent().GetKey()
		}
	}
	return q
}

// match tells whether the rule is for q, and what it replies.
func (r *rule) match(q *question) (string, bool) {
	switch r.kind {
	case exact:
		return r.reply, q.folded != "" && r.any(func(v string) bool { return v == q.folded })
	case contains:
		return r.reply, q.folded != "" && r.any(func(v string) bool { return strings.Contains(q.folded, v) })
	case event:
		return r.reply, q.event != "" && r.any(func(v string) bool { return v == q.event })
	case menu:
		return r.reply, q.menuKey != "" && r.any(func(v string) bool { return v == q.menuKey })
	case pattern:
		return r.search(q.text)
	default:
		return r.reply, q.written
	}
}

func (r *rule) any(matches func(value string) bool) bool {
	for _, v := range r.values {
		if matches(v) {
			return true
		}
	}
	return false
}

// search tries the rule's expressions in order and fills in the reply of the first that matches and leaves something to say.
func (r *rule) search(text string) (string, bool) {
	if text == "" {
		return "", false
	}
	for _, p := range r.patterns {
		groups := p.FindStringSubmatch(text)
		if groups == nil {
			continue
		}
		if r.reply == "" {
			return "", true
		}
		if reply := r.template.fill(p, groups); strings.TrimSpace(reply) != "" {
			return reply, true
		}
	}
	return "", false
}
