package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hongyan/bots/upstream"
	"hongyan/console"
)

// someBots are a model with an endpoint that rests, one that is tried and one that works, rules whose file is broken, and a bot that no
// account uses.
func someBots() []console.BotStatus {
	now := time.Now()
	retry := now.Add(6500 * time.Millisecond)
	return []console.BotStatus{
		{
			Name: "model", Type: "openai", Accounts: []string{"demo", "shop"},
			Upstream: &upstream.Status{Name: "model", MaxInFlight: 512, InFlight: 3, Endpoints: []upstream.EndpointStatus{
				{Name: "a.example", State: "open", Since: now.Add(-90 * time.Second), RetryAt: &retry, Weight: 2, Failures: 5, LastError: "status 503\x1b[2J"},
				{Name: "b.example", State: "half_open", Since: now, Failures: 9, LastError: "connection refused"},
				{Name: "c.example", State: "closed", Since: now.Add(-time.Hour), Weight: 1, LastError: "long over"},
			}},
		},
		{
			Name: "rules", Type: "rules", Accounts: []string{"demo"},
			Rules: &console.RulesStatus{File: "rules.yaml", Rules: 12, Fault: "rules.yaml:3:1: unknown key\nrules.yaml:9:1: no reply"},
		},
		{Name: "spare", Type: "nats"},
	}
}

func TestBots(t *testing.T) {
	t.Parallel()
	file := adminNode(t, "a-long-admin-token")
	got := execute(t, "bots", "-c", file)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{
		"node n1\n\nBOT ", "BREAKER    FOR    FAILURES  RETRY IN  WEIGHT\n",
		"model  openai  demo,shop  3 of 512  a.example   open       1m30s  5         7s        2\n",
		"                                    b.example   half-open  0s     9         -         0\n",
		"                                    c.example   closed     1h00m  0         -         1\n",
		"rules  rules   demo       -         rules.yaml  12 rules   -      -         -         -\n",
		"spare  nats    -          -         -           -          -      -         -         -\n",
		"\nmodel: a.example: status 503�[2J\n", "\nmodel: b.example: connection refused\n",
		"rules before it answer:\n  rules.yaml:3:1: unknown key\n  rules.yaml:9:1: no reply\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, got.stdout)
		}
	}
	if strings.Contains(got.stdout, "long over") || strings.Contains(got.stdout, "\x1b") {
		t.Errorf("it tells of an error that is over, or commands the terminal:\n%s", got.stdout)
	}
	var list console.Bots
	err := json.Unmarshal([]byte(execute(t, "bots", "-c", file, "-o", "json").stdout), &list)
	if err != nil || list.Node != "n1" || len(list.Bots) != 3 || list.Bots[0].Upstream.Endpoints[0].LastError != "status 503\x1b[2J" {
		t.Errorf("-o json: %v, %+v", err, list)
	}
	if got := execute(t, "bots", "-c", adminNode(t, "another-admin-token")); got.code != 1 || !strings.Contains(got.stderr, "token") {
		t.Errorf("with a wrong token: %+v", got)
	}
	if got := execute(t, "bots", "model"); got.code != 2 {
		t.Errorf("with an argument: %+v", got)
	}
	var none bytes.Buffer
	if err := writeBots(&none, []byte(`{"node":"n1","bots":[]}`)); err != nil || !strings.HasPrefix(none.String(), "node n1 has no bots") {
		t.Errorf("a node without bots: %v, %s", err, &none)
	}
}
