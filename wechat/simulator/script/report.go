package script

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

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
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "USER\tSTEP\tSENT\tPASSIVE\tCUSTOM\tSILENT\tBANNER\tRETRIED\tFAILED\tP50\tP99\tMAX")
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", x.User, cut(x.Step, 32), x.Sent, x.Passive, x.Custom, x.Silent,
			x.Banner, x.Retried, x.Failed, short(x.P50), short(x.P99), short(x.Max))
	}
	if err := t.Flush(); err != nil {
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
