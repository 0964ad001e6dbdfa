// Package json reads and writes the JSON form of WeChat's pushes and replies. It is stricter than encoding/json: the body is
// one object and nothing after it, valid UTF-8, without a repeated key at its top level, and not nested deeper than 32. Numbers
// keep all their digits, because a MsgId has more than a float64 holds.
package json

import (
	"unicode/utf8"

	"hongyan/wechat/tree"
)

// Parse appends the nodes of body to dst, the root object first, and returns the extended list. The nodes refer to body, which
// must not be changed while they are in use. An array becomes one node per item under the array's name (an empty one becomes
// none), null becomes an empty value. The error is a *tree.Fault. Giving a dst with room makes Parse free of allocations as
// long as no key has an escape and the root has few members.
func Parse(dst []tree.Node, body []byte) ([]tree.Node, error) {
	if !utf8.Valid(body) {
		return dst, &tree.Fault{Reason: "invalid UTF-8", Offset: 0}
	}
	pos := tree.SkipBlanks(body, tree.SkipBOM(body))
	if at(body, pos) != '{' {
		return dst, &tree.Fault{Reason: "not an object", Offset: pos}
	}
	r := reader{src: body, limit: len(dst) + tree.MaxNodes}
	nodes, pos, why := r.value(dst, pos, 0, tree.Node{})
	if why != "" {
		return nodes, &tree.Fault{Reason: why, Offset: pos}
	}
	if pos = tree.SkipBlanks(body, pos); pos < len(body) {
		return nodes, &tree.Fault{Reason: "bytes after the object", Offset: pos}
	}
	return nodes, nil
}

// reader is what all levels of one body share. Its methods take the nodes, an offset and the number of objects and arrays that
// are open, and return the nodes, the offset behind what they read, and what is wrong, if anything; then the offset is that of
// the fault.
type reader struct {
	src   []byte
	limit int // of len(nodes)
}

// value reads any value into node, whose name, depth and item mark are set, and appends it with all below it.
func (r reader) value(nodes []tree.Node, pos, open int, node tree.Node) ([]tree.Node, int, string) {
	c := at(r.src, pos)
	switch {
	case (c == '{' || c == '[') && open == tree.MaxDepth:
		return nodes, pos, "values nested too deeply"
	case c == '[':
		node.Item = true
		return r.array(nodes, pos, open+1, node)
	case len(nodes) == r.limit:
		return nodes, pos, "too many values"
	case c == '{':
		return r.object(append(nodes, node), pos, open+1, node.Depth)
	case c == '"':
		text, escaped, end, why := scanString(r.src, pos)
		if why != "" {
			return nodes, end, why
		}
		node.Value, node.Escaped, node.Leaf = text, escaped, true
		if !escaped {
			node.Value = tree.Trim(text)
		}
		return append(nodes, node), end, ""
	default:
		end := scanLiteral(r.src, pos)
		if end == pos {
			return nodes, pos, "not a value"
		}
		if node.Leaf = true; c != 'n' {
			node.Value = r.src[pos:end]
		}
		return append(nodes, node), end, ""
	}
}

// object reads the members of the object that begins at pos; its own node is there already.
func (r reader) object(nodes []tree.Node, pos, open int, depth uint8) ([]tree.Node, int, string) {
	var keys keySet
	pos = tree.SkipBlanks(r.src, pos+1)
	if at(r.src, pos) == '}' {
		return nodes, pos + 1, ""
	}
	for {
		if at(r.src, pos) != '"' {
			return nodes, pos, "not a key"
		}
		key, escaped, end, why := scanString(r.src, pos)
		if why != "" {
			return nodes, end, why
		}
		if escaped {
			key = unescape(key)
		}
		if depth == 0 && !keys.add(key) {
			return nodes, pos, "repeated key"
		}
		pos = tree.SkipBlanks(r.src, end)
		if at(r.src, pos) != ':' {
			return nodes, pos, "key without a value"
		}
		pos = tree.SkipBlanks(r.src, pos+1)
		nodes, pos, why = r.value(nodes, pos, open, tree.Node{Name: key, Depth: depth + 1})
		if why != "" {
			return nodes, pos, why
		}
		pos = tree.SkipBlanks(r.src, pos)
		switch at(r.src, pos) {
		case ',':
			pos = tree.SkipBlanks(r.src, pos+1)
		case '}':
			return nodes, pos + 1, ""
		default:
			return nodes, pos, "broken object"
		}
	}
}

// array reads the items of the array that begins at pos, each into a node like node. Items of an array within it join them.
func (r reader) array(nodes []tree.Node, pos, open int, node tree.Node) ([]tree.Node, int, string) {
	pos = tree.SkipBlanks(r.src, pos+1)
	if at(r.src, pos) == ']' {
		return nodes, pos + 1, ""
	}
	for {
		var why string
		if nodes, pos, why = r.value(nodes, pos, open, node); why != "" {
			return nodes, pos, why
		}
		pos = tree.SkipBlanks(r.src, pos)
		switch at(r.src, pos) {
		case ',':
			pos = tree.SkipBlanks(r.src, pos+1)
		case ']':
			return nodes, pos + 1, ""
		default:
			return nodes, pos, "broken array"
		}
	}
}

// at is the byte at pos, or 0 behind the end.
func at(src []byte, pos int) byte {
	if pos < len(src) {
		return src[pos]
	}
	return 0
}

// keySet finds repeated keys: a short list by looking through it, a long one with a map.
type keySet struct {
	few  [24][]byte
	n    int
	many map[string]struct{}
}

// add tells whether key is new.
func (s *keySet) add(key []byte) bool {
	if s.n < len(s.few) {
		for _, k := range s.few[:s.n] {
			if string(k) == string(key) {
				return false
			}
		}
		s.few[s.n] = key
		s.n++
		return true
	}
	if s.many == nil {
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, k := range s.few {
			s.many[string(k)] = struct{}{}
		}
	}
	if _, ok := s.many[string(key)]; ok {
		return false
	}
	s.many[string(key)] = struct{}{}
	return true
}
