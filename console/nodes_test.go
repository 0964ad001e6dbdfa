package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"hongyan/cluster"
	"hongyan/console"
)

func TestNodesAndPartitions(t *testing.T) {
	t.Parallel()
	report := cluster.Report{
		Nodes: []cluster.NodeStatus{{Node: "w1", Roles: []string{"worker"}, Partitions: 2}},
		Partitions: []cluster.PartitionStatus{
			{Partition: 0, Owner: "w1", Epoch: 3, Lag: 5 * time.Millisecond, Unsettled: 7, Reported: true},
			{Partition: 1, Owner: "w2", Epoch: 4, Moving: true},
		},
		Missing: []string{"w2"},
	}
	b := setUp(t, func(o *console.Options) { o.Cluster = nodes{report: report} })
	get := func(path string, into any) {
		t.Helper()
		w := b.do(http.MethodGet, path, "Authorization", "Bearer the-reader-token")
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	var n console.Nodes
	get("/api/v1/nodes", &n)
	if len(n.Nodes) != 1 || n.Nodes[0].Node != "w1" || len(n.Missing) != 1 || n.Moving != 1 {
		t.Errorf("nodes: %+v", n)
	}
	var p console.Partitions
	get("/api/v1/partitions", &p)
	if len(p.Partitions) != 2 || p.Partitions[0] != report.Partitions[0] || p.Partitions[1] != report.Partitions[1] || p.Moving != 1 {
		t.Errorf("partitions: %+v", p)
	}
	if w := b.do(http.MethodGet, "/api/v1/nodes"); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", w.Code)
	}
}

func TestNodesThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{errors.New("the node is still starting"), 503, "unavailable"},
		{context.DeadlineExceeded, 504, "timeout"},
	} {
		b := setUp(t, func(o *console.Options) { o.Cluster = nodes{err: c.err} })
		w := b.do(http.MethodGet, "/api/v1/partitions", "Authorization", "Bearer the-admin-token")
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.code) {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
}

// A node without the role console keeps health and metrics, and says of the API that it is elsewhere.
func TestWithoutTheConsole(t *testing.T) {
	t.Parallel()
	b := setUp(t, func(o *console.Options) { o.NoAPI = true })
	for path, status := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 200, "/api/v1/nodes": 404, "/api/v1/users/demo/u1": 404, "/api/": 404,
	} {
		w := b.do(http.MethodGet, path, "Authorization", "Bearer the-admin-token")
		if w.Code != status || status == 404 && !strings.Contains(w.Body.String(), "no_console") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
