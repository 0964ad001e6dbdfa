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

	"hongyan/console"
)

// letterTable shows letters as a table, page by page.
type letterTable struct {
	w     io.Writer
	shown int
}

func (t *letterTable) page(letters []console.Letter) error {
	if len(letters) == 0 {
		return nil
	}
	out := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	if t.shown == 0 {
		fmt.Fprintln(out, "BURIED\tREASON\tSTATE\tATTEMPT\tUSER\tMESSAGE\tID")
	}
	for i := range letters {
		l := &letters[i]
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", clock(l.At), dash(l.Reason), l.State, l.Attempt, letterUser(l),
			shortened(letterText(l), 24), printable(l.ID))
	}
	t.shown += len(letters)
	return out.Flush()
}

func (t *letterTable) end(more bool) error {
	var err error
	switch {
	case t.shown == 0:
		_, err = fmt.Fprintln(t.w, "no dead letters")
	case more:
		_, err = fmt.Fprintf(t.w, "\n%s shown; there may be more: --limit 0 lists all\n", count(t.shown, "letter"))
	}
	return err
}

// letterJSON gathers letters into one JSON value.
type letterJSON struct {
	w    io.Writer
	list console.DeadList
}

func (j *letterJSON) page(letters []console.Letter) error {
	j.list.Letters = append(j.list.Letters, letters...)
	return nil
}

func (j *letterJSON) end(more bool) error {
	if j.list.Letters == nil {
		j.list.Letters = []console.Letter{}
	}
	encoder := json.NewEncoder(j.w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		console.DeadList
		More bool `json:"more"`
	}{j.list, more})
}

func letterUser(l *console.Letter) string {
	if l.OpenID == "" {
		return dash(l.Account)
	}
	return printable(l.Account + "/" + l.OpenID)
}

// letterText is what the message was, in short.
func letterText(l *console.Letter) string {
	if l.Text != "" {
		return printable(l.Text)
	}
	return dash(l.Kind)
}

// shortened is at most n runes of s.
func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// countsBy is "3 bot, 1 panic": the most frequent first.
func countsBy(counts map[string]int) string {
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, word := range words {
		words[i] = fmt.Sprintf("%d %s", counts[word], dash(word))
	}
	return strings.Join(words, ", ")
}

// showLetter writes the admin API's view of a letter for people. Times are local.
func showLetter(w io.Writer, raw []byte) error {
	var l console.LetterDetail
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "letter\t%s (revision %d)\n", printable(l.ID), l.Revision)
	fmt.Fprintf(out, "user\t%s\n", letterUser(&l.Letter))
	fmt.Fprintf(out, "buried\t%s, attempt %d, entry %d:%d\n", clock(l.At), l.Attempt, l.Entry.Generation, l.Entry.Sequence)
	fmt.Fprintf(out, "state\t%s\n", letterState(&l.Letter))
	fmt.Fprintf(out, "reason\t%s\n", dash(l.Reason))
	if l.Detail != "" {
		fmt.Fprintf(out, "detail\t%s\n", printable(l.Detail))
	}
	fmt.Fprintf(out, "meaning\t%s\n", printable(l.Meaning))
	fmt.Fprintf(out, "to do\t%s\n", printable(l.Advice))
	if len(l.Message) > 0 {
		fmt.Fprintf(out, "message\t%s\n", letterMessage(&l))
	}
	if len(l.Answer) > 0 {
		fmt.Fprintf(out, "answer\t%s\n", printable(console.Answer{Answer: l.Answer}.Text()))
	}
	if len(l.Payload) > 0 {
		fmt.Fprintf(out, "payload\t%d bytes that are no entry: -o json has them (base64)\n", len(l.Payload))
	}
	if len(l.History) > 1 {
		section(out, "attempts of this message", len(l.History))
		for i := range l.History {
			h := &l.History[i]
			fmt.Fprintf(out, "  %s\tattempt %d\t%s\t%s\t%s\n", clock(h.At), h.Attempt, dash(h.Reason), letterState(h), printable(h.ID))
		}
	}
	return out.Flush()
}

func letterState(l *console.Letter) string {
	if l.Redriven == nil {
		return printable(l.State)
	}
	return fmt.Sprintf("redriven at %s by entry %d:%d", clock(l.Redriven.At), l.Redriven.Entry.Generation, l.Redriven.Entry.Sequence)
}

// letterMessage is the message as it came: text as text, anything else as JSON.
func letterMessage(l *console.LetterDetail) string {
	kind := cmp.Or(l.Kind, "unknown kind")
	if l.Text != "" {
		return "[" + printable(kind) + "] " + printable(l.Text)
	}
	return "[" + printable(kind) + "] " + printable(string(l.Message))
}
