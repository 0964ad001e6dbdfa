package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hongyan/config"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node 运行一个节点",
		Long: `Serve runs a node with the given configuration until it is interrupted. It says on the standard error when it is ready;
before that, WeChat's callbacks find no open port and come again.

On Ctrl-C or SIGTERM it takes no new callbacks, answers the open ones, hands over its partitions and closes the log.`,
		Example: "  hongyan serve -c hongyan.yaml",
		Args:    cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", defaultConfigFile, "configuration file")
	child := cmd.Flags().Bool("with-parent", false, "end when the standard input ends, which is when the process that started this one has")
	_ = cmd.Flags().MarkHidden("with-parent") // hongyan dev --nodes uses it; the flag stands one line above
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(cmd, *file)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if *child {
			ctx = withParent(ctx, cmd.InOrStdin())
		}
		return newEngine(cfg, newLogger(cmd.ErrOrStderr(), cfg.Log), nil).run(ctx)
	}
	return cmd
}

// loadConfig reads a configuration that can be served; faults are printed with their places, warnings too.
func loadConfig(cmd *cobra.Command, file string) (*config.Config, error) {
	cfg, report := loadForStart(file)
	if err := report.Print(cmd.ErrOrStderr(), wantsColour(cmd.ErrOrStderr())); err != nil {
		return nil, fmt.Errorf("print the faults of %s: %w", file, err)
	}
	if report.Err() != nil {
		return nil, exitWith(exitError, errors.New("the configuration has faults; nothing was started"))
	}
	return cfg, nil
}
