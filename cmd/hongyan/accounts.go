package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hongyan/console"
)

func newAccountsCommand() *cobra.Command {
	return newListCommand(listing{
		use: "accounts", short: "List the accounts' dealings with WeChat's API 列出公众号接口状态",
		long: `List the accounts that have an app_secret or a budget of model tokens: whether there is an access token and for how long, how
many messages WeChat took today (its own day), how many model tokens were spent today of how many, what WeChat refuses at the moment,
and, under the table, every alarm with what to do about it.`,
		path: "/api/v1/accounts", write: writeAccounts,
	})
}

// writeAccounts shows the accounts as a table, then the alarms.
func writeAccounts(w io.Writer, raw []byte) error {
	var list console.Accounts
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	if len(list.Accounts) == 0 {
		_, err := fmt.Fprintln(w, "no account has an app_secret, so none calls WeChat's API; and none has a budget of model tokens")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ACCOUNT\tTOKEN\tEXPIRES IN\tSENT TODAY\tMODEL TOKENS\tBLOCKED\tALARM\tNODE")
	for _, a := range list.Accounts {
		token, expires := "none yet", "-"
		switch {
		case a.NoAPI:
			token = "no app_secret"
		case a.Token:
			token, expires = fmt.Sprintf("no. %d", a.Generation), (time.Duration(a.ExpiresInMS) * time.Millisecond).Round(time.Second).String()
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", printable(a.Account), token, expires, a.SentToday, modelTokens(a), blocked(a),
			dash(a.Alarm), dash(a.Node))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, a := range list.Accounts {
		for _, line := range []string{a.AlarmDetail, a.Error} {
			if line == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", printable(a.Account), printable(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// modelTokens is what was spent today, and of how many.
func modelTokens(a console.Account) string {
	if a.BudgetTokens == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", a.SpentTokens, a.BudgetTokens)
}

func blocked(a console.Account) string {
	var all []string
	for _, b := range a.Blocks {
		all = append(all, fmt.Sprintf("%s (%d) for %s", printable(b.Kind), b.Code, (time.Duration(b.ForMS)*time.Millisecond).Round(time.Second)))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}
