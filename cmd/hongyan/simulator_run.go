package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hongyan/wechat/simulator"
	"hongyan/wechat/simulator/script"
)

// newSimulatorRunCommand is `hongyan simulator run`.
func newSimulatorRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run script.yaml",
		Short: "Play scripted users against a back end 按脚本模拟用户并检查回复",
		Long: `Run plays a script: users who write, tap and follow at their times, the answers that they expect, a load at a steady rate,
and faults of WeChat's API meanwhile. Progress goes to the standard error, the final table to the standard output.

For answers that come through WeChat's API, serve it with --listen or --api-listen and point the back end's API address there.
docs/simulator.md describes scripts; examples/simulator has some.

Exit codes: 0 everything was as expected · 1 something was not, or it could not be run · 2 wrong command line`,
		Example: `  hongyan simulator run examples/simulator/greeting.yaml -c data/dev.yaml
  hongyan simulator run load.yaml --callback http://127.0.0.1:8080/cb --token T --aes-key K --app-id wx… -o json
  hongyan simulator run trouble.yaml --accounts accounts.yaml --api-listen 127.0.0.1:8082 --witness witness.jsonl`,
		Args: cobra.ExactArgs(1),
	}
	var s simulation
	s.flags(cmd, "")
	noHandshake := cmd.Flags().Bool("no-handshake", false, "begin without the GET check of the callback")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		play, err := script.Open(args[0])
		if err != nil {
			return err
		}
		// The runner must watch the platform from its first record on, and needs to know the first account's name before that.
		accounts, err := s.registered(cmd, play.Accounts)
		if err != nil {
			return err
		}
		runner := script.NewRunner(play, accounts[0].ID)
		p, accounts, closeAll, err := s.open(cmd, play.Accounts, runner.Watch)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeAll()) }()
		if !*noHandshake {
			for _, a := range accounts {
				if err := p.Handshake(cmd.Context(), a.ID); err != nil {
					return fmt.Errorf("%w\nis the back end running with this account? --no-handshake skips this check", err)
				}
			}
		}
		report, err := s.play(cmd.Context(), p, runner, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		write := report.WriteTable
		if inJSON {
			write = report.WriteJSON
		}
		if err := write(cmd.OutOrStdout()); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		if !report.OK() {
			return exitWith(exitError, nil)
		}
		return nil
	}
	return cmd
}

// play runs the script with the servers that the flags ask for beside it, and shows progress.
func (s *simulation) play(ctx context.Context, p *simulator.Platform, runner *script.Runner, notes io.Writer) (*script.Report, error) {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	opened, served := make(chan struct{}), make(chan error, 1)
	go func() { // ends with serving, which ends below
		served <- s.serve(serving, p, func(page, api string) {
			if api != "" {
				fmt.Fprintf(notes, "API (api_base) %s  page %s\n", api, page)
			}
			close(opened)
		})
	}()
	select {
	case <-opened:
	case err := <-served:
		if err != nil || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		served <- nil // there was nothing to serve
	}
	showing, hide := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() { // ends with showing, which ends below
		defer close(shown)
		showProgress(showing, runner, notes)
	}()
	report, err := runner.Run(ctx, p)
	hide()
	<-shown
	stop()
	return report, errors.Join(err, <-served)
}

// showProgress tells how far the run is: in place on a terminal, else a line now and then.
func showProgress(ctx context.Context, runner *script.Runner, notes io.Writer) {
	every, end := 10*time.Second, "\n"
	live := isTerminal(notes)
	if live {
		every, end = 250*time.Millisecond, ""
	}
	started := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if live {
				fmt.Fprint(notes, "\r\x1b[K")
			}
			return
		case <-tick.C:
			p := runner.Progress()
			if live {
				fmt.Fprint(notes, "\r\x1b[K")
			}
			fmt.Fprintf(notes, "%v  users %d/%d  sent %d  answers %d  failures %d%s",
				time.Since(started).Round(time.Second), p.Done, p.Users, p.Sent, p.Seen, p.Failed, end)
		}
	}
}
