package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TargetBare is the name of the yardstick; the other targets are named after their durability.
const TargetBare = "bare"

// clockSkew is the time window that every target checks; it is the engine's default.
const clockSkew = 15 * time.Minute

// plan is how to start one target.
type plan struct {
	name  string
	argv  []string
	input []byte
	// callback is the address (host:port) of the callback listener; ready a URL that answers 200 when the target serves,
	// empty where the handshake on the callback listener tells.
	callback, ready string
}

// target is one running server.
type target struct {
	plan
	process *child
	rate    float64 // msg/s that it last reached: for rendering ahead
}

// barePlan starts `bench bare` of this very binary.
func barePlan(executable string, account Account) (plan, error) {
	address, err := freeAddress()
	if err != nil {
		return plan{}, err
	}
	spec, err := json.Marshal(BareSpec{Account: account, Rules: rules(), MaxClockSkew: clockSkew})
	if err != nil {
		return plan{}, err
	}
	return plan{
		name:     TargetBare,
		argv:     []string{executable, "bench", "bare", "--listen", address},
		input:    append(spec, '\n'),
		callback: address,
	}, nil
}

// enginePlan writes a configuration for one durability into dir and starts `serve` of this very binary with it. Apart
// from the flood limits, which are off because the load is one, everything is the engine's default.
func enginePlan(executable, dir, durability string, account Account) (plan, error) {
	callback, err := freeAddress()
	if err != nil {
		return plan{}, err
	}
	admin, err := freeAddress()
	if err != nil {
		return plan{}, err
	}
	home := filepath.Join(dir, durability)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return plan{}, err
	}
	configuration, rulesFile := filepath.Join(home, "hongyan.yaml"), filepath.Join(home, "rules.yaml")
	if err := os.WriteFile(rulesFile, rulesYAML(), 0o600); err != nil {
		return plan{}, err
	}
	text := engineYAML(account, durability, callback, admin)
	if err := os.WriteFile(configuration, text, 0o600); err != nil {
		return plan{}, err
	}
	return plan{
		name:     durability,
		argv:     []string{executable, "serve", "-c", configuration},
		callback: callback,
		ready:    "http://" + admin + "/readyz",
	}, nil
}

func engineYAML(account Account, durability, callback, admin string) []byte {
	return fmt.Appendf(nil, `node: {id: %s, data_dir: ./data}
listen: {callback: %s, admin: %s, cluster: "127.0.0.1:0"}
admin: {token: %s}
nats: {durability: %s}
state: {store: jetstream}
accounts:
  - id: %s
    app_id: %s
    original_id: %s
    mode: %s
    token: %s
    encoding_aes_key: %s
    max_clock_skew: %s
    bot: [rules]
bots:
  rules: {type: rules, file: rules.yaml}
limits: {user_rate: 0, account_rate: 0, ip_rate: 0}
`, quote("bench-"+durability), quote(callback), quote(admin), quote(randomHex(16)), quote(durability),
		quote(account.ID), quote(account.AppID), quote(account.OriginalID), account.Mode, quote(account.Token),
		quote(account.AESKey), clockSkew)
}

func rulesYAML() []byte {
	text := []byte("rules:\n")
	for _, r := range rules() {
		text = fmt.Appendf(text, "  - {match: exact, value: [%s], reply: %s}\n", quote(r.Text), quote(r.Reply))
	}
	return text
}

// quote makes a YAML scalar of any text: a JSON string is one.
func quote(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err) // no string fails
	}
	return string(data)
}

// freeAddress finds a loopback port that nobody has now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("bench: no free loopback port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// startTarget starts the server; its log goes to dir.
func startTarget(p plan, dir string) (*target, error) {
	process, err := startChild(p.name, p.argv, p.input, filepath.Join(dir, p.name+".log"))
	if err != nil {
		return nil, err
	}
	return &target{plan: p, process: process}, nil
}

// awaitReady polls until the target says that it is ready and passes WeChat's handshake.
func (t *target) awaitReady(ctx context.Context, render *renderer, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := t.probe(ctx, client, render)
		if gone := t.process.ended(); gone != nil {
			return gone // whoever answered was not this server
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case ctx.Err() != nil:
			return fmt.Errorf("bench: %s is not ready after %s: %w%s", t.name, patience, last, t.process.tail())
		}
		last = err
		select {
		case <-t.process.done:
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (t *target) probe(ctx context.Context, client *http.Client, render *renderer) error {
	if t.ready != "" {
		if _, err := fetch(ctx, client, t.ready); err != nil {
			return err
		}
	}
	link, echo := render.handshake(t.callback, time.Now())
	body, err := fetch(ctx, client, link)
	if err == nil && body != echo {
		err = errors.New("the handshake came back changed")
	}
	return err
}

// fetch gets a URL that must answer 200. Its errors do not repeat the URL, which carries a signature.
func fetch(ctx context.Context, client *http.Client, link string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %d on %s: %s", response.StatusCode, request.URL.Path, strings.TrimSpace(string(body[:min(len(body), 300)])))
	}
	return string(body), nil
}
