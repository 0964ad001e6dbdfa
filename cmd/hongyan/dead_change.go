package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hongyan/config"
	"hongyan/console"
)

// deadVerb is what a command does with letters.
type deadVerb struct {
	path         string // of the API call
	done, would  string // "re-driven", "would be re-driven"
	irreversible bool
}

func newDeadRedriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive [ID...]",
		Short: "Handle dead letters again 重新投递死信",
		Long: `Write dead letters to the end of the log again: those that are named, or all open ones that the conditions choose. Each user's
letters keep their order. The answer never goes out as a reply to the old request: it is pushed, or kept for the user's
next message.

A letter is taken up once, however often and by however many it is re-driven; so the same command can be run again after an
interruption. Re-driving a letter with the reason unknown may give the user an answer twice.

` + whichNode + `

Exit codes: 0 all of them are in the log · 1 some were refused or failed, or the node cannot tell · 2 wrong command line ·
3 no letter was chosen`,
		Example: `  hongyan dead redrive 17.demo.6f1c0e3a9b7d4c2f8e5a1b3c4d5e6f70.4a1.3
  hongyan dead redrive --account demo --reason bot --since 2h --dry-run
  hongyan dead redrive --all`,
	}
	return changeCommand(cmd, deadVerb{path: "/api/v1/dead/redrive", done: "re-driven", would: "would be re-driven"}, "")
}

func newDeadDropCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop [ID...]",
		Short: "Delete dead letters for good 永久删除死信",
		Long: `Delete dead letters for good: those that are named, or all that the conditions choose (open ones, unless --state says otherwise).
At a terminal the command asks before; elsewhere it needs --yes.

` + whichNode + `

Exit codes: 0 all of them are gone · 1 some were refused or failed, or the node cannot tell · 2 wrong command line ·
3 no letter was chosen`,
		Example: `  hongyan dead drop 17.demo.6f1c0e3a9b7d4c2f8e5a1b3c4d5e6f70.4a1.3
  hongyan dead drop --account demo --reason no_user --until 720h --dry-run
  hongyan dead drop --state redriven --all --yes`,
	}
	return changeCommand(cmd, deadVerb{path: "/api/v1/dead/drop", done: "dropped", would: "would be dropped", irreversible: true},
		console.StateOpen)
}

// changeCommand adds flags and body to a command that changes letters.
func changeCommand(cmd *cobra.Command, verb deadVerb, state string) *cobra.Command {
	flags := cmd.Flags()
	file := flags.StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	all := flags.Bool("all", false, "all letters, where no condition narrows them")
	dry := flags.Bool("dry-run", false, "tell what would happen, and change nothing")
	yes := true
	if verb.irreversible {
		flags.BoolVar(&yes, "yes", false, "do not ask")
	}
	var which deadFlags
	which.add(cmd, state)
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		filter, err := which.parse(time.Now())
		if err == nil {
			err = oneWay(ids, which.narrows(), *all)
		}
		if err == nil && !*dry && !yes && !isTerminalIn(cmd.InOrStdin()) {
			err = errors.New("this deletes for good and there is nobody to ask: add --yes, or look first with --dry-run")
		}
		if err != nil {
			return usageError(cmd, err)
		}
		cfg, err := loadForClient(*file)
		if err != nil {
			return err
		}
		ask := console.DeadChange{IDs: ids, DryRun: *dry}
		if len(ids) == 0 {
			ask.Filter = &filter
		}
		c := letterChange{cfg: cfg, verb: verb, ask: ask, json: inJSON, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
		if !*dry && !yes {
			if agreed, err := c.confirm(cmd.Context(), cmd.InOrStdin()); err != nil || !agreed {
				return err
			}
		}
		return c.run(cmd.Context())
	}
	return cmd
}

// oneWay checks that letters are chosen in one way: by ids, by conditions, or all of them.
func oneWay(ids []string, narrowed, all bool) error {
	switch {
	case len(ids) > 0 && (narrowed || all):
		return errors.New("name ids, or choose letters by conditions, and not both")
	case len(ids) == 0 && !narrowed && !all:
		return errors.New("name ids, or conditions such as --account and --reason, or --all")
	case narrowed && all:
		return errors.New("--all is for letters without any condition: leave one of the two away")
	}
	return nil
}

func isTerminalIn(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// letterChange is one run of redrive or drop.
type letterChange struct {
	cfg      *config.Config
	verb     deadVerb
	ask      console.DeadChange
	json     bool
	out, err io.Writer
}

// confirm counts what would be dropped and asks; without letters it agrees, and run says so.
func (c *letterChange) confirm(ctx context.Context, in io.Reader) (bool, error) {
	dry := *c
	dry.ask.DryRun = true
	reasons := make(map[string]int)
	total := 0
	if _, err := dry.each(ctx, func(part *console.DeadChanged) {
		for i := range part.Results {
			if part.Results[i].Result == console.ResultDone {
				reasons[part.Results[i].Reason]++
				total++
			}
		}
	}); err != nil || total == 0 {
		return err == nil, err
	}
	fmt.Fprintf(c.err, "Delete %s for good (%s)? [y/N] ", count(total, "dead letter"), countsBy(reasons))
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, exitWith(exitError, errors.New("nothing was dropped"))
}

// each asks until all letters were dealt with, or one failed, and hands over the answers.
func (c *letterChange) each(ctx context.Context, take func(*console.DeadChanged)) (sum console.DeadChanged, err error) {
	ask := c.ask
	for {
		body, err := json.Marshal(ask)
		if err != nil {
			return sum, err
		}
		var part console.DeadChanged
		if err := askJSON(ctx, c.cfg, http.MethodPost, c.verb.path, bytes.NewReader(body), &part); err != nil {
			return sum, err
		}
		sum.Done, sum.Refused, sum.Failed = sum.Done+part.Done, sum.Refused+part.Refused, sum.Failed+part.Failed
		take(&part)
		if part.Next == "" || part.Failed > 0 {
			sum.Next = part.Next
			return sum, nil
		}
		ask.Cursor = part.Next
	}
}

// run changes the letters and tells what became of them.
func (c *letterChange) run(ctx context.Context) error {
	bar := c.bar(ctx)
	results := []console.DeadResult{}
	sum, err := c.each(ctx, func(part *console.DeadChanged) {
		if bar != nil {
			_ = bar.Add(len(part.Results)) // its errors are the terminal's
		}
		if c.json {
			results = append(results, part.Results...)
			return
		}
		for i := range part.Results {
			c.line(&part.Results[i])
		}
	})
	if bar != nil {
		_ = bar.Finish()
	}
	if c.json && (err == nil || len(results) > 0) {
		sum.Results, sum.DryRun = results, c.ask.DryRun
		encoder := json.NewEncoder(c.out)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(sum))
	}
	if err != nil {
		if done := sum.Done + sum.Refused; done > 0 {
			return fmt.Errorf("after %s: %w\nrun the same command again: what is done is not done twice", count(done, "letter"), err)
		}
		return err
	}
	return c.sum(&sum)
}

// line tells of one letter, where there is something to tell: in a dry run of each, otherwise of those that were not done.
func (c *letterChange) line(r *console.DeadResult) {
	switch {
	case r.Result != console.ResultDone:
		fmt.Fprintf(c.out, "%s\t%s\t%s: %s\n", printable(r.Result), printable(r.ID), printable(r.Code), printable(r.Message))
	case c.ask.DryRun:
		fmt.Fprintf(c.out, "%s\t%s\t%s\n", c.verb.would, printable(r.ID), printable(r.Reason))
	}
}

// sum tells the totals, and makes the exit code.
func (c *letterChange) sum(sum *console.DeadChanged) error {
	if sum.Done+sum.Refused+sum.Failed == 0 {
		return exitWith(exitAbsent, errors.New("no dead letter was chosen: hongyan dead ls shows which there are"))
	}
	if !c.json {
		verb := c.verb.done
		if c.ask.DryRun {
			verb = c.verb.would
		}
		fmt.Fprintf(c.out, "%s %s, %d refused, %d failed\n", count(sum.Done, "letter"), verb, sum.Refused, sum.Failed)
	}
	switch {
	case sum.Failed > 0:
		return errors.New("some letters failed; run the same command again: what is done is not done twice")
	case sum.Refused > 0:
		return exitWith(exitError, nil) // each was told
	}
	return nil
}

// bar is the progress of a change by conditions, on a terminal; nil for none. Its length is what a dry run finds.
func (c *letterChange) bar(ctx context.Context) *progressbar.ProgressBar {
	if c.ask.Filter == nil || c.ask.DryRun || !isTerminal(c.err) {
		return nil
	}
	dry := *c
	dry.ask.DryRun = true
	looking := c.moving(-1, "counting")
	sum, err := dry.each(ctx, func(part *console.DeadChanged) { _ = looking.Add(len(part.Results)) })
	_ = looking.Finish()
	if err != nil {
		return nil // the run itself meets it, and tells
	}
	return c.moving(sum.Done+sum.Refused+sum.Failed, c.verb.done)
}

func (c *letterChange) moving(total int, what string) *progressbar.ProgressBar {
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish())
}
