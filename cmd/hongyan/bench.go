package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/internal/bench"
	"hongyan/stream/embedded"
)

// newBenchCommand is `hongyan bench`.
func newBenchCommand() *cobra.Command {
	options := bench.Options{}
	var asJSON func() (bool, error)
	command := &cobra.Command{
		Use:   "bench",
		Short: "Measure the whole path beside a bare HTTP handler 性能对比",
		Long: `Measure the whole path (verify, durable log, actor, committed state, in order, answered) beside a bare net/http +
encoding/xml handler that verifies and answers the same callbacks with the same bytes and keeps nothing.

Both run as processes of their own on loopback, with a fresh account and empty data; one client drives them in
alternating rounds over keep-alive connections and checks every answer. Progress goes to stderr, the report to stdout.

Exit codes: 0 measured, every answer right · 1 an answer was wrong or missing, or nothing could be measured · 2 wrong
command line`,
		Example: `  hongyan bench
  hongyan bench --mode plain --durability os --rounds 9 -o json
  hongyan bench --latency --dir /mnt/fast
  hongyan bench --store jetstream,redis --nodes 1,3`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			json, err := asJSON()
			if err != nil {
				return err
			}
			if err := options.Validate(); err != nil {
				return usageError(command, err)
			}
			return runBench(command.Context(), options, json, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Mode, "mode", bench.ModeSafe, "encryption mode of the account: plain or safe")
	flags.StringSliceVar(&options.Durability, "durability", []string{"os", "disk"},
		`durabilities of the log to measure: os, disk; "" measures the bare handler alone`)
	flags.StringSliceVar(&options.Stores, "store", []string{bench.StoreJetStream},
		"stores of the users' state to measure: jetstream, redis (needs redis-server)")
	flags.IntSliceVar(&options.Nodes, "nodes", []int{1},
		"numbers of nodes to measure: 1 is one process with an embedded log; more are as many workers, an ingress and a NATS server")
	flags.IntVar(&options.Users, "users", 10_000, "number of users")
	flags.StringVar(&options.Spread, "spread", bench.UsersUniform, "how users take turns: uniform, or zipf (few write most)")
	flags.IntVar(&options.Connections, "connections", 256, "keep-alive connections; each has users of its own and one message in flight")
	flags.IntVar(&options.Rounds, "rounds", 5, "cycles over all servers")
	flags.DurationVar(&options.Round, "round", 5*time.Second, "length of one server's turn")
	flags.DurationVar(&options.WarmUp, "warm-up", 3*time.Second, "unmeasured time per server; goes on until each user was there once")
	flags.BoolVar(&options.Latency, "latency", false, "add latencies at a fixed rate of arrival (open loop)")
	flags.Float64Var(&options.Rate, "rate", 0, "messages per second of --latency; 0 is half of what each server reached")
	flags.Uint64Var(&options.Seed, "seed", 0, "who writes what; 0 draws one")
	flags.StringVar(&options.Dir, "dir", "", "folder for the servers' data (default: the system's temporary folder)")
	flags.BoolVar(&options.Keep, "keep", false, "keep data, configuration and logs of the servers")
	asJSON = outputFlag(command)
	command.AddCommand(newBareCommand(), newBenchNATSCommand())
	return command
}

// runBench measures and writes the report, which is there also when answers were wrong.
func runBench(ctx context.Context, options bench.Options, json bool, stdout, stderr io.Writer) error {
	progress := bench.NewLines(stderr)
	if isTerminal(stderr) {
		progress = bench.NewBar(stderr)
	}
	report, err := bench.Run(ctx, options, progress)
	if report == nil {
		return err
	}
	write := report.WriteTable
	if json {
		write = report.WriteJSON
	}
	return errors.Join(err, write(stdout))
}

// newBareCommand is the yardstick's process. It reads what to serve from its standard input and ends with it.
func newBareCommand() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:    "bare",
		Short:  "The bare handler, started by bench",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return bench.ServeBare(command.Context(), address, command.InOrStdin())
		},
	}
	command.Flags().StringVar(&address, "listen", "127.0.0.1:0", "address to listen on")
	return command
}

// newBenchNATSCommand is the log's server that several nodes of a bench share: the embedded one, in a process of its own. The first
// line of its standard input is the token that it wants to see; it ends with that input.
func newBenchNATSCommand() *cobra.Command {
	var options embedded.Options
	command := &cobra.Command{
		Use:    "nats",
		Short:  "The log's server, started by bench",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			input := bufio.NewReader(command.InOrStdin())
			token, err := input.ReadString('\n')
			if err != nil {
				return fmt.Errorf("read the token: %w", err)
			}
			options.Token = strings.TrimSpace(token)
			options.Logger = newLogger(command.ErrOrStderr(), config.Default().Log)
			server, err := embedded.Start(options)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, input)
			return errors.Join(err, server.Close())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Listen, "listen", "", "address to listen on")
	flags.StringVar(&options.StoreDir, "dir", "", "folder for the data")
	flags.BoolVar(&options.SyncAlways, "sync", false, "fsync before each acknowledgement")
	options.ServerName, options.MaxStore = "bench", 64<<30
	return command
}
