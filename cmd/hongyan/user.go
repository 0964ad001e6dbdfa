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
	"time"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/console"
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

const (
	askLimit   = 10 * time.Second // of one request to the admin API
	maxAPIBody = 16 << 20         // bytes that an answer of the admin API may have
)

// adminBase is where the admin API of the configured node is found from this machine.
func adminBase(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen.admin %q: %w", listen, err)
	}
	if port == "0" {
		return "", errors.New("listen.admin has port 0, so the node's real port is not known: configure a fixed one")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// askForUser returns the admin API's JSON about a user. An unknown user has exit code 3.
func askForUser(ctx context.Context, cfg *config.Config, user messages.User) ([]byte, error) {
	base, err := adminBase(cfg.Listen.Admin)
	if err != nil {
		return nil, err
	}
	token := cfg.Admin.ReadOnlyToken
	if token == "" {
		token = cfg.Admin.Token
	}
	if token == "" {
		return nil, errors.New("the configuration has no admin.token, so the node answers nobody: set one and start the node again")
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	address := base + "/api/v1/users/" + url.PathEscape(user.Account) + "/" + url.PathEscape(user.OpenID)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // straight to the node, past any proxy
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no answer from the node at %s: %w\nis it running? start it with `hongyan dev` or `hongyan serve`", base, cause(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAPIBody))
	if err != nil {
		return nil, fmt.Errorf("the answer of the node at %s broke off: %w", base, err)
	}
	return body, refusal(response.StatusCode, body, base, user)
}

// cause is err without the address, which holds the OpenID.
func cause(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// refusal is the error that a status means, nil for 200.
func refusal(status int, body []byte, base string, user messages.User) error {
	if status == http.StatusOK {
		return nil
	}
	var failure console.Failure
	_ = json.Unmarshal(body, &failure) // a body that is no Failure comes from something else: the status says enough
	switch {
	case status == http.StatusNotFound && failure.Error.Code == "not_found":
		return exitWith(exitAbsent, fmt.Errorf("account %s has no user %s here", printable(user.Account), printable(user.OpenID)))
	case status == http.StatusUnauthorized:
		return fmt.Errorf("the node at %s refuses the token: is it running with this configuration?", base)
	case failure.Error.Message != "":
		return fmt.Errorf("the node at %s cannot tell: %s", base, printable(failure.Error.Message))
	default:
		return fmt.Errorf("what answers at %s is not a node of Hongyan (status %d)", base, status)
	}
}
