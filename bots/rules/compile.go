package rules

import (
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// kinds is what a rule's match may be, as an error lists it.
const kinds = "exact, contains, regexp, event, menu or default"

// fields are the nodes of one rule's keys; nil where a key is absent.
type fields struct {
	match, value, reply, delay ast.Node
}

// rule reads one rule and adds it to the set. last tells whether it is the file's last rule.
func (p *reader) rule(node ast.Node, last bool) {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		p.fault(node, "a rule is a mapping like {match: exact, value: 你好, reply: 您好}; this is %s", typeName(node))
		return
	}
	f := p.fields(m)
	r := rule{}
	r.line, _ = position(m)
	known := p.kind(m, f, &r)
	p.reply(m, f, &r)
	p.delay(f, &r)
	if !known {
		return
	}
	if r.kind == fallback {
		if f.value != nil {
			p.fault(f.value, "a default rule matches every message and has no value; remove it")
		}
		if !last {
			p.fault(m, "the default rule must be the last one: no rule behind it would ever match")
		}
	} else {
		p.values(m, f, &r)
	}
	p.set.rules = append(p.set.rules, r)
}

// fields finds the rule's keys and complains of others.
func (p *reader) fields(m *ast.MappingNode) fields {
	var f fields
	for _, kv := range m.Values {
		switch key := keyOf(kv); key {
		case "match":
			f.match = kv.Value
		case "value":
			f.value = kv.Value
		case "reply":
			f.reply = kv.Value
		case "delay":
			f.delay = kv.Value
		default:
			p.fault(kv.Key, "unknown key %q; a rule has match, value, reply and delay", key)
		}
	}
	return f
}

func (p *reader) kind(m *ast.MappingNode, f fields, r *rule) bool {
	if f.match == nil {
		p.fault(m, "the rule has no match; it is one of %s", kinds)
		return false
	}
	text, ok := textOf(f.match)
	if !ok {
		p.fault(f.match, "match must be one of %s; it is %s", kinds, typeName(f.match))
		return false
	}
	switch r.kind = kind(text); r.kind {
	case exact, contains, pattern, event, menu, fallback:
		return true
	default:
		p.fault(f.match, "%q is no way to match; use %s", text, kinds)
		return false
	}
}

func (p *reader) reply(m *ast.MappingNode, f fields, r *rule) {
	if f.reply == nil {
		p.fault(m, "the rule has no reply; write reply: \"\" to stay silent")
		return
	}
	if list, several := f.reply.(*ast.SequenceNode); several {
		p.replies(list, r)
		return
	}
	text, ok := textOf(f.reply)
	switch {
	case !ok:
		p.fault(f.reply, "reply must be a text, or a list of texts; it is %s; write \"\" to stay silent", typeName(f.reply))
	case text != "" && strings.TrimSpace(text) == "":
		p.fault(f.reply, "the reply is blank, which WeChat shows as a fault; write \"\" to stay silent")
	default:
		// The line break that ends a YAML block is not part of what people see.
		r.reply = strings.TrimRight(text, "\n")
	}
	if r.kind != pattern {
		return
	}
	t, err := parseTemplate(r.reply)
	if err != nil {
		p.fault(f.reply, "%v", err)
	}
	r.template = t
}

// maxReplies is how many answers one rule may have: WeChat lets an account send five messages before the user writes again.
const maxReplies = 20

// replies reads several answers to one message.
func (p *reader) replies(list *ast.SequenceNode, r *rule) {
	switch {
	case r.kind == pattern:
		p.fault(list, "a regexp rule has one reply; write a text")
	case len(list.Values) == 0:
		p.fault(list, "the list of replies is empty; write \"\" to stay silent")
	case len(list.Values) > maxReplies:
		p.fault(list, "%d replies to one message are too many; write at most %d", len(list.Values), maxReplies)
	}
	for i, node := range list.Values {
		text, ok := textOf(node)
		switch text = strings.TrimRight(text, "\n"); {
		case !ok:
			p.fault(node, "each reply of a list must be a text; this is %s", typeName(node))
		case strings.TrimSpace(text) == "":
			p.fault(node, "this reply is blank, which WeChat shows as a fault; remove it")
		case i == 0:
			r.reply = text
		default:
			r.more = append(r.more, text)
		}
	}
}

func (p *reader) delay(f fields, r *rule) {
	if f.delay == nil {
		return
	}
	text, _ := textOf(f.delay)
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > MaxDelay {
		p.fault(f.delay, "delay must be a time from 0ms to %gs with its unit, like 500ms or 7s", MaxDelay.Seconds())
		return
	}
	r.delay = d
}

// values reads the value, one text or a list of texts.
func (p *reader) values(m *ast.MappingNode, f fields, r *rule) {
	if f.value == nil {
		p.fault(m, "the rule has no value; write what %s compares with, one text or a list", r.kind)
		return
	}
	nodes := []ast.Node{f.value}
	if list, ok := f.value.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	if len(nodes) == 0 {
		p.fault(f.value, "the list of values is empty, so the rule would never match")
	}
	for _, node := range nodes {
		text, ok := textOf(node)
		switch {
		case !ok:
			p.fault(node, "value must be a text or a list of texts; this is %s", typeName(node))
		case Fold(text) == "":
			p.fault(node, "the value is blank, so the rule would never match what is meant")
		default:
			p.value(node, f, r, text)
		}
	}
}

// value adds one value to the rule, in the form in which the rule's kind compares it.
func (p *reader) value(node ast.Node, f fields, r *rule, text string) {
	written := text
	switch r.kind {
	case exact, contains:
		text = Fold(text)
	case event:
		text = strings.ToLower(strings.TrimSpace(text))
		if text == "unsubscribe" && r.reply != "" {
			p.fault(node, "who has unsubscribed cannot be answered; write reply: \"\" or remove the rule")
		}
	case pattern:
		p.expression(node, f, r, text)
		return
	default: // menu keys are compared as they are
	}
	if r.kind != contains {
		name := string(r.kind) + " " + text
		if line, taken := p.taken[name]; taken && line != r.line {
			p.fault(node, "the rule in line %d already answers %s %q; this one would never match", line, r.kind, written)
		}
		p.taken[name] = r.line
	}
	r.values = append(r.values, text)
}

func (p *reader) expression(node ast.Node, f fields, r *rule, text string) {
	compiled, err := regexp.Compile(text)
	if err != nil {
		p.fault(node, "not a regular expression (RE2): %v", err)
		return
	}
	if err := r.template.check(compiled); err != nil {
		p.fault(f.reply, "%v", err)
		return
	}
	r.patterns = append(r.patterns, compiled)
}
