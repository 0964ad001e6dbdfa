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

	"hongyan/config"
	"hongyan/console"
)

const (
	askLimit   = 20 * time.Second // of one request to the admin API
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

// adminReply is what a node's admin listener answered.
type adminReply struct {
	base   string // of the node
	status int
	body   []byte
}

// askNode sends one request to the admin listener of the configured node, with the token that the method needs.
func askNode(ctx context.Context, cfg *config.Config, method, path string) (adminReply, error) {
	return tellNode(ctx, cfg, method, path, http.NoBody)
}

// tellNode is askNode with a JSON body.
func tellNode(ctx context.Context, cfg *config.Config, method, path string, content io.Reader) (adminReply, error) {
	base, err := adminBase(cfg.Listen.Admin)
	if err != nil {
		return adminReply{}, err
	}
	token := cfg.Admin.Token
	if method == http.MethodGet && cfg.Admin.ReadOnlyToken != "" {
		token = cfg.Admin.ReadOnlyToken
	}
	if token == "" {
		return adminReply{}, errors.New("the configuration has no admin.token, so the node answers nobody: set one and start the node again")
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return adminReply{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // straight to the node, past any proxy
	response, err := client.Do(request)
	if err != nil {
		return adminReply{}, fmt.Errorf("no answer from the node at %s: %w\nis it running? start it with `hongyan dev` or `hongyan serve`", base, cause(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAPIBody))
	if err != nil {
		return adminReply{}, fmt.Errorf("the answer of the node at %s broke off: %w", base, err)
	}
	return adminReply{base: base, status: response.StatusCode, body: body}, nil
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
func (r adminReply) refusal() error {
	if r.status == http.StatusOK {
		return nil
	}
	failure := r.failure()
	switch {
	case r.status == http.StatusUnauthorized:
		return fmt.Errorf("the node at %s refuses the token: is it running with this configuration?", r.base)
	case failure.Message != "":
		return fmt.Errorf("the node at %s cannot tell: %s", r.base, printable(failure.Message))
	default:
		return fmt.Errorf("what answers at %s is not a node of Hongyan (status %d)", r.base, r.status)
	}
}

// failure is what the API says about a refusal. A body that is none comes from something else: the status says enough.
func (r adminReply) failure() console.FailureDetail {
	var failure console.Failure
	_ = json.Unmarshal(r.body, &failure)
	return failure.Error
}
