package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Kind says whose fault a failed call is.
type Kind int

// The values of Kind. Every error that is no Fault is Broken.
const (
	Broken     Kind = iota // no connection, 5xx, a stream that broke off, a deadline: counts, and the next endpoint is asked
	Refused                // the request itself is at fault (4xx): no failure of the endpoint, and no other one is asked
	Denied                 // 401, 403: our key is not good there: counts, and the next endpoint is asked
	Overloaded             // 429, or 503 with a Retry-After: counts, and the next endpoint is asked
)

// String implements fmt.Stringer.
func (k Kind) String() string {
	switch k {
	case Broken:
		return "broken"
	case Refused:
		return "refused"
	case Denied:
		return "denied"
	case Overloaded:
		return "overloaded"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Fault is the error that a call returns, so that it counts as it should.
type Fault struct {
	Kind       Kind
	RetryAfter time.Duration // the endpoint's own word, for Overloaded: a breaker that opens stays open so long, 1 min at the most; 0: none
	Err        error
	// Brief says what happened in words that operators may see: no secret, nothing of a body; e.g. "answered 503". Empty: what can be told
	// from Err without quoting it.
	Brief string
}

// Error implements error.
func (f *Fault) Error() string {
	switch {
	case f.Err != nil:
		return f.Err.Error()
	case f.Brief != "":
		return f.Brief
	default:
		return f.Kind.String()
	}
}

// Unwrap returns Err.
func (f *Fault) Unwrap() error { return f.Err }

// The values of the label result of hongyan_upstream_calls_total; beside them the Kinds'.
const (
	resultOK        = "ok"
	resultTimeout   = "timeout"
	resultSilent    = "silent"
	resultCancelled = "cancelled" // from above, or over the rate: nobody's fault
	resultPanic     = "panic"
)

// verdict is what a call came to.
type verdict struct {
	result     string
	failed     bool // counts against the endpoint
	again      bool // another endpoint may do better
	retryAfter time.Duration
	brief      string // fit for operators
	err        error  // in place of the call's own
}

// judge says what err means that call returned, which ran within a context of its own under ctx.
func judge(ctx, within context.Context, err error) verdict {
	var fault *Fault
	switch {
	case err == nil:
		return verdict{result: resultOK}
	case errors.Is(context.Cause(within), ErrSilent) && ctx.Err() == nil:
		// The call's own error is that its context was cancelled, and must not look as if the turn had been.
		return verdict{result: resultSilent, failed: true, again: true, err: ErrSilent}
	case errors.Is(ctx.Err(), context.Canceled):
		return verdict{result: resultCancelled}
	case ctx.Err() != nil:
		return verdict{result: resultTimeout, failed: true, brief: briefTimeout}
	case !errors.As(err, &fault):
		fault = &Fault{Kind: Broken, Err: err}
	}
	v := verdict{result: fault.Kind.String(), failed: true, again: true, brief: fault.brief()}
	switch fault.Kind {
	case Refused:
		return verdict{result: v.result}
	case Overloaded:
		v.retryAfter = min(max(fault.RetryAfter, 0), longestRetryAfter)
	case Broken:
		if timedOut(err) {
			v.result = resultTimeout
		}
	case Denied:
	}
	return v
}

// longestRetryAfter bounds what an endpoint may ask for: who asks for an hour by mistake is asked again in a minute.
const longestRetryAfter = time.Minute

const briefTimeout = "did not answer in time"

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// brief is the fault in words for operators. It quotes nothing of Err, which may hold an address with a key in it, or a body.
func (f *Fault) brief() string {
	if f.Brief != "" {
		return f.Brief
	}
	switch f.Kind {
	case Denied:
		return "refused our key"
	case Overloaded:
		return "is overloaded"
	case Broken, Refused:
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch err := f.Err; {
	case errors.As(err, &dns):
		return "its name cannot be resolved"
	case errors.As(err, &certificate):
		return "its certificate cannot be trusted"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "closed the connection"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "broke off"
	case errors.Is(err, os.ErrDeadlineExceeded), timedOut(err):
		return briefTimeout
	default:
		return "failed"
	}
}
