package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Paths of the API. They are label values of the metrics.
const (
	callToken        = "/cgi-bin/token"        //nolint:gosec // a path, no credential
	callStableToken  = "/cgi-bin/stable_token" //nolint:gosec // a path, no credential
	callSendCustom   = "/cgi-bin/message/custom/send"
	callTyping       = "/cgi-bin/message/custom/typing"
	callTemplate     = "/cgi-bin/message/template/send"
	callSubscribe    = "/cgi-bin/message/subscribe/bizsend"
	callUpload       = "/cgi-bin/media/upload"
	callGetMedia     = "/cgi-bin/media/get"
	callUserInfo     = "/cgi-bin/user/info"
	callQuota        = "/cgi-bin/openapi/quota/get"
	callRID          = "/cgi-bin/openapi/rid/get"
	callClearQuota   = "/cgi-bin/clear_quota"
	callClearQuotaV2 = "/cgi-bin/clear_quota/v2"
	callCallbackIPs  = "/cgi-bin/getcallbackip"
	callDomainIPs    = "/cgi-bin/get_api_domain_ip"
	callCheck        = "/cgi-bin/callback/check"
)

// longer is how many times as long as another call may take what moves media or waits for a test of the network.
const longer = 12

// call is one call of the API.
type call struct {
	path       string
	token      string                             // empty where the API takes none
	query      url.Values                         // without the token
	body       *object                            // nil with upload, and for a GET
	upload     *upload                            // nil unless a file is sent
	repeatable bool                               // may be asked again even if it was written: it reads, or makes a thing that nobody misses
	long       bool                               // may take longer times as long
	result     any                                // where the answer goes; nil where only its errcode counts
	take       func(*http.Response) (bool, error) // sees the answer first; true: it was taken, with its body
	private    string                             // an OpenID in the request, which must not stand in an error
}

func (c call) method() string {
	if c.body != nil || c.upload != nil {
		return http.MethodPost
	}
	return http.MethodGet
}

// do makes the call, on as many hosts as it may, and reads the answer. The error is an *Error.
func (c *Client) do(ctx context.Context, call call) error {
	within, cancel := c.limit(ctx, call)
	defer cancel()
	return c.run(within, call)
}

// limit is ctx with the time that the call may take.
func (c *Client) limit(ctx context.Context, call call) (context.Context, context.CancelFunc) {
	timeout := c.timeout
	if call.long {
		timeout *= longer
	}
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
}

// run walks over the hosts until one gave an answer, whatever it says. It goes on to the next one only where nothing was written,
// or where the call is repeatable.
func (c *Client) run(ctx context.Context, call call) error {
	start := c.hosts.now()
	err := c.walk(ctx, call)
	c.metrics.observe(call.path, c.hosts.now().Sub(start), err)
	return err
}

func (c *Client) walk(ctx context.Context, call call) error {
	order := c.hosts.order()
	reached := false // a byte was written to one of them
	var last *Error
	for i, h := range order {
		start := c.hosts.now()
		last = c.attempt(ctx, call, h, len(order)-i)
		if last == nil || last.Class != Unknown && last.Class != Unsent {
			if last == nil || last.Class != Refused { // which is a proxy's word, not the host's
				c.praise(h)
			}
			break
		}
		c.blame(ctx, h, last, c.hosts.now().Sub(start))
		reached = reached || !last.Unsent
		if ctx.Err() != nil || !last.Unsent && !call.repeatable || !call.upload.rewind() {
			break
		}
	}
	if last == nil {
		return nil
	}
	if reached && last.Unsent {
		last.Class, last.Unsent = Unknown, false
	}
	return last
}

// praise ends the avoidance of a host that answered.
func (c *Client) praise(h *host) {
	if c.hosts.answered(h) {
		c.logger.Info("WeChat's API answers again on this host", "host", h.name)
	}
}

// blame avoids a host that gave no answer, unless the caller left before it could have given one.
func (c *Client) blame(ctx context.Context, h *host, e *Error, waited time.Duration) {
	if ctx.Err() != nil && (errors.Is(ctx.Err(), context.Canceled) || waited < c.timeout/2) {
		return
	}
	c.metrics.failures.WithLabelValues(h.name).Inc()
	if c.hosts.failed(h) {
		c.logger.Warn("WeChat's API gave no answer on this host: others are preferred for a minute", "host", h.name, "error", e)
	}
}

// attempt asks one host and reads its answer. left is how many hosts there are to ask with this one: a repeatable call leaves them
// their share of the time.
func (c *Client) attempt(whole context.Context, call call, h *host, left int) *Error {
	ctx, cancel := context.WithCancelCause(whole)
	end := func() { cancel(nil) }
	if deadline, ok := ctx.Deadline(); ok && call.repeatable && left > 1 {
		share := time.Until(deadline) / time.Duration(left)
		timer := time.AfterFunc(share, func() { cancel(fmt.Errorf("no answer within %s", share.Round(time.Millisecond))) })
		defer timer.Stop()
	}
	w := &wire{}
	resp, err := c.transport.RoundTrip(c.request(w.watch(ctx), call, h))
	if err != nil {
		end()
		return c.broken(whole, call, h, 0, err, !w.written())
	}
	resp.Body = &body{ReadCloser: resp.Body, end: end}
	if call.take != nil && resp.StatusCode == http.StatusOK {
		if taken, err := call.take(resp); err != nil {
			_ = resp.Body.Close() // its error says no more than err
			return c.broken(whole, call, h, resp.StatusCode, err, false)
		} else if taken {
			return nil
		}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if err != nil {
		return c.broken(whole, call, h, resp.StatusCode, fmt.Errorf("reading the answer: %w", err), false)
	}
	return c.judge(call, h, resp.StatusCode, data)
}

// body is the body of an answer, with which its attempt ends.
type body struct {
	io.ReadCloser

	end func()
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// broken is the error of an attempt without an answer. ctx is that of the whole call.
func (c *Client) broken(ctx context.Context, call call, h *host, status int, err error, unsent bool) *Error {
	e := &Error{Call: call.path, Class: Unknown, Status: status, Unsent: unsent, cause: ctx.Err()}
	if unsent {
		e.Class = Unsent
	}
	e.Msg = c.clean(call, h.name+": "+err.Error())
	return e
}
