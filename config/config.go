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
	// Bots is the embedded server's door for bots of type nats that run outside this process.
	Bots NATSBots `yaml:"bots" envPrefix:"BOTS_"`
}

// NATSBots is where bots outside the process connect to the embedded server. With an outside NATS they connect there.
type NATSBots struct {
	// Listen is host:port; port 0 takes a free one. Empty, the default: no bot outside the process can connect.
	Listen string `yaml:"listen" env:"LISTEN"`
	// Token is what a bot must show, at least 16 characters without blanks. Needed off loopback.
	Token Secret `yaml:"token" env:"TOKEN"`
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
	// Breaker is every user's own: it opens after failed turns of this user in a row.
	Breaker UserBreaker `yaml:"breaker" envPrefix:"BREAKER_"`
	// Budget bounds the model tokens of a day, China's time.
	Budget Budget `yaml:"budget" envPrefix:"BUDGET_"`
	// Safety is what answers go through before they leave.
	Safety Safety `yaml:"safety" envPrefix:"SAFETY_"`
}

// UserBreaker keeps a user whose turns fail one after the other from asking remote bots again and again.
type UserBreaker struct {
	Failures int           `yaml:"failures" env:"FAILURES"` // failed turns in a row that open it, 0 to 100; 0: never; default 3
	Open     time.Duration `yaml:"open" env:"OPEN"`         // how long it stays open, 1s to 1h; default 30s
}

// Budget bounds the model tokens of one day. 0 is no bound, the default.
type Budget struct {
	UserTokens    int64 `yaml:"user_tokens" env:"USER_TOKENS"`       // of one user
	AccountTokens int64 `yaml:"account_tokens" env:"ACCOUNT_TOKENS"` // of all users together, over all nodes
}

// Safety is what answers go through.
type Safety struct {
	// BlockFile lists words, one a line, that answers must not have; "#" begins a comment. It is taken up anew when it changes.
	// Empty: none.
	BlockFile Path `yaml:"block_file" env:"BLOCK_FILE"`
	// Replacement stands for each of those words. Default ***.
	Replacement string `yaml:"replacement" env:"REPLACEMENT"`
	// Refusal is said instead of an answer with such a word. Empty, the default: the words are replaced.
	Refusal string `yaml:"refusal" env:"REFUSAL"`
	// MaxLength is how many characters a text answer may have; what is more is cut at the end of a sentence where there is one. 0: no
	// bound but WeChat's pages. Default 0.
	MaxLength int `yaml:"max_length" env:"MAX_LENGTH"`
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
	// Limited answers one message a minute of a user who is over limits.user_rate; the others get silence until there is room. Empty:
	// silence. Has a default.
	Limited string `yaml:"limited" env:"LIMITED"`
	// Busy answers, once a minute for each user, what comes in over limits.account_rate. Empty: silence. Has a default.
	Busy string `yaml:"busy" env:"BUSY"`
	// Unavailable answers a message when a remote bot could not be asked, or failed, and no bot behind it answered. Empty: Fallback.
	// Has a default.
	Unavailable string `yaml:"unavailable" env:"UNAVAILABLE"`
	// HandOver is told to a user who is handed over to an agent when no reply is open for it; the next message then is. Not empty.
	// Has a default.
	HandOver string `yaml:"hand_over" env:"HAND_OVER"`
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
	// Type is rules, openai, http, nats or faq. Not built yet: faq.
	Type BotType `yaml:"type" env:"TYPE"`
	// File is the rules file of type rules.
	File Path `yaml:"file,omitempty" env:"FILE"`

	// Endpoints are where the upstream of type openai or http can be asked: several share the load by weight, and stand in for each
	// other. With one, its keys (base_url, api_key, api_key_file, model; url) may stand in the bot itself: Load makes an endpoint of
	// them and empties them here, so that Endpoints alone need to be read.
	Endpoints []Endpoint `yaml:"endpoints,omitempty" env:"-"`
	// BaseURL, APIKey and Model belong to type openai, as in an endpoint. Model is also that of endpoints without one of their own.
	BaseURL string `yaml:"base_url,omitempty" env:"BASE_URL"`
	APIKey  Secret `yaml:"api_key,omitempty" env:"API_KEY"`
	// APIKeyFile holds the key instead of APIKey; it is read anew when it changes, so that a key is rotated without a restart.
	APIKeyFile Path   `yaml:"api_key_file,omitempty" env:"API_KEY_FILE"`
	Model      string `yaml:"model,omitempty" env:"MODEL"`
	// System is the system prompt of type openai; {date}, {time} and {account} are filled in.
	System string `yaml:"system,omitempty" env:"SYSTEM"`
	// Temperature of type openai, 0 to 2; unset: the endpoint's own.
	Temperature *float64 `yaml:"temperature,omitempty" env:"TEMPERATURE"`
	// MaxTokens bounds one answer of type openai, 1 to 32768; default 1024.
	MaxTokens int `yaml:"max_tokens,omitempty" env:"MAX_TOKENS"`
	// ContextTokens bounds what one question of type openai holds, the conversation included, the oldest turns of which go first; 256
	// to 1048576; default 8192. Tokens are estimated, on the safe side.
	ContextTokens int `yaml:"context_tokens,omitempty" env:"CONTEXT_TOKENS"`
	// Images says how type openai gets a user's pictures: off (not at all, default), url (WeChat's address of it) or bytes.
	Images Images `yaml:"images,omitempty" env:"IMAGES"`
	// NewWords start the conversation afresh; default /new, 新对话; an empty list: no word does. NewReply answers them. Not empty. Has
	// a default.
	NewWords []string `yaml:"new_words,omitzero" env:"NEW_WORDS"`
	NewReply string   `yaml:"new_reply,omitempty" env:"NEW_REPLY"`
	// Exhausted answers when the day's budget of tokens is used up. Not empty. Has a default.
	Exhausted string `yaml:"exhausted,omitempty" env:"EXHAUSTED"`
	// Tools that the model of type openai may call.
	Tools []Tool `yaml:"tools,omitempty" env:"-"`

	// Subject of type nats; default hy.bot.<name>.
	Subject string `yaml:"subject,omitempty" env:"SUBJECT"`
	// URL of type http, as in an endpoint.
	URL string `yaml:"url,omitempty" env:"URL"`
	// Secret signs what type http sends (HMAC-SHA256); SecretFile holds it instead, and is read anew when it changes.
	Secret     Secret `yaml:"secret,omitempty" env:"SECRET"`
	SecretFile Path   `yaml:"secret_file,omitempty" env:"SECRET_FILE"`
	// Media says whether types http and nats get a user's pictures and voices with the message: off (its id alone, default) or bytes.
	Media MediaMode `yaml:"media,omitempty" env:"MEDIA"`

	// Timeout of one turn, for types openai, http and nats: 1s to 10m; default 60s.
	Timeout time.Duration `yaml:"timeout,omitempty" env:"TIMEOUT"`
	// MaxInFlight is how many turns of one node may be at the upstream at a time, 1 to 65536; more are answered by the next bot, or by
	// reply.unavailable. Default 512.
	MaxInFlight int `yaml:"max_in_flight,omitempty" env:"MAX_IN_FLIGHT"`
	// Rate bounds the turns that go to the upstream, over the whole cluster; N/s, N/m, N/h; 0, the default, is off.
	Rate Rate `yaml:"rate,omitempty" env:"RATE"`
	// Breaker of the upstream, one for each endpoint.
	Breaker Breaker `yaml:"breaker,omitempty" envPrefix:"BREAKER_"`
}

// Endpoint is one place where an upstream can be asked.
type Endpoint struct {
	BaseURL    string `yaml:"base_url,omitempty"` // openai: the root of its API, https://…/v1
	APIKey     Secret `yaml:"api_key,omitempty"`
	APIKeyFile Path   `yaml:"api_key_file,omitempty"`
	Model      string `yaml:"model,omitempty"` // openai; default: the bot's
	URL        string `yaml:"url,omitempty"`   // http
	Weight     int    `yaml:"weight"`          // 0 to 1000; 0 is asked only where all others fail; default 1
}

// Breaker keeps an upstream that fails from being asked: closed, open, half-open.
type Breaker struct {
	Failures int           `yaml:"failures,omitempty" env:"FAILURES"` // in a row that open it, 1 to 1000; default 5
	Window   time.Duration `yaml:"window,omitempty" env:"WINDOW"`     // or half of those in so long, where there are twice as many; default 10s
	Open     time.Duration `yaml:"open,omitempty" env:"OPEN"`         // until it lets probes through, 100ms to 1h; default 10s
	Probes   int           `yaml:"probes,omitempty" env:"PROBES"`     // at a time while half-open, 1 to 100; default 1
	// Silence is for how long nothing at all may come from an upstream that was quicker before, with several turns waiting; it counts
	// as a failure of them all then. 0s to 10m; 0s never does; default 4s.
	Silence *time.Duration `yaml:"silence,omitempty" env:"SILENCE"`
}

// Tool is something that a model may call.
type Tool struct {
	Name        string        `yaml:"name"`                  // [A-Za-z0-9_-]{1,64}
	Description string        `yaml:"description"`           // tells the model when to call it
	Parameters  Schema        `yaml:"parameters,omitempty"`  // JSON Schema of the arguments, an object; default: one without any
	URL         string        `yaml:"url,omitempty"`         // POST; either url or subject
	Subject     string        `yaml:"subject,omitempty"`     // NATS request
	Secret      Secret        `yaml:"secret,omitempty"`      // signs what goes to url, like a bot's
	SecretFile  Path          `yaml:"secret_file,omitempty"` // read anew when it changes
	Timeout     time.Duration `yaml:"timeout,omitempty"`     // 100ms to 5m; default 10s
}

// Limits bound how much comes in; N/s, N/m, N/h, and 0 is off. A message over a limit is committed as limited: no bot is asked, and one
// friendly notice a minute says why.
type Limits struct {
	UserRate    Rate `yaml:"user_rate" env:"USER_RATE"`       // messages of one user; default 1/s
	UserBurst   int  `yaml:"user_burst" env:"USER_BURST"`     // what a user may send at once, 1 to 1000; default 10
	AccountRate Rate `yaml:"account_rate" env:"ACCOUNT_RATE"` // messages of one account, over the whole cluster; default 2000/s
	IPRate      Rate `yaml:"ip_rate" env:"IP_RATE"`           // requests of one address to one ingress; more get 503; default 0
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
