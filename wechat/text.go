package wechat

import (
	"strings"
	"unicode/utf8"
)

// MaxTextBytes is how long a text answer may be, in bytes of UTF-8 (wechat-protocol §3).
const MaxTextBytes = 2048

// CutText cuts s in two so that head has at most maxBytes bytes (values under 4, the longest rune, count as 4) and no rune is
// split. Where a line or a sentence ends in the last quarter of what fits, the cut is behind it. head and rest together are s,
// with invalid UTF-8 replaced by U+FFFD; rest is empty where s fits, and shorter than s otherwise.
func CutText(s string, maxBytes int) (head, rest string) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	maxBytes = max(maxBytes, utf8.UTFMax)
	if len(s) <= maxBytes {
		return s, ""
	}
	end := maxBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	if better := naturalEnd(s[:end], end-maxBytes/4); better > 0 {
		end = better
	}
	return s[:end], s[end:]
}

// naturalEnd is the offset behind the last line end in s at or after from, else behind the last sentence end, else 0.
func naturalEnd(s string, from int) int {
	from = max(from, 0)
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	tail := s[from:]
	if i := strings.LastIndexByte(tail, '\n'); i >= 0 {
		return from + i + 1
	}
	last := 0
	for i, r := range tail {
		end := i + utf8.RuneLen(r)
		switch r {
		case '。', '！', '？', '…', '；':
			last = from + end
		case '.', '!', '?', ';':
			if end < len(tail) && tail[end] == ' ' { // not the dot of a number or an address
				last = from + end + 1
			}
		}
	}
	return last
}
