package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/internal/fleet"
)

// devActions are the commands that do something to one worker.
var devActions = []struct{ name, short, long string }{
	{"stop", "Stop a worker in order 正常停止一个节点",
		"Ask a worker to end, as SIGTERM does: it hands its partitions over and ends. The command returns when it has."},
	{"pause", "Pause a worker as SIGSTOP does 暂停一个节点",
		"Hold a worker as SIGSTOP does: it keeps everything and does nothing, as a machine that hangs. The others take its partitions; when\nit goes on, its late writes are refused."},
	{"resume", "Let a paused worker go on 恢复一个暂停的节点",
		"Let a paused worker go on, as SIGCONT does."},
	{"kill", "Kill a worker without a last word 杀死一个节点",
		"Kill a worker, as SIGKILL and a power cut do: nothing is handed over, the others take its partitions."},
	{"start", "Start a worker again 再次启动一个节点",
		"Start a worker that was stopped or killed, or that ended by itself. It takes its share of the partitions back."},
}

// devCodes are the exit codes of all these commands.
const devCodes = "\n\nExit codes: 0 done · 1 it could not be done, or dev does not run with --nodes · 2 wrong command line · 3 there is no such worker"

// devCommands are what `hongyan dev` can be told while it runs.
func devCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, a := range devActions {
		out = append(out, newDevActionCommand(a.name, a.short, a.long))
	}
	return append(out, newDevStatusCommand())
}

func newDevActionCommand(action, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   action + " NAME",
		Short: short,
		Long: long + " A worker that is so already is left as it is." + `

It asks the running ` + "`hongyan dev --nodes N`" + `, whose address and token stand in ` + devConfigFile + ` or in -c FILE.` + devCodes,
		Example: "  hongyan dev " + action + " worker-2",
		Args:    cobra.ExactArgs(1),
	}
	file := cmd.Flags().StringP("config", "c", "", "configuration that dev has written (default "+devConfigFile+")")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		body, err := askDev(cmd.Context(), *file, http.MethodPost, "/dev/nodes/"+url.PathEscape(args[0])+"/"+action)
		if err != nil {
			return err
		}
		if inJSON {
			_, err = cmd.OutOrStdout().Write(body)
			return err
		}
		var node devNode
		if err := json.Unmarshal(body, &node); err != nil {
			return fmt.Errorf("the answer of dev cannot be read: %w", err)
		}
		return showDevNodes(cmd.OutOrStdout(), []devNode{node}, time.Now())
	}
	return cmd
}

func newDevStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the workers of hongyan dev --nodes 列出各节点",
		Long: `List the workers of the running ` + "`hongyan dev --nodes N`" + `: running, paused, stopping, stopped, killed, or exited by itself; for how
long; its process; and how many partitions it owns, where it tells.` + devCodes,
		Example: "  hongyan dev status\n  hongyan dev status -o json",
		Args:    cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", "", "configuration that dev has written (default "+devConfigFile+")")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		body, err := askDev(cmd.Context(), *file, http.MethodGet, "/dev/nodes")
		if err != nil {
			return err
		}
		if inJSON {
			_, err = cmd.OutOrStdout().Write(body)
			return err
		}
		var all devNodes
		if err := json.Unmarshal(body, &all); err != nil {
			return fmt.Errorf("the answer of dev cannot be read: %w", err)
		}
		return showDevNodes(cmd.OutOrStdout(), all.Nodes, time.Now())
	}
	return cmd
}

// askDev sends one request to the dev that wrote the configuration, and returns the body of a 200.
func askDev(ctx context.Context, file, method, path string) ([]byte, error) {
	cfg, err := loadForClient(file)
	if err != nil {
		return nil, err
	}
	reply, err := askNode(ctx, cfg, method, path)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return nil, fmt.Errorf("hongyan dev does not run: nothing listens at %s; start it with `hongyan dev --nodes 3`", cfg.Listen.Admin)
	case err != nil:
		return nil, err
	}
	failure := reply.failure()
	switch {
	case reply.status == http.StatusOK:
		return reply.body, nil
	case failure.Code == "not_found":
		return nil, exitWith(exitAbsent, errors.New(printable(failure.Message)))
	case failure.Code == codeConflict, failure.Code == codeOneProcess, failure.Code == "internal":
		return nil, errors.New(printable(failure.Message))
	case reply.status == http.StatusNotFound:
		return nil, notDev(cfg)
	default:
		return nil, reply.refusal()
	}
}

// notDev says that a node answers, but not one that dev runs.
func notDev(cfg *config.Config) error {
	return fmt.Errorf("what answers at %s is not `hongyan dev`; start it with `hongyan dev --nodes 3`", cfg.Listen.Admin)
}

// showDevNodes writes a table.
func showDevNodes(w io.Writer, nodes []devNode, now time.Time) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NAME\tSTATE\tFOR\tPROCESS\tPARTITIONS\tNOTE")
	for _, n := range nodes {
		process, partitions, note := "-", "-", ""
		if n.PID != 0 {
			process = strconv.Itoa(n.PID)
		}
		if n.Partitions != nil {
			partitions = strconv.Itoa(*n.Partitions)
		}
		if n.State == fleet.Exited {
			note = fmt.Sprintf("%s; see %s", n.Exit, filepath.ToSlash(n.LogFile))
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.State, now.Sub(n.Since).Round(time.Second), process, partitions, note)
	}
	return out.Flush()
}
