package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Class says what a failure means to the caller. Names of classes are label values of a metric: they are only added.
type Class uint8

// The classes. Only Unknown leaves doubt whether the call had its effect; of all others it is certain that it had none.
const (
	Unknown      Class = iota // no answer, or none that can be read: 5xx, time limit, broken connection after a byte was written
	Unsent                    // not one byte of the request was written: no connection, no name, no TLS, or the context ended before
	Busy                      // -1: WeChat says to try again later
	TokenInvalid              // the token is superseded or expired: renew it, once, and try again
	Config                    // app id, secret or IP allow-list: stop until an operator acted
	DailyQuota                // the day's calls are used up
	MinuteRate                // too many calls in this minute
	NoRight                   // the account may not use this API, or its support agents are set up wrongly
	NoWindow                  // the user's window is closed or its grant is used up: not before the user writes again
	NoUser                    // the user takes no messages, or is none
	BadMessage                // this very request can never succeed
	Typing                    // the sign of typing was not shown; nothing depends on it
	Refused                   // something between here and WeChat said no (3xx, 4xx without errcode): a proxy, or a wrong api_base
)

func (c Class) String() string {
	names := [...]string{
		"unknown", "unsent", "busy", "token_invalid", "config", "daily_quota", "minute_rate", "no_right", "no_window", "no_user",
		"bad_message", "typing", "refused",
	}
	if int(c) >= len(names) {
		return "unknown"
	}
	return names[c]
}

// Error is a call that failed. Its text is fit for logs and dead letters: no token, secret or OpenID stands in it.
type Error struct {
	Call   string     // the path of the API without its query
	Class  Class      // what it means
	Code   int        // WeChat's errcode; 0 where there was none
	Msg    string     // WeChat's errmsg, or what went wrong on the way; at most 512 bytes
	RID    string     // WeChat's id of the request, for LookupRID; often empty
	Status int        // of HTTP; 0 where no answer came
	Unsent bool       // for certain not one byte of the request was written
	SeenIP netip.Addr // with 40164 and its kin: the address that WeChat saw; else not valid

	cause error // context.Canceled or context.DeadlineExceeded, or nil; nothing else, because others may carry the URL
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wechat api %s: ", e.Call)
	switch {
	case e.Code != 0:
		fmt.Fprintf(&b, "%d %s", e.Code, e.Msg)
	case e.Status != 0:
		fmt.Fprintf(&b, "HTTP %d: %s", e.Status, e.Msg)
	default:
		b.WriteString(e.Msg)
	}
	if e.RID != "" {
		fmt.Fprintf(&b, ", rid %s", e.RID)
	}
	fmt.Fprintf(&b, " (%s)", e.Class)
	if next := e.next(); next != "" {
		b.WriteString(": " + next)
	}
	return b.String()
}

// next is what an operator should do about it; empty where there is nothing.
func (e *Error) next() string {
	if e.SeenIP.IsValid() {
		return fmt.Sprintf("add %s to the IP allow-list in the account's console", e.SeenIP)
	}
	return codes[e.Code].next
}

// Unwrap is the context's error where the call ended because of the context.
func (e *Error) Unwrap() error {
	return e.cause
}

// ClassOf is the class of an error that a Client returned; Unknown for any other, because nothing is certain about it.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Unknown
}
