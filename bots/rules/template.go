package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// template is a reply with places for what a regular expression's groups matched.
type template []part

// part is a literal text, or the place of a group by number or by name.
type part struct {
	place bool
	text  string // what stands there, where it is no place
	name  string // the group's name; empty: by number
	group int
}

// placeOf is the place of the group with this name or number.
func placeOf(name string) part {
	if n, err := strconv.Atoi(name); err == nil {
		return part{place: true, group: n}
	}
	return part{place: true, name: name}
}

// parseTemplate splits a reply. $1 to $99 and ${name} or ${1} are places, $$ is a dollar, any other $ stands for itself.
//
// The standard library's Expand is not used because it reads $1 and the letters behind it as one name, and Chinese
// characters are letters: "$1天气" would be the group "1天气".
func parseTemplate(reply string) (template, error) {
	var t template
	literal := func(s string) {
		if n := len(t); n > 0 && !t[n-1].place {
			t[n-1].text += s
		} else if s != "" {
			t = append(t, part{text: s})
		}
	}
	for {
		before, rest, found := strings.Cut(reply, "$")
		literal(before)
		if !found {
			return t, nil
		}
		digits := 0
		for digits < len(rest) && digits < 2 && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			literal("$")
			reply = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed || name == "" {
				return nil, fmt.Errorf("the place ${%s has no end or no name; write ${name}, or $$ for a dollar", name)
			}
			t = append(t, placeOf(name))
			reply = after
		case digits > 0:
			t = append(t, placeOf(rest[:digits]))
			reply = rest[digits:]
		default:
			literal("$")
			reply = rest
		}
	}
}

// check tells whether every place of the template is a group of p.
func (t template) check(p *regexp.Regexp) error {
	for _, part := range t {
		switch {
		case !part.place:
		case part.name != "" && p.SubexpIndex(part.name) < 0:
			return fmt.Errorf("the expression %s has no group named %q; write (?P<%[2]s>…), or $$ for a dollar", p, part.name)
		case part.name == "" && (part.group < 1 || part.group > p.NumSubexp()):
			return fmt.Errorf("the reply asks for group %d, but the expression %s has %d; write $$ for a dollar",
				part.group, p, p.NumSubexp())
		}
	}
	return nil
}

// fill puts what p's groups matched into the places.
func (t template) fill(p *regexp.Regexp, groups []string) string {
	var b strings.Builder
	for _, part := range t {
		switch {
		case !part.place:
			b.WriteString(part.text)
		case part.name != "":
			b.WriteString(groups[p.SubexpIndex(part.name)])
		default:
			b.WriteString(groups[part.group])
		}
	}
	return b.String()
}
