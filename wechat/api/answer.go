package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"hongyan/wechat"
)

const (
	maxAnswer  = 1 << 20 // bytes of an answer that is not a file
	maxMsg     = 512     // bytes of Error.Msg
	minPrivate = 4       // bytes; what is shorter is no secret, and would take words apart
)

// judge reads an answer: nil where WeChat says that all is well, and then the call's result is filled.
func (c *Client) judge(call call, h *host, status int, data []byte) *Error {
	e := &Error{Call: call.path, Class: Unknown, Status: status}
	var env envelope
	err := decode(data, &env)
	switch {
	case status >= 500 || status < 200:
		// Whatever the body says, it may be a gateway's word about an exchange that went on behind it.
		e.Msg = c.clean(call, h.name+": "+http.StatusText(status))
		return e
	case err == nil && env.Code.set && env.Code.value != 0:
		c.explain(e, call, env)
		return e
	case status >= 300:
		switch status {
		case http.StatusRequestTimeout: // perhaps about a request that was read: it stays unknown
		case http.StatusRequestEntityTooLarge:
			e.Class = BadMessage
		default:
			e.Class = Refused
		}
		e.Msg = c.clean(call, h.name+": "+http.StatusText(status)+": this is not WeChat's answer; compare api_base, and ask who runs "+
			"the proxies in between")
		return e
	}
	if err == nil {
		err = call.fill(env, data)
	}
	if err != nil {
		e.Msg = c.clean(call, fmt.Sprintf("%s: the answer cannot be read: %v", h.name, err))
		return e
	}
	return nil
}

// explain fills in what an errcode says.
func (c *Client) explain(e *Error, call call, env envelope) {
	e.Code = int(env.Code.value)
	e.Class = classify(call.path, e.Code)
	text := string(env.Msg)
	if m := ridPattern.FindStringSubmatchIndex(text); m != nil {
		e.RID = text[m[2]:m[3]]
		text = text[:m[0]] + text[m[1]:]
	}
	e.Msg = c.clean(call, text)
	if e.Class == Config {
		e.SeenIP = seenIP(text)
	}
}

var ridPattern = regexp.MustCompile(`[,;]? *\brid: *([0-9A-Za-z-]{1,64})`)

// seenIP is the first address in an errmsg, as in "invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist".
func seenIP(text string) netip.Addr {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return r != '.' && r != ':' && !unicode.IsDigit(r) && !unicode.IsLetter(r)
	}) {
		if addr, err := netip.ParseAddr(strings.Trim(word, ".")); err == nil {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}

// fill reads the result of an answer without an error. A call without a result is only well with an errcode that says so.
func (c call) fill(env envelope, data []byte) error {
	if c.result == nil {
		if !env.Code.set {
			return errors.New("no errcode in it")
		}
		return nil
	}
	if err := decode(data, c.result); err != nil {
		return err
	}
	if r, ok := c.result.(interface{ complete() error }); ok {
		return r.complete()
	}
	return nil
}

// clean makes text fit for logs: no token, secret or OpenID, whatever WeChat or a proxy echoed; one line; at most maxMsg bytes.
func (c *Client) clean(call call, text string) string {
	for _, private := range []string{c.secret, call.token, call.private} {
		if len(private) < minPrivate {
			continue
		}
		for _, form := range []string{private, url.QueryEscape(private), url.PathEscape(private)} {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	text, _ = wechat.CutText(strings.TrimSpace(text), maxMsg)
	return text
}

// envelope is what stands in every answer of the API that is not a file.
type envelope struct {
	Code number `json:"errcode"`
	Msg  words  `json:"errmsg"`
}

// decode reads one JSON object into v, whatever Content-Type it came with: a BOM and raw control characters in texts, both seen
// from WeChat, are let pass.
func decode(data []byte, v any) error {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")))
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	if data[0] != '{' {
		return errors.New("it is not a JSON object")
	}
	err := json.Unmarshal(data, v)
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax {
		err = json.Unmarshal(bytes.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, data), v)
	}
	return err
}

// number is an integer that WeChat writes as a number, as a string, or not at all.
type number struct {
	value int64
	set   bool
}

// UnmarshalJSON takes 7200, "7200", 7200.0, "", null.
func (n *number) UnmarshalJSON(b []byte) error {
	text := strings.TrimSpace(strings.Trim(string(b), `"`))
	if text == "" || text == "null" {
		*n = number{}
		return nil
	}
	if value, err := strconv.ParseInt(text, 10, 64); err == nil {
		*n = number{value: value, set: true}
		return nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || value != math.Trunc(value) || math.Abs(value) > 1<<53 {
		return errors.New("not a whole number")
	}
	*n = number{value: int64(value), set: true}
	return nil
}

// words is a text that WeChat writes as a string or as a number.
type words string

// UnmarshalJSON takes a string, or any other value as it stands.
func (w *words) UnmarshalJSON(b []byte) error {
	var text string
	switch {
	case string(b) == "null":
	case json.Unmarshal(b, &text) != nil:
		text = string(b)
	}
	*w = words(text)
	return nil
}

// coded is embedded in results of calls whose answer has an errcode also where all is well.
type coded struct {
	Code number `json:"errcode"`
}

func (c *coded) complete() error {
	if !c.Code.set {
		return errors.New("no errcode in it")
	}
	return nil
}
