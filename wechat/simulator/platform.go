package simulator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"hongyan/wechat/crypt"
)

// What WeChat does: five seconds per delivery, three deliveries altogether (documented as "retried three times in total").
const (
	DefaultCutoff       = 5 * time.Second
	DefaultDeliveries   = 3
	DefaultWitnessLimit = 100_000
)

// Modes of an account's callback.
const (
	ModePlain  = "plain"
	ModeCompat = "compat"
	ModeSafe   = "safe"
)

// Forms of a push body.
const (
	FormatXML  = "xml"
	FormatJSON = "json"
)

// Errors that callers tell apart.
var (
	ErrUnknownAccount = errors.New("no such account on this platform")
	ErrClosed         = errors.New("the simulated platform is closed")
)

// Account is one Official Account as its owner has set it up on the platform.
type Account struct {
	ID          string // how callers of this package name it
	AppID       string // receiver id inside encrypted payloads
	OriginalID  string // gh_…; ToUserName of pushes; derived from AppID when empty
	Token       string
	AESKey      string // EncodingAESKey, 43 characters; not needed in plain mode
	Mode        string // plain, compat or safe
	CallbackURL string // http or https
	// MoreURLs are further addresses of the same callback. Deliveries take all of them in turn, as behind a load balancer, and a
	// repeated one goes to another address than the one before.
	MoreURLs []string
	Format   string // xml (default) or json

	// What follows is for the API side, APIHandler.

	AppSecret       string         // without it, token calls are refused
	CustomerService bool           // verified: the account may send customer-service messages; otherwise 48001
	DailyQuota      map[string]int // calls a day by path (CallCustomSend …), where they are not WeChat's defaults; 0 is no limit
	MinuteQuota     map[string]int // calls a minute by path; 0 is no limit
	AllowedIPs      []string       // from which tokens may be asked for; others get 40164. Empty: from anywhere
	Templates       []string       // template ids that exist; empty: all do
	PermanentMedia  []string       // media ids that never expire
	Agents          []string       // kf_account names that may be given as sender
}

// Options configure a Platform. Only Accounts is needed.
type Options struct {
	Accounts      []Account
	Cutoff        time.Duration    // how long WeChat waits for one delivery; 5 s when zero
	Deliveries    int              // how often one message is delivered altogether; 3 when zero
	Now           func() time.Time // time.Now when nil
	Logger        *slog.Logger     // discards when nil
	Client        *http.Client     // a client of its own when nil; redirects are never followed
	WitnessLimit  int              // records that Witness keeps, the newest; 100,000 when zero
	Nodes         Nodes            // the back end's processes, for the page's panel; nil: there is no panel
	Model         Model            // a model that the back end asks, for the page's panel; nil: there is no panel
	CallbackIPs   []string         // what getcallbackip answers; loopback when empty
	APIIPs        []string         // what get_api_domain_ip answers; loopback when empty
	Chance        func() float64   // draws from [0,1) for faults at a rate; true chance when nil
	Watch         func(Record)     // sees every record in order, under the log's lock: it must be quick and not call the platform
	WitnessWriter io.Writer        // gets every record as a JSON line, in order; a slow writer slows the platform down
}

// Platform is the simulated WeChat. Make it with New.
type Platform struct {
	accounts   map[string]*account
	order      []string // account ids as configured
	cutoff     time.Duration
	deliveries int
	now        func() time.Time
	log        *slog.Logger
	client     *http.Client
	ownClient  bool
	witness    *witness
	phone      *phone
	nodes      Nodes      // nil: the page has no panel
	model      Model      // the same
	knobs      sync.Mutex // held from reading the model's knobs to setting them
	story      story
	msgSerial  atomic.Uint64

	api         *api
	faults      faultSet
	callbackIPs []string
	apiIPs      []string

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // orders running.Add against Close
	run    sync.WaitGroup
}

type account struct {
	Account
	codec *crypt.Codec  // nil in plain mode
	turn  atomic.Uint64 // counts messages; the address of a message's first delivery
}

// address is where delivery number n of a message goes, whose turn it is.
func (a *account) address(turn uint64, number int) string {
	i := (turn + uint64(number) - 1) % uint64(1+len(a.MoreURLs))
	if i == 0 {
		return a.CallbackURL
	}
	return a.MoreURLs[i-1]
}

// New checks the accounts and returns a platform that is ready to push. It opens nothing and starts nothing.
func New(o Options) (*Platform, error) {
	p := &Platform{
		accounts:   make(map[string]*account, len(o.Accounts)),
		cutoff:     o.Cutoff,
		deliveries: o.Deliveries,
		now:        o.Now,
		log:        o.Logger,
		nodes:      o.Nodes,
		model:      o.Model,
	}
	if p.cutoff <= 0 {
		p.cutoff = DefaultCutoff
	}
	if p.deliveries <= 0 {
		p.deliveries = DefaultDeliveries
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if o.WitnessLimit <= 0 {
		o.WitnessLimit = DefaultWitnessLimit
	}
	if len(o.Accounts) == 0 {
		return nil, errors.New("simulated platform: no account")
	}
	for _, a := range o.Accounts {
		checked, err := checkAccount(a)
		if err != nil {
			return nil, err
		}
		if p.accounts[a.ID] != nil {
			return nil, fmt.Errorf("simulated platform: account %q is listed twice", a.ID)
		}
		p.accounts[a.ID] = checked
		p.order = append(p.order, a.ID)
	}
	p.client, p.ownClient = platformClient(o.Client)
	p.witness = newWitness(o.WitnessLimit, o.WitnessWriter, p.log)
	p.witness.watch = o.Watch
	p.openAPI(o)
	p.phone = newPhone(p.order, p.now())
	for user, u := range p.phone.users {
		if u.Following {
			p.know(user.Account, user.OpenID, true)
		}
	}
	var start [8]byte
	_, _ = rand.Read(start[:]) // never fails, see crypto/rand
	p.msgSerial.Store(binary.BigEndian.Uint64(start[:]) >> 1)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// openAPI makes the API side of the platform.
func (p *Platform) openAPI(o Options) {
	p.api = newAPI(p)
	p.faults = faultSet{now: p.now, chance: o.Chance, changed: make(chan struct{})}
	if o.Chance == nil {
		p.faults.chance = systemChance
	}
	p.callbackIPs, p.apiIPs = o.CallbackIPs, o.APIIPs
	if len(p.callbackIPs) == 0 {
		p.callbackIPs = []string{"127.0.0.1", "::1"}
	}
	if len(p.apiIPs) == 0 {
		p.apiIPs = []string{"127.0.0.1", "::1"}
	}
}

func checkAccount(a Account) (*account, error) {
	fail := func(format string, args ...any) (*account, error) {
		return nil, fmt.Errorf("simulated platform: account %q: "+format, append([]any{a.ID}, args...)...)
	}
	if a.ID == "" {
		return fail("it needs an id")
	}
	if a.Token == "" {
		return fail("it needs a token")
	}
	for _, address := range append([]string{a.CallbackURL}, a.MoreURLs...) {
		if u, err := url.Parse(address); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fail("callback URL %q is not an http or https address", address)
		}
	}
	if a.OriginalID == "" {
		sum := sha256.Sum256([]byte(a.AppID))
		a.OriginalID = "gh_" + hex.EncodeToString(sum[:6])
	}
	switch a.Format {
	case "":
		a.Format = FormatXML
	case FormatXML, FormatJSON:
	default:
		return fail("format %q is neither xml nor json", a.Format)
	}
	checked := &account{Account: a}
	switch a.Mode {
	case ModePlain:
	case ModeCompat, ModeSafe:
		codec, err := crypt.NewCodec(a.Token, a.AESKey, a.AppID)
		if err != nil {
			return fail("%w", err)
		}
		checked.codec = codec
	default:
		return fail("mode %q is none of plain, compat, safe", a.Mode)
	}
	return checked, nil
}

// platformClient is c, or a client of our own, made to behave as WeChat's: no redirects, no proxy, no cookies.
func platformClient(c *http.Client) (client *http.Client, own bool) {
	client = &http.Client{}
	if c != nil {
		*client = *c
	} else {
		client.Transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
		own = true
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, own
}

// Close ends what the phone has under way, closes its event streams and waits for both. Push and Handshake fail with ErrClosed
// afterwards; a second Close does nothing.
func (p *Platform) Close() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.phone.close()
	p.run.Wait()
	if p.ownClient {
		p.client.CloseIdleConnections()
	}
}

// begin counts work that Close waits for. It returns false on a closed platform; otherwise the caller calls p.run.Done.
func (p *Platform) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.run.Add(1)
	return true
}

func (p *Platform) account(id string) (*account, error) {
	a := p.accounts[id]
	if a == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownAccount, id)
	}
	return a, nil
}
