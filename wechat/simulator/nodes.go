package simulator

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Errors of Nodes that the page's API tells apart.
var (
	ErrUnknownNode = errors.New("there is no such node")
	ErrNodeState   = errors.New("the node is not in a state for this")
)

// Nodes are the processes of the back end, for a page that shows them beside the chat and can take them away. The platform knows
// nothing else of its back end.
type Nodes interface {
	// Nodes lists them as they are now. It answers within a second, whatever state they are in.
	Nodes(ctx context.Context) []Node
	// Do does one of NodeActions to a node and returns when it is done. Its errors wrap ErrUnknownNode or ErrNodeState where one
	// of them is the cause.
	Do(ctx context.Context, name, action string) error
}

// Node is one process of the back end.
type Node struct {
	Name       string    `json:"name"`
	State      string    `json:"state"` // running, paused, stopping, stopped, killed or exited
	Since      time.Time `json:"since"` // when it entered the state
	PID        int       `json:"pid,omitempty"`
	Exit       string    `json:"exit,omitempty"`       // how its last process ended
	Partitions *int      `json:"partitions,omitempty"` // that it owns; nil where it does not tell
	Log        string    `json:"log,omitempty"`        // its log file
}

// NodeActions are what can be done to a node: ask it to end, hold it as SIGSTOP does, let it go on, end it at once, run it.
var NodeActions = []string{"stop", "pause", "resume", "kill", "start"}

type nodesResponse struct {
	Nodes []Node `json:"nodes"`
}

func (p *Platform) serveNodes(w http.ResponseWriter, r *http.Request) {
	out := nodesResponse{Nodes: []Node{}}
	if p.nodes != nil {
		out.Nodes = append(out.Nodes, p.nodes.Nodes(r.Context())...)
	}
	respond(w, http.StatusOK, mustJSON(out))
}

type nodeRequest struct {
	Name   string `json:"name"`
	Action string `json:"action"`
}

// serveNodeAction answers with all nodes as they are after the action. The page may leave meanwhile: what was begun is ended.
func (p *Platform) serveNodeAction(in nodeRequest) (int, any, error) {
	switch {
	case p.nodes == nil:
		return 0, nil, ErrUnknownNode
	case !slices.Contains(NodeActions, in.Action):
		return 0, nil, errors.New("there is no such action")
	}
	if err := p.nodes.Do(p.ctx, in.Name, in.Action); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, nodesResponse{p.nodes.Nodes(p.ctx)}, nil
}
