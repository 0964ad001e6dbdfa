// Package xml reads and writes the small, strict part of XML that WeChat uses, much faster than encoding/xml.
//
// Accepted: one root element of any name; nested elements; text, CDATA sections and any mixture of both; the five predefined
// entities and references to legal characters; attributes, which are ignored; one XML declaration in front. Everything else
// is refused: comments, processing instructions and every kind of DTD. WeChat sends none of them, and they are where two
// parsers begin to read one body differently. Names are ASCII. Character data may hold control characters: users paste them,
// WeChat does not escape them inside CDATA, and refusing them would refuse the user's message.
package xml

import (
	"bytes"
	"unicode/utf8"

	"hongyan/wechat/tree"
)

var (
	cdataOpen  = []byte("<![CDATA[")
	cdataClose = []byte("]]>")
)

// leaf collects the content of the innermost open element while it has no children.
type leaf struct {
	start   int    // offset of the content
	value   []byte // the last piece that is not blank
	pieces  int    // how many such pieces there are
	escaped bool   // a piece is not its own value: it has a reference, or a CR to normalise
}

// Parse appends the nodes of body to dst, the root first, and returns the extended list. The nodes refer to body, which must
// not be changed while they are in use. The error is a *tree.Fault. Giving a dst with room makes Parse free of allocations.
func Parse(dst []tree.Node, body []byte) ([]tree.Node, error) {
	if !utf8.Valid(body) {
		return dst, &tree.Fault{Reason: "invalid UTF-8", Offset: 0}
	}
	pos, why := skipDeclaration(body, tree.SkipBlanks(body, tree.SkipBOM(body)))
	if why != "" {
		return dst, &tree.Fault{Reason: why, Offset: pos}
	}
	var (
		nodes = dst
		base  = len(dst)
		open  [tree.MaxDepth]int // indices of the open elements
		depth = 0                // how many are open
		cur   leaf
	)
	for {
		text, lt := nextText(body, pos)
		if why = cur.add(text, depth > 0); why != "" {
			return nodes, &tree.Fault{Reason: why, Offset: pos}
		}
		if lt == len(body) {
			return nodes, &tree.Fault{Reason: "the document ends early", Offset: lt}
		}
		switch at(body, lt+1) {
		case '/':
			if depth == 0 {
				return nodes, &tree.Fault{Reason: "end tag without a start tag", Offset: lt}
			}
			n := &nodes[open[depth-1]] //nolint:gosec // depth is above 0
			if pos, why = endTag(body, lt+2, n.Name); why != "" {
				return nodes, &tree.Fault{Reason: why, Offset: pos}
			}
			if n.Leaf {
				cur.fill(n, body[cur.start:lt])
			}
			cur.pieces, depth = 0, depth-1
		case '!':
			if depth == 0 || !bytes.HasPrefix(body[lt:], cdataOpen) {
				return nodes, &tree.Fault{Reason: "declaration or comment", Offset: lt}
			}
			size := bytes.Index(body[lt+len(cdataOpen):], cdataClose)
			if size < 0 {
				return nodes, &tree.Fault{Reason: "CDATA section without an end", Offset: lt}
			}
			pos = lt + len(cdataOpen) + size
			cur.addCDATA(body[lt+len(cdataOpen) : pos])
			pos += len(cdataClose)
		default:
			if depth == tree.MaxDepth {
				return nodes, &tree.Fault{Reason: "elements nested too deeply", Offset: lt}
			}
			if len(nodes)-base == tree.MaxNodes {
				return nodes, &tree.Fault{Reason: "too many elements", Offset: lt}
			}
			var tag startTag
			if tag, why = scanStartTag(body, lt+1); why != "" {
				return nodes, &tree.Fault{Reason: why, Offset: tag.end}
			}
			if depth > 0 {
				nodes[open[depth-1]].Leaf = false //nolint:gosec // depth is above 0
			}
			nodes = append(nodes, tree.Node{Name: tag.name, Depth: uint8(depth), Leaf: true})
			pos = tag.end
			if !tag.empty {
				open[depth] = len(nodes) - 1
				cur, depth = leaf{start: pos}, depth+1
			}
		}
		if depth == 0 {
			if end := tree.SkipBlanks(body, pos); end < len(body) {
				return nodes, &tree.Fault{Reason: "bytes after the root element", Offset: end}
			}
			return nodes, nil
		}
	}
}

// nextText is the character data from pos to the next '<', and that one's offset: len(body) where there is none.
func nextText(body []byte, pos int) (text []byte, lt int) {
	// Most often nothing or a line break and an indent stand between two tags.
	for lt = pos; lt < len(body) && tree.Blank(body[lt]); lt++ {
	}
	if lt < len(body) && body[lt] != '<' {
		if i := bytes.IndexByte(body[lt:], '<'); i >= 0 {
			lt += i
		} else {
			lt = len(body)
		}
	}
	return body[pos:lt], lt
}

// add takes a run of character data. It says what is wrong with it, if anything.
func (l *leaf) add(text []byte, inside bool) string {
	text = tree.Trim(text)
	if len(text) == 0 {
		return ""
	}
	if !inside {
		return "text outside the root element"
	}
	if bytes.Contains(text, cdataClose) {
		return "]]> outside a CDATA section"
	}
	if amp := bytes.IndexByte(text, '&'); amp >= 0 {
		if !validReferences(text[amp:]) {
			return "unknown entity"
		}
		l.escaped = true
	}
	l.piece(text)
	return ""
}

func (l *leaf) addCDATA(text []byte) { l.piece(text) }

func (l *leaf) piece(text []byte) {
	l.value = text
	l.pieces++
	if bytes.IndexByte(text, '\r') >= 0 {
		l.escaped = true
	}
}

// fill sets the value of a closed element without children; raw is all of its content.
func (l *leaf) fill(n *tree.Node, raw []byte) {
	switch {
	case l.pieces == 0:
	case l.pieces == 1 && !l.escaped:
		n.Value = tree.Trim(l.value)
	default:
		n.Value, n.Escaped = raw, true
	}
}

// at is the byte at pos, or 0 behind the end.
func at(src []byte, pos int) byte {
	if pos < len(src) {
		return src[pos]
	}
	return 0
}
