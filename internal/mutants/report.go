package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// writeList shows the mutants.
func writeList(w io.Writer, mutants []mutant) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MUTANT\tRULE\tTAKES OUT\tFILE\tMUST TURN RED")
	for _, m := range mutants {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.name, m.rule, m.takes, m.file, strings.Join(m.tests, " "))
	}
	return t.Flush()
}

// writeTable shows what became of them.
func writeTable(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MUTANT\tRULE\tRED TEST\tSECONDS")
	killed := 0
	for _, r := range results {
		red := r.red
		switch {
		case r.killed():
			killed++
		case r.skipped:
			red = "(not run)"
		case r.err != nil:
			red = "(nothing shown)"
		default:
			red = "(survived)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f\n", r.name, r.rule, red, r.took.Seconds())
	}
	fmt.Fprintf(t, "%d of %d mutants turned a test red\n", killed, len(results))
	return t.Flush()
}

// progress says how far a run is: one moving line on a terminal, else a line per mutant.
type progress struct {
	w        io.Writer
	terminal bool
	verbose  bool
	total    int
	began    time.Time

	mu     sync.Mutex
	count  int
	missed int
}

func newProgress(w io.Writer, total int, verbose bool) *progress {
	return &progress{w: w, terminal: isTerminal(w), verbose: verbose, total: total, began: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// clearLine goes to the line's begin and empties it.
const clearLine = "\r\x1b[K"

// at says what is being done.
func (p *progress) at(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintf(p.w, "%s%d of %d, %d not killed, %s: %s", clearLine, p.count, p.total, p.missed,
			time.Since(p.began).Round(time.Second), what)
	}
}

// done takes up a mutant's result.
func (p *progress) done(r result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	if !r.killed() {
		p.missed++
	}
	if p.terminal {
		fmt.Fprint(p.w, clearLine)
	}
	if p.verbose && r.said != "" {
		fmt.Fprintf(p.w, "--- %s (%s): %s\n%s\n", r.name, r.takes, r.file, tail(r.said))
	}
	switch {
	case !r.killed() && r.err != nil:
		fmt.Fprintf(p.w, "%d of %d: %s: %v\n", p.count, p.total, r.name, r.err)
	case !r.killed():
		fmt.Fprintf(p.w, "%d of %d: %s SURVIVED\n", p.count, p.total, r.name)
	case !p.terminal:
		fmt.Fprintf(p.w, "%d of %d: %s killed by %s\n", p.count, p.total, r.name, r.red)
	}
}

func (p *progress) close() {
	if p.terminal {
		fmt.Fprint(p.w, clearLine)
	}
}
