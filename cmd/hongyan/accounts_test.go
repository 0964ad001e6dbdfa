package main

import (
	"encoding/json"
	"strings"
	"testing"

	"hongyan/console"
)

// An account without a secret has a budget to show, and no token.
func TestWriteAccounts(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(console.Accounts{Accounts: []console.Account{
		{Account: "sends", Node: "n1", Token: true, Generation: 3, ExpiresInMS: 60_000, SentToday: 12},
		{Account: "talks", Node: "n2", NoAPI: true, SpentTokens: 345, BudgetTokens: 1000},
		{Account: "away", Error: "nobody owns the partition"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writeAccounts(&out, raw); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"ACCOUNT": {"ACCOUNT", "TOKEN", "EXPIRES IN", "SENT TODAY", "MODEL TOKENS", "BLOCKED", "ALARM", "NODE"},
		"sends":   {"sends", "no. 3", "1m0s", "12", "-", "-", "-", "n1"},
		"talks":   {"talks", "no app_secret", "-", "0", "345 of 1000", "-", "-", "n2"},
		"away":    {"away", "none yet", "-", "0", "-", "-", "-", "-"},
	}
	for line := range strings.Lines(out.String()) {
		columns := strings.FieldsFunc(strings.ReplaceAll(strings.TrimSpace(line), "  ", "|"), func(r rune) bool { return r == '|' })
		for i := range columns {
			columns[i] = strings.TrimSpace(columns[i])
		}
		if cells, ok := want[firstOf(columns)]; ok && strings.Join(columns, "|") != strings.Join(cells, "|") {
			t.Errorf("%q, want %q", columns, cells)
		}
		delete(want, firstOf(columns))
	}
	if len(want) > 0 || !strings.Contains(out.String(), "away: nobody owns the partition") {
		t.Errorf("not shown: %v\n%s", want, out.String())
	}
	out.Reset()
	if err := writeAccounts(&out, []byte(`{"accounts":[]}`)); err != nil || !strings.Contains(out.String(), "none has a budget") {
		t.Errorf("no account: %q, %v", out.String(), err)
	}
}

// firstOf is the first cell of a line.
func firstOf(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	return columns[0]
}
