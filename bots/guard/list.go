package guard

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"hongyan/bots/fold"
)

// List is a block list in the form in which it is searched: the automaton of Aho and Corasick (1975) over the characters of folded
// texts, so that one walk over a text finds all words, however many there are. It never changes and may be used by many goroutines.
// The zero List has no words.
//
// Nodes are numbered breadth first, with the children of each in the order of their labels. So the children of a node are neighbours,
// and the whole tree needs no map: 18 bytes a node.
type List struct {
	words   int
	first   []int32  // node n's children are first[n] up to but not including first[n+1]
	label   []rune   // of the edge to the node
	fail    []int32  // node of the longest proper suffix that is in the tree too
	longest []uint16 // characters of the longest word that ends at the node; 0: none does
	line    []int32  // of the file, for that word
}

// Len is the number of words, those that fold alike counted once.
func (l *List) Len() int { return l.words }

// newList builds the automaton of folded words, each with its line.
func newList(lines map[string]int) *List {
	words := slices.Sorted(maps.Keys(lines)) // bytes of UTF-8 sort as their characters do
	l := &List{words: len(words)}
	if len(words) == 0 {
		return l
	}
	type node struct {
		from, to int // the words that begin with the node's prefix
		size     int // the prefix's bytes
		depth    uint16
	}
	nodes := []node{{to: len(words)}}
	l.label, l.fail = []rune{0}, []int32{0}
	for at := 0; at < len(nodes); at++ {
		n := nodes[at]
		l.first = append(l.first, int32(len(nodes)))
		longest, line := l.longestAt(l.fail[at])
		if len(words[n.from]) == n.size {
			longest, line = n.depth, int32(lines[words[n.from]])
			n.from++
		}
		l.longest, l.line = append(l.longest, longest), append(l.line, line)
		for n.from < n.to {
			r, size := utf8.DecodeRuneInString(words[n.from][n.size:])
			child := node{from: n.from, size: n.size + size, depth: n.depth + 1}
			for n.from < n.to && strings.HasPrefix(words[n.from][n.size:], words[child.from][n.size:child.size]) {
				n.from++
			}
			child.to = n.from
			nodes = append(nodes, child)
			l.label = append(l.label, r)
			fail := int32(0)
			if at > 0 {
				fail = l.step(l.fail[at], r) // of a lesser depth, and so complete
			}
			l.fail = append(l.fail, fail)
		}
	}
	l.first = append(l.first, int32(len(nodes)))
	return l
}

// longestAt is the longest word that ends at a node, while the list is built: none at the root, which comes first.
func (l *List) longestAt(node int32) (longest uint16, line int32) {
	if node == 0 {
		return 0, 0
	}
	return l.longest[node], l.line[node]
}

// step is the node of the longest suffix in the tree, once r has come behind the suffix of node.
func (l *List) step(node int32, r rune) int32 {
	for {
		from := l.first[node]
		if at, found := slices.BinarySearch(l.label[from:l.first[node+1]], r); found {
			return from + int32(at)
		}
		if node == 0 {
			return 0
		}
		node = l.fail[node]
	}
}

// Has tells whether a text has a word of the list.
func (l *List) Has(text string) bool {
	_, found := l.find(text)
	return found
}

// find is the line of the first word that ends in the text.
func (l *List) find(text string) (line int, found bool) {
	if l.words == 0 {
		return 0, false
	}
	node := int32(0)
	for r := range fold.Runes(text) {
		if node = l.step(node, r.Value); l.longest[node] > 0 {
			return int(l.line[node]), true
		}
	}
	return 0, false
}

// span is a piece of a text: bytes from Start up to but not including End.
type span struct{ start, end int }

// spans are the places of the list's words in a text, in order. Words that overlap, or stand within each other, have one together.
func (l *List) spans(text string) []span {
	if l.words == 0 {
		return nil
	}
	var all []span
	var starts []int // of each character of the folded text
	node := int32(0)
	for r := range fold.Runes(text) {
		starts = append(starts, r.Start)
		node = l.step(node, r.Value)
		size := int(l.longest[node])
		if size == 0 {
			continue
		}
		found := span{starts[len(starts)-size], r.End}
		for len(all) > 0 && all[len(all)-1].end > found.start {
			found.start = min(found.start, all[len(all)-1].start)
			all = all[:len(all)-1]
		}
		all = append(all, found)
	}
	return all
}

// rounds is how often a text is looked through again. What stands around a word that is replaced can make a new one together with
// the replacement; that this goes on and on takes a list that is made for it.
const rounds = 4

// Replace is the text with each word, and each group of words that overlap, replaced. The replacement must have no word itself; then
// the result has none. A text that still has one after some rounds is replaced as a whole. A text without a word is returned as it is.
func (l *List) Replace(text, replacement string) string {
	for range rounds {
		found := l.spans(text)
		if len(found) == 0 {
			return text
		}
		var b strings.Builder
		b.Grow(len(text))
		end := 0
		for _, s := range found {
			b.WriteString(text[end:s.start])
			b.WriteString(replacement)
			end = s.end
		}
		b.WriteString(text[end:])
		text = b.String()
	}
	if l.Has(text) {
		return replacement
	}
	return text
}
