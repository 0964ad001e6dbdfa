package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hongyan/config"
	"hongyan/examples"
)

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
	if err := writeDevRules(rulesFile); err != nil {
		return nil, err
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
	model, err := loopbackAddress("8091")
	if err != nil {
		return nil, err
	}
	cfg.Bots = map[string]config.Bot{"rules": {Type: config.BotRules, File: config.Path(rulesFile)}, devModelBot: devModelConfig(model)}
	account := config.DefaultAccount()
	account.ID, account.Mode, account.Bot = "demo", config.ModeSafe, []string{"rules", devModelBot}
	// The model's breaker opens before that of the one user who is there, which would hide it.
	account.Breaker = config.UserBreaker{Failures: 5, Open: 10 * time.Second}
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
	api, err := loopbackAddress("8090")
	if err != nil {
		return nil, err
	}
	demo := &cfg.Accounts[0] // the simulated platform's API, beside it
	demo.APIBase, demo.APIHosts, demo.CustomerService = "http://"+api, []string{}, true
	return whole(cfg)
}

// whole is the configuration as it comes back from its file: with every default filled in, and checked.
func whole(cfg *config.Config) (*config.Config, error) {
	out, err := config.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("write dev.yaml: %w", err)
	}
	cfg, report := config.Parse(devFile(cfg), out, nil)
	if err := report.Err(); err != nil {
		return nil, fmt.Errorf("dev's own configuration: %w", err)
	}
	return cfg, nil
}

// writeDevRules writes the rules that a first run begins with. They leave what they do not know to the model. An older run has left the
// ones that answer everything; where nobody has changed those, the new ones replace them.
func writeDevRules(file string) error {
	old, err := os.ReadFile(file)
	if err == nil && !bytes.Equal(old, examples.Rules) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // somebody's own; where they cannot be read, the engine says so
	}
	if err := os.WriteFile(file, examples.OpenRules(), 0o600); err != nil {
		return fmt.Errorf("write the example rules: %w", err)
	}
	return nil
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
		if a, ok := old.Account(account.ID); ok && a.Token != "" && a.EncodingAESKey != "" && a.AppSecret != "" && old.Admin.Token != "" {
			account.AppID, account.OriginalID = a.AppID, a.OriginalID
			account.Token, account.EncodingAESKey, cfg.Admin.Token = a.Token, a.EncodingAESKey, old.Admin.Token
			account.AppSecret = a.AppSecret
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
	secret, err := drawn("0123456789abcdef", 32)
	if err != nil {
		return err
	}
	account.AppID, account.OriginalID, account.AppSecret = "wx"+digits[:16], "gh_"+digits[16:], config.Secret(secret)
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
