package script

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"hongyan/wechat/simulator"
)

// maxFailures is how many failures a report tells in words; all are counted.
const maxFailures = 50

// Report is how a run went.
type Report struct {
	Script   string        `json:"script"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Stopped  bool          `json:"stopped"` // it was ended before its end
	Failed   int           `json:"failed"`  // expectations that were not fulfilled, banners, messages that could not be sent
	Rows     []Row         `json:"rows"`
	Failures []Failure     `json:"failures"` // the first of them
}

// OK tells whether the script went to its end and everything was as expected.
func (r *Report) OK() bool { return r.Failed == 0 && !r.Stopped }

// Row is one step of the script, over all users and rounds.
type Row struct {
	User    string        `json:"user"`
	Step    string        `json:"step"`
	Line    int           `json:"line"`
	Sent    int           `json:"sent"`
	Passive int           `json:"passive"` // answered as passive replies
	Custom  int           `json:"custom"`  // customer-service messages that came between this and the user's next message
	Silent  int           `json:"silent"`  // ended without a passive reply, deliberately
	Banner  int           `json:"banner"`
	Retried int           `json:"retried"` // needed more than one delivery
	Failed  int           `json:"failed"`
	P50     time.Duration `json:"p50_ns"` // from a message to its first answer
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
}

// Failure is one thing that was not as the script wants it.
type Failure struct {
	File string `json:"file"`
	Line int    `json:"line"`
	User string `json:"user"`
	Text string `json:"text"`
}

// String is the failure in one line, with its place in the script.
func (f Failure) String() string { return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.User, f.Text) }

// row gathers a step's numbers; the runner's lock guards it.
type row struct {
	user, label                                             string
	line                                                    int
	sent, passive, customs, silent, banner, retried, failed int
	took                                                    []time.Duration
}

func (r *row) add(result simulator.Result) {
	switch {
	case result.Answered:
		r.passive++
		r.took = append(r.took, result.Elapsed)
	case result.Banner:
		r.banner++
	default:
		r.silent++
	}
	if len(result.Deliveries) > 1 {
		r.retried++
	}
}

func (r *row) custom(after time.Duration) {
	r.customs++
	r.took = append(r.took, after)
}

// began notes that a message of the user goes out: what comes by the API from now on is counted with it.
func (b *inbox) began(r *row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.row, b.sentAt = r, time.Now()
}

// latest is the user's newest message.
func (b *inbox) latest() (*row, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.row, b.sentAt
}

func (r *Runner) report(elapsed time.Duration, stopped bool) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &Report{Script: r.script.Name, Elapsed: elapsed, Stopped: stopped, Failed: int(r.failed.Load()), Failures: slices.Clone(r.failures)}
	for _, x := range r.rows {
		if x.sent == 0 && x.failed == 0 {
			continue
		}
		line := Row{
			User: x.user, Step: x.label, Line: x.line, Sent: x.sent, Passive: x.passive, Custom: x.customs, Silent: x.silent,
			Banner: x.banner, Retried: x.retried, Failed: x.failed,
		}
		if n := len(x.took); n > 0 {
			slices.Sort(x.took)
			line.P50, line.P99, line.Max = x.took[n/2], x.took[n*99/100], x.took[n-1]
		}
		out.Rows = append(out.Rows, line)
	}
	return out
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	table := [][]string{{"USER", "STEP", "SENT", "PASSIVE", "CUSTOM", "SILENT", "BANNER", "RETRIED", "FAILED", "P50", "P99", "MAX"}}
	for _, x := range r.Rows {
		line := []string{x.User, cut(x.Step, 32)}
		for _, n := range []int{x.Sent, x.Passive, x.Custom, x.Silent, x.Banner, x.Retried, x.Failed} {
			line = append(line, strconv.Itoa(n))
		}
		table = append(table, append(line, short(x.P50), short(x.P99), short(x.Max)))
	}
	if err := writeColumns(w, table); err != nil {
		return err
	}
	if len(r.Failures) > 0 {
		fmt.Fprintln(w)
	}
	for _, f := range r.Failures {
		fmt.Fprintln(w, f)
	}
	if more := r.Failed - len(r.Failures); more > 0 {
		fmt.Fprintf(w, "… and %d more failures\n", more)
	}
	verdict := "everything was as expected"
	switch {
	case r.Failed > 0:
		verdict = fmt.Sprintf("%d failures", r.Failed)
	case r.Stopped:
		verdict = "stopped before its end"
	}
	_, err := fmt.Fprintf(w, "\n%s: %s, in %v\n", r.Script, verdict, r.Elapsed.Round(time.Millisecond))
	return err
}

// writeColumns sets cells below each other. Chinese characters take two places each, which text/tabwriter does not know.
func writeColumns(w io.Writer, table [][]string) error {
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	for _, line := range table {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2))
			}
		}
		b.WriteByte('\n')
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// short is a duration in as few digits as tell something; "-" for none.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}
