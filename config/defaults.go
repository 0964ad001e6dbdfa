package config

import (
	"slices"
	"time"
)

// Texts that users see, in WeChat's first language.
const (
	defaultThinking    = "这个问题我还在想，请稍后随便回复一句，我就把答案发给您。"
	defaultNotReceived = "抱歉，刚才的消息没有收到，请再发送一次。"
	defaultMore        = "（未完，回复“继续”查看下文）"
	defaultLimited     = "您发得有点快，请稍等一会儿再发。"
	defaultBusy        = "现在咨询的人比较多，请稍后再试。"
	defaultUnavailable = "抱歉，我现在有点忙，请稍后再问我一次。"
	defaultHandOver    = "请再回复任意内容，我马上为您转接人工客服。"
	defaultFlooded     = "您发得太快了，请等前面的消息处理完再发。"
)

// Default is the configuration of an empty file. It has no account, so it does not start anything yet.
func Default() *Config {
	return &Config{
		Node:   Node{Roles: []Role{RoleIngress, RoleWorker, RoleConsole}, DataDir: "./data"},
		Listen: Listen{Callback: "0.0.0.0:8080", Admin: "127.0.0.1:9090", Cluster: "127.0.0.1:0"},
		NATS:   NATS{Replicas: 1, Durability: DurabilityDisk},
		State:  State{Store: StoreJetStream, Redis: Redis{URL: "redis://127.0.0.1:6379/0", Mode: RedisSingle}},
		Cluster: Cluster{
			Name:       "hongyan",
			Partitions: 64,
		},
		Worker: Worker{PassivateAfter: 10 * time.Minute},
		Limits: Limits{
			UserRate:    Rate{Count: 1, Per: time.Second},
			UserBurst:   defaultUserBurst,
			AccountRate: Rate{Count: 2000, Per: time.Second},
		},
		Log: Log{Level: LevelInfo, Format: FormatAuto},
	}
}

// DefaultAccount is an account of the file before its own keys are read.
func DefaultAccount() Account {
	return Account{
		Mode:         ModeSafe,
		APIBase:      wechatAPI,
		TokenSource:  TokenStable,
		CallbackIPs:  CallbackIPsOff,
		MaxClockSkew: 15 * time.Minute,
		Reply: Reply{
			Deadline:    4600 * time.Millisecond,
			Deliveries:  3,
			Thinking:    defaultThinking,
			NotReceived: defaultNotReceived,
			Flooded:     defaultFlooded,
			Limited:     defaultLimited,
			Busy:        defaultBusy,
			Unavailable: defaultUnavailable,
			HandOver:    defaultHandOver,
			More:        defaultMore,
			KeepFor:     48 * time.Hour,
			Typing:      true,
			Unknown:     UnknownNever,
		},
		Conversation: Conversation{MaxTurns: 20, MaxBytes: 16 << 10, Idle: time.Hour},
		Breaker:      UserBreaker{Failures: 3, Open: 30 * time.Second},
		Safety:       Safety{Replacement: "***"},
	}
}

// WeChat's API: the nearest host, and the one for disasters (wechat-protocol §5.3).
const (
	wechatAPI    = "https://api.weixin.qq.com"
	wechatAPITwo = "https://api2.weixin.qq.com"
)

// defaultUserBurst is what a user may send at once before limits.user_rate holds.
const defaultUserBurst = 10

// Complete fills the defaults that depend on other keys. Load does it; a configuration that was put together in Go needs it
// before it is used.
func (c *Config) Complete() {
	_, hasRules := c.Bots["rules"]
	for i := range c.Accounts {
		if a := &c.Accounts[i]; a.Bot == nil && hasRules {
			a.Bot = []string{"rules"}
		}
		if a := &c.Accounts[i]; a.APIHosts == nil && a.APIBase == wechatAPI {
			a.APIHosts = []string{wechatAPITwo}
		}
	}
	for name, b := range c.Bots {
		b.complete(&c.origin, "bots."+name, name)
		c.Bots[name] = b
	}
}

const (
	capUpper    = 8 << 30 // the most that an automatic cap takes
	capFreeDisk = 4       // an automatic cap takes at most 1/capFreeDisk of what is free
)

// LogCap is the cap of the log HY_IN in bytes, all its streams together, given the free bytes of the disk that holds it
// (math.MaxUint64 where that disk is another machine's).
func (n NATS) LogCap(free uint64) int64 { return automatic(n.MaxBytes, free) }

// StoreCap is the cap of the KV bucket in bytes, given the free bytes of the disk that holds it, as for LogCap.
func (s State) StoreCap(free uint64) int64 { return automatic(s.MaxBytes, free) }

func automatic(configured Size, free uint64) int64 {
	if configured > 0 {
		return int64(configured)
	}
	return int64(min(free/capFreeDisk, capUpper))
}

// Has tells whether the node has the role.
func (n Node) Has(r Role) bool { return slices.Contains(n.Roles, r) }

// Embedded tells whether the node runs the log's server in its own process; it is then the only node.
func (n NATS) Embedded() bool { return n.URL == "" }

// Account returns the account with this id.
func (c *Config) Account(id string) (Account, bool) {
	for _, a := range c.Accounts {
		if a.ID == id {
			return a, true
		}
	}
	return Account{}, false
}
