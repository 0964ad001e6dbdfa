package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hongyan/internal/fleet"
	"hongyan/wechat/simulator"
)

// devRig is the API over a fleet of one node that was never started.
func devRig(t *testing.T, token string) (*devWorkers, http.Handler) {
	t.Helper()
	w := &devWorkers{fleet: fleet.New(fleet.Options{Binary: "/nonexistent/hongyan"}), admin: map[string]string{}}
	if err := w.fleet.Add(fleet.Node{Name: "worker-1"}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, handler := range devNodesAPI(token, w) {
		mux.Handle(pattern, handler)
	}
	return w, mux
}

func askRig(h http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestDevNodesAPI(t *testing.T) {
	t.Parallel()
	_, h := devRig(t, "secret")
	for _, c := range []struct {
		method, path, authorization string
		status                      int
		says                        string
	}{
		{http.MethodGet, "/dev/nodes", "Bearer secret", http.StatusOK, `"state": "stopped"`},
		{http.MethodGet, "/dev/nodes", "", http.StatusUnauthorized, "unauthorised"},
		{http.MethodGet, "/dev/nodes", "Bearer wrong", http.StatusUnauthorized, "unauthorised"},
		{http.MethodGet, "/dev/nodes", "Basic secret", http.StatusUnauthorized, "unauthorised"},
		{http.MethodPost, "/dev/nodes/worker-1/kill", "", http.StatusUnauthorized, "unauthorised"},
		{http.MethodPost, "/dev/nodes/worker-1/kill", "Bearer secret", http.StatusOK, "worker-1"},
		{http.MethodPost, "/dev/nodes/worker-1/pause", "Bearer secret", http.StatusConflict, codeConflict},
		{http.MethodPost, "/dev/nodes/worker-1/reboot", "Bearer secret", http.StatusNotFound, "no such action"},
		{http.MethodPost, "/dev/nodes/worker-2/kill", "Bearer secret", http.StatusNotFound, "there are worker-1"},
		{http.MethodPost, "/dev/nodes/worker-1/start", "Bearer secret", http.StatusInternalServerError, "check the program"},
		{http.MethodGet, "/dev/nodes/worker-1/kill", "Bearer secret", http.StatusMethodNotAllowed, ""},
	} {
		if w := askRig(h, c.method, c.path, c.authorization); w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s with %q: status %d, not %d with %q: %s", c.method, c.path, c.authorization, w.Code, c.status, c.says, w.Body)
		}
	}
	_, open := devRig(t, "")
	if w := askRig(open, http.MethodGet, "/dev/nodes", "Bearer "); w.Code != http.StatusUnauthorized {
		t.Errorf("an empty token opens the API: status %d", w.Code)
	}
	for pattern, handler := range devNodesAPI("secret", nil) {
		if w := askRig(handler, http.MethodGet, "/", "Bearer secret"); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "--nodes 3") {
			t.Errorf("%s of one process: status %d: %s", pattern, w.Code, w.Body)
		}
	}
}

// TestDevNodesForPhone: the page can tell a node that is not there from one that is not in the right state.
func TestDevNodesForPhone(t *testing.T) {
	t.Parallel()
	w, _ := devRig(t, "secret")
	if err := w.Do(t.Context(), "worker-2", "kill"); !errors.Is(err, simulator.ErrUnknownNode) {
		t.Error(err)
	}
	if err := w.Do(t.Context(), "worker-1", "pause"); !errors.Is(err, simulator.ErrNodeState) {
		t.Error(err)
	}
	for _, action := range simulator.NodeActions {
		if err := w.do(t.Context(), "worker-1", action); errors.Is(err, errNoAction) {
			t.Errorf("the page has the button %s, which does nothing", action)
		}
	}
}

func TestOwnedPartitions(t *testing.T) {
	t.Parallel()
	for metrics, want := range map[string]int{
		"# HELP hongyan_partitions_owned Partitions.\nhongyan_partitions_owned 22\n": 22,
		"hongyan_partitions_owned 0\n":        0,
		"hongyan_partitions_owned_total 22\n": -1,
		"hongyan_partitions_owned many\n":     -1,
		"":                                    -1,
	} {
		got := -1
		if n := ownedPartitions(strings.NewReader(metrics)); n != nil {
			got = *n
		}
		if got != want {
			t.Errorf("%q tells %d partitions, not %d", metrics, got, want)
		}
	}
}

func TestShowDevNodes(t *testing.T) {
	t.Parallel()
	now, owned := time.Unix(1_800_000_000, 0), 21
	var out strings.Builder
	err := showDevNodes(&out, []devNode{
		{Status: fleet.Status{Name: "worker-1", State: fleet.Running, Since: now.Add(-90 * time.Second), PID: 4711}, Partitions: &owned},
		{Status: fleet.Status{Name: "worker-2", State: fleet.Exited, Since: now.Add(-time.Second), Exit: "exit status 1", LogFile: "w.log"}},
	}, now)
	want := "NAME      STATE    FOR    PROCESS  PARTITIONS  NOTE\n" +
		"worker-1  running  1m30s  4711     21          \n" +
		"worker-2  exited   1s     -        -           exit status 1; see w.log\n"
	if err != nil || out.String() != want {
		t.Errorf("the table, %v:\n%s", err, out.String())
	}
}
