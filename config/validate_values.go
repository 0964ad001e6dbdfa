package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// address splits host:port and tells whether it is well formed.
func (v *validator) address(path, address string) (host string, port int, ok bool) {
	host, portText, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(portText)
	}
	if err == nil && host != "" && host != "localhost" {
		if _, ipErr := netip.ParseAddr(host); ipErr != nil && strings.Trim(host, "0123456789.") == "" {
			err = ipErr // digits and dots only, but no IPv4 address
		}
	}
	if err != nil || port < 0 || port > 65535 || strings.ContainsAny(host, " /") {
		v.fault(path, fmt.Sprintf("%q is not an address to listen on", address), "write host:port with a port from 0 to 65535, 127.0.0.1:9090 for example")
		return "", 0, false
	}
	return host, port, true
}

// IsLoopback tells whether a host of a listen address can be reached from this machine only. An empty host is every
// interface.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// atLeast checks a cap of something on the disk: 0 is automatic.
func (v *validator) atLeast(path string, size Size) {
	const least = 16 << 20
	if size != 0 && size < least {
		v.fault(path, fmt.Sprintf("%s is too little to work with", size), "write at least 16MiB, or 0 for the automatic value")
	}
}

// url checks that text is an absolute URL of one of the schemes. The message shows no part of it: there may be a password.
func (v *validator) url(path, text, example string, schemes ...string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		v.fault(path, "this is not a URL", "write "+example)
	case !slices.Contains(schemes, u.Scheme):
		v.fault(path, fmt.Sprintf("%q is not a scheme that fits here", u.Scheme), "use "+enumerate(schemes)+", as in "+example)
	}
}

// duration holds d against the bounds of all durations that have no other: a second and longest.
func (v *validator) duration(path string, d, longest time.Duration) {
	v.between(path, d, time.Second, longest)
}

func (v *validator) between(path string, d, shortest, longest time.Duration) {
	if d < shortest || d > longest {
		v.fault(path, fmt.Sprintf("%s is out of range", d), fmt.Sprintf("write a duration from %s to %s", brief(shortest), brief(longest)))
	}
}

// count holds n against the bounds of a number.
func (v *validator) count(path string, n, least, most int) {
	if n < least || n > most {
		v.fault(path, fmt.Sprintf("%d is out of range", n), fmt.Sprintf("write a number from %d to %d", least, most))
	}
}

// text checks a text that users see.
func (v *validator) text(path, text string) {
	if len(text) > maxTextBytes {
		v.fault(path, fmt.Sprintf("the text has %d bytes", len(text)), fmt.Sprintf("WeChat takes %d; shorten it", maxTextBytes))
	}
}

// neededText checks a text that users see, in a place where silence would leave them puzzled.
func (v *validator) neededText(path, text string) {
	v.text(path, text)
	if strings.TrimSpace(text) == "" {
		v.fault(path, "the text is empty, and the user would not know what happened", "write a short sentence, or remove the key")
	}
}

// problem reports err, which is about the value at path and may be a *valueError.
func (v *validator) problem(path string, err error) {
	var ve *valueError
	if errors.As(err, &ve) {
		v.fault(path, ve.message, ve.fix)
		return
	}
	v.fault(path, err.Error(), "check the value")
}

// notInHeader tells the characters that a token must not have, because HTTP headers and addresses carry it.
func notInHeader(r rune) bool { return r <= ' ' || r > '~' }

// brief is a duration without its empty parts: 10m instead of 10m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
