package xml

import (
	"bytes"
	"unicode/utf8"

	"hongyan/wechat/tree"
)

// maxReference is the length of the longest reference that counts, &#x0010FFFF; with some leading zeros to spare.
const maxReference = 16

// Unescape reads the value of a node that Parse marked as Escaped: references replaced, CDATA sections joined with the text
// around them, CR LF and lone CR turned into LF as XML demands, blanks around the whole removed.
func Unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		switch c := raw[0]; {
		case c == '<' && bytes.HasPrefix(raw, cdataOpen):
			raw = raw[len(cdataOpen):]
			size := bytes.Index(raw, cdataClose)
			if size < 0 { // Parse lets no such value through
				size = len(raw)
			}
			out = appendLines(out, raw[:size])
			raw = raw[min(size+len(cdataClose), len(raw)):]
		case c == '&':
			r, size := reference(raw)
			if size == 0 { // neither such a one
				r, size = '&', 1
			}
			out = utf8.AppendRune(out, r)
			raw = raw[size:]
		default:
			size := 1 // a loop: references may stand close to each other, and the search of bytes.IndexAny is slow to start
			for size < len(raw) && raw[size] != '&' && raw[size] != '<' {
				size++
			}
			out = appendLines(out, raw[:size])
			raw = raw[size:]
		}
	}
	return string(tree.Trim(out))
}

// appendLines appends text with XML's line ends.
func appendLines(out, text []byte) []byte {
	for {
		cr := bytes.IndexByte(text, '\r')
		if cr < 0 {
			return append(out, text...)
		}
		out = append(append(out, text[:cr]...), '\n')
		text = text[cr+1:]
		if len(text) > 0 && text[0] == '\n' {
			text = text[1:]
		}
	}
}

// validReferences tells whether every & in text begins a reference that XML knows without a DTD.
func validReferences(text []byte) bool {
	for len(text) > 0 {
		if text[0] != '&' { // a search only where there is something to skip: references may stand side by side
			amp := bytes.IndexByte(text, '&')
			if amp < 0 {
				return true
			}
			text = text[amp:]
		}
		_, size := reference(text)
		if size == 0 {
			return false
		}
		text = text[size:]
	}
	return true
}

// reference reads the reference at the beginning of text: its character and its length, 0 for none.
func reference(text []byte) (r rune, size int) {
	semi := 1
	for semi < len(text) && text[semi] != ';' {
		if semi++; semi == maxReference {
			return 0, 0
		}
	}
	if semi < 3 || semi == len(text) {
		return 0, 0
	}
	switch name := text[1:semi]; string(name) {
	case "lt":
		r = '<'
	case "gt":
		r = '>'
	case "amp":
		r = '&'
	case "apos":
		r = '\''
	case "quot":
		r = '"'
	default:
		if name[0] != '#' {
			return 0, 0
		}
		r = number(name[1:])
		if !legal(r) {
			return 0, 0
		}
	}
	return r, semi + 1
}

// number reads the digits of a character reference, with x in front in hex. It is 0, which is no legal character, for
// anything else; maxReference keeps it from overflowing.
func number(digits []byte) rune {
	base := int64(10)
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	var n int64
	for _, c := range digits {
		var d int64
		switch {
		case c >= '0' && c <= '9':
			d = int64(c - '0')
		case base == 16 && c >= 'a' && c <= 'f':
			d = int64(c-'a') + 10
		case base == 16 && c >= 'A' && c <= 'F':
			d = int64(c-'A') + 10
		default:
			return 0
		}
		n = n*base + d
	}
	if n > utf8.MaxRune {
		return 0
	}
	return rune(n)
}

// legal tells whether XML allows the character (its production Char).
func legal(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < 0x20:
		return false
	default:
		return r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
	}
}

// AppendCDATA appends text as CDATA: "]]>" is split over two sections, what XML does not allow is left out, and invalid UTF-8
// becomes U+FFFD. LF stays.
func AppendCDATA(dst []byte, text string) []byte {
	dst = append(dst, cdataOpen...)
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '>' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, text[start:i]...), "\uFFFD"...)
			start = i + 1
		case !legal(r):
			dst = append(dst, text[start:i]...)
			start = i + size
		case c == '>':
			// Looked for in what is written: leaving a character out may have brought the three together.
			dst = append(dst, text[start:i]...)
			if bytes.HasSuffix(dst, cdataClose[:2]) {
				dst = append(append(dst, cdataClose...), cdataOpen...)
			}
			start = i
		}
		i += size
	}
	dst = append(dst, text[start:]...)
	return append(dst, cdataClose...)
}
