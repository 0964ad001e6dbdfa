package config

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Fault is one thing that is wrong with a configuration: where, what, and what to do. It never shows a secret.
type Fault struct {
	File     string `json:"file,omitempty"`     // as it was given to Load
	Line     int    `json:"line,omitempty"`     // from 1; 0 where no place in the file is meant
	Column   int    `json:"column,omitempty"`   // from 1, in characters
	Variable string `json:"variable,omitempty"` // the environment variable that gave the value, instead of a place
	Key      string `json:"key,omitempty"`      // path of the key, as accounts[0].reply.deadline
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"` // what to write or do instead

	width  int    // characters to underline
	source string // the line, with secrets covered
}

// FaultIn is a fault at a place of another file that belongs to the configuration, a rules file for example. src is its text.
func FaultIn(file string, src []byte, line, column int, message string) Fault {
	o := origin{file: file, lines: splitLines(src), decoded: true}
	return o.place(Fault{File: file, Message: message}, spot{line: line, column: max(column, 1), width: 1})
}

// FaultAt is a fault of a key that somebody else found, at the place where cfg, which comes from Load or Parse, has it from.
func FaultAt(cfg *Config, key, message string) Fault { return cfg.origin.fault(key, message, "") }

// splitLines are the lines of src as they can be shown.
func splitLines(src []byte) []string {
	return strings.Split(strings.ReplaceAll(strings.ToValidUTF8(string(src), "?"), "\r\n", "\n"), "\n")
}

// place is "file:line:column", shorter where less is known.
func (f Fault) place() string {
	switch {
	case f.Variable != "":
		return "environment " + f.Variable
	case f.Line == 0:
		return f.File
	default:
		return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
}

// Report is everything that was found. Faults keep the configuration from being used; warnings do not.
type Report struct {
	Faults   []Fault `json:"faults"`
	Warnings []Fault `json:"warnings"`
}

// Err is nil where there are no faults, else the report itself as an error.
func (r *Report) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	return r
}

// Error is all faults as Print shows them, without warnings and colour.
func (r *Report) Error() string {
	var b strings.Builder
	noun := "faults"
	if len(r.Faults) == 1 {
		noun = "fault"
	}
	fmt.Fprintf(&b, "the configuration has %d %s\n", len(r.Faults), noun)
	_ = (&Report{Faults: r.Faults}).Print(&b, false)
	return strings.TrimRight(b.String(), "\n")
}

// Sort brings faults and warnings into the order of the file.
func (r *Report) Sort() {
	for _, list := range [][]Fault{r.Faults, r.Warnings} {
		slices.SortStableFunc(list, func(a, b Fault) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Variable, b.Variable))
		})
	}
}

// Print writes the report for people: every fault and warning with its line and a caret below. colour asks for ANSI colours.
func (r *Report) Print(w io.Writer, colour bool) error {
	out := bufio.NewWriter(w)
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	show := func(f Fault, label string) {
		if place := f.place(); place != "" {
			fmt.Fprintf(out, "%s: ", paint("1", place))
		}
		key := ""
		if f.Key != "" {
			key = f.Key + ": "
		}
		fmt.Fprintf(out, "%s: %s%s\n", label, key, f.Message)
		if f.Line > 0 && f.Variable == "" {
			fmt.Fprintf(out, "%s %s\n", paint("2", fmt.Sprintf("%5d |", f.Line)), f.source)
			fmt.Fprintf(out, "%s %s\n", paint("2", "      |"), paint("1;33", f.caret()))
		}
		if f.Fix != "" {
			fmt.Fprintf(out, "  fix: %s\n", f.Fix)
		}
	}
	for _, f := range r.Faults {
		show(f, paint("1;31", "error"))
	}
	for _, f := range r.Warnings {
		show(f, paint("1;33", "warning"))
	}
	return out.Flush()
}

// caret is the underline below the source line: as wide on a terminal as what it marks, where Chinese characters take two
// cells, and with the line's own tabs.
func (f Fault) caret() string {
	runes := []rune(f.source)
	start := min(max(f.Column-1, 0), len(runes))
	end := min(start+max(f.width, 1), len(runes))
	var b strings.Builder
	for _, r := range runes[:start] {
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteString(strings.Repeat(" ", uniseg.StringWidth(string(r))))
		}
	}
	b.WriteString(strings.Repeat("^", max(uniseg.StringWidth(string(runes[start:end])), 1)))
	return b.String()
}

// spot is a place in the file, in characters from 1.
type spot struct{ line, column, width int }

// origin knows where each value of a configuration came from.
type origin struct {
	file      string
	lines     []string
	spots     map[string]spot   // key path → its value, or its key where the value is a mapping or a list
	given     map[string]bool   // key paths for which the file has a value, and not only the key
	variables map[string]string // key path → the environment variable that gave its value
	covered   []spot            // values that must not be shown
	decoded   bool              // the decoder has walked the tree, so that covered is complete
}

// fault is a fault about the value at a key path. Where the file does not have that key, the fault points at the nearest
// enclosing one that it has.
func (o *origin) fault(path, message, fix string) Fault {
	f := Fault{File: o.file, Key: path, Message: message, Fix: fix}
	if v, ok := o.variables[path]; ok {
		f.File, f.Variable = "", v
		return f
	}
	for p := path; ; p = parent(p) {
		if s, ok := o.spots[p]; ok && (p != "" || path == "") {
			return o.place(f, s)
		}
		if p == "" {
			return f
		}
	}
}

// place puts a fault at a spot.
func (o *origin) place(f Fault, s spot) Fault {
	f.Line, f.Column, f.width = s.line, s.column, s.width
	f.source = o.shown(s.line)
	return f
}

// has tells whether the file or the environment gives a value for a key path.
func (o *origin) has(path string) bool {
	_, inFile := o.spots[path]
	_, inEnv := o.variables[path]
	return inFile || inEnv
}

// gives is has for a key with a value: "timeout:" alone leaves the default.
func (o *origin) gives(path string) bool {
	_, inEnv := o.variables[path]
	return o.given[path] || inEnv
}

// parent is the path without its last step: "a[0].b" → "a[0]" → "a" → "".
func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return ""
}

var (
	// wordInLine finds words, with the colon that makes a key of one.
	wordInLine = regexp.MustCompile(`[^\s,:{}\[\]"'#]{4,}(["']?\s*:)?`)
	// secretInLine finds secrets by their keys, in lines that the decoder never reached: it covers too much rather than too little.
	secretInLine   = regexp.MustCompile(`(?i)((?:token|secret|aes_key|api_key|passw\w*)["']?\s*:\s*)("[^"]+"?|'[^']+'?|[^\s"'#]\S*(?: +[^#\s]\S*)*)()`)
	passwordInLine = regexp.MustCompile(`(://)([^/@\s]+)(@)`)
)

// shown is a line of the file with secrets covered by as many asterisks, so that columns stay.
func (o *origin) shown(line int) string {
	if line < 1 || line > len(o.lines) {
		return ""
	}
	runes := []rune(o.lines[line-1])
	for _, s := range o.covered {
		if s.line != line {
			continue
		}
		start, end := max(s.column-1, 0), min(s.column-1+s.width, len(runes))
		for start < end && runes[start] == ' ' {
			start++
		}
		for i := start; i < end; i++ {
			runes[i] = '*'
		}
	}
	text := cover(passwordInLine, string(runes))
	if o.decoded {
		return text
	}
	// After a syntax error nobody knows what is a secret. Keys and punctuation are enough to see the fault.
	return wordInLine.ReplaceAllStringFunc(cover(secretInLine, text), func(word string) string {
		if strings.HasSuffix(word, ":") {
			return word
		}
		return strings.Repeat("*", utf8.RuneCountInString(word))
	})
}

// cover replaces the second group of every match by asterisks.
func cover(re *regexp.Regexp, text string) string {
	return re.ReplaceAllStringFunc(text, func(match string) string {
		g := re.FindStringSubmatch(match)
		return g[1] + strings.Repeat("*", utf8.RuneCountInString(g[2])) + g[3]
	})
}

// show fills in the lines of faults that were found before all secrets of their lines were known.
func (o *origin) show(faults []Fault) {
	for i := range faults {
		if f := &faults[i]; f.Line > 0 {
			f.source = o.shown(f.Line)
		}
	}
}
