package guard

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"

	"hongyan/bots/fold"
)

// The bounds of a block list.
const (
	MaxFileSize = 8 << 20 // bytes
	MaxWords    = 100_000
	MaxWordSize = 256 // bytes of one word
)

// Error is a block list that cannot be used: its first fault.
type Error struct {
	File    string
	Line    int // from 1; 0 where it is the whole file's
	Message string
}

// Error is "words.txt:3: message". It never holds the word itself.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// Parse reads a block list: UTF-8, one word a line, which may have blanks inside. "#" begins a comment, at the beginning of a line or
// behind a blank; a word that begins with that sign is written with its full-width form ＃. Words that fold alike are one word. file is
// the list's name in errors, which are of type *Error.
func Parse(file string, data []byte) (*List, error) {
	if len(data) > MaxFileSize {
		return nil, &Error{File: file, Message: fmt.Sprintf("the file has more than %d bytes, the most that a block list may have", MaxFileSize)}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	words := make(map[string]int) // to the line
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			return nil, &Error{file, number, "this line is not UTF-8; save the file as UTF-8"}
		}
		text := string(line)
		if at := comment(text); at >= 0 {
			text = text[:at]
		}
		word := fold.Text(text)
		if word == "" {
			continue
		}
		if len(word) > MaxWordSize {
			return nil, &Error{file, number, fmt.Sprintf("this word has %d bytes; %d are the most", len(word), MaxWordSize)}
		}
		if _, known := words[word]; known {
			continue
		}
		if len(words) == MaxWords {
			return nil, &Error{file, number, fmt.Sprintf("this is word %d; %d are the most", MaxWords+1, MaxWords)}
		}
		words[word] = number
	}
	return newList(words), nil
}

// comment is where the line's comment begins, or -1. A # within a word, as in C#, begins none.
func comment(line string) int {
	before := ' '
	for at, r := range line {
		if r == '#' && unicode.IsSpace(before) {
			return at
		}
		before = r
	}
	return -1
}
