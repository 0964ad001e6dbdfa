package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthBody is how much of a health answer is printed at most.
const healthBody = 64 << 10

func newHealthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a node whether it is ready 检查节点是否就绪",
		Long: `Ask the admin listener of a node whether it is ready, for health checks of containers and scripts: an image without a shell
needs no other program. What the node says is printed.

Exit codes: 0 ready (or alive, with --live) · 1 not, or no answer · 2 wrong command line`,
		Example: "  hongyan health -c hongyan.yaml\n  hongyan health --url http://127.0.0.1:9090/readyz\n  hongyan health --live",
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	file := flags.StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	address := flags.String("url", "", "the whole address to ask, instead of the configuration's admin listener")
	live := flags.Bool("live", false, "ask only whether the process answers")
	within := flags.Duration("timeout", 4*time.Second, "how long to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		target := *address
		if target == "" {
			cfg, err := loadForClient(*file)
			if err != nil {
				return err
			}
			base, err := adminBase(cfg.Listen.Admin)
			if err != nil {
				return err
			}
			target = base + "/readyz"
			if *live {
				target = base + "/livez"
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *within)
		defer cancel()
		return askHealth(ctx, target, cmd.OutOrStdout())
	}
	return cmd
}

// askHealth prints what stands at the address; any status but 200 is an error.
func askHealth(ctx context.Context, address string, out io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return exitWith(exitUsage, fmt.Errorf("--url: %w", err))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // straight to the node, past any proxy
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, healthBody))
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	text := strings.TrimRight(string(body), "\n")
	fmt.Fprintln(out, strings.Join(printableLines(text), "\n"))
	if response.StatusCode != http.StatusOK {
		return exitWith(exitError, errors.New("not ready"))
	}
	return nil
}

// printableLines keeps the lines of a text and nothing that commands a terminal.
func printableLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, printable(line))
	}
	return lines
}
