package outside

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"hongyan/stream"
)

// errAddress does not repeat the address: it has the password in it.
var errAddress = errors.New("nats.url is not of the form nats://user:password@host:4222,host:4222 (tls:// for TLS; " +
	"special characters in user and password as %XX)")

// parse reads an address list. What an address leaves out, scheme and user, is that of the first one.
func parse(list string) ([]*url.URL, error) {
	var out []*url.URL
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") && len(out) > 0 {
			one = out[0].Scheme + "://" + one
		}
		u, err := url.Parse(one)
		if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" || strings.Trim(u.Path, "/") != "" {
			return nil, errAddress
		}
		if u.User == nil && len(out) > 0 {
			u.User = out[0].User
		}
		out = append(out, u)
	}
	return out, nil
}

// Servers is an address list without users and passwords, for people.
func Servers(list string) string {
	addresses, err := parse(list)
	if err != nil {
		return "(not an address)"
	}
	out := make([]string, len(addresses))
	for i, u := range addresses {
		out[i] = u.Host
	}
	return strings.Join(out, ",")
}

// userInfo finds what stands before the host of an address.
var userInfo = regexp.MustCompile(`(nats|tls)://[^/@\s"]*@`)

// redact takes users, passwords and tokens of the addresses out of a line.
func redact(line string, addresses []*url.URL) string {
	line = userInfo.ReplaceAllString(line, "$1://")
	for _, u := range addresses {
		if u.User == nil {
			continue
		}
		password, _ := u.User.Password()
		for _, secret := range []string{u.User.String(), password, url.QueryEscape(password)} {
			if len(secret) > 2 {
				line = strings.ReplaceAll(line, secret, "…")
			}
		}
	}
	return stream.Redact(line)
}
