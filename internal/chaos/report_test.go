package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// progress is what the long form has done: a file that is written after every leg, so that an interrupted run goes on.
type progress struct {
	Plan     string    `json:"plan"` // what was asked for; another plan begins anew
	Began    time.Time `json:"began"`
	Rows     []row     `json:"rows"` // of the faults that are done
	path     string
	markdown string
}

// openProgress reads what an interrupted run with the same plan has done.
func openProgress(folder, plan string, anew bool) (*progress, error) {
	p := &progress{path: filepath.Join(folder, "progress.json"), markdown: filepath.Join(folder, "table.md")}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("%s: %w; -fresh begins anew", p.path, err)
		}
	}
	if anew || p.Plan != plan {
		p.Plan, p.Began, p.Rows = plan, time.Now(), nil
	}
	return p, nil
}

// done tells whether a fault's row is there.
func (p *progress) done(name string) bool {
	return slices.ContainsFunc(p.Rows, func(r row) bool { return r.Fault == name })
}

// add notes a row and writes both files.
func (p *progress) add(r row) error {
	p.Rows = append(p.Rows, r)
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{p.path: data, p.markdown: []byte(p.table())} {
		if err := os.WriteFile(path+".new", content, 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// finish ends the plan: the next run begins anew. The table stays.
func (p *progress) finish() error { return os.Remove(p.path) }

// totals of all rows.
func (p *progress) totals() (injections, messages, violations, banners int) {
	for _, r := range p.Rows {
		injections += r.Injections
		messages += r.Messages
		violations += len(r.Violations) + len(r.Breaches)
		banners += r.Banners
	}
	return injections, messages, violations, banners
}

// table is the rows as Markdown.
func (p *progress) table() string {
	lines := [][]string{{"Fault", "Injections", "Messages", "Violations", "Banners", "p50", "p99", "max", "Target", "Over it"}}
	for _, r := range p.Rows {
		times := slices.Sorted(slices.Values(r.Times))
		over := "–"
		if r.Limit > 0 {
			over = fmt.Sprintf("%d of %d", r.missed(), len(times))
		}
		lines = append(lines, []string{
			r.Fault, fmt.Sprint(r.Injections), thousands(r.Messages), fmt.Sprint(len(r.Violations) + len(r.Breaches)), fmt.Sprint(r.Banners),
			seconds(quantile(times, 50)), seconds(quantile(times, 99)), seconds(quantile(times, 100)), r.Target, over,
		})
	}
	injections, messages, violations, banners := p.totals()
	lines = append(lines, []string{
		"**all**", fmt.Sprint(injections), thousands(messages), fmt.Sprint(violations), fmt.Sprint(banners), "", "", "", "", "",
	})
	var b strings.Builder
	writeTable(&b, lines)
	return b.String()
}

// writeTable aligns the columns, so that the same text is a table on a terminal and in Markdown. Numbers stand to the right.
func writeTable(w io.Writer, lines [][]string) {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for k, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if left := i == 0 || i == len(line)-2; left {
				fmt.Fprintf(w, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(w, "| %s%s ", pad, cell)
			}
		}
		fmt.Fprintln(w, "|")
		if k > 0 {
			continue
		}
		for i := range line {
			if left := i == 0 || i == len(line)-2; left {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width[i]+2))
			} else {
				fmt.Fprintf(w, "|%s:", strings.Repeat("-", width[i]+1))
			}
		}
		fmt.Fprintln(w, "|")
	}
}

// quantile of sorted times, by the nearest rank; 0 of none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(rank, 1)-1]
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
