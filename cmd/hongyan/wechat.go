package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/actors"
	"hongyan/config"
	"hongyan/ingress"
	"hongyan/messages"
	"hongyan/wechat/api"
)

// pushEarly is how long before the deadline a first delivery is told that its answer follows by push (DESIGN §3 rule 14).
const pushEarly = 500 * time.Millisecond

// outward is this node's way to WeChat's API, and to the accounts' actors, which know what all nodes share.
type outward struct {
	clients  map[string]*api.Client // by account id
	official map[string]actors.AccountSettings
	sender   *actors.Sender
	budgets  *actors.Budgets
}

// openOutward makes the clients of all accounts that may call WeChat's API. Nothing is called yet: an engine without a token starts,
// and answers passively. An account that has a budget of model tokens has an actor to keep it, also where it calls nothing.
func (e *engine) openOutward() error {
	o := outward{clients: make(map[string]*api.Client), official: make(map[string]actors.AccountSettings)}
	sending, media, tokens := make(map[string]actors.SendAPI), make(map[string]actors.MediaAPI), make(map[string]int64)
	for _, a := range e.cfg.Accounts {
		if tokens[a.ID] = a.Budget.AccountTokens; tokens[a.ID] > 0 {
			o.official[a.ID] = actors.AccountSettings{ID: a.ID, AppID: a.AppID, TokensPerDay: tokens[a.ID]}
		}
		if !mayCall(a) {
			continue
		}
		client, err := api.New(api.Options{
			Account: a.ID, AppID: a.AppID, AppSecret: a.AppSecret.Reveal(), Base: a.APIBase, Hosts: a.APIHosts, Logger: e.log, Registerer: e.reg,
		})
		if err != nil {
			return fmt.Errorf("account %s: %w", a.ID, err)
		}
		o.clients[a.ID] = client
		o.official[a.ID] = actors.AccountSettings{
			ID: a.ID, AppID: a.AppID, AppSecret: a.AppSecret.Reveal(), API: client, Classic: a.TokenSource == config.TokenClassic,
			Rate: a.API.Rate.PerSecond(), PerMinute: a.API.PerMinute, PerDay: a.API.PerDay,
			TokensPerDay: a.Budget.AccountTokens,
		}
		media[a.ID] = client
		if a.CustomerService {
			sending[a.ID] = client
		}
	}
	e.closing = append(e.closing, o.hangUp)
	ask := func(ctx context.Context, account messages.User, question proto.Message) (any, error) {
		return e.cluster.Request(ctx, account, question)
	}
	var err error
	o.sender, err = actors.NewSender(actors.SenderOptions{
		Node: e.slots, Accounts: sending, Media: media, Ask: ask, Now: time.Now, Random: randomUint64, Logger: e.log, Registerer: e.reg,
	})
	if err != nil {
		return err
	}
	o.budgets, err = actors.NewBudgets(actors.BudgetOptions{
		Node: e.slots, TokensPerDay: tokens, Ask: ask, Now: time.Now, Random: randomUint64, Logger: e.log, Registerer: e.reg,
	})
	e.outward = o
	return err
}

// hasActor tells whether the account has an actor of its own: to call WeChat's API, or to keep its budget.
func hasActor(a config.Account) bool { return mayCall(a) || a.Budget.AccountTokens > 0 }

// mayCall tells whether the account can call WeChat's API at all.
func mayCall(a config.Account) bool { return a.AppSecret != "" && a.AppID != "" }

// callerLists keeps the addresses of WeChat's callbacks for the accounts that want them compared; nil where none does.
func (e *engine) callerLists() *ingress.CallerLists {
	var ids []string
	for _, a := range e.cfg.Accounts {
		if a.CallbackIPs != config.CallbackIPsOff {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return ingress.NewCallerLists(ids, desk{e}.ask, e.log)
}

// proxies are the networks of listen.trusted_proxies, which the configuration has checked.
func proxies(cfg *config.Config) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, network := range cfg.Listen.TrustedProxies {
		p, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("listen.trusted_proxies: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

// hangUp ends idle connections to WeChat.
func (o outward) hangUp() error {
	for _, c := range o.clients {
		c.Close()
	}
	return nil
}
