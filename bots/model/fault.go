package model

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hongyan/bots/upstream"
)

// statusError is an endpoint's refusal: a status that is not 2xx, or an error in the midst of a stream. It shows the status and a code;
// the endpoint's words may quote the question, and serve to find out what is wrong alone.
type statusError struct {
	status     int    // 0: in the midst of a stream, without one
	code       string // context_length_exceeded …; empty where it is no plain word
	words      string // lower case
	retryAfter string // header
}

// plainCode is a code that can be shown: a word, or a short number.
var plainCode = regexp.MustCompile(`^([A-Za-z]+([_.-][A-Za-z]+)*|[0-9]{1,6})$`)

const longestCode = 64

// Error implements error.
func (e *statusError) Error() string {
	what := "error in the stream"
	if e.status != 0 {
		what = fmt.Sprintf("HTTP status %d", e.status)
	}
	if e.code != "" && e.code != strconv.Itoa(e.status) {
		what += " (" + e.code + ")"
	}
	return "the model's endpoint answered with " + what
}

// complaint is the body of a refusal in the forms that the field uses: {"error": {…}}, {"error": "…"}, the fields at the top, or
// a list of faults under detail.
type complaint struct {
	Error   json.RawMessage `json:"error"`
	Message json.RawMessage `json:"message"`
	Code    json.RawMessage `json:"code"`
	Type    json.RawMessage `json:"type"`
	Param   json.RawMessage `json:"param"`
	Detail  json.RawMessage `json:"detail"`
}

func newStatusError(status int, header http.Header, body []byte) *statusError {
	e := &statusError{status: status, retryAfter: header.Get("Retry-After")}
	e.parse(body, deepest)
	return e
}

// newStreamError is the error that came in the midst of a stream. Its code may be an HTTP status.
func newStreamError(data json.RawMessage) *statusError {
	e := &statusError{}
	e.parse(data, deepest)
	if status, err := strconv.Atoi(e.code); err == nil && status >= 400 && status <= 599 {
		e.status = status
	}
	return e
}

// deepest is how deep an error may stand within an error: gateways wrap what they got.
const deepest = 3

// parse reads what it can of a complaint; what is none leaves the status to speak for itself.
func (e *statusError) parse(data []byte, depth int) {
	if text, ok := scalar(data); ok {
		e.words = strings.ToLower(text)
		return
	}
	var c complaint
	if json.Unmarshal(data, &c) != nil {
		return
	}
	if isError(c.Error) && depth > 0 {
		e.parse(c.Error, depth-1)
		return
	}
	said := []string{}
	for _, field := range []json.RawMessage{c.Code, c.Type, c.Param, c.Message} {
		if text, ok := scalar(field); ok {
			said = append(said, text)
		}
	}
	for _, field := range []json.RawMessage{c.Code, c.Type} {
		if text, _ := scalar(field); e.code == "" && len(text) <= longestCode && plainCode.MatchString(text) {
			e.code = text
		}
	}
	said = append(said, c.details()...)
	e.words = strings.ToLower(strings.Join(said, "\n"))
}

// details are type, place and words of a list of faults, without the input that they quote.
func (c *complaint) details() []string {
	var list []struct {
		Type string            `json:"type"`
		Loc  []json.RawMessage `json:"loc"`
		Msg  string            `json:"msg"`
	}
	if text, ok := scalar(c.Detail); ok {
		return []string{text}
	}
	if json.Unmarshal(c.Detail, &list) != nil {
		return nil
	}
	var all []string
	for _, fault := range list {
		all = append(all, fault.Type, fault.Msg)
		for _, place := range fault.Loc {
			all = append(all, "'"+string(bytes.Trim(place, `"`))+"'")
		}
	}
	return all
}

// scalar is a JSON string or number as text.
func scalar(data json.RawMessage) (string, bool) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", false
	}
	var text string
	if data[0] == '"' {
		return text, json.Unmarshal(data, &text) == nil
	}
	if data[0] < '0' || data[0] > '9' {
		return "", false
	}
	return string(data), true
}

// malformed tells a status for which the request itself may be to blame.
func (e *statusError) malformed() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	default:
		return false
	}
}

// says tells whether one of the phrases is in the endpoint's words.
func (e *statusError) says(phrases ...string) bool {
	for _, phrase := range phrases {
		if strings.Contains(e.words, phrase) {
			return true
		}
	}
	return false
}

// tooLong tells that the request is longer than the model's context.
func (e *statusError) tooLong() bool {
	return e.status == http.StatusRequestEntityTooLarge || e.malformed() && e.says("context_length", "context length", "maximum context",
		"context window", "context size", "too many tokens", "input is too long", "prompt is too long", "input length", "input tokens exceed",
		"token limit")
}

// filtered tells that the endpoint's content filter refused.
func (e *statusError) filtered() bool {
	return e.status == http.StatusUnavailableForLegalReasons || (e.malformed() || e.status == http.StatusForbidden || e.status == 0) &&
		e.says("content_filter", "content_policy", "data_inspection_failed", "datainspectionfailed", "responsibleaipolicyviolation",
			"content exists risk", "sensitivecontentdetected", "sensitive content", "content management policy", "inappropriate content")
}

// denied tells that the key is not good here.
func (e *statusError) denied() bool {
	return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
}

// refused are words with which endpoints say that they do not take a field at all, as opposed to its value.
func (e *statusError) refused() bool {
	return e.says("not support", "unsupported", "unknown", "unrecognized", "unrecognised", "unexpected", "extra", "not permitted",
		"not allowed", "not implemented")
}

// quirk is what the endpoint does not take of a request; 0 where it is nothing of that kind.
func (e *statusError) quirk() quirk {
	switch {
	case !e.malformed() && e.status != http.StatusNotFound && e.status != http.StatusNotImplemented:
		return 0
	case e.says("stream_options", "include_usage"):
		return noUsage
	case e.says("max_tokens") && (e.says("max_completion_tokens") || e.refused()):
		return newLimit
	case e.says("temperature") && e.refused():
		return noTemperature
	case e.says("'user'", `"user"`, "`user`", "argument supplied: user") && e.refused():
		return noUser
	case e.says("tool") && (e.refused() || e.says("support tool", "requires --enable-auto-tool-choice")):
		return noTools
	default:
		return 0
	}
}

// statusOverloaded is some providers' own.
const statusOverloaded = 529

// fault says what the refusal means for the endpoint. Of the statuses of the 4xx, those that any request would get are the
// endpoint's fault (or its operator's), and the next one is asked.
func (e *statusError) fault(now time.Time) *upstream.Fault {
	kind := upstream.Broken
	switch e.status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		kind = upstream.Denied
	case http.StatusTooManyRequests, statusOverloaded:
		kind = upstream.Overloaded
	case http.StatusServiceUnavailable:
		if e.retryAfter != "" {
			kind = upstream.Overloaded
		}
	case 0, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
	default:
		if e.status >= 400 && e.status < 500 {
			kind = upstream.Refused
		}
	}
	return &upstream.Fault{Kind: kind, RetryAfter: e.wait(now), Err: e, Brief: e.brief()}
}

// brief is the refusal for operators.
func (e *statusError) brief() string {
	if e.status == 0 {
		return "broke off with an error of its own"
	}
	return fmt.Sprintf("answered %d", e.status)
}

// wait is for how long the endpoint asks to be left alone: seconds, or a date.
func (e *statusError) wait(now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(e.retryAfter, 64); err == nil && seconds > 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(e.retryAfter); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// broken is a failure of the exchange: counted, and the next endpoint is asked.
func broken(err error) error {
	return &upstream.Fault{Kind: upstream.Broken, Err: err}
}

// errExchange stands for a failure whose own words may quote what was sent or received.
var errExchange = errors.New("the exchange with the model's endpoint failed")

// ours are errors of this package, and of others' whose words never quote.
var ours = []error{errTooMuch, errGarbage, errNoEnd, errCalls}

// withoutQuotes is an error of the network or of the library that quotes neither addresses (keys may stand in them) nor bodies.
func withoutQuotes(ctx context.Context, err error) error {
	var status *statusError
	if errors.As(err, &status) {
		return status
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errExchange, ctx.Err())
	}
	for _, known := range ours {
		if errors.Is(err, known) {
			return known
		}
	}
	var operation *net.OpError
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var errno syscall.Errno
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%w: %w", errExchange, name)
	case errors.As(err, &operation):
		return fmt.Errorf("%w: %w", errExchange, operation)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %w", errExchange, certificate)
	case errors.As(err, &errno):
		return fmt.Errorf("%w: %w", errExchange, errno)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", errInterrupted, io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the connection was closed", errExchange)
	case errors.Is(err, errInterrupted):
		return errInterrupted
	default:
		return errExchange
	}
}
