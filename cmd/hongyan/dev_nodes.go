package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hongyan/console"
	"hongyan/internal/fleet"
	"hongyan/wechat/simulator"
)

// devWorkers are the workers of `hongyan dev --nodes`, for the phone page and the commands.
type devWorkers struct {
	fleet  *fleet.Fleet
	admin  map[string]string // address of a worker's admin listener, by name
	client http.Client
}

// devNode is one worker as `hongyan dev status -o json` shows it. Fields are only ever added.
type devNode struct {
	fleet.Status
	Partitions *int `json:"partitions,omitempty"` // that it owns; absent where it does not tell
}

// devNodes is the body of GET /dev/nodes.
type devNodes struct {
	Nodes []devNode `json:"nodes"`
}

// partitionsWithin bounds the question to one worker; one that is being paused or killed does not answer.
const partitionsWithin = 500 * time.Millisecond

// list asks all running workers at once.
func (w *devWorkers) list(ctx context.Context) []devNode {
	ctx, cancel := context.WithTimeout(ctx, partitionsWithin)
	defer cancel()
	var out []devNode
	for _, s := range w.fleet.Status() {
		out = append(out, devNode{Status: s})
	}
	var asking sync.WaitGroup
	for i := range out {
		if out[i].State == fleet.Running || out[i].State == fleet.Stopping {
			asking.Go(func() { out[i].Partitions = w.partitions(ctx, out[i].Name) })
		}
	}
	asking.Wait()
	return out
}

// Bounds of the wait for the workers after the start.
const (
	settleWithin = 20 * time.Second
	settlePoll   = 100 * time.Millisecond
)

// settle waits until the workers own all partitions, so that the first message finds its owner. It gives up where a worker has ended by
// itself, after a while, or when ctx ends: messages wait in the log.
func (w *devWorkers) settle(ctx context.Context, partitions int) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for {
		owned := 0
		for _, n := range w.list(ctx) {
			if n.State == fleet.Exited {
				return
			}
			if n.Partitions != nil {
				owned += *n.Partitions
			}
		}
		if owned >= partitions {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// partitions is how many partitions a worker owns; nil where it does not say.
func (w *devWorkers) partitions(ctx context.Context, name string) *int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.admin[name]+"/metrics", http.NoBody)
	if err != nil {
		return nil
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	return ownedPartitions(response.Body)
}

// ownedPartitions reads cluster's gauge out of a node's metrics.
func ownedPartitions(metrics io.Reader) *int {
	for lines := bufio.NewScanner(metrics); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "hongyan_partitions_owned "); ok {
			if n, err := strconv.Atoi(value); err == nil {
				return &n
			}
		}
	}
	return nil
}

// do does one action and returns when it is done.
func (w *devWorkers) do(ctx context.Context, name, action string) error {
	switch action {
	case "start":
		return w.fleet.Start(name)
	case "stop":
		return w.fleet.Stop(ctx, name)
	case "pause":
		return w.fleet.Pause(name)
	case "resume":
		return w.fleet.Resume(name)
	case "kill":
		return w.fleet.Kill(ctx, name)
	default:
		return fmt.Errorf("%w: %q", errNoAction, action)
	}
}

var errNoAction = errors.New("there is no such action")

// Nodes implements simulator.Nodes.
func (w *devWorkers) Nodes(ctx context.Context) []simulator.Node {
	var out []simulator.Node
	for _, n := range w.list(ctx) {
		out = append(out, simulator.Node{
			Name: n.Name, State: string(n.State), Since: n.Since, PID: n.PID, Exit: n.Exit, Partitions: n.Partitions, Log: n.LogFile,
		})
	}
	return out
}

// Do implements simulator.Nodes.
func (w *devWorkers) Do(ctx context.Context, name, action string) error {
	err := w.do(ctx, name, action)
	switch {
	case errors.Is(err, fleet.ErrUnknown):
		return fmt.Errorf("%w: %w", simulator.ErrUnknownNode, err)
	case errors.Is(err, fleet.ErrState), errors.Is(err, fleet.ErrClosed), errors.Is(err, fleet.ErrSlow):
		return fmt.Errorf("%w: %w", simulator.ErrNodeState, err)
	default:
		return err
	}
}

// devNodesAPI is what the commands `hongyan dev …` ask, for the admin listener:
//
//	GET  /dev/nodes                  {nodes: […]}
//	POST /dev/nodes/{name}/{action}  the node as it is after the action
//
// Both need the admin token. Failures have the form of the admin API's: 401, 404 (no such node or action), 409 (not now, or dev has
// no nodes), 500. workers is nil where dev runs in one process.
func devNodesAPI(token string, workers *devWorkers) map[string]http.Handler {
	list := func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, devNodes{Nodes: workers.list(r.Context())})
	}
	act := func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if err := workers.do(r.Context(), name, r.PathValue("action")); err != nil {
			status, code := devFailure(err)
			refuse(w, status, code, err.Error())
			return
		}
		nodes := workers.list(r.Context())
		i := slices.IndexFunc(nodes, func(n devNode) bool { return n.Name == name })
		answer(w, http.StatusOK, nodes[i]) // it was there a moment ago, and nodes are never removed
	}
	if workers == nil {
		list = func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusConflict, codeOneProcess, "dev runs in one process; end it and start it with --nodes 3, for example")
		}
		act = list
	}
	return map[string]http.Handler{
		"GET /dev/nodes":                  onlyWith(token, list),
		"POST /dev/nodes/{name}/{action}": onlyWith(token, act),
	}
}

// Codes of the failures of /dev/nodes beside the admin API's own.
const (
	codeOneProcess = "one_process"
	codeConflict   = "conflict"
)

func devFailure(err error) (status int, code string) {
	switch {
	case errors.Is(err, fleet.ErrUnknown), errors.Is(err, errNoAction):
		return http.StatusNotFound, "not_found"
	case errors.Is(err, fleet.ErrState), errors.Is(err, fleet.ErrClosed), errors.Is(err, fleet.ErrSlow), errors.Is(err, errors.ErrUnsupported):
		return http.StatusConflict, codeConflict
	default:
		return http.StatusInternalServerError, "internal"
	}
}

// onlyWith lets requests through that carry the bearer token. A token that is empty opens nothing.
func onlyWith(token string, next http.HandlerFunc) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given))
		if token == "" || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="hongyan"`)
			refuse(w, http.StatusUnauthorized, "unauthorised", "a valid bearer token is needed")
			return
		}
		next(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, console.Failure{Error: console.FailureDetail{Code: code, Message: message}})
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // whoever asked has gone
}
