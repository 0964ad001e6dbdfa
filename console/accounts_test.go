package console_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hongyan/messages"
)

// officials are three accounts' actors: one in order, one in trouble, one that nobody can ask.
type officials struct{}

func (officials) Official() []string { return []string{"good", "bad", "away"} }

func (officials) InspectAccount(_ context.Context, id string) (*messages.AccountView, error) {
	switch id {
	case "good":
		return &messages.AccountView{Account: id, Node: "n1", HasToken: true, Generation: 3, ExpiresInMs: 60_000, SentToday: 12,
			SpentTokens: 345, BudgetTokens: 1000}, nil
	case "bad":
		return &messages.AccountView{Account: id, Node: "n2", Alarm: "ip", AlarmDetail: "add 203.0.113.7 to the account's IP list",
			Blocks: []*messages.AccountBlock{{Kind: messages.AccountBlock_KIND_DAILY_QUOTA, ForMs: 5000, Code: 45009, Detail: "reach max"}}, NoApi: true}, nil
	default:
		return nil, errors.New("nobody owns the partition at the moment")
	}
}

// An account that cannot be asked says why; the others are shown all the same, and no token is.
func TestAccounts(t *testing.T) {
	t.Parallel()
	b := setUp(t, nil)
	if w := b.do("GET", "/api/v1/accounts"); w.Code != 401 {
		t.Errorf("without a token: status %d", w.Code)
	}
	got := b.do("GET", "/api/v1/accounts", "Authorization", "Bearer the-reader-token").Body.String()
	for _, want := range []string{
		`"account": "good"`, `"generation": 3`, `"sent_today": 12`, `"alarm_detail": "add 203.0.113.7 to the account's IP list"`,
		`"spent_tokens": 345`, `"budget_tokens": 1000`, `"no_api": true`, `"kind": "daily_quota"`, `"code": 45009`, `"error": "nobody owns the partition at the moment"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s:\n%s", want, got)
		}
	}
}
