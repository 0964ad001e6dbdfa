package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"hongyan/console"
)

// showUser writes the admin API's view of a user for people. Times are local.
func showUser(w io.Writer, raw []byte) error {
	var u console.User
	if err := json.Unmarshal(raw, &u); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "user\t%s/%s\n", printable(u.Account), printable(u.OpenID))
	fmt.Fprintf(out, "owner\tnode %s, partition %d, epoch %d\n", printable(u.Node), u.Partition, u.Epoch)
	fmt.Fprintf(out, "record\tversion %d, incarnation %s\n", u.Version, printable(u.Incarnation))
	fmt.Fprintf(out, "applied\t%d:%d\n", u.Applied.Generation, u.Applied.Sequence)
	fmt.Fprintf(out, "now\t%s\n", activity(u))
	fmt.Fprintf(out, "follows\t%s\n", printable(u.Follows))
	c := u.Counts
	fmt.Fprintf(out, "counts\tturns %d, answered %d, silent %d, limited %d, dead %d, dropped %d, kept %d, pushed %d\n",
		c.Turns, c.Answered, c.Silent, c.Limited, c.Dead, c.Dropped, c.Kept, c.Pushed)
	writeBounds(out, u)
	section(out, "conversation", len(u.Turns))
	for _, t := range u.Turns {
		fmt.Fprintf(out, "  %s\t%s\t%s\n", clock(t.At), printable(t.Role), said(t))
	}
	section(out, "recent messages", len(u.Messages))
	for _, m := range u.Messages {
		fmt.Fprintf(out, "  %s\t%s\t%s\n", clock(m.LogTime), printable(m.Outcome), printable(m.Key))
	}
	section(out, "recorded answers", len(u.Answers))
	for _, a := range u.Answers {
		state := "open"
		if a.Settled {
			state = "settled"
		}
		fmt.Fprintf(out, "  %s\t%s\t%s\t%s\n", clock(a.At), state, printable(a.Key), printable(a.Text()))
	}
	section(out, "kept for the next message", len(u.Kept))
	for _, a := range u.Kept {
		fmt.Fprintf(out, "  %s\t%s\t%s\n", clock(a.At), printable(a.Key), printable(a.Text()))
	}
	section(out, "to be pushed", len(u.Pushes))
	for _, p := range u.Pushes {
		fmt.Fprintf(out, "  %s\t%s\t%s\n", clock(p.At), pushState(p), printable(p.Key))
	}
	section(out, "leave to push", len(u.Grants))
	for _, g := range u.Grants {
		fmt.Fprintf(out, "  %s\t%d left\tuntil %s\n", printable(g.Class), g.Left, clock(g.Until))
	}
	section(out, "dead letters", len(u.Dead))
	for _, d := range u.Dead {
		fmt.Fprintf(out, "  %s\t%s\t%s\t%s\n", clock(d.At), printable(d.Reason), printable(d.Key), printable(d.Detail))
	}
	section(out, "session", len(u.Session))
	for _, key := range slices.Sorted(maps.Keys(u.Session)) {
		fmt.Fprintf(out, "  %s\t%s\n", printable(key), printable(u.Session[key]))
	}
	return out.Flush()
}

// writeBounds says what keeps the user's messages from the bots, or will: nothing where nothing does.
func writeBounds(w io.Writer, u console.User) {
	switch b := u.Breaker; {
	case b.OpenUntil != nil:
		fmt.Fprintf(w, "breaker\topen until %s: remote bots are not asked, %d turns failed in a row\n", clock(*b.OpenUntil), b.Failures)
	case b.Failures > 0:
		fmt.Fprintf(w, "breaker\tclosed, %s failed in a row\n", count(b.Failures, "turn"))
	}
	if u.TokensToday > 0 {
		fmt.Fprintf(w, "tokens\t%d spent today, China's time\n", u.TokensToday)
	}
	if u.RateFull != nil {
		fmt.Fprintf(w, "rate\tfull again at %s\n", clock(*u.RateFull))
	}
	if h := u.HandOver; h != nil {
		fmt.Fprintf(w, "hand-over\tto %s since %s: due with the next message\n", cmp.Or(printable(h.Account), "any agent"), clock(h.At))
	}
}

func pushState(p console.Push) string {
	switch {
	case p.Part == 0:
		return "its answer is being made"
	case p.Sending:
		return fmt.Sprintf("sending part %d of %d", p.Part, int(p.Part)+len(p.Parts)-1)
	default:
		return fmt.Sprintf("part %d of %d waits", p.Part, int(p.Part)+len(p.Parts)-1)
	}
}

// section writes a heading where there is something below it.
func section(w io.Writer, title string, n int) {
	if n > 0 {
		fmt.Fprintf(w, "\n%s (%d)\n", title, n)
	}
}

func activity(u console.User) string {
	running := "idle"
	if u.Running != "" {
		running = "answering " + printable(u.Running)
	}
	if u.Queued > 0 {
		running += fmt.Sprintf(", %d queued", u.Queued)
	}
	if u.LastTurn != nil {
		running += ", last turn " + clock(*u.LastTurn)
	}
	return running
}

func said(t console.Turn) string {
	text := printable(t.Text)
	if t.Kind != "" && t.Kind != "text" {
		return strings.TrimRight(fmt.Sprintf("[%s] %s", printable(t.Kind), text), " ")
	}
	return cmp.Or(text, "-")
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// printable is text on one line without characters that command a terminal: what users wrote must not.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '⏎'
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
