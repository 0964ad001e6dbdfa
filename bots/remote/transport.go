package remote

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hongyan/bots/upstream"
)

// Transport carries requests to one endpoint. It is safe for concurrent use.
type Transport interface {
	// Call hands the request over and returns the answer's body; empty means that the bot has nothing to say. Where the endpoint, or the
	// way there, failed, the error is an *upstream.Fault, or one that counts as Broken; else it is that of ctx.
	Call(ctx context.Context, x Exchange) ([]byte, error)
}

// Exchange is one request on its way.
type Exchange struct {
	// ID is the request's; whoever gets it twice can tell.
	ID string
	// Body writes the request as it is at this moment, in at most limit bytes; 0 is any number. Its error ends the call.
	Body func(limit int) ([]byte, error)
	// Alive is called at every sign of life of the other side.
	Alive func()
	// Again is called when the request goes out once more within this call.
	Again func()
}

// faultOf makes a fault of a status in HTTP's terms, which NATS micro services use for their errors too.
func faultOf(status int, retryAfter time.Duration, who string) error {
	f := &upstream.Fault{Kind: upstream.Broken, RetryAfter: retryAfter}
	what := fmt.Sprintf("%s answers %d %s", who, status, http.StatusText(status))
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		f.Kind = upstream.Denied
		what += "; compare the secret on both sides, and their clocks"
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		f.Kind = upstream.Overloaded
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusRequestTimeout,
		status == http.StatusGone:
		what += "; is this the bot's address?" // the endpoint's fault, not the request's: another one may do better
	case status >= 300 && status < 400:
		what += "; redirects are not followed, name the place itself"
	case status >= 400 && status < 500:
		f.Kind = upstream.Refused
	}
	f.Err = fmt.Errorf("%s", what)
	return f
}

// retryAfter reads the header Retry-After: seconds, or a date. 0 where there is none.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), time.Hour)
	}
	return 0
}
