package console

import (
	"net/http"

	"hongyan/bots/upstream"
)

// Bots is the answer of GET /api/v1/bots. Upstreams are each node's own: breakers, places and rules files of other nodes may be in
// another state.
type Bots struct {
	Node string      `json:"node"` // whose bots these are
	Bots []BotStatus `json:"bots"` // by name
}

// BotStatus is one bot of the configuration. Fields are only ever added.
type BotStatus struct {
	Name     string           `json:"name"`
	Type     string           `json:"type"`               // rules, openai, http, nats
	Accounts []string         `json:"accounts"`           // whose chain has it
	Upstream *upstream.Status `json:"upstream,omitempty"` // of remote bots
	Rules    *RulesStatus     `json:"rules,omitempty"`    // of type rules
}

// RulesStatus is a rules file and what is in force of it.
type RulesStatus struct {
	File  string `json:"file"`
	Rules int    `json:"rules"`           // in force
	Fault string `json:"fault,omitempty"` // why they are not what the file holds now: it is broken or gone, and old rules answer
}

// bots answers GET /api/v1/bots.
func (h *handler) bots(w http.ResponseWriter, _ *http.Request) {
	out := Bots{Node: h.Node, Bots: []BotStatus{}}
	if h.Bots != nil {
		for _, b := range h.Bots() {
			b.Accounts = listed(b.Accounts)
			out.Bots = append(out.Bots, b)
		}
	}
	h.writeJSON(w, http.StatusOK, out)
}
