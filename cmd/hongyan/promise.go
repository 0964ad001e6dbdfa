package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hongyan/cluster"
	"hongyan/config"
	"hongyan/state/redis"
	"hongyan/stream/outside"
)

// promise says what an accepted message survives, as far as the configuration alone tells (DESIGN §3 rule 11).
func promise(cfg *config.Config) string {
	log := "an accepted message and its answer survive a power cut: both are on the disk (fsync) before WeChat is answered. " +
		"断电不丢消息：先落盘，再回复微信。"
	switch {
	case !cfg.NATS.Embedded() && cfg.NATS.Replicas > 1:
		log = fmt.Sprintf("the log is on %d NATS servers: an accepted message survives the loss of one of them. Whether it survives a "+
			"power cut of all depends on their sync_interval: config check --connect asks them. 丢一台 NATS 不丢消息。", cfg.NATS.Replicas)
	case !cfg.NATS.Embedded():
		log = "the log is on one NATS server: an accepted message survives its crash. Whether it survives a power cut depends on its " +
			"sync_interval: config check --connect asks it. NATS 进程崩溃不丢消息；断电取决于 sync_interval。"
	case cfg.NATS.Durability == config.DurabilityOS:
		log = "an accepted message and its answer survive a crash or a kill of the process, but a power cut or a crash of the " +
			"machine may lose the last seconds. 进程崩溃不丢消息；断电或系统崩溃可能丢失最后几秒。"
	}
	if cfg.State.Store == config.StoreRedis {
		log += "\nstate: what a commit survives depends on Redis's appendfsync: config check --connect asks it. 状态保存在 Redis。"
	}
	return log
}

// connectPatience bounds each question of config check --connect.
const connectPatience = 10 * time.Second

// ask connects to the servers of the configuration and says which promise really holds. Nothing is created or changed. With the
// embedded server there is nobody to ask.
func ask(ctx context.Context, cfg *config.Config, log *slog.Logger) (text string, warnings []string, err error) {
	if cfg.NATS.Embedded() && cfg.State.Store != config.StoreRedis {
		return promise(cfg), nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if !cfg.NATS.Embedded() {
		server, held, err := reachOutside(ctx, cfg, log, nil)
		if err != nil {
			return "", nil, err
		}
		defer func() { _ = server.Close() }()
		text = "log: " + held.String()
		if held.Asked != outside.Yes {
			warnings = append(warnings, held.Reason)
		}
	} else {
		text = "log: " + promise(&config.Config{NATS: cfg.NATS})
	}
	if cfg.State.Store != config.StoreRedis {
		return text, warnings, nil
	}
	options, err := redisOptions(cfg)
	if err != nil {
		return "", nil, err
	}
	options.Node, options.Logger = nodeName(cfg), log
	store, err := redis.Open(ctx, options)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	held, err := store.Promise(ctx)
	if err != nil {
		return "", nil, err
	}
	text += "\nstate: " + held.String()
	return text, append(warnings, statePromiseGaps(cfg, held)...), nil
}

// statePromiseGaps is what Redis holds back of what nats.durability asks for.
func statePromiseGaps(cfg *config.Config, p redis.Promise) []string {
	if cfg.NATS.Durability != config.DurabilityDisk || p.Disk {
		return nil
	}
	if !p.Verified {
		return []string{"nats.durability is disk, and nobody can see whether Redis writes each commit to its disk: let its user read CONFIG, " +
			"or make sure of appendonly yes and appendfsync always"}
	}
	return []string{"nats.durability is disk, and Redis does not write each commit to its disk before it answers: set appendonly yes and " +
		"appendfsync always, or nats.durability to os"}
}

// clusterFiles says whether the certificates between nodes can be used.
func clusterFiles(cfg *config.Config) error {
	t := cfg.Cluster.TLS
	if t == (config.TLS{}) {
		return nil
	}
	_, err := cluster.LoadTLS(string(t.Cert), string(t.Key), string(t.CA), cfg.Cluster.Name)
	return err
}
