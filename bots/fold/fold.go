// Package fold brings texts into the form in which rules and the block list compare them, so that what looks alike to a person is
// alike.
package fold

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The full-width forms of ASCII stand in Unicode as one block, in ASCII's order.
const (
	fullWidthFirst  = '！' // U+FF01, of U+0021
	fullWidthLast   = '～' // U+FF5E, of U+007E
	fullWidthOffset = fullWidthFirst - '!'
)

// No rune from the first to the last of these has another case: the Chinese, Japanese and Korean signs. It saves the look into
// Unicode's tables for nearly all that is written.
const (
	caselessFirst = '\u2e80'
	caselessLast  = '\ua63f'
)

// Rune is one character of a folded text, and which bytes of the original it stands for: from Start up to but not including End. The
// space that stands for a run of blanks is as wide as the run.
type Rune struct {
	Value      rune
	Start, End int
}

// Text is the folded text: blanks at both ends are gone and runs of blanks within are one space (the ideographic space U+3000
// included), full-width letters, digits and signs of ASCII (ＨＩ, １２, ！) are plain ones, and cases are equal. Invisible marks that
// phones add (zero-width spaces and joiners, byte order marks) are left out. Chinese characters and signs without an ASCII twin stay
// as they are: simplified and traditional ones differ, 。 and . differ. Text is idempotent.
func Text(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for r := range Runes(text) {
		b.WriteRune(r.Value)
	}
	return b.String()
}

// Runes are the characters of Text(text), in order.
func Runes(text string) iter.Seq[Rune] {
	return func(yield func(Rune) bool) {
		blank, visible := -1, false // where a run of blanks began; whether anything stands before it
		for at := 0; at < len(text); {
			value, size := utf8.DecodeRuneInString(text[at:])
			start := at
			at += size
			switch {
			case unicode.IsSpace(value):
				if blank < 0 {
					blank = start
				}
				continue
			case invisible(value):
				continue
			}
			if blank >= 0 && visible && !yield(Rune{' ', blank, start}) {
				return
			}
			blank, visible = -1, true
			if !yield(Rune{simple(value), start, at}) {
				return
			}
		}
	}
}

// invisible tells marks that take no place on the screen and that users do not know they sent.
func invisible(r rune) bool {
	return r == '\u200b' || r == '\u200c' || r == '\u200d' || r == '\u2060' || r == '\ufeff'
}

// simple is the smallest rune of those that differ from r only in width or case.
func simple(r rune) rune {
	if r >= caselessFirst && r <= caselessLast {
		return r
	}
	if r >= fullWidthFirst && r <= fullWidthLast {
		r -= fullWidthOffset
	}
	smallest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		smallest = min(smallest, next)
	}
	return smallest
}
