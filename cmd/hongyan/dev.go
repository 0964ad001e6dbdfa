package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hongyan/config"
	"hongyan/examples"
	"hongyan/wechat/simulator"
)

func newDevCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try everything on this machine, with a simulated WeChat 本机试用（自带模拟微信）",
		Long: `Dev runs the whole engine in one process, on loopback only: the durable log, one cluster member, the users' state,
the callback endpoint, and beside them a simulated WeChat platform with a phone to chat from in the browser. It needs no
configuration and no internet.

It ignores hongyan.yaml. The account is "demo", with random credentials; the complete configuration stands in
<data>/dev.yaml, and the rules that answer in <data>/rules.yaml: edit them while it runs. Everything is kept between runs;
remove the data folder to start afresh. Ctrl-C stops it in order.`,
		Example: "  hongyan dev\n  hongyan send --account demo --user u1 你好",
		Args:    cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "data", "folder for the log, the state and the configuration")
	durability := cmd.Flags().String("durability", string(config.DurabilityDisk), "disk or os, see the configuration's nats.durability")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "log every message's end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := devConfig(*data, *durability, *verbose)
		if err != nil {
			return err
		}
		return runDev(cmd.Context(), cfg, cmd.OutOrStdout(), newLogger(cmd.ErrOrStderr(), cfg.Log))
	}
	return cmd
}

// runDev runs the engine with the simulated platform beside it. The platform reaches the engine only by signed callbacks, and
// the engine tells it only what it tells every watcher.
func runDev(ctx context.Context, cfg *config.Config, stdout io.Writer, log *slog.Logger) error {
	account := cfg.Accounts[0]
	platform, err := simulator.New(simulator.Options{
		Accounts: []simulator.Account{{
			ID: account.ID, AppID: account.AppID, OriginalID: account.OriginalID, Token: account.Token.Reveal(),
			AESKey: account.EncodingAESKey.Reveal(), Mode: string(account.Mode),
			CallbackURL: "http://" + cfg.Listen.Callback + "/wechat/callback/" + account.ID,
		}},
		Logger: log,
	})
	if err != nil {
		return fmt.Errorf("start the simulated platform: %w", err)
	}
	defer platform.Close()

	e, err := newEngine(ctx, cfg, log, platform.Trace)
	if err != nil {
		return err
	}
	if err := writeDevFile(cfg); err != nil {
		return errors.Join(err, e.close())
	}
	e.extra = map[string]http.Handler{"/phone/": http.StripPrefix("/phone", platform.Handler())}
	e.ready = func(_, admin string) {
		fmt.Fprintf(stdout, "\n  鸿雁 Hongyan is running. Open  http://%s/phone/\n\n"+
			"  callbacks      http://%s/wechat/callback/%s\n  configuration  %s\n  rules          %s\n"+
			"  durability     %s\n  another shell  hongyan send --account %s --user u1 你好\n  stop           Ctrl-C\n\n",
			admin, cfg.Listen.Callback, account.ID, devFile(cfg),
			cfg.Bots["rules"].File, e.durability(), account.ID)
	}
	stopped := context.AfterFunc(ctx, platform.Close) // its open pushes would hold up an orderly end
	defer stopped()
	return e.run(ctx)
}

// devFile is where dev keeps its configuration.
func devFile(cfg *config.Config) string { return filepath.Join(string(cfg.Node.DataDir), "dev.yaml") }

// devConfig makes the configuration of a dev run. Credentials stay those of the last run, so
// that what was delivered then can be delivered again.
func devConfig(data, durability string, verbose bool) (*config.Config, error) {
	dir, err := filepath.Abs(data)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", data, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w; choose another with --data", err)
	}
	rulesFile := filepath.Join(dir, "rules.yaml")
	if _, err := os.Stat(rulesFile); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(rulesFile, examples.Rules, 0o600); err != nil {
			return nil, fmt.Errorf("write the example rules: %w", err)
		}
	}

	cfg := config.Default()
	cfg.Node.ID = "dev"
	cfg.Node.DataDir = config.Path(dir)
	cfg.NATS.Durability = ""
	if err := cfg.NATS.Durability.UnmarshalText([]byte(durability)); err != nil {
		return nil, exitWith(exitUsage, fmt.Errorf("--durability %s: %w", durability, err))
	}
	cfg.Log.Level = config.LevelWarn
	if verbose {
		cfg.Log.Level = config.LevelInfo
	}
	cfg.Bots = map[string]config.Bot{"rules": {Type: config.BotRules, File: config.Path(rulesFile)}}
	account := config.DefaultAccount()
	account.ID, account.Mode, account.Bot = "demo", config.ModeSafe, []string{"rules"}
	cfg.Accounts = []config.Account{account}
	if err := credentials(cfg, filepath.Join(dir, "dev.yaml")); err != nil {
		return nil, err
	}
	if cfg.Listen.Callback, err = loopbackAddress("8080"); err != nil {
		return nil, err
	}
	if cfg.Listen.Admin, err = loopbackAddress("9090"); err != nil {
		return nil, err
	}
	return cfg, nil
}

// writeDevFile writes the configuration down for the other commands. It comes after the data folder is ours: a second dev that
// finds it locked must not change what the first one wrote.
func writeDevFile(cfg *config.Config) error {
	out, err := config.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("write dev.yaml: %w", err)
	}
	head := "# The configuration of the last `hongyan dev`; `hongyan send` and `hongyan user` read it. It holds secrets.\n"
	if err := os.WriteFile(devFile(cfg), append([]byte(head), out...), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// credentials takes those of the file, if it is there and whole, else draws new ones.
func credentials(cfg *config.Config, file string) error {
	account := &cfg.Accounts[0]
	if old, report := config.Load(file, nil); report.Err() == nil {
		if a, ok := old.Account(account.ID); ok && a.Token != "" && a.EncodingAESKey != "" && old.Admin.Token != "" {
			account.AppID, account.OriginalID = a.AppID, a.OriginalID
			account.Token, account.EncodingAESKey, cfg.Admin.Token = a.Token, a.EncodingAESKey, old.Admin.Token
			return nil
		}
	}
	digits, err := drawn("0123456789abcdef", 28)
	if err != nil {
		return err
	}
	token, err := drawn(alphanumeric, 24)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: the process ends instead
	aesKey := strings.NewReplacer("+", "A", "/", "B").Replace(base64.RawStdEncoding.EncodeToString(key))
	admin, err := drawn(alphanumeric, 32)
	if err != nil {
		return err
	}
	account.AppID, account.OriginalID = "wx"+digits[:16], "gh_"+digits[16:]
	account.Token, account.EncodingAESKey, cfg.Admin.Token = config.Secret(token), config.Secret(aesKey), config.Secret(admin)
	return nil
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// drawn is n characters of the alphabet, each as likely.
func drawn(alphabet string, n int) (string, error) {
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("draw credentials: %w", err)
		}
		out[i] = alphabet[k.Int64()]
	}
	return string(out), nil
}

// loopbackAddress is 127.0.0.1 with the port if nobody listens there, else with a free one.
func loopbackAddress(port string) (string, error) {
	for _, p := range []string{port, "0"} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", p))
		if err != nil {
			continue
		}
		address := l.Addr().String()
		return address, l.Close()
	}
	return "", errors.New("no port is free on 127.0.0.1")
}
