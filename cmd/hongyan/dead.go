package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/console"
)

// newDeadCommand is `hongyan dead`.
func newDeadCommand() *cobra.Command {
	return group("dead", "Look at dead letters, re-drive or drop them 查看、重投或删除死信",
		newDeadListCommand(), newDeadShowCommand(), newDeadRedriveCommand(), newDeadDropCommand())
}

// whichNode is said in every command's help.
const whichNode = `Any running node with the role console can be asked. Its address and token come from -c FILE, else from what hongyan dev
wrote to ` + devConfigFile + `. docs/dead-letters.md explains every reason.`

// deadFlags are the conditions that choose letters.
type deadFlags struct {
	filter       console.DeadFilter
	since, until string
}

// add defines the flags; state is the default of --state, which is not defined where it is empty.
func (f *deadFlags) add(cmd *cobra.Command, state string) {
	flags := cmd.Flags()
	flags.StringVar(&f.filter.Account, "account", "", "only letters of this account")
	flags.StringVar(&f.filter.User, "user", "", "only letters of this user: an OpenID, with --account")
	flags.StringVar(&f.filter.Reason, "reason", "", "only letters with this reason, such as bot or unknown")
	flags.StringVar(&f.since, "since", "", "buried then or later: a time (2026-01-31, 2026-01-31 08:00, RFC 3339), or how long ago (90m, 48h)")
	flags.StringVar(&f.until, "until", "", "buried before: as --since")
	if state != "" {
		flags.StringVar(&f.filter.State, "state", state, "open, redriven or all")
	}
}

// parse checks the flags and brings the times into the API's form.
func (f *deadFlags) parse(now time.Time) (console.DeadFilter, error) {
	filter := f.filter
	if filter.User != "" && filter.Account == "" {
		return filter, errors.New("--user needs --account: an OpenID means something within one account alone")
	}
	switch filter.State {
	case "", console.StateOpen, console.StateRedriven, console.StateAll:
	default:
		return filter, fmt.Errorf("--state %s: write open, redriven or all", filter.State)
	}
	var err error
	if filter.Since, err = instantOf("--since", f.since, now); err != nil {
		return filter, err
	}
	filter.Until, err = instantOf("--until", f.until, now)
	return filter, err
}

// narrows tells whether any condition but the state is set.
func (f *deadFlags) narrows() bool {
	return f.filter.Account != "" || f.filter.User != "" || f.filter.Reason != "" || f.since != "" || f.until != ""
}

// instantOf reads a time of the command line, local where it names no zone.
func instantOf(flag, text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).Format(time.RFC3339), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at.Format(time.RFC3339), nil
		}
	}
	return "", fmt.Errorf("%s %q: write a time (2026-01-31, 2026-01-31 08:00, RFC 3339) or how long ago (90m, 48h)", flag, text)
}

func newDeadListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters 列出死信",
		Long: `List dead letters, the oldest first: messages that ended without their due effect, with the reason. A letter is open until an
entry of the log takes it up again; from then on it is redriven, and stays to be looked at until it is dropped.

` + whichNode + `

Exit codes: 0 shown, also where there is none · 1 the node cannot tell · 2 wrong command line`,
		Example: `  hongyan dead ls
  hongyan dead ls --account demo --reason bot --since 24h
  hongyan dead ls --state all --limit 0 -o json`,
		Args: cobra.NoArgs,
	}
	file := cmd.Flags().StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	limit := cmd.Flags().Int("limit", 50, "how many to list; 0: all")
	var which deadFlags
	which.add(cmd, console.StateOpen)
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		filter, err := which.parse(time.Now())
		if err == nil && *limit < 0 {
			err = errors.New("--limit counts letters: 0 lists all")
		}
		if err != nil {
			return usageError(cmd, err)
		}
		cfg, err := loadForClient(*file)
		if err != nil {
			return err
		}
		var out letterWriter = &letterTable{w: cmd.OutOrStdout()}
		if inJSON {
			out = &letterJSON{w: cmd.OutOrStdout()}
		}
		return listLetters(cmd.Context(), cfg, filter, *limit, out)
	}
	return cmd
}

// letterWriter shows letters as they come.
type letterWriter interface {
	page(letters []console.Letter) error
	end(more bool) error
}

// listLetters asks page by page.
func listLetters(ctx context.Context, cfg *config.Config, filter console.DeadFilter, limit int, out letterWriter) error {
	const most = 500 // per page
	query := url.Values{}
	for name, value := range map[string]string{"account": filter.Account, "user": filter.User, "reason": filter.Reason,
		"since": filter.Since, "until": filter.Until, "state": filter.State} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for left := cmp.Or(limit, most); ; {
		query.Set("limit", strconv.Itoa(min(left, most)))
		var list console.DeadList
		if err := askJSON(ctx, cfg, http.MethodGet, "/api/v1/dead?"+query.Encode(), http.NoBody, &list); err != nil {
			return err
		}
		if err := out.page(list.Letters); err != nil {
			return err
		}
		if limit > 0 {
			left -= len(list.Letters)
		}
		if list.Next == "" || left <= 0 {
			return out.end(list.Next != "")
		}
		query.Set("cursor", list.Next)
	}
}

// askJSON sends one request and decodes the answer.
func askJSON(ctx context.Context, cfg *config.Config, method, path string, body io.Reader, into any) error {
	reply, err := tellNode(ctx, cfg, method, path, body)
	if err == nil {
		err = reply.refusal()
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply.body, into); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	return nil
}

func newDeadShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter 查看一封死信",
		Long: `Show one dead letter: its reason in plain words and what can be done, the message, the answer that was not delivered, and
what became of the same message before and after. The id is the one that hongyan dead ls shows.

` + whichNode + `

Exit codes: 0 shown · 1 the node cannot tell · 2 wrong command line · 3 there is no such letter`,
		Example: `  hongyan dead show 17.demo.6f1c0e3a9b7d4c2f8e5a1b3c4d5e6f70.4a1.3
  hongyan dead show 17.demo.6f1c0e3a9b7d4c2f8e5a1b3c4d5e6f70.4a1.3 -o json`,
		Args: cobra.ExactArgs(1),
	}
	file := cmd.Flags().StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		cfg, err := loadForClient(*file)
		if err != nil {
			return err
		}
		reply, err := askNode(cmd.Context(), cfg, http.MethodGet, "/api/v1/dead/"+url.PathEscape(args[0]))
		switch {
		case err != nil:
			return err
		case reply.status == http.StatusNotFound && reply.failure().Code == "not_found":
			return exitWith(exitAbsent, fmt.Errorf("there is no dead letter %s; it may have been dropped", printable(args[0])))
		case reply.refusal() != nil:
			return reply.refusal()
		case inJSON:
			_, err = cmd.OutOrStdout().Write(reply.body)
			return err
		}
		return showLetter(cmd.OutOrStdout(), reply.body)
	}
	return cmd
}
