package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"hongyan/cluster"
	"hongyan/config"
	"hongyan/console"
	"hongyan/messages"
)

// desk answers people who ask this node: about itself, about users, about the other nodes. Until the node is built it says what
// the start is at.
type desk struct{ *engine }

// consoleOptions is what the admin listener shows of this node.
func (e *engine) consoleOptions(address string) console.Options {
	d := desk{e}
	checks := []console.Check{{Name: "log", Probe: d.when(func(ctx context.Context) error { return e.journal.Ping(ctx) })}}
	if e.cfg.Node.Has(config.RoleWorker) {
		checks = append([]console.Check{{Name: "cluster", Probe: d.when(d.ownsPartitions)}}, checks...)
		checks = append(checks, console.Check{Name: "store", Probe: d.when(func(ctx context.Context) error { return e.store.Ping(ctx) })})
	}
	return console.Options{
		Version: thisBuild().Version, Node: e.node, Listen: address, Users: d, Cluster: d, Official: d, NoAPI: !e.cfg.Node.Has(config.RoleConsole),
		Dead: deadDesk{d}, Log: deadDesk{d}, Accounts: accountIDs(e.cfg), Checks: checks, Gather: e.reg, Metrics: e.reg, Logger: e.log, Now: time.Now,
		AdminToken: e.cfg.Admin.Token.Reveal(), ReadOnlyToken: e.cfg.Admin.ReadOnlyToken.Reveal(), Extra: e.extra,
		Bots: d.bots,
	}
}

// up is nil once the node is built.
func (d desk) up() error {
	if d.built.Load() {
		return nil
	}
	return fmt.Errorf("the node is still starting: %v", d.step.Load())
}

// when is a probe that fails until the node is built.
func (d desk) when(probe func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := d.up(); err != nil {
			return err
		}
		return probe(ctx)
	}
}

// ownsPartitions is ready once the partitions that belong here are served.
func (d desk) ownsPartitions(context.Context) error {
	select {
	case <-d.cluster.Ready():
		return nil
	default:
		return errors.New("the partitions of this node are still being taken over")
	}
}

// Inspect implements console.Users: a worker asks the user's actor, any other node asks a worker to.
func (d desk) Inspect(ctx context.Context, u messages.User) (*messages.UserView, error) {
	if err := d.up(); err != nil {
		return nil, err
	}
	reply, err := d.ask(ctx, u, &messages.Inspect{})
	if err != nil {
		return nil, err
	}
	view, ok := reply.(*messages.UserView)
	if !ok {
		return nil, fmt.Errorf("the actor of user %s answered with %T instead of its view", u.Hash(), reply)
	}
	return view, nil
}

// Official implements console.AccountActors.
func (d desk) Official() []string {
	var ids []string
	for _, a := range d.cfg.Accounts {
		if hasActor(a) {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// InspectAccount implements console.AccountActors.
func (d desk) InspectAccount(ctx context.Context, id string) (*messages.AccountView, error) {
	if err := d.up(); err != nil {
		return nil, err
	}
	reply, err := d.ask(ctx, messages.AccountActor(id), &messages.Inspect{})
	if err != nil {
		return nil, err
	}
	view, ok := reply.(*messages.AccountView)
	if !ok {
		return nil, fmt.Errorf("the actor of account %s answered with %T instead of its view", id, reply)
	}
	return view, nil
}

func (d desk) ask(ctx context.Context, u messages.User, m proto.Message) (any, error) {
	if d.cluster != nil {
		return d.cluster.Request(ctx, u, m)
	}
	return d.peers.ask(ctx, u, m)
}

// Report implements console.Cluster: what all nodes say of themselves and of their partitions.
func (d desk) Report(ctx context.Context) (cluster.Report, error) {
	if err := d.up(); err != nil {
		return cluster.Report{}, err
	}
	return d.peers.gather(ctx)
}

// peers is how this node talks with the others, be it a member of the cluster or not.
type peers struct {
	ask    func(context.Context, messages.User, proto.Message) (any, error)
	gather func(context.Context) (cluster.Report, error)
	answer func(context.Context) error // serves the others' questions until the context ends
}

// meetPeers opens the connection for questions between nodes.
func (e *engine) meetPeers() error {
	conn, err := e.server.Connect("hongyan peers")
	if err != nil {
		return err
	}
	name := e.cfg.Cluster.Name
	e.peers = peers{
		ask: func(ctx context.Context, u messages.User, m proto.Message) (any, error) {
			return cluster.Ask(ctx, conn, name, u, m)
		},
		gather: func(ctx context.Context) (cluster.Report, error) { return cluster.Gather(ctx, conn, name) },
		answer: func(ctx context.Context) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return cluster.ServeStatus(ctx, conn, name, e.report) })
			if e.cluster != nil {
				g.Go(func() error { return cluster.ServeAsk(ctx, conn, name, e.cluster, e.log) })
			}
			return g.Wait()
		},
	}
	return nil
}

// report is what this node says of itself.
func (e *engine) report() cluster.NodeReport {
	base := cluster.NodeStatus{Node: e.node, Version: thisBuild().Version, Started: e.started, Admin: e.admin}
	base.Callback, _ = e.callback.Load().(string)
	for _, r := range e.cfg.Node.Roles {
		base.Roles = append(base.Roles, string(r))
	}
	if e.cluster != nil {
		return e.cluster.Report(base)
	}
	return cluster.NodeReport{NodeStatus: base}
}
