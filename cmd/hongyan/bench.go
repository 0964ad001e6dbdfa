package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hongyan/internal/bench"
)

// benchCommand is `hongyan bench`. Exit 0: measured, every answer right; 1: an answer wrong or missing, or no measurement.
func benchCommand() *cobra.Command {
	options := bench.Options{}
	var output string
	command := &cobra.Command{
		Use:   "bench",
		Short: "Measure the whole path beside a bare HTTP handler",
		Long: `Measure the whole path (verify, durable log, actor, committed state, in order, answered) beside a bare net/http +
encoding/xml handler that verifies and answers the same callbacks with the same bytes and keeps nothing.

Both run as processes of their own on loopback, with a fresh account and empty data; one client drives them in
alternating rounds over keep-alive connections and checks every answer. A wrong or missing answer fails the run (exit 1).
Progress goes to stderr, the report to stdout.`,
		Example: `  hongyan bench
  hongyan bench --mode plain --durability os --rounds 9 -o json
  hongyan bench --latency --dir /mnt/fast`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output is %q; choose text or json", output)
			}
			return runBench(command.Context(), options, output, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Mode, "mode", bench.ModeSafe, "encryption mode of the account: plain or safe")
	flags.StringSliceVar(&options.Durability, "durability", []string{"os", "disk"},
		`durabilities of the log to measure: os, disk; "" measures the bare handler alone`)
	flags.IntVar(&options.Users, "users", 10_000, "number of users")
	flags.StringVar(&options.Spread, "spread", bench.UsersUniform, "how users take turns: uniform, or zipf (few write most)")
	flags.IntVar(&options.Connections, "connections", 64, "keep-alive connections; each has users of its own and one message in flight")
	flags.IntVar(&options.Rounds, "rounds", 5, "cycles over all servers")
	flags.DurationVar(&options.Round, "round", 5*time.Second, "length of one server's turn")
	flags.DurationVar(&options.WarmUp, "warm-up", 3*time.Second, "unmeasured time per server; goes on until each user was there once")
	flags.BoolVar(&options.Latency, "latency", false, "add latencies at a fixed rate of arrival (open loop)")
	flags.Float64Var(&options.Rate, "rate", 0, "messages per second of --latency; 0 is half of what each server reached")
	flags.Uint64Var(&options.Seed, "seed", 0, "who writes what; 0 draws one")
	flags.StringVar(&options.Dir, "dir", "", "folder for the servers' data (default: the system's temporary folder)")
	flags.BoolVar(&options.Keep, "keep", false, "keep data, configuration and logs of the servers")
	flags.StringVarP(&output, "output", "o", "text", "report as text or json")
	command.AddCommand(benchBareCommand())
	return command
}

func runBench(ctx context.Context, options bench.Options, output string, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := bench.NewLines(stderr)
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		progress = bench.NewBar(stderr)
	}
	report, err := bench.Run(ctx, options, progress)
	if report == nil {
		return err
	}
	write := report.WriteTable
	if output == "json" {
		write = report.WriteJSON
	}
	return errors.Join(err, write(stdout))
}

// benchBareCommand is the yardstick's process. It reads what to serve from its standard input and ends with it.
func benchBareCommand() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:    "bare",
		Short:  "The bare handler, started by bench",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return bench.ServeBare(ctx, address, command.InOrStdin())
		},
	}
	command.Flags().StringVar(&address, "listen", "127.0.0.1:0", "address to listen on")
	return command
}
