package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hongyan/cluster"
)

// gatherLimit bounds the question to all nodes.
const gatherLimit = 5 * time.Second

// Nodes is the answer of GET /api/v1/nodes.
type Nodes struct {
	Nodes   []cluster.NodeStatus `json:"nodes"`
	Missing []string             `json:"missing"` // node ids of live workers that did not answer
	Moving  int                  `json:"moving"`  // partitions that nobody serves at the moment, or that belong elsewhere
}

// Partitions is the answer of GET /api/v1/partitions.
type Partitions struct {
	Partitions []cluster.PartitionStatus `json:"partitions"`
	Missing    []string                  `json:"missing"`
	Moving     int                       `json:"moving"`
}

// nodes answers GET /api/v1/nodes.
func (h *handler) nodes(w http.ResponseWriter, r *http.Request) {
	if report, ok := h.gather(w, r); ok {
		h.writeJSON(w, http.StatusOK, Nodes{listed(report.Nodes), listed(report.Missing), report.Moving()})
	}
}

// partitions answers GET /api/v1/partitions.
func (h *handler) partitions(w http.ResponseWriter, r *http.Request) {
	if report, ok := h.gather(w, r); ok {
		h.writeJSON(w, http.StatusOK, Partitions{listed(report.Partitions), listed(report.Missing), report.Moving()})
	}
}

// listed makes an empty list of none, as JSON's readers expect.
func listed[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

// gather asks all nodes; where that fails it has answered, and returns false.
func (h *handler) gather(w http.ResponseWriter, r *http.Request) (cluster.Report, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), gatherLimit)
	defer cancel()
	report, err := h.Cluster.Report(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		h.fail(w, http.StatusGatewayTimeout, "timeout", "the nodes did not answer within "+gatherLimit.String())
	case err != nil:
		h.Logger.Warn("nodes not listed", "error", err)
		h.fail(w, http.StatusServiceUnavailable, "unavailable", "the nodes cannot be asked now: "+err.Error())
	}
	return report, err == nil
}
