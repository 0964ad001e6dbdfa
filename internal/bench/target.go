package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// TargetBare is the name of the yardstick; the other targets are named after their topology.
const TargetBare = "bare"

// clockSkew is the time window that every target checks; it is the engine's default.
const clockSkew = 15 * time.Minute

// plan is how to start one target.
type plan struct {
	name    string
	servers []server // in the order of their start
	// callback is the address (host:port) of the callback listener; ready are URLs that answer 200 when the target serves, none
	// where the handshake on the callback listener tells.
	callback string
	ready    []string
}

// server is one process of a target.
type server struct {
	name  string
	argv  []string
	input []byte
}

// target is one running server, or several that belong together.
type target struct {
	plan
	processes []*child
	rate      float64 // msg/s that it last reached: for rendering ahead
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
		servers:  []server{{name: TargetBare, argv: []string{executable, "bench", "bare", "--listen", address}, input: append(spec, '\n')}},
		callback: address,
	}, nil
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

// startTarget starts the servers; their logs go to dir. On an error those that run are stopped.
func startTarget(p plan, dir string) (*target, error) {
	t := &target{plan: p}
	for _, s := range p.servers {
		name := p.name
		if len(p.servers) > 1 {
			name += "-" + s.name
		}
		process, err := startChild(name, s.argv, s.input, filepath.Join(dir, name+".log"))
		if err != nil {
			t.stop(0)
			return nil, err
		}
		t.processes = append(t.processes, process)
	}
	return t, nil
}

// stop ends the servers, those that were started last first.
func (t *target) stop(patience time.Duration) {
	for _, p := range slices.Backward(t.processes) {
		p.stop(patience)
	}
}

// ended is the error of the first server that is gone though nobody stopped it.
func (t *target) ended() error {
	for _, p := range t.processes {
		if err := p.ended(); err != nil {
			return err
		}
	}
	return nil
}

// tail is the end of what each server logged.
func (t *target) tail() string {
	var all strings.Builder
	for _, p := range t.processes {
		all.WriteString(p.tail())
	}
	return all.String()
}

// cpu is the processor time of all servers together.
func (t *target) cpu() (spent time.Duration) {
	for _, p := range t.processes {
		spent += cpuTime(p.pid)
	}
	return spent
}

// resident is the memory of all servers together.
func (t *target) resident() (now, peak int64) {
	for _, p := range t.processes {
		n, most := residentBytes(p.pid)
		now, peak = now+n, peak+most
	}
	return now, peak
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
		if gone := t.ended(); gone != nil {
			return gone // whoever answered was not this server
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case ctx.Err() != nil:
			return fmt.Errorf("bench: %s is not ready after %s: %w%s", t.name, patience, last, t.tail())
		}
		last = err
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (t *target) probe(ctx context.Context, client *http.Client, render *renderer) error {
	for _, link := range t.ready {
		if _, err := fetch(ctx, client, link); err != nil {
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
