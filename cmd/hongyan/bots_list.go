package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hongyan/bots/upstream"
	"hongyan/console"
)

func newBotsCommand() *cobra.Command {
	return newListCommand(listing{
		use: "bots", short: "List the bots and their breakers 列出机器人与熔断状态",
		long: `List the bots of the configuration and the accounts that use them: of rules how many there are, of remote bots how many calls
are under way of how many that may be (places), and each endpoint's breaker: closed (it is asked), open (it rests) or half-open
(a few probes are let through). Under the table stands what is wrong: an endpoint's last error, a rules file that is broken.

Breakers, places and rules files are each node's own. What is shown is the node that is asked; ask others with their own -c FILE.
docs/operating-bots.md says what to do about it.`,
		path: "/api/v1/bots", write: writeBots,
	})
}

// writeBots shows one node's bots as a table, a line for each endpoint, then what is wrong with them.
func writeBots(w io.Writer, raw []byte) error {
	var list console.Bots
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	if len(list.Bots) == 0 {
		_, err := fmt.Fprintf(w, "node %s has no bots: none are configured, or it has not the role worker\n", printable(list.Node))
		return err
	}
	fmt.Fprintf(w, "node %s\n\n", printable(list.Node))
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "BOT\tTYPE\tACCOUNTS\tPLACES\tENDPOINT\tBREAKER\tFOR\tFAILURES\tRETRY IN\tWEIGHT")
	for _, b := range list.Bots {
		head := fmt.Sprintf("%s\t%s\t%s", printable(b.Name), printable(b.Type), dash(strings.Join(b.Accounts, ",")))
		switch {
		case b.Upstream != nil:
			head += fmt.Sprintf("\t%d of %d", b.Upstream.InFlight, b.Upstream.MaxInFlight)
			for _, e := range b.Upstream.Endpoints {
				fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%s\t%d\n",
					head, printable(e.Name), breakerWord(e.State), age(e.Since), e.Failures, retryIn(e), e.Weight)
				head = "\t\t\t" // the bot is named once
			}
		case b.Rules != nil:
			fmt.Fprintf(out, "%s\t-\t%s\t%s\t-\t-\t-\t-\n", head, printable(b.Rules.File), count(b.Rules.Rules, "rule"))
		default:
			fmt.Fprintf(out, "%s\t-\t-\t-\t-\t-\t-\t-\n", head)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return writeBotTroubles(w, list.Bots)
}

// writeBotTroubles says of each bot what is wrong with it now.
func writeBotTroubles(w io.Writer, all []console.BotStatus) error {
	for _, b := range all {
		var troubles []string
		if b.Rules != nil && b.Rules.Fault != "" {
			troubles = append(troubles, "the rules file cannot be used, and the rules before it answer:\n"+b.Rules.Fault)
		}
		if b.Upstream != nil {
			for _, e := range b.Upstream.Endpoints {
				if e.State != "closed" || e.Failures > 0 {
					troubles = append(troubles, e.Name+": "+e.LastError)
				}
			}
		}
		for _, trouble := range troubles {
			text := strings.Join(printableLines(trouble), "\n  ")
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", printable(b.Name), text); err != nil {
				return err
			}
		}
	}
	return nil
}

func breakerWord(state string) string { return printable(strings.ReplaceAll(state, "_", "-")) }

// retryIn is when an open breaker lets a probe through, by the clock of this machine.
func retryIn(e upstream.EndpointStatus) string {
	if e.RetryAt == nil {
		return "-"
	}
	left := max(time.Until(*e.RetryAt), 0)
	return strconv.Itoa(int((left+time.Second-1)/time.Second)) + "s"
}
