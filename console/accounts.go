package console

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"hongyan/messages"
)

// accountsLimit bounds the questions to all accounts' actors.
const accountsLimit = 5 * time.Second

// Accounts is the answer of GET /api/v1/accounts.
type Accounts struct {
	Accounts []Account `json:"accounts"`
}

// Account is what an account's actor says of its dealings with WeChat's API, and of its budget. Fields are only ever added.
type Account struct {
	Account      string  `json:"account"`
	Node         string  `json:"node,omitempty"` // where its actor is
	Token        bool    `json:"token"`          // there is one
	Generation   uint64  `json:"generation"`     // counts the tokens
	ExpiresInMS  int64   `json:"expires_in_ms,omitempty"`
	Alarm        string  `json:"alarm,omitempty"` // why no token can be had; an operator must act
	AlarmDetail  string  `json:"alarm_detail,omitempty"`
	Blocks       []Block `json:"blocks"` // what WeChat refuses the account at the moment
	SentToday    int64   `json:"sent_today"`
	ForcedToday  int32   `json:"forced_today"` // refreshes that ended the token before
	PermitsToday int64   `json:"permits_today,omitempty"`
	SpentTokens  int64   `json:"spent_tokens"`            // of models, today, China's time, over all nodes
	BudgetTokens int64   `json:"budget_tokens,omitempty"` // that may be spent in a day; none: there is no bound
	NoAPI        bool    `json:"no_api,omitempty"`        // the account has no app_secret, and calls nothing
	Error        string  `json:"error,omitempty"`         // why nothing can be told
}

// Block is something that WeChat refuses the account for a while.
type Block struct {
	Kind   string `json:"kind"`   // daily_quota, minute_rate or no_right
	ForMS  int64  `json:"for_ms"` // from now on, or until the next look where nobody knows the end
	Code   int32  `json:"code"`   // WeChat's errcode
	Detail string `json:"detail,omitempty"`
}

// AccountActors asks the actors of accounts that may call WeChat's API, or have a budget of model tokens.
type AccountActors interface {
	// Official lists their ids.
	Official() []string
	// InspectAccount asks one, wherever it is.
	InspectAccount(ctx context.Context, id string) (*messages.AccountView, error)
}

// accounts answers GET /api/v1/accounts. An account that cannot be asked says why; the others are shown all the same.
func (h *handler) accounts(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), accountsLimit)
	defer cancel()
	ids := h.Official.Official()
	out := Accounts{Accounts: make([]Account, len(ids))}
	var asking sync.WaitGroup
	for i, id := range ids {
		asking.Go(func() { // ended by ctx
			view, err := h.Official.InspectAccount(ctx, id)
			if err != nil {
				out.Accounts[i] = Account{Account: id, Error: err.Error(), Blocks: []Block{}}
				return
			}
			out.Accounts[i] = newAccountView(id, view)
		})
	}
	asking.Wait()
	h.writeJSON(w, http.StatusOK, out)
}

func newAccountView(id string, v *messages.AccountView) Account {
	a := Account{
		Account: id, Node: v.GetNode(), Token: v.GetHasToken(), Generation: v.GetGeneration(), ExpiresInMS: v.GetExpiresInMs(),
		Alarm: v.GetAlarm(), AlarmDetail: v.GetAlarmDetail(), SentToday: v.GetSentToday(), ForcedToday: v.GetForcedToday(),
		PermitsToday: v.GetPermitsToday(), SpentTokens: v.GetSpentTokens(), BudgetTokens: v.GetBudgetTokens(), NoAPI: v.GetNoApi(), Error: v.GetError(), Blocks: []Block{},
	}
	for _, b := range v.GetBlocks() {
		a.Blocks = append(a.Blocks, Block{
			Kind:  strings.ToLower(strings.TrimPrefix(b.GetKind().String(), "KIND_")),
			ForMS: b.GetForMs(), Code: b.GetCode(), Detail: b.GetDetail(),
		})
	}
	return a
}
