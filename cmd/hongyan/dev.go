package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"hongyan/config"
	"hongyan/wechat/simulator"
)

// maxDevNodes is how many workers one machine is asked to run.
const maxDevNodes = 16

func newDevCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try everything on this machine, with a simulated WeChat 本机试用（自带模拟微信）",
		Long: `Dev runs the whole engine in one process, on loopback only: the durable log, one cluster member, the users' state,
the callback endpoint, and beside them a simulated WeChat platform with a phone to chat from in the browser, and an example of
a language model, which answers what the rules do not. It needs no configuration, no key and no internet.

On the phone page the model can be made slow, failing, silent or absent, and one sees the breaker in front of it open and close.

It ignores hongyan.yaml. The account is "demo", with random credentials; the complete configuration stands in
<data>/dev.yaml, and the rules that answer in <data>/rules.yaml: edit them while it runs. Everything is kept between runs;
remove the data folder to start afresh. Ctrl-C stops it in order.

With --nodes N the users are spread over N workers, each a process of its own: worker-1, worker-2 … Stop, pause and kill them
while you chat, on the phone page or with the commands below, and see that every message is still answered. Their
configurations and logs stand in <data>/nodes.

加 --nodes N 会启动 N 个工作进程；可在手机页面或用下列命令停止、暂停、杀死任意一个，消息照样有回复。`,
		Example: `  hongyan dev
  hongyan send --account demo --user u1 你好
  hongyan dev --nodes 3
  hongyan dev kill worker-2`,
		Args: cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "data", "folder for the log, the state and the configuration")
	durability := cmd.Flags().String("durability", string(config.DurabilityDisk), "disk or os, see the configuration's nats.durability")
	nodes := cmd.Flags().Int("nodes", 1, "workers; with more than one, each is a process of its own")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "log every message's end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *nodes < 1 || *nodes > maxDevNodes {
			return usageError(cmd, fmt.Errorf("--nodes %d: write a number from 1 to %d", *nodes, maxDevNodes))
		}
		cfg, err := devConfig(*data, *durability, *verbose)
		if err != nil {
			return err
		}
		log := newLogger(cmd.ErrOrStderr(), cfg.Log)
		if *nodes > 1 {
			return runDevNodes(cmd.Context(), cfg, *nodes, cmd.OutOrStdout(), log)
		}
		return runDev(cmd.Context(), cfg, cmd.OutOrStdout(), log)
	}
	cmd.AddCommand(devCommands()...)
	return cmd
}

// runDev runs the engine with the simulated platform beside it. The platform reaches the engine only by signed callbacks, and
// the engine tells it only what it tells every watcher.
func runDev(ctx context.Context, cfg *config.Config, stdout io.Writer, log *slog.Logger) error {
	model := newDevModel(cfg, log)
	platform, err := devPlatform(cfg, nil, model, log)
	if err != nil {
		return err
	}
	defer platform.Close()

	e := newEngine(cfg, log, platform.Trace)
	e.opened = func() error { return writeDevFile(cfg) }
	e.extra = devPages(cfg, platform, nil)
	e.ready = func(_, admin string) { greet(stdout, cfg, admin, e.promise, "") }
	stopped := context.AfterFunc(ctx, platform.Close) // its open pushes would hold up an orderly end
	defer stopped()
	return withNeighbours(ctx, cfg, platform, model, e.run)
}

// devPlatform is the simulated WeChat on which the account is registered. nodes may be nil.
func devPlatform(cfg *config.Config, nodes simulator.Nodes, model simulator.Model, log *slog.Logger) (*simulator.Platform, error) {
	account := cfg.Accounts[0]
	platform, err := simulator.New(simulator.Options{
		Accounts: []simulator.Account{{
			ID: account.ID, AppID: account.AppID, OriginalID: account.OriginalID, Token: account.Token.Reveal(),
			AESKey: account.EncodingAESKey.Reveal(), Mode: string(account.Mode),
			AppSecret: account.AppSecret.Reveal(), CustomerService: account.CustomerService,
			CallbackURL: "http://" + cfg.Listen.Callback + "/wechat/callback/" + account.ID,
		}},
		Nodes:  nodes,
		Model:  model,
		Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("start the simulated platform: %w", err)
	}
	return platform, nil
}

// withNeighbours runs the engine with the platform's API and the example model beside it, from before the engine's first call to after
// its last.
func withNeighbours(
	ctx context.Context, cfg *config.Config, platform *simulator.Platform, model *devModel, run func(context.Context) error,
) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error {
		return platform.ServeAPI(serving, strings.TrimPrefix(cfg.Accounts[0].APIBase, "http://"), func(net.Addr) {})
	})
	g.Go(func() error { return model.run(serving) })
	g.Go(func() error {
		defer stop()
		return run(running)
	})
	return g.Wait()
}

// devPages is what dev adds to the admin listener. workers is nil where everything runs in one process.
func devPages(cfg *config.Config, platform *simulator.Platform, workers *devWorkers) map[string]http.Handler {
	pages := devNodesAPI(cfg.Admin.Token.Reveal(), workers)
	pages["POST "+devSendPath] = devSendAPI(cfg, platform)
	pages["/phone/"] = http.StripPrefix("/phone", platform.Handler())
	return pages
}

// greet tells people where everything is. more is further lines.
func greet(stdout io.Writer, cfg *config.Config, admin, promise, more string) {
	account := cfg.Accounts[0].ID
	fmt.Fprintf(stdout, "\n  鸿雁 Hongyan is running. Open  http://%s/phone/\n\n"+
		"  callbacks      http://%s/wechat/callback/%s\n  configuration  %s\n  rules          %s\n"+
		"  model          the built-in example, for what the rules do not answer\n"+
		"  durability     %s\n%s  another shell  hongyan send --account %s --user u1 你好\n  stop           Ctrl-C\n\n",
		admin, cfg.Listen.Callback, account, devFile(cfg), cfg.Bots["rules"].File, promise, more, account)
}
