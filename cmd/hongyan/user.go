package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/messages"
)

// newUserCommand is `hongyan user`.
func newUserCommand() *cobra.Command {
	return group("user", "Look at a user 查看用户", newUserShowCommand())
}

func newUserShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [account/openid]",
		Short: "Show what is known of one user 查看一个用户的状态",
		Long: `Ask a running node for one user: the record's version, the conversation, recent messages with their outcome, recorded
and kept answers, and the bots' session. The node's address and token come from -c FILE, else from what hongyan dev wrote
to ` + devConfigFile + `.

Exit codes: 0 shown · 1 the node cannot tell · 2 wrong command line · 3 there is no such user`,
		Example: `  hongyan user show demo/u1
  hongyan user show --account demo --user u1 -o json`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := cmd.Flags()
	file := flags.StringP("config", "c", "", "configuration of the node (default "+devConfigFile+")")
	account := flags.String("account", "", "account id")
	openID := flags.String("user", "", "OpenID of the user")
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inJSON, err := asJSON()
		if err != nil {
			return err
		}
		user, err := whichUser(args, *account, *openID)
		if err != nil {
			return usageError(cmd, err)
		}
		cfg, err := loadForClient(*file)
		if err != nil {
			return err
		}
		raw, err := askForUser(cmd.Context(), cfg, user)
		if err != nil {
			return err
		}
		if inJSON {
			_, err = cmd.OutOrStdout().Write(raw)
			return err
		}
		return showUser(cmd.OutOrStdout(), raw)
	}
	return cmd
}

// whichUser reads the user from the argument or from the flags, not from both.
func whichUser(args []string, account, openID string) (messages.User, error) {
	switch {
	case len(args) == 1 && account == "" && openID == "":
		user, err := messages.ParseIdentity(args[0])
		if err != nil {
			return user, fmt.Errorf("%q does not name a user: write account/openid", args[0])
		}
		return user, nil
	case len(args) == 0 && account != "" && openID != "":
		return messages.User{Account: account, OpenID: openID}, nil
	default:
		return messages.User{}, errors.New("name one user: account/openid, or --account and --user")
	}
}

// askForUser returns the admin API's JSON about a user. An unknown user has exit code 3.
func askForUser(ctx context.Context, cfg *config.Config, user messages.User) ([]byte, error) {
	reply, err := askNode(ctx, cfg, http.MethodGet, "/api/v1/users/"+url.PathEscape(user.Account)+"/"+url.PathEscape(user.OpenID))
	if err != nil {
		return nil, err
	}
	if reply.status == http.StatusNotFound && reply.failure().Code == "not_found" {
		return nil, exitWith(exitAbsent, fmt.Errorf("account %s has no user %s here", printable(user.Account), printable(user.OpenID)))
	}
	return reply.body, reply.refusal()
}
