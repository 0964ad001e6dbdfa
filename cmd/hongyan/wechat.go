package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/actors"
	"hongyan/config"
	"hongyan/messages"
	"hongyan/wechat/api"
)

// pushEarly is how long before the deadline a first delivery is told that its answer follows by push (DESIGN §3 rule 14).
const pushEarly = 500 * time.Millisecond

// outward is this node's way to WeChat's API.
type outward struct {
	clients  map[string]*api.Client // by account id
	official map[string]actors.AccountSettings
	sender   *actors.Sender
}

// openOutward makes the clients of all accounts that may call WeChat's API. Nothing is called yet: an engine without a token starts,
// and answers passively.
func (e *engine) openOutward() error {
	o := outward{clients: make(map[string]*api.Client), official: make(map[string]actors.AccountSettings)}
	sending := make(map[string]actors.SendAPI)
	for _, a := range e.cfg.Accounts {
		if a.AppSecret == "" || a.AppID == "" {
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
		}
		if a.CustomerService {
			sending[a.ID] = client
		}
	}
	e.closing = append(e.closing, o.hangUp)
	var err error
	o.sender, err = actors.NewSender(actors.SenderOptions{
		Node: e.slots, Accounts: sending, Now: time.Now, Random: randomUint64, Logger: e.log, Registerer: e.reg,
		Ask: func(ctx context.Context, account messages.User, question proto.Message) (any, error) {
			return e.cluster.Request(ctx, account, question)
		},
	})
	e.outward = o
	return err
}

// close ends idle connections to WeChat.
func (o outward) hangUp() error {
	for _, c := range o.clients {
		c.Close()
	}
	return nil
}
