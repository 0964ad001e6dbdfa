package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

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
accepted messages. Nothing is started or changed.

Exit codes: 0 it can be used (there may be warnings) · 1 it has faults, or cannot be read · 2 wrong command line`,
		Args: cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", defaultConfigFile, "configuration file")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		cfg, report := loadForStart(*file)
		checkRules(cfg, report)
		result := checked{File: *file, Usable: report.Err() == nil, Report: report}
		if result.Usable {
			result.Durability, result.Promise = string(cfg.NATS.Durability), promise(cfg.NATS.Durability)
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
	Durability string `json:"durability,omitempty"`
	Promise    string `json:"promise,omitempty"`
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
	_, err := fmt.Fprintf(w, "%s can be used: %s\ndurability %s: %s\n", c.File, count(len(c.Warnings), "warning"), c.Durability, c.Promise)
	return err
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

// promise says what an accepted message survives under a durability (DESIGN §3 rule 11).
func promise(d config.Durability) string {
	if d == config.DurabilityOS {
		return "an accepted message and its answer survive a crash or a kill of the process, but a power cut or a crash of the " +
			"machine may lose the last seconds. 进程崩溃不丢消息；断电或系统崩溃可能丢失最后几秒。"
	}
	return "an accepted message and its answer survive a power cut: both are on the disk (fsync) before WeChat is answered. " +
		"断电不丢消息：先落盘，再回复微信。"
}

// loadForStart loads a configuration for running it: choosing what is not built yet is a fault too.
func loadForStart(file string) (*config.Config, *config.Report) {
	cfg, report := config.Load(file, os.Environ())
	report.Faults = append(report.Faults, config.NotBuilt(cfg)...)
	report.Sort()
	return cfg, report
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
