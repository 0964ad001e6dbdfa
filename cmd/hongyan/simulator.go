package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"hongyan/config"
	"hongyan/wechat/simulator"
	"hongyan/wechat/simulator/script"
)

// newSimulatorCommand is `hongyan simulator`.
func newSimulatorCommand() *cobra.Command {
	cmd := group("simulator", "A whole WeChat platform, to test any back end 模拟微信平台", newSimulatorServeCommand(), newSimulatorRunCommand())
	cmd.Long = `The simulated platform signs and encrypts callbacks, cuts them off after five seconds, delivers again, judges the replies
as WeChat does, and serves WeChat's API with tokens, windows, grants, quotas and error codes. It works against any back end,
not only Hongyan: give it the callback's address and the account's credentials. docs/simulator.md has all its rules.

模拟微信平台：回调签名加密、5 秒断开、重试、接口（凭证、客服消息、配额、错误码）一应俱全，可测试任何后端。`
	return cmd
}

// simulation is what the flags of both commands say.
type simulation struct {
	config, accounts  string // files
	account           script.Account
	witness           string
	listen, apiListen string
	cutoff            time.Duration
	deliveries        int
}

func (s *simulation) flags(cmd *cobra.Command, listen string) {
	flags := cmd.Flags()
	flags.StringVarP(&s.config, "config", "c", "", "take accounts and callback address from a Hongyan configuration, for example "+devConfigFile)
	flags.StringVar(&s.accounts, "accounts", "", "take the accounts from this YAML file (see examples/simulator/accounts.yaml)")
	flags.StringVar(&s.account.Callback, "callback", "", "the callback's URL; with the flags below, one account")
	flags.StringVar(&s.account.ID, "account", "demo", "id of that account, for reports")
	flags.StringVar(&s.account.AppID, "app-id", "", "AppID")
	flags.StringVar(&s.account.AppSecret, "app-secret", "", "AppSecret, for the API")
	flags.StringVar(&s.account.OriginalID, "original-id", "", "gh_… (default: made from the AppID)")
	flags.StringVar(&s.account.Token, "token", "", "the callback's token")
	flags.StringVar(&s.account.AESKey, "aes-key", "", "EncodingAESKey, 43 characters; not needed in plain mode")
	flags.StringVar(&s.account.Mode, "mode", simulator.ModeSafe, "plain, compat or safe")
	flags.StringVar(&s.account.Format, "format", simulator.FormatXML, "form of the pushes: xml or json")
	flags.BoolVar(&s.account.CustomerService, "customer-service", false, "the account may send customer-service messages")
	flags.StringVar(&s.witness, "witness", "", "write everything that happens to this file, one JSON object a line")
	flags.StringVar(&s.listen, "listen", listen, "address of phone page, control and API; empty: none")
	flags.StringVar(&s.apiListen, "api-listen", "", "further address of the API alone, which the fault \"down\" really closes")
	flags.DurationVar(&s.cutoff, "cutoff", simulator.DefaultCutoff, "how long one delivery may take")
	flags.IntVar(&s.deliveries, "deliveries", simulator.DefaultDeliveries, "how often a message is delivered altogether")
}

// registered are the accounts that flags or files name; own are those of a script, which come last.
func (s *simulation) registered(cmd *cobra.Command, own []script.Account) ([]simulator.Account, error) {
	flags := 0
	for _, name := range []string{"config", "accounts", "callback"} {
		if cmd.Flags().Changed(name) {
			flags++
		}
	}
	switch {
	case flags > 1:
		return nil, usageError(cmd, errors.New("accounts come from one of -c, --accounts and --callback"))
	case s.config != "":
		return configuredAccounts(cmd.Context(), s.config)
	case s.accounts != "":
		return script.OpenAccounts(s.accounts)
	case s.account.Callback != "":
		return []simulator.Account{s.account.Simulated()}, nil
	case len(own) == 0:
		return nil, usageError(cmd, errors.New("there is no account: give -c FILE, --accounts FILE, or --callback with --token, --aes-key and --app-id"))
	}
	var out []simulator.Account
	for _, a := range own {
		out = append(out, a.Simulated())
	}
	return out, nil
}

// configuredAccounts are the accounts of a Hongyan configuration, with the callbacks of the node that runs with it.
func configuredAccounts(ctx context.Context, file string) ([]simulator.Account, error) {
	cfg, err := loadForClient(file)
	if err != nil {
		return nil, err
	}
	address, err := callbackAddress(ctx, cfg.Listen.Callback)
	if err != nil {
		return nil, err
	}
	var out []simulator.Account
	for i := range cfg.Accounts {
		a := &cfg.Accounts[i]
		out = append(out, simulator.Account{
			ID: a.ID, AppID: a.AppID, AppSecret: a.AppSecret.Reveal(), OriginalID: a.OriginalID, Token: a.Token.Reveal(),
			AESKey: a.EncodingAESKey.Reveal(), Mode: string(a.Mode), CustomerService: a.CustomerService,
			CallbackURL: "http://" + address + "/wechat/callback/" + a.ID,
		})
	}
	return out, nil
}

// open makes the platform; closeAll ends it and its log, and says what could not be written.
func (s *simulation) open(
	cmd *cobra.Command, own []script.Account, watch func(simulator.Record),
) (p *simulator.Platform, accounts []simulator.Account, closeAll func() error, err error) {
	accounts, err = s.registered(cmd, own)
	if err != nil {
		return nil, nil, nil, err
	}
	options := simulator.Options{
		Accounts: accounts, Cutoff: s.cutoff, Deliveries: s.deliveries, Watch: watch,
		Logger: newLogger(cmd.ErrOrStderr(), config.Default().Log),
	}
	var file *os.File
	if s.witness != "" {
		if file, err = os.OpenFile(s.witness, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
			return nil, nil, nil, fmt.Errorf("open the witness log: %w", err)
		}
		options.WitnessWriter = file
	}
	p, err = simulator.New(options)
	if err != nil {
		if file != nil {
			_ = file.Close() // nothing was written to it
		}
		return nil, nil, nil, err
	}
	return p, accounts, func() error {
		p.Close()
		if file == nil {
			return nil
		}
		if err := file.Close(); err != nil {
			return fmt.Errorf("close the witness log: %w", err)
		}
		return nil
	}, nil
}

// serve serves what the flags ask for until ctx ends. greet gets the addresses once all are open.
func (s *simulation) serve(ctx context.Context, p *simulator.Platform, greet func(page, api string)) error {
	page, api := "", ""
	servers, ctx := errgroup.WithContext(ctx)
	if s.listen != "" {
		listener, err := net.Listen("tcp", s.listen)
		if err != nil {
			return fmt.Errorf("serve the simulator: %w", err)
		}
		page = "http://" + listener.Addr().String()
		api = page
		servers.Go(func() error { return servePages(ctx, listener, p) })
	}
	if s.apiListen != "" {
		opened := make(chan net.Addr, 1)
		failed := make(chan struct{})
		servers.Go(func() error {
			defer close(failed)
			return p.ServeAPI(ctx, s.apiListen, func(a net.Addr) { opened <- a })
		})
		select {
		case a := <-opened:
			api = "http://" + a.String()
		case <-failed:
			return servers.Wait()
		}
	}
	greet(page, api)
	return servers.Wait()
}

// servePages serves phone page, control and API on one listener until ctx ends.
func servePages(ctx context.Context, listener net.Listener, p *simulator.Platform) error {
	mux := http.NewServeMux()
	mux.Handle("/cgi-bin/", p.APIHandler())
	mux.Handle("/", p.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ended := context.AfterFunc(ctx, func() { _ = server.Close() }) // pages reconnect; nothing is lost with them
	defer ended()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the simulator: %w", err)
	}
	return nil
}

// newSimulatorServeCommand is `hongyan simulator serve`.
func newSimulatorServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the platform with its phone page 运行模拟平台（手机页面、接口、控制）",
		Long: `Serve runs the platform until it is interrupted: a phone page to chat from, WeChat's API below /cgi-bin/, and the control
interface below /api/. Point the back end's API address (api_base) at it.

There is no login: listen on loopback only, or put it behind something that has one.`,
		Example: `  hongyan simulator serve -c hongyan.yaml
  hongyan simulator serve --accounts examples/simulator/accounts.yaml --witness witness.jsonl
  hongyan simulator serve --callback http://127.0.0.1:8080/cb --token T --aes-key K --app-id wx… --app-secret S --customer-service`,
		Args: cobra.NoArgs,
	}
	var s simulation
	s.flags(cmd, "127.0.0.1:8081")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if s.listen == "" {
			return usageError(cmd, errors.New("serve needs an address: --listen 127.0.0.1:8081"))
		}
		p, accounts, closeAll, err := s.open(cmd, nil, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeAll()) }()
		defer context.AfterFunc(cmd.Context(), p.Close)() // its open pages would hold up an orderly end
		return s.serve(cmd.Context(), p, func(page, api string) {
			greetSimulator(cmd.Context(), cmd.OutOrStdout(), p, accounts, page, api)
		})
	}
	return cmd
}

// greetSimulator says where everything is, and which callbacks do not answer yet.
func greetSimulator(ctx context.Context, out io.Writer, p *simulator.Platform, accounts []simulator.Account, page, api string) {
	fmt.Fprintf(out, "\n  The simulated WeChat is running. Open  %s/\n\n  API (api_base)  %s\n  faults          %s/api/faults\n", page, api, page)
	for _, a := range accounts {
		fmt.Fprintf(out, "  account         %s (%s): %s\n", a.ID, a.Mode, a.CallbackURL)
		if err := p.Handshake(ctx, a.ID); err != nil && ctx.Err() == nil {
			fmt.Fprintf(out, "                  not ready: %v\n", err)
		}
	}
	fmt.Fprint(out, "  stop            Ctrl-C\n\n")
}
