package rules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFileSize is the largest rules file, in bytes.
const MaxFileSize = 4 << 20

// Parse reads a rules file's content; file is its name in errors. An empty file has no rules. The error is an *Error and holds
// all faults at once; where the YAML itself is broken that is one, since nothing behind it can be read.
func Parse(file string, data []byte) (*Set, error) {
	p := reader{set: &Set{}, taken: make(map[string]int)}
	if root, ok := p.document(data); ok {
		p.file(root)
	}
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b Fault) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &Error{File: file, Faults: p.faults}
	}
	return p.set, nil
}

// reader turns the file's syntax tree into rules and collects what is wrong with it.
type reader struct {
	set    *Set
	faults []Fault
	taken  map[string]int // line of the rule that has this exact value, event or menu key
}

// fault notes what is wrong at a node.
func (p *reader) fault(at ast.Node, format string, args ...any) {
	f := Fault{Message: fmt.Sprintf(format, args...)}
	f.Line, f.Column = position(at)
	p.faults = append(p.faults, f)
}

// position is where a node begins, in lines and characters from 1. A block mapping's own token is its first colon, so its first
// key stands for it.
func position(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line, tk.Position.Column
	}
	return 1, 1
}

// document is the root of the file's one YAML document; false where there is nothing to read or nothing that can be read.
func (p *reader) document(data []byte) (ast.Node, bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > MaxFileSize {
		p.faults = append(p.faults, Fault{Line: 1, Column: 1, Message: fmt.Sprintf(
			"the file has %d bytes; %d are the most, use the FAQ for so many answers", len(data), MaxFileSize)})
		return nil, false
	}
	if f, bad := invalidUTF8(data); bad {
		p.faults = append(p.faults, f)
		return nil, false
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		p.faults = append(p.faults, syntaxFault(err))
		return nil, false
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType:
		case root != nil:
			p.fault(doc.Body, "a rules file is one YAML document; remove the --- and what follows")
			return nil, false
		default:
			root = doc.Body
		}
	}
	return root, root != nil
}

// invalidUTF8 finds the first byte that is no UTF-8.
func invalidUTF8(data []byte) (Fault, bool) {
	if utf8.Valid(data) {
		return Fault{}, false
	}
	good := 0
	for good < len(data) {
		r, size := utf8.DecodeRune(data[good:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		good += size
	}
	before := data[:good]
	lineStart := bytes.LastIndexByte(before, '\n') + 1
	return Fault{
		Line:    bytes.Count(before, []byte("\n")) + 1,
		Column:  utf8.RuneCount(before[lineStart:]) + 1,
		Message: "the file is not UTF-8 from here on; save it as UTF-8",
	}, true
}

// syntaxFault is the parser's own complaint, with its place.
func syntaxFault(err error) Fault {
	var at yaml.Error
	if errors.As(err, &at) {
		f := Fault{Line: 1, Column: 1, Message: "this is not YAML: " + at.GetMessage()}
		if tk := at.GetToken(); tk != nil && tk.Position != nil {
			f.Line, f.Column = tk.Position.Line, tk.Position.Column
		}
		return f
	}
	return Fault{Line: 1, Column: 1, Message: "this is not YAML: " + err.Error()}
}

// file reads the root: one key, rules.
func (p *reader) file(root ast.Node) {
	m, ok := root.(*ast.MappingNode)
	if !ok {
		p.fault(root, "the file must begin with \"rules:\" and have the list of rules below it")
		return
	}
	for _, kv := range m.Values {
		if key := keyOf(kv); key != "rules" {
			p.fault(kv.Key, "unknown key %q; the file has one key, rules", key)
			continue
		}
		switch list := kv.Value.(type) {
		case *ast.NullNode:
		case *ast.SequenceNode:
			for i, node := range list.Values {
				p.rule(node, i == len(list.Values)-1)
			}
		default:
			p.fault(kv.Value, "rules must be a list: one \"- {match: …, value: …, reply: …}\" per line; it is %s", typeName(kv.Value))
		}
	}
}

// keyOf is a mapping's key as text. A key that is no plain text yields a name that no key has.
func keyOf(kv *ast.MappingValueNode) string {
	if s, ok := kv.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return kv.Key.String()
}

// typeName says in plain words what a node is.
func typeName(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or an alias, which rules files do not have"
	case *ast.TagNode:
		return "tagged with a type, which rules files do not have"
	default:
		return "a text"
	}
}

// textOf is a scalar as it stands in the file: 007 and 1.0 stay what they are.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}
