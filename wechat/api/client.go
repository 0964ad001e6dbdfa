package api

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultBase is WeChat's own API.
const DefaultBase = "https://api.weixin.qq.com"

// DefaultTimeout is how long one call may take, all its attempts together.
const DefaultTimeout = 5 * time.Second

// Options say which account a Client calls for, and how.
type Options struct {
	Account    string                // our account id: a label of the metrics
	AppID      string                // of the account; needed
	AppSecret  string                // needed by Token and StableToken alone
	Base       string                // URL of the API; empty: DefaultBase
	Hosts      []string              // further API domains (or URLs) for fall-back, in order of preference
	Timeout    time.Duration         // of one call, all attempts together; 0: DefaultTimeout. Media have twelve times as long
	Now        func() time.Time      // nil: time.Now; decides how long a host that failed is avoided
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: no metrics
}

// Client calls WeChat's API for one account. It is safe for concurrent use.
type Client struct {
	appID, secret string
	timeout       time.Duration
	transport     *http.Transport
	hosts         *hosts
	metrics       *metrics
	logger        *slog.Logger
}

// New checks the options and makes a client; it makes no call.
func New(o Options) (*Client, error) {
	return newClient(o, &tls.Config{MinVersion: tls.VersionTLS12})
}

func newClient(o Options, tlsConfig *tls.Config) (*Client, error) {
	if o.AppID == "" {
		return nil, errors.New("wechat api: the app id is empty: set app_id of the account")
	}
	if o.Base == "" {
		o.Base = DefaultBase
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	hosts, err := newHosts(o.Base, o.Hosts, o.Now)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer, o.Account)
	if err != nil {
		return nil, err
	}
	return &Client{
		appID: o.AppID, secret: o.AppSecret, timeout: o.Timeout,
		transport: newTransport(o.Timeout/dialShare, tlsConfig),
		hosts:     hosts, metrics: m,
		logger: o.Logger.With("account", o.Account),
	}, nil
}

// Close closes the connections that are kept for further calls. Calls that run are not disturbed; later ones connect anew.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
