package prose

import "strings"

// The tags in which models write their reasoning into the answer itself.
const (
	openThink  = "<think>"
	closeThink = "</think>"
)

// Unthink is an answer without its reasoning: everything within <think> and </think>, however often; from a <think> on that is never
// closed; and up to a </think> that was never opened, since the templates of some servers put the first tag into the prompt. A tag
// right behind a backtick is talk about the tag.
func Unthink(text string) string {
	if !strings.Contains(text, openThink) && !strings.Contains(text, closeThink) {
		return text
	}
	var kept strings.Builder
	for {
		opening, closing := tagIn(text, openThink), tagIn(text, closeThink)
		switch {
		case closing >= 0 && (opening < 0 || closing < opening):
			kept.Reset()
			text = text[closing+len(closeThink):]
		case opening >= 0:
			kept.WriteString(text[:opening])
			text = text[opening+len(openThink):]
			end := strings.Index(text, closeThink)
			if end < 0 {
				return kept.String()
			}
			text = text[end+len(closeThink):]
		default:
			kept.WriteString(text)
			return kept.String()
		}
	}
}

// tagIn is where a tag stands that is not talked about, or -1.
func tagIn(text, tag string) int {
	for from := 0; ; {
		at := strings.Index(text[from:], tag)
		if at < 0 {
			return -1
		}
		if at += from; at == 0 || text[at-1] != '`' {
			return at
		}
		from = at + len(tag)
	}
}
