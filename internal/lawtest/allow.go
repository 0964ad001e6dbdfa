package lawtest

import (
	"fmt"
	"strings"
)

// allowance is one //lawtest:allow comment.
type allowance struct {
	file   string
	line   int // of the comment
	last   int // last line of the comment group that it stands in
	law    string
	reason string
	used   bool
}

const allowPrefix = "//lawtest:allow"

// allowances are those of the whole tree.
func (t *Tree) allowances() []*allowance {
	var all []*allowance
	for _, f := range t.files {
		for _, group := range f.syntax.Comments {
			for _, c := range group.List {
				rest, ok := strings.CutPrefix(c.Text, allowPrefix)
				if !ok {
					continue
				}
				law, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
				all = append(all, &allowance{
					file: f.path, line: f.line(c.Pos()), last: f.line(group.End()), law: law, reason: strings.TrimSpace(reason),
				})
			}
		}
	}
	return all
}

// covered tells whether an allowance is for v: on the same line, in the comment that ends right above it, or, where v is about
// the whole file, anywhere in it.
func covered(all []*allowance, v Violation) bool {
	for _, a := range all {
		if a.file != v.File || a.law != v.Law || a.reason == "" {
			continue
		}
		if v.Line == 0 || a.line == v.Line || a.last == v.Line-1 {
			a.used = true
			return true
		}
	}
	return false
}

// complaint is what is wrong with the allowance; empty where nothing is.
func (a *allowance) complaint(known func(law string) bool) string {
	switch {
	case !known(a.law):
		return fmt.Sprintf("there is no law %q to allow a breach of", a.law)
	case a.reason == "":
		return "an allowance needs a reason behind the law's name, for those who read it later"
	case !a.used:
		return fmt.Sprintf("this allows nothing: no breach of %s here; remove it", a.law)
	default:
		return ""
	}
}
