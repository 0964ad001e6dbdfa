package console_test

import (
	"encoding/json"
	"testing"
	"time"

	"hongyan/bots/upstream"
	"hongyan/console"
)

// someBots are a model with a place that rests and one that works, rules whose file is broken, and a bot that no account uses.
func someBots(now time.Time) []console.BotStatus {
	retry := now.Add(7 * time.Second)
	return []console.BotStatus{
		{
			Name: "model", Type: "openai", Accounts: []string{"demo", "shop"},
			Upstream: &upstream.Status{Name: "model", MaxInFlight: 512, InFlight: 3, Endpoints: []upstream.EndpointStatus{
				{Name: "a.example", State: "open", Since: now.Add(-3 * time.Second), RetryAt: &retry, Weight: 2, Failures: 5, LastError: "status 503"},
				{Name: "b.example", State: "closed", Since: now.Add(-time.Hour), Weight: 1},
			}},
		},
		{
			Name: "rules", Type: "rules", Accounts: []string{"demo"},
			Rules: &console.RulesStatus{File: "rules.yaml", Rules: 12, Fault: "rules.yaml:3:1: unknown key"},
		},
		{Name: "spare", Type: "nats"},
	}
}

func TestBots(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b := setUp(t, func(o *console.Options) { o.Bots = func() []console.BotStatus { return someBots(now) } })
	if w := b.do("GET", "/api/v1/bots"); w.Code != 401 {
		t.Errorf("without a token: status %d", w.Code)
	}
	w := b.do("GET", "/api/v1/bots", "Authorization", "Bearer the-reader-token")
	want := `{
  "node": "n1",
  "bots": [
    {
      "name": "model",
      "type": "openai",
      "accounts": [
        "demo",
        "shop"
      ],
      "upstream": {
        "name": "model",
        "max_in_flight": 512,
        "in_flight": 3,
        "endpoints": [
          {
            "name": "a.example",
            "state": "open",
            "since": "2026-11-22T11:59:57Z",
            "retry_at": "2026-11-22T12:00:07Z",
            "weight": 2,
            "failures": 5,
            "last_error": "status 503"
          },
          {
            "name": "b.example",
            "state": "closed",
            "since": "2026-11-22T11:00:00Z",
            "weight": 1,
            "failures": 0
          }
        ]
      }
    },
    {
      "name": "rules",
      "type": "rules",
      "accounts": [
        "demo"
      ],
      "rules": {
        "file": "rules.yaml",
        "rules": 12,
        "fault": "rules.yaml:3:1: unknown key"
      }
    },
    {
      "name": "spare",
      "type": "nats",
      "accounts": []
    }
  ]
}
`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("status %d, got\n%s\nwant\n%s", w.Code, w.Body, want)
	}
	var none console.Bots
	w = setUp(t, nil).do("GET", "/api/v1/bots", "Authorization", "Bearer the-admin-token")
	if err := json.Unmarshal(w.Body.Bytes(), &none); err != nil || w.Code != 200 || none.Bots == nil || len(none.Bots) != 0 || none.Node != "n1" {
		t.Errorf("a node without bots: status %d, %s", w.Code, w.Body)
	}
}
