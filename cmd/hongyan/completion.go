package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newCompletionCommand is `hongyan completion`.
func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for your shell 命令补全脚本",
		Example: `  source <(hongyan completion bash)
  hongyan completion zsh > "${fpath[1]}/_hongyan"
  hongyan completion fish > ~/.config/fish/completions/hongyan.fish`,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			default:
				return usageError(cmd, fmt.Errorf("there is no shell %q here", args[0]))
			}
		},
	}
}
