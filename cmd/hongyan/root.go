package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// commands are the constructors of all commands, in the order of the help.
var commands = []func() *cobra.Command{
	newDevCommand,
	newServeCommand,
	newSendCommand,
	newConfigCommand,
	newHealthCommand,
	newCertsCommand,
	newNodesCommand,
	newPartitionsCommand,
	newAccountsCommand,
	newBotsCommand,
	newUserCommand,
	newDeadCommand,
	newSimulatorCommand,
	newBenchCommand,
	newVersionCommand,
	newCompletionCommand,
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return finish(root.ExecuteContext(ctx), stderr)
}

// newRootCommand is `hongyan` with all its commands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hongyan",
		Short: "Conversations on WeChat Official Accounts 微信公众号消息引擎",
		Long: `Hongyan (鸿雁) answers the users of WeChat Official Accounts: every message is verified, written to a
durable log, handled by its user's own actor, and answered once.

鸿雁是微信公众号的消息引擎：每条消息先验签、落盘，再由该用户自己的 actor 处理，并且只回复一次。

Exit codes: 0 done · 1 failed · 2 wrong command line · 3 nothing there (no such user, no answer)`,
		Example: `  hongyan dev                                  try everything on this machine, with a simulated WeChat
  hongyan send --account demo --user u1 你好   say something to it
  hongyan config check -c hongyan.yaml         check a configuration
  hongyan serve -c hongyan.yaml                run it`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	for _, construct := range commands {
		root.AddCommand(construct())
	}
	root.SetFlagErrorFunc(usageError)
	codeUsage(root)
	return root
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		}}
	cmd.AddCommand(children...)
	return cmd
}

func unknownCommand(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if s := cmd.SuggestionsFor(word); len(s) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", strings.Join(s, " or "))
	}
	return usageError(cmd, fmt.Errorf("there is no command %q%s", word, hint))
}

func usageError(cmd *cobra.Command, err error) error {
	return exitWith(exitUsage, fmt.Errorf("%w\nsee %s --help", err, cmd.CommandPath()))
}

// codeUsage gives wrong arguments of cmd and everything below it the exit code of a wrong command line.
func codeUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		codeUsage(child)
	}
}

// outputFlag adds -o to a command; the returned function tells whether JSON was chosen.
func outputFlag(cmd *cobra.Command) func() (json bool, err error) {
	output := cmd.Flags().StringP("output", "o", "text", "form of the output: text or json")
	return func() (bool, error) {
		switch *output {
		case "text", "json":
			return *output == "json", nil
		default:
			return false, usageError(cmd, fmt.Errorf("-o %s: write text or json", *output))
		}
	}
}

// isTerminal tells whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantsColour tells whether output to w should be coloured: on a terminal that can, unless NO_COLOR is set.
func wantsColour(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
