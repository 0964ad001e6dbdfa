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
	end := runeBorder(s, maxBytes)
	if better := naturalEnd(s[:end], end-maxBytes/4); better > 0 {
		end = better
	}
	return s[:end], s[end:]
}

// SplitText cuts text into parts of at most limit bytes (values under 4, the longest rune, count as 4), none of them empty, that
// together are text, with invalid UTF-8 replaced by U+FFFD. No rune is split. A part ends behind the last line end, or else
// the last sentence end, in the last third of what fits; a link (<a …>…</a>) that begins there stays whole in the next part. An
// empty text has no parts. A part may be all blanks where the text has that many in a row: see Shows.
func SplitText(text string, limit int) []string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	limit = max(limit, utf8.UTFMax)
	parts := make([]string, 0, len(text)/limit+1)
	for len(text) > limit {
		end := runeBorder(text, limit)
		from := end - limit/3
		if link := openLink(text[:end]); link > from {
			end = link
		}
		if better := naturalEnd(text[:end], from); better > 0 {
			end = better
		}
		parts = append(parts, text[:end])
		text = text[end:]
	}
	if text != "" {
		parts = append(parts, text)
	}
	return parts
}

// runeBorder is the last offset up to end at which no rune is split; s is valid UTF-8 and longer than end.
func runeBorder(s string, end int) int {
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return end
}

// openLink is where the link begins that s does not close, or -1.
func openLink(s string) int {
	link := strings.LastIndex(s, "<a ")
	if link >= 0 && strings.Contains(s[link:], "</a>") {
		return -1
	}
	return link
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
