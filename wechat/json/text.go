package json

import (
	"unicode/utf16"
	"unicode/utf8"

	"hongyan/wechat/tree"
)

// scanString reads the string whose quote stands at pos: what is between the quotes, whether it has an escape, and the offset
// behind it, or that of the fault.
func scanString(src []byte, pos int) (text []byte, escaped bool, end int, why string) {
	start := pos + 1
	for i := start; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			return src[start:i], escaped, i + 1, ""
		case c < 0x20:
			return nil, false, i, "control character in a string"
		case c == '\\':
			escaped = true
			i++
			switch at(src, i) {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if hex4(src[i+1:]) < 0 {
					return nil, false, i, "broken escape"
				}
				i += 4
			default:
				return nil, false, i, "unknown escape"
			}
		}
	}
	return nil, false, len(src), "string without an end"
}

// scanLiteral is the offset behind the number, true, false or null at pos; pos itself where there is none.
func scanLiteral(src []byte, pos int) int {
	for _, word := range []string{"true", "false", "null"} {
		if end := pos + len(word); end <= len(src) && string(src[pos:end]) == word {
			return end
		}
	}
	i := pos
	if at(src, i) == '-' {
		i++
	}
	whole := digitsEnd(src, i)
	if whole == i || whole > i+1 && src[i] == '0' {
		return pos
	}
	i = whole
	if at(src, i) == '.' {
		end := digitsEnd(src, i+1)
		if end == i+1 {
			return pos
		}
		i = end
	}
	if c := at(src, i); c == 'e' || c == 'E' {
		i++
		if c = at(src, i); c == '+' || c == '-' {
			i++
		}
		end := digitsEnd(src, i)
		if end == i {
			return pos
		}
		i = end
	}
	return i
}

func digitsEnd(src []byte, pos int) int {
	for pos < len(src) && src[pos] >= '0' && src[pos] <= '9' {
		pos++
	}
	return pos
}

// Unescape reads the value of a node that Parse marked as Escaped, blanks around it removed. Half a surrogate pair becomes
// U+FFFD.
func Unescape(raw []byte) string { return string(tree.Trim(unescape(raw))) }

func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			out = append(out, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
					low = hex4(raw[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return out
}

// hex4 is the number that the first four bytes of digits spell in hex, or -1.
func hex4(digits []byte) rune {
	if len(digits) < 4 {
		return -1
	}
	var r rune
	for _, c := range digits[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return r
}

// AppendString appends text as a JSON string. Only what must be is escaped: WeChat shows \u escapes and escaped <, > and & to
// users as they stand (wechat-protocol §4). Control characters other than tab, LF and CR are left out, as in XML, and invalid
// UTF-8 becomes U+FFFD.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if c >= utf8.RuneSelf && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + size
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c >= utf8.RuneSelf {
				dst = append(dst, "\uFFFD"...)
			}
		}
		i += size
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}
