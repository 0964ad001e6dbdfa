package rules

import (
	"strings"
	"unicode"
)

// The full-width forms of ASCII stand in Unicode as one block, in ASCII's order.
const (
	fullWidthFirst  = '！' // U+FF01, of U+0021
	fullWidthLast   = '～' // U+FF5E, of U+007E
	fullWidthOffset = fullWidthFirst - '!'
)

// Fold is a text in the form in which exact and contains compare it, so that what looks alike to a person is alike: blanks at
// both ends are gone and runs of blanks within are one space (the ideographic space U+3000 included), full-width letters,
// digits and signs of ASCII (ＨＩ, １２, ！) are plain ones, and cases are equal. Invisible marks that phones add (zero-width
// spaces and joiners, byte order marks) are left out. Chinese characters and signs without an ASCII twin stay as they are:
// simplified and traditional ones differ, 。 and . differ. Fold is idempotent.
func Fold(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	blank := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			blank = b.Len() > 0
			continue
		case invisible(r):
			continue
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(foldRune(r))
	}
	return b.String()
}

// invisible tells marks that take no place on the screen and that users do not know they sent.
func invisible(r rune) bool {
	return r == '\u200b' || r == '\u200c' || r == '\u200d' || r == '\u2060' || r == '\ufeff'
}

// foldRune is the smallest rune of those that differ from r only in width or case.
func foldRune(r rune) rune {
	if r >= fullWidthFirst && r <= fullWidthLast {
		r -= fullWidthOffset
	}
	smallest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		smallest = min(smallest, next)
	}
	return smallest
}
