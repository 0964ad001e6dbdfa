package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"hongyan/bots/upstream"
)

// HTTPOptions describe one web hook. URL and Client are needed.
type HTTPOptions struct {
	URL      string            // http or https
	Secret   *upstream.Key     // signs requests; nil: they are not signed
	Client   http.RoundTripper // upstream.NewTransport
	MaxReply int               // bytes of a response; 0: DefaultMaxReply
	// Alone says that there is no other endpoint: a connection that broke before any answer is tried once more here.
	Alone bool
	Now   func() time.Time // nil: time.Now
}

// httpHook is the transport to one web hook.
type httpHook struct {
	HTTPOptions
	url  *url.URL
	host string // for errors: an address may have secrets in its query
}

// NewHTTP makes the transport to one web hook.
func NewHTTP(o HTTPOptions) (Transport, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("a bot's url must be http://host/… or https://host/…")
	}
	if o.Client == nil {
		return nil, errors.New("a web hook needs an HTTP transport")
	}
	if o.Secret != nil {
		if err := CheckSecret(o.Secret.Current()); err != nil {
			return nil, fmt.Errorf("the web hook at %s: %w", u.Host, err)
		}
	}
	if o.MaxReply <= 0 {
		o.MaxReply = DefaultMaxReply
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &httpHook{HTTPOptions: o, url: u, host: u.Host}, nil
}

// Call implements Transport. The request is written anew for each try: what is left of the time, and the signature, are of that moment.
func (h *httpHook) Call(ctx context.Context, x Exchange) ([]byte, error) {
	secret := h.secret()
	data, err := h.try(ctx, x, secret)
	var fault *upstream.Fault
	switch {
	case errors.As(err, &fault) && fault.Kind == upstream.Denied && h.Secret != nil:
		h.Secret.Refused()
		if secret == h.secret() {
			return nil, err
		}
	case h.Alone && errors.Is(err, errBrokeOff) && ctx.Err() == nil:
	default:
		return data, err
	}
	x.Again()
	return h.try(ctx, x, h.secret())
}

func (h *httpHook) secret() string {
	if h.Secret == nil {
		return ""
	}
	return h.Secret.Current()
}

// errBrokeOff: the connection was there, and broke before anything of an answer came.
var errBrokeOff = errors.New("the connection broke before any answer")

// try is one request and its answer.
func (h *httpHook) try(ctx context.Context, x Exchange, secret string) ([]byte, error) {
	trace := &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { x.Alive(); return nil },
	}
	req, err := h.request(httptrace.WithClientTrace(ctx, trace), x, secret)
	if err != nil {
		return nil, err
	}
	resp, err := h.Client.RoundTrip(req)
	if err != nil {
		return nil, h.broken(ctx, err)
	}
	defer resp.Body.Close()
	x.Alive()
	if resp.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, faultOf(resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), h.Now()), "the bot at "+h.host)
	}
	body := io.LimitReader(&living{resp.Body, x.Alive}, int64(h.MaxReply)+1)
	data, err := io.ReadAll(body)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("reading the answer of the bot at %s: %w", h.host, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("the answer of the bot at %s broke off after %d bytes: %w", h.host, len(data), err)
	case len(data) > h.MaxReply:
		return nil, fmt.Errorf("the answer of the bot at %s is longer than %d bytes", h.host, h.MaxReply)
	}
	return data, nil
}

// request is the signed request.
func (h *httpHook) request(ctx context.Context, x Exchange, secret string) (*http.Request, error) {
	body, err := x.Body(0)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the bot's url at %s cannot be asked", h.host)
	}
	timestamp := strconv.FormatInt(h.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "hongyan")
	req.Header.Set(headerVersion, strconv.Itoa(Version))
	req.Header.Set(headerWebhookID, x.ID)
	req.Header.Set(headerWebhookTimestamp, timestamp)
	// net/http sends a request with this header once more by itself where an idle connection turns out to be closed.
	req.Header.Set("Idempotency-Key", x.ID)
	if h.Secret != nil {
		signed, err := signature(secret, x.ID, timestamp, body)
		if err != nil {
			return nil, fmt.Errorf("signing for the bot at %s: %w", h.host, err)
		}
		req.Header.Set(headerWebhookSignature, signed)
	}
	return req, nil
}

// broken says why there was no answer at all, without the address's path and query.
func (h *httpHook) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("asking the bot at %s: %w", h.host, context.Cause(ctx))
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("the bot at %s cannot be reached: %w", h.host, err)
	}
	return fmt.Errorf("asking the bot at %s: %w: %w", h.host, errBrokeOff, err)
}

// living reports each piece of a body as a sign of life.
type living struct {
	io.Reader
	alive func()
}

func (l *living) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.alive()
	}
	return n, err
}
