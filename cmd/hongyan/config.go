package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"hongyan/bots/guard"
	"hongyan/bots/rules"
	"hongyan/config"
)

const (
	defaultConfigFile = "hongyan.yaml"  // of serve and config check, in the working directory
	devConfigFile     = "data/dev.yaml" // written by dev, read by send and user
)

// newConfigCommand is `hongyan config`.
func newConfigCommand() *cobra.Command {
	return group("config", "Check a configuration, or print a commented one 配置检查",
		newConfigCheckCommand(), newConfigExampleCommand())
}

func newConfigCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with a configuration 检查配置文件",
		Long: `Read a configuration as serve would, with the HONGYAN_… variables of the environment, and report all faults and
warnings at once, with line, column and what to write instead. It also says which promise the configuration makes about
accepted messages. Nothing is started or changed. With --connect it also asks the NATS and Redis servers of the
configuration whether they can carry it, and which promise really holds with them.

Exit codes: 0 it can be used (there may be warnings) · 1 it has faults, or cannot be read · 2 wrong command line`,
		Args: cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", defaultConfigFile, "configuration file")
	connect := cmd.Flags().Bool("connect", false, "ask the configured servers too")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		cfg, report := loadForStart(*file)
		checkRules(cfg, report)
		checkSafety(cfg, report)
		result := checked{File: *file, Usable: report.Err() == nil, Report: report}
		if result.Usable {
			result.Durability, result.Promise = string(cfg.NATS.Durability), promise(cfg)
		}
		if result.Usable && *connect {
			result.Promise, result.Gaps, err = ask(cmd.Context(), cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				return fmt.Errorf("%s is well formed, and its servers cannot be used: %w", *file, err)
			}
		}
		if inJSON {
			err = writeJSON(cmd.OutOrStdout(), result)
		} else {
			err = result.write(cmd.OutOrStdout())
		}
		if err == nil && !result.Usable {
			return exitWith(exitError, nil)
		}
		return err
	}
	return cmd
}

// checked is the result of `config check`, and its JSON.
type checked struct {
	File   string `json:"file"`
	Usable bool   `json:"usable"`
	*config.Report
	Durability string   `json:"durability,omitempty"`
	Promise    string   `json:"promise,omitempty"`
	Gaps       []string `json:"gaps,omitempty"` // what the servers hold back of the durability, with --connect
}

func (c checked) write(w io.Writer) error {
	if err := c.Print(w, wantsColour(w)); err != nil {
		return err
	}
	if len(c.Faults)+len(c.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	if !c.Usable {
		_, err := fmt.Fprintf(w, "%s cannot be used: %s, %s\n", c.File, count(len(c.Faults), "fault"), count(len(c.Warnings), "warning"))
		return err
	}
	fmt.Fprintf(w, "%s can be used: %s\ndurability %s: %s\n", c.File, count(len(c.Warnings), "warning"), c.Durability, c.Promise)
	for _, gap := range c.Gaps {
		fmt.Fprintf(w, "warning: %s\n", gap)
	}
	return nil
}

// count is "1 fault", "2 faults", "no faults".
func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// loadForStart loads a configuration for running it: choosing what is not built yet is a fault too.
func loadForStart(file string) (*config.Config, *config.Report) {
	cfg, report := config.Load(file, os.Environ())
	report.Faults = append(report.Faults, config.NotBuilt(cfg)...)
	if report.Err() == nil {
		checkFiles(cfg, report)
	}
	report.Sort()
	return cfg, report
}

// checkFiles adds what is wrong with the parts of a well-formed configuration that other packages know better: certificates, and
// the addresses of Redis.
func checkFiles(cfg *config.Config, report *config.Report) {
	fault := func(key string, err error) {
		if err != nil {
			report.Faults = append(report.Faults, config.FaultAt(cfg, key, err.Error()))
		}
	}
	_, err := clientTLS("nats.tls", cfg.NATS.TLS)
	fault("nats.tls", err)
	if cfg.Node.Has(config.RoleWorker) {
		fault("cluster.tls", clusterFiles(cfg))
	}
	if cfg.State.Store != config.StoreRedis {
		return
	}
	options, err := redisOptions(cfg)
	if err == nil {
		err = options.Check()
	}
	fault("state.redis", err)
}

// checkRules adds what is wrong with the rules files. Starting reports the same through the bot itself.
func checkRules(cfg *config.Config, report *config.Report) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Bots)) {
		bot := cfg.Bots[name]
		if bot.Type != config.BotRules || bot.File == "" {
			continue
		}
		src, err := os.ReadFile(string(bot.File))
		if err != nil {
			continue // the configuration's own check has said so
		}
		var broken *rules.Error
		if _, err := rules.Parse(string(bot.File), src); errors.As(err, &broken) {
			for _, f := range broken.Faults {
				report.Faults = append(report.Faults, config.FaultIn(broken.File, src, f.Line, f.Column, f.Message))
			}
		}
	}
}

// checkSafety adds what is wrong with what answers go through, the block lists above all. Starting reports the same through the filter
// itself.
func checkSafety(cfg *config.Config, report *config.Report) {
	for i, a := range cfg.Accounts {
		var src []byte
		if a.Safety.BlockFile != "" {
			var err error
			if src, err = os.ReadFile(string(a.Safety.BlockFile)); err != nil {
				continue // the configuration's own check has said so
			}
		}
		_, err := guard.New(guard.Options{
			BlockFile: string(a.Safety.BlockFile), Replacement: a.Safety.Replacement, Refusal: a.Safety.Refusal,
		})
		var broken *guard.Error
		switch {
		case errors.As(err, &broken):
			report.Faults = append(report.Faults, config.FaultIn(broken.File, src, broken.Line, 1, broken.Message))
		case err != nil:
			report.Faults = append(report.Faults, config.FaultAt(cfg, fmt.Sprintf("accounts[%d].safety", i), err.Error()))
		}
	}
}

// loadForClient loads a configuration for talking to a running node: from file, or else what `hongyan dev` wrote.
func loadForClient(file string) (*config.Config, error) {
	if file == "" {
		file = devConfigFile
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no %s in this folder: start `hongyan dev` here first, or name a configuration with -c", file)
		}
	}
	cfg, report := config.Load(file, os.Environ())
	return cfg, report.Err()
}

func newConfigExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print a commented configuration with every key 打印配置样例",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Reference())
			return err
		},
	}
}
