// Package tree is the shape that a push has after parsing, whether it came as XML or as JSON: a flat list of named nodes in
// the order of the text. It holds no copies: names and values are parts of the body they were read from.
package tree

import "strconv"

// Limits that hold for both formats. They bound the work and the memory of a hostile body; WeChat's own pushes stay far below.
const (
	MaxDepth = 32   // nested elements or objects, the root counted (DESIGN §8)
	MaxNodes = 2048 // elements or values of one body
)

// Node is one element of XML, or one member of a JSON object. A JSON array is one node per item, all under the array's name,
// so that it looks like a repeated element. The first node of a list is the root.
type Node struct {
	Name []byte
	// Value is the text of a leaf, blanks around it removed. Where Escaped is set it is still in the form of the body, and
	// the Unescape function of its format reads it. It is empty for a node with children: text beside children has no
	// meaning in a push.
	Value   []byte
	Depth   uint8 // 0 for the root
	Leaf    bool  // the node has no children
	Item    bool  // the node stood in a JSON array
	Escaped bool
}

// Fault is why a body was refused and where.
type Fault struct {
	Reason string // a few plain words, without anything of the body
	Offset int    // byte offset in the body
}

// Error is the reason and the offset.
func (f *Fault) Error() string { return f.Reason + " at byte " + strconv.Itoa(f.Offset) }

// Blank tells a blank of XML and JSON: space, tab, CR or LF.
func Blank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// SkipBlanks is the first offset from pos on that holds no blank.
func SkipBlanks(src []byte, pos int) int {
	for pos < len(src) && Blank(src[pos]) {
		pos++
	}
	return pos
}

// SkipBOM is 3 where src begins with a UTF-8 byte order mark, else 0.
func SkipBOM(src []byte) int {
	if len(src) >= 3 && src[0] == 0xEF && src[1] == 0xBB && src[2] == 0xBF {
		return 3
	}
	return 0
}

// Trim is text without the blanks around it.
func Trim(text []byte) []byte {
	for len(text) > 0 && Blank(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && Blank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}
