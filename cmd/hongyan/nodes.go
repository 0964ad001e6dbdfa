package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hongyan/cluster"
	"hongyan/console"
)

func newNodesCommand() *cobra.Command {
	return newListCommand(listing{
		use: "nodes", short: "List the nodes 列出节点",
		long: `List the nodes of the installation as they report themselves: roles, listeners, partitions, how long they run. A worker that the
others call alive and that does not answer is shown as silent.`,
		path: "/api/v1/nodes", write: writeNodes,
	})
}

func newPartitionsCommand() *cobra.Command {
	return newListCommand(listing{
		use: "partitions", short: "List the partitions and their owners 列出分区及其所有者",
		long: `List the partitions: owner and epoch of the lease, the age of the oldest message that is not settled (lag), how many are
not (unsettled), users in memory, and whether the partition is moving: nobody serves it at the moment, or it belongs
elsewhere.`,
		path: "/api/v1/partitions", write: writePartitions,
	})
}

// listing is a command that shows one list of the admin API.
type listing struct {
	use, short, long, path string
	write                  func(io.Writer, []byte) error // for people
}

func newListCommand(l listing) *cobra.Command {
	cmd := &cobra.Command{
		Use:   l.use,
		Short: l.short,
		Long: l.long + `

Any running node with the role console can be asked. Its address and token come from -c FILE, else from what hongyan dev
wrote to ` + devConfigFile + `.

Exit codes: 0 shown · 1 the node cannot tell · 2 wrong command line`,
		Example: "  hongyan " + l.use + "\n  hongyan " + l.use + " -c hongyan.yaml -o json",
		Args:    cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		cfg, err := loadForClient(*file)
		if err != nil {
			return err
		}
		reply, err := askNode(cmd.Context(), cfg, http.MethodGet, l.path)
		if err == nil {
			err = reply.refusal()
		}
		if err != nil {
			return err
		}
		if inJSON {
			_, err = cmd.OutOrStdout().Write(reply.body)
			return err
		}
		return l.write(cmd.OutOrStdout(), reply.body)
	}
	return cmd
}

// writeNodes shows the nodes as a table.
func writeNodes(w io.Writer, raw []byte) error {
	var list console.Nodes
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NODE\tROLES\tSTATE\tPARTITIONS\tUP\tCALLBACK\tADMIN\tCLUSTER\tVERSION")
	for _, n := range list.Nodes {
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", printable(n.Node), printable(strings.Join(n.Roles, ",")), nodeState(n),
			n.Partitions, age(n.Started), dash(n.Callback), dash(n.Admin), dash(n.Address), dash(n.Version))
	}
	for _, name := range list.Missing {
		fmt.Fprintf(out, "%s\tworker\tsilent\t-\t-\t-\t-\t-\t-\n", printable(name))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return writeMoving(w, list.Moving)
}

func nodeState(n cluster.NodeStatus) string {
	switch {
	case n.Leaving:
		return "leaving"
	case n.Fenced:
		return "fenced"
	default:
		return "up"
	}
}

// writePartitions shows the partitions as a table.
func writePartitions(w io.Writer, raw []byte) error {
	var list console.Partitions
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	if len(list.Partitions) == 0 {
		_, err := fmt.Fprintln(w, "no worker has started yet, so there are no partitions")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "PARTITION\tOWNER\tEPOCH\tFOR\tLAG\tUNSETTLED\tUSERS\tFLOOR\tNEWEST\tSTATE")
	for _, p := range list.Partitions {
		lag, unsettled, users, floor, newest := "-", "-", "-", "-", "-"
		if p.Reported {
			lag, unsettled, users = p.Lag.Round(time.Millisecond).String(), strconv.Itoa(p.Unsettled), strconv.Itoa(p.Residents)
			floor, newest = strconv.FormatUint(p.Floor, 10), strconv.FormatUint(p.Newest, 10)
		}
		state := "served"
		switch {
		case p.Moving:
			state = "moving"
		case !p.Reported:
			state = "owner silent"
		}
		fmt.Fprintf(out, "%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			p.Partition, dash(p.Owner), p.Epoch, age(p.Since), lag, unsettled, users, floor, newest, state)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return writeMoving(w, list.Moving)
}

func writeMoving(w io.Writer, moving int) error {
	if moving == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s moving\n", count(moving, "partition"))
	return err
}

// age is how long ago an instant of another clock was, in a short form; "-" for none.
func age(since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	d := max(time.Since(since), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

func dash(s string) string { return cmp.Or(printable(s), "-") }
