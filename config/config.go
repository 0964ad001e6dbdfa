package config

import "time"

// Config is the whole configuration. The yaml tags are the keys of the file, the env tags their part of a variable's name;
// defaults stand in defaults.go, and reference.yaml shows every key with its default.
type Config struct {
	Node    Node    `yaml:"node" envPrefix:"NODE_"`
	Listen  Listen  `yaml:"listen" envPrefix:"LISTEN_"`
	Admin   Admin   `yaml:"admin" envPrefix:"ADMIN_"`
	NATS    NATS    `yaml:"nats" envPrefix:"NATS_"`
	State   State   `yaml:"state" envPrefix:"STATE_"`
	Cluster Cluster `yaml:"cluster" envPrefix:"CLUSTER_"`
	Worker  Worker  `yaml:"worker" envPrefix:"WORKER_"`
	// Accounts are the Official Accounts that this engine serves; at least one.
	Accounts []Account `yaml:"accounts" env:"-"`
	// Bots by name; an account's chain refers to these names.
	Bots   map[string]Bot `yaml:"bots" env:"-"`
	Limits Limits         `yaml:"limits" envPrefix:"LIMITS_"`
	// APIKeys open the push API. Not built yet: must be empty.
	APIKeys []APIKey `yaml:"api_keys" env:"-"`
	Log     Log      `yaml:"log" envPrefix:"LOG_"`

	origin origin // where each value came from, for faults that are found later (NotBuilt)
}

// Node says who this process is and what it does.
type Node struct {
	// ID names the node among others: letters, digits, "-", "_". Empty: the host's name is taken.
	ID string `yaml:"id" env:"ID"`
	// Roles are the parts that run in this process: ingress takes WeChat's callbacks, worker owns partitions and answers,
	// console serves the admin API. Default all three. Without nats.url they run together.
	Roles []Role `yaml:"roles" env:"ROLES"`
	// DataDir holds the log, the users' state and the locks. Default ./data beside the file.
	DataDir Path `yaml:"data_dir" env:"DATA_DIR"`
}

// Listen holds the addresses, host:port each. Port 0 takes a free one.
type Listen struct {
	// Callback is where WeChat's callbacks come in; put a TLS proxy in front. Default 0.0.0.0:8080.
	Callback string `yaml:"callback" env:"CALLBACK"`
	// Admin serves health, metrics, console and the admin API. Default 127.0.0.1:9090.
	Admin string `yaml:"admin" env:"ADMIN"`
	// Cluster is where other nodes reach this one. Default 127.0.0.1:0. Off loopback it needs nats.url and cluster.tls.
	Cluster string `yaml:"cluster" env:"CLUSTER"`
	// TrustedProxies are the networks (CIDR) of the proxies in front of the callback listener, whose X-Forwarded-For is believed.
	// Needed for accounts[].callback_ips behind a proxy. Default none.
	TrustedProxies []string `yaml:"trusted_proxies" env:"TRUSTED_PROXIES"`
	// API is the push API's own listener; empty is off. Not built yet: must be empty.
	API string `yaml:"api" env:"API"`
}

// Admin guards the admin API.
type Admin struct {
	// Token allows reading and changing. Empty: the API answers nobody but holders of the read-only token.
	Token Secret `yaml:"token" env:"TOKEN"`
	// ReadOnlyToken allows reading only.
	ReadOnlyToken Secret `yaml:"read_only_token" env:"READ_ONLY_TOKEN"`
}

// NATS is the durable log.
type NATS struct {
	// URL of an outside NATS, nats://user:password@host:4222, several separated by commas; tls:// for TLS. Empty: the embedded
	// server, and so one node.
	URL Secret `yaml:"url" env:"URL"`
	// Credentials is a .creds file for an outside NATS with accounts; empty where the URL says enough.
	Credentials Path `yaml:"credentials" env:"CREDENTIALS"`
	// TLS towards an outside NATS: the authority of its certificate where the system does not know it, and the certificate
	// that it asks for.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`
	// Monitor is the address of an outside server's monitoring, http://host:8222. With it the start can see whether the servers
	// write through to the disk (sync_interval). Empty: it says that it could not see.
	Monitor string `yaml:"monitor" env:"MONITOR"`
	// Replicas of each stream: 1, 3 or 5. Default 1; more needs an outside cluster of at least as many servers.
	Replicas int `yaml:"replicas" env:"REPLICAS"`
	// Streams is into how many streams the log is split, 0 to 64; fixed for the life of the log. 0, the default, is what was
	// recorded when the log was made, and for a new log as many as there are replicas.
	Streams int `yaml:"streams" env:"STREAMS"`
	// Durability is disk (an accepted message survives a power cut) or os (it survives a crash of the process). Default disk.
	Durability Durability `yaml:"durability" env:"DURABILITY"`
	// MaxBytes caps the log HY_IN, all its streams together. 0, the default, means the smaller of 8 GiB and a quarter of the free
	// disk with the embedded server, and 8 GiB on an outside one: see LogCap.
	MaxBytes Size `yaml:"max_bytes" env:"MAX_BYTES"`
	// KeepSettled is how long entries of the log stay at least once they are done with, to be looked at; a full log keeps none.
	// 0s to 720h; default 0s.
	KeepSettled time.Duration `yaml:"keep_settled" env:"KEEP_SETTLED"`
}

// State is the store of users and checkpoints.
type State struct {
	// Store is jetstream (a KV bucket beside the log, default) or redis.
	Store StoreKind `yaml:"store" env:"STORE"`
	// MaxBytes caps the KV bucket of store jetstream; Redis has its own maxmemory. 0, the default, means the smaller of 8 GiB and
	// a quarter of the free disk with the embedded server, and 8 GiB on an outside one: see StoreCap.
	MaxBytes Size  `yaml:"max_bytes" env:"MAX_BYTES"`
	Redis    Redis `yaml:"redis" envPrefix:"REDIS_"`
}

// Redis is where the Redis store is; used with state.store: redis only.
type Redis struct {
	// URL is redis://user:password@host:6379/0, or rediss:// with TLS; several hosts separated by commas. Default
	// redis://127.0.0.1:6379/0.
	URL Secret `yaml:"url" env:"URL"`
	// Mode says what the hosts of the URL are: single (default), the nodes of a cluster, or sentinels.
	Mode RedisMode `yaml:"mode" env:"MODE"`
	// Master is the name under which the sentinels know the master; mode sentinel only.
	Master string `yaml:"master" env:"MASTER"`
	// SentinelUsername and SentinelPassword are for the sentinels themselves; those of the URL are for Redis.
	SentinelUsername string `yaml:"sentinel_username" env:"SENTINEL_USERNAME"`
	SentinelPassword Secret `yaml:"sentinel_password" env:"SENTINEL_PASSWORD"`
	// TLS is used with rediss://: the authority of the server's certificate where the system does not know it, and the
	// certificate that it asks for.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`
	// WaitReplicas is how many replicas must have a commit before it counts; 0 to 8. Default 0.
	WaitReplicas int `yaml:"wait_replicas" env:"WAIT_REPLICAS"`
}

// Cluster is what all nodes share.
type Cluster struct {
	// Name keeps clusters on one NATS apart: [a-z0-9_-]{1,32}. Default hongyan.
	Name string `yaml:"name" env:"NAME"`
	// Partitions is the number of partitions, 1 to 4096, fixed for the life of the log. Default 64.
	Partitions int `yaml:"partitions" env:"PARTITIONS"`
	// Advertise is the host, or host:port, by which other nodes reach listen.cluster. Empty: the listener's own host, or this
	// machine's host name where that is every interface (0.0.0.0).
	Advertise string `yaml:"advertise" env:"ADVERTISE"`
	// TLS between nodes is mutual: all three files or none. Needed off loopback. Every certificate carries the cluster's name
	// as a DNS name; hongyan certs makes a set.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`
}

// TLS names the files of one TLS connection.
type TLS struct {
	Cert Path `yaml:"cert" env:"CERT"` // our own certificate, PEM
	Key  Path `yaml:"key" env:"KEY"`   // its private key, PEM
	CA   Path `yaml:"ca" env:"CA"`     // the authority that signed the other side's certificate, PEM
}

// Worker tunes the user actors.
type Worker struct {
	// PassivateAfter is how long an idle user stays in memory. At least 1s; default 10m.
	PassivateAfter time.Duration `yaml:"passivate_after" env:"PASSIVATE_AFTER"`
}

// Account is one Official Account.
type Account struct {
	// ID names the account in paths, metrics and commands: [a-z0-9_-]{1,32}, unique.
	ID string `yaml:"id" env:"-"`
	// AppID is WeChat's id of the account; needed in compat and safe mode, where payloads name their receiver by it.
	AppID string `yaml:"app_id" env:"APP_ID"`
	// OriginalID is the gh_… name. Shown to people only; nothing is compared with it.
	OriginalID string `yaml:"original_id" env:"ORIGINAL_ID"`
	// Mode is plain, compat or safe, as set on WeChat's side. What a request says never weakens it. Default safe.
	Mode Mode `yaml:"mode" env:"MODE"`
	// Token signs callbacks; needed. PreviousToken is accepted beside it during a rotation.
	Token         Secret `yaml:"token" env:"TOKEN"`
	PreviousToken Secret `yaml:"previous_token" env:"PREVIOUS_TOKEN"`
	// EncodingAESKey is 43 letters and digits; needed unless mode is plain. PreviousAESKey is for a rotation.
	EncodingAESKey Secret `yaml:"encoding_aes_key" env:"ENCODING_AES_KEY"`
	PreviousAESKey Secret `yaml:"previous_aes_key" env:"PREVIOUS_AES_KEY"`
	// AppSecret is needed only to call WeChat's API.
	AppSecret Secret `yaml:"app_secret" env:"APP_SECRET"`
	// APIBase is the root of WeChat's API. Default https://api.weixin.qq.com.
	APIBase string `yaml:"api_base" env:"API_BASE"`
	// APIHosts are further roots of the same API, for when api_base cannot be reached. Default https://api2.weixin.qq.com where
	// api_base is WeChat's own, else none.
	APIHosts []string `yaml:"api_hosts" env:"API_HOSTS"`
	// TokenSource is the call that access tokens come from: stable (stable_token, default), which disturbs nobody else who asks
	// for one, or classic (token), which ends the tokens of all others of that kind.
	TokenSource TokenSource `yaml:"token_source" env:"TOKEN_SOURCE"`
	// CustomerService says that the account may push answers: a verified account with the right to customer-service messages.
	// It needs app_secret. Default false.
	CustomerService bool `yaml:"customer_service" env:"CUSTOMER_SERVICE"`
	// API bounds the calls of WeChat's API, over all nodes together.
	API APILimits `yaml:"api" envPrefix:"API_"`
	// CallbackIPs says what becomes of callbacks from other addresses than those that WeChat publishes: off (not looked at,
	// default), report (counted and logged) or enforce (refused). It needs app_secret, and listen.trusted_proxies behind a proxy.
	CallbackIPs CallbackIPs `yaml:"callback_ips" env:"CALLBACK_IPS"`
	// MaxClockSkew is how far a callback's timestamp may lie from our clock, either way. 0 turns the check off. Default 15m.
	MaxClockSkew time.Duration `yaml:"max_clock_skew" env:"MAX_CLOCK_SKEW"`
	// Bot is the chain of bots, first link first. Default: [rules] where a bot of that name is configured, else empty, which
	// means the fallback text alone, and without one that no message is answered.
	Bot          []string     `yaml:"bot" env:"BOT"`
	Reply        Reply        `yaml:"reply" envPrefix:"REPLY_"`
	Conversation Conversation `yaml:"conversation" envPrefix:"CONVERSATION_"`
}

// APILimits bound what an account sends through WeChat's API. 0 is off: WeChat's own limits hold all the same.
type APILimits struct {
	Rate      Rate `yaml:"rate" env:"RATE"`             // customer-service messages: N/s, N/m
	PerMinute int  `yaml:"per_minute" env:"PER_MINUTE"` // calls in a minute
	PerDay    int  `yaml:"per_day" env:"PER_DAY"`       // calls on a day of WeChat's time zone
}

// Reply says how answers leave. Texts are at most 2,048 bytes of UTF-8, WeChat's own limit.
type Reply struct {
	// Deadline is when a delivery is ended by ourselves, counted from its arrival: the last one with the text Thinking, and the first
	// one of an account with customer_service, half a second earlier, with success, so that the answer follows as a message of its
	// own. 500ms up to but not including 5s, when WeChat hangs up; at least 1s with customer_service. Default 4600ms.
	Deadline time.Duration `yaml:"deadline" env:"DEADLINE"`
	// Deliveries is how often WeChat delivers one message altogether: 2 to 4. Default 3.
	Deliveries int `yaml:"deliveries" env:"DELIVERIES"`
	// Fallback answers a message that no bot answered; events get none. Empty, the default: silence, which is WeChat's success.
	Fallback string `yaml:"fallback" env:"FALLBACK"`
	// Thinking ends the last delivery when the answer is not ready; the answer comes with the user's next message. Empty:
	// silence. Has a default.
	Thinking string `yaml:"thinking" env:"THINKING"`
	// NotReceived ends the last delivery of a message that the log could not take. Not empty. Has a default.
	NotReceived string `yaml:"not_received" env:"NOT_RECEIVED"`
	// Flooded answers one message a minute of a user who sends more than the queue holds; the rest of them get silence, and all
	// are counted. Empty: silence. Has a default.
	Flooded string `yaml:"flooded" env:"FLOODED"`
	// More stands under a reply whose rest follows on request, when the user writes 继续. Empty: nothing. Has a default.
	More string `yaml:"more" env:"MORE"`
	// KeepFor is how long an answer that could not be delivered waits for the user's next message; then it is a dead letter.
	// 1m to 720h; default 48h.
	KeepFor time.Duration `yaml:"keep_for" env:"KEEP_FOR"`
	// Typing shows the user of an account with customer_service that an answer is being written. Default true.
	Typing bool `yaml:"typing" env:"TYPING"`
	// Unknown says what becomes of an answer when nobody can tell whether WeChat got it: never (it is not sent again, and
	// becomes a dead letter) or once. Default never.
	Unknown Unknown `yaml:"unknown" env:"UNKNOWN"`
}

// Conversation bounds what is remembered of a user's talk; the oldest turns go first.
type Conversation struct {
	MaxTurns int           `yaml:"max_turns" env:"MAX_TURNS"` // utterances of both sides, 1 to 1000; default 20
	MaxBytes Size          `yaml:"max_bytes" env:"MAX_BYTES"` // of all their text, 256 to 256KiB; default 16KiB
	Idle     time.Duration `yaml:"idle" env:"IDLE"`           // after this silence it starts anew; at least 1s, default 1h
}

// Bot is one link that chains can use. Which keys belong to it depends on its type; the others are faults.
type Bot struct {
	// Type is rules, faq, openai, http or nats. Not built yet: all but rules.
	Type BotType `yaml:"type" env:"TYPE"`
	// File is the rules file of type rules.
	File Path `yaml:"file,omitempty" env:"FILE"`
	// BaseURL, APIKey, Model and System (the system prompt) belong to type openai.
	BaseURL string `yaml:"base_url,omitempty" env:"BASE_URL"`
	APIKey  Secret `yaml:"api_key,omitempty" env:"API_KEY"`
	Model   string `yaml:"model,omitempty" env:"MODEL"`
	System  string `yaml:"system,omitempty" env:"SYSTEM"`
	// Subject of type nats; default hy.bot.<name>.
	Subject string `yaml:"subject,omitempty" env:"SUBJECT"`
	// URL of type http.
	URL string `yaml:"url,omitempty" env:"URL"`
	// Timeout of one turn, for types openai, http and nats: 1s to 10m; default 60s.
	Timeout time.Duration `yaml:"timeout,omitempty" env:"TIMEOUT"`
}

// Limits bound how much comes in; N/s, N/m, N/h, and 0 is off. Limiting is not built in this version, so every default is off
// (0) and other values are refused at start.
type Limits struct {
	UserRate    Rate `yaml:"user_rate" env:"USER_RATE"`       // messages of one user
	UserBurst   int  `yaml:"user_burst" env:"USER_BURST"`     // what a user may send at once
	AccountRate Rate `yaml:"account_rate" env:"ACCOUNT_RATE"` // messages of one account
	IPRate      Rate `yaml:"ip_rate" env:"IP_RATE"`           // requests of one address
}

// APIKey opens the push API for some accounts.
type APIKey struct {
	ID       string   `yaml:"id" env:"-"`
	Secret   Secret   `yaml:"secret" env:"SECRET"`
	Accounts []string `yaml:"accounts" env:"ACCOUNTS"`
	Rate     Rate     `yaml:"rate" env:"RATE"`
}

// Log says what is logged, to the standard error.
type Log struct {
	// Level is debug, info, warn or error. Default info. At debug, lines may name users in clear.
	Level LogLevel `yaml:"level" env:"LEVEL"`
	// Format is auto (console on a terminal, else json), console or json. Default auto.
	Format LogFormat `yaml:"format" env:"FORMAT"`
}
