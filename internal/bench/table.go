package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// quietShare is the share of all cores that processes outside the run may use before the report warns.
const quietShare = 0.05

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var text strings.Builder
	s, m := r.Settings, r.Machine
	fmt.Fprintf(&text, "%s mode, %d users (%s), %d connections, closed loop, %d rounds of %gs each, alternating\n",
		s.Mode, s.Users, s.Spread, s.Connections, s.Rounds, s.RoundSeconds)
	fmt.Fprintf(&text, "%d cores (%s), %s, %s, data on %s (fsync %.2f ms); load generator on the same machine\n",
		m.Cores, m.CPU, m.OS, m.Go, m.FileSystem, m.FsyncMS)
	if m.FileSystem == "tmpfs" {
		text.WriteString("note: tmpfs is memory; the figures for disk mean nothing here. Choose a disk with --dir.\n")
	}
	if foreign := r.foreignCPU(); foreign > quietShare*float64(m.Cores) {
		fmt.Fprintf(&text, "note: other processes used %.2f of the %d cores meanwhile; figures of a busy machine do not count.\n", foreign, m.Cores)
	}
	text.WriteString("\n")
	columns(&text, func(w io.Writer) {
		fmt.Fprintln(w, "target\tmsgs/s\tmin – max\tp50 ms\tp99 ms\tmax ms\tCPU µs/msg\tRSS MiB\t")
		for _, t := range r.Targets {
			fmt.Fprintf(w, "%s\t%.0f\t%.0f – %.0f\t%.2f\t%.2f\t%.1f\t%.1f\t%.0f\t\n", t.Name, t.PerSecond.Median, t.PerSecond.Min,
				t.PerSecond.Max, t.P50MS.Median, t.P99MS.Median, t.MaxMS, t.CPUMicros.Median, float64(t.ResidentNow)/(1<<20))
		}
	})
	if len(r.Ratios) > 0 {
		text.WriteString("\n")
		columns(&text, func(w io.Writer) {
			fmt.Fprintln(w, "ratio to bare\tmsgs/s\tmin – max per cycle\tCPU/msg\t")
			for _, ratio := range r.Ratios {
				fmt.Fprintf(w, "%s\t%.3f\t%.3f – %.3f\t%.2f\t\n", ratio.Name, ratio.OfMedian, ratio.PerCycle.Min, ratio.PerCycle.Max,
					ratio.CPU)
			}
		})
	}
	if len(r.Latency) > 0 {
		text.WriteString("\nopen loop, Poisson arrivals\n")
		columns(&text, func(w io.Writer) {
			fmt.Fprintln(w, "target\tplanned msgs/s\treached\tp50 ms\tp99 ms\tp99.9 ms\tmax ms\tCPU µs/msg\t")
			for _, o := range r.Latency {
				fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t\n", o.Name, o.Rate, o.Reached, o.P50MS, o.P99MS, o.P999MS,
					o.MaxMS, o.CPUMicros)
			}
		})
	}
	fmt.Fprintf(&text, "\nanswers: %d checked, %d missing, %d wrong\n", r.Answers.Checked, r.Answers.Missing, r.Answers.Wrong)
	for _, fault := range r.Answers.Faults {
		fmt.Fprintf(&text, "  %s\n", fault)
	}
	if !r.Passed {
		text.WriteString("FAILED: the figures do not count\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func columns(w io.Writer, rows func(io.Writer)) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows(table)
	_ = table.Flush() // a strings.Builder takes everything
}
