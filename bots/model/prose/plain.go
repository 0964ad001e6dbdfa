// Package prose makes of what a model writes what a person reads in WeChat: without reasoning, without marks of Markdown. It is a
// package of its own so that it can be fuzzed without the client library, which takes minutes to build for that.
package prose

import (
	"regexp"
	"strings"
)

// Plain is a text without the Markdown that WeChat would show raw. It is conservative: what is not surely Markdown stays, code blocks
// stay as they are but for their fences, and underscores always stay, since names have them.
//
//	# A head                   A head
//	**bold**, *soft*, ~~gone~~, `code`    bold, soft, gone, code
//	[text](https://…)          text (https://…)
//	![picture](https://…)      picture (https://…)
//	* item, + item, > quote    - item, - item, quote
//	| a | b | with a line |---|---| under it    a | b
//	---                        an empty line
func Plain(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	out := make([]string, 0, len(lines))
	fence := ""
	inTable := false
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		if mark := fenceOf(trimmed); fence == "" && mark != "" && closes(lines[i+1:], mark) {
			fence = mark
			continue
		} else if fence != "" {
			if trimmed == fence {
				fence = ""
			} else {
				out = append(out, line)
			}
			continue
		}
		switch {
		case inTable && strings.Contains(trimmed, "|"):
			if !tableRule.MatchString(trimmed) {
				out = append(out, inline(row(trimmed)))
			}
		case strings.Contains(trimmed, "|") && i+1 < len(lines) && isTableRule(lines[i+1]):
			inTable = true
			out = append(out, inline(row(trimmed)))
		default:
			inTable = false
			out = append(out, inline(block(line, trimmed)))
		}
	}
	return strings.TrimSpace(manyBlanks.ReplaceAllString(strings.Join(out, "\n"), "\n\n"))
}

// address is a link's target, which may have brackets of its own, in pairs.
const address = `((?:https?|mailto|tel|weixin):[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)`

var (
	heading    = regexp.MustCompile(`^#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	ruler      = regexp.MustCompile(`^(-{3,}|\*{3,}|_{3,}|(- ){2,}-|(\* ){2,}\*)$`)
	bullet     = regexp.MustCompile(`^([ \t]*)[*+][ \t]+`)
	quote      = regexp.MustCompile(`^[ \t]*(>[ \t]?)+`)
	tableRule  = regexp.MustCompile(`^\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?$`)
	manyBlanks = regexp.MustCompile(`\n[ \t]*\n([ \t]*\n)+`)
	link       = regexp.MustCompile(`!?\[([^\[\]\n]*)\]\(` + address + `(?:[ \t]+"[^"\n]*")?\)`)
	bold       = regexp.MustCompile(`\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*`)
	gone       = regexp.MustCompile(`~~([^\s~](?:[^~\n]*[^\s~])?)~~`)
	soft       = regexp.MustCompile(`(^|[^\w*\\])\*([^\s*](?:[^*\n]*[^\s*\\])?)\*($|[^\w*])`)
	code       = regexp.MustCompile("`+([^`\n]+)`+")
	escaped    = regexp.MustCompile("\\\\([*#`~>|])")
)

// fenceOf is the mark of a line that begins or ends a block of code.
func fenceOf(line string) string {
	for _, mark := range []string{"```", "~~~"} {
		if strings.HasPrefix(line, mark) && !strings.Contains(line[len(mark):], mark[:1]) {
			return mark
		}
	}
	return ""
}

// closes tells whether one of the lines ends the block.
func closes(lines []string, mark string) bool {
	for _, line := range lines {
		if strings.TrimSpace(line) == mark {
			return true
		}
	}
	return false
}

func isTableRule(line string) bool {
	line = strings.TrimSpace(line)
	return strings.Contains(line, "|") && strings.Contains(line, "-") && tableRule.MatchString(line)
}

// row is a table's row without the bars at its ends.
func row(line string) string {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return strings.Join(cells, " | ")
}

// block takes a line's own marks away.
func block(line, trimmed string) string {
	if ruler.MatchString(trimmed) {
		return ""
	}
	line = quote.ReplaceAllString(line, "")
	if m := heading.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
		return m[1]
	}
	return bullet.ReplaceAllString(line, "$1- ")
}

// inline takes the marks within a line away; within code they stay.
func inline(line string) string {
	if !strings.ContainsAny(line, "*[~`\\") {
		return line
	}
	var b strings.Builder
	last := 0
	for _, m := range code.FindAllStringSubmatchIndex(line, -1) {
		b.WriteString(spans(line[last:m[0]]))
		b.WriteString(line[m[2]:m[3]])
		last = m[1]
	}
	b.WriteString(spans(line[last:]))
	return b.String()
}

func spans(text string) string {
	text = link.ReplaceAllStringFunc(text, func(found string) string {
		m := link.FindStringSubmatch(found)
		if name := strings.TrimSpace(m[1]); name != "" && name != m[2] {
			return name + " (" + m[2] + ")"
		}
		return m[2]
	})
	text = bold.ReplaceAllString(text, "$1")
	text = gone.ReplaceAllString(text, "$1")
	text = soft.ReplaceAllString(text, "$1$2$3")
	return escaped.ReplaceAllString(text, "$1")
}
