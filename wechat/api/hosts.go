package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// avoidFor is how long a host that failed is only asked when the others failed too.
const avoidFor = time.Minute

// host is one domain of the API. The same token is good on all of them (wechat-protocol §5.3).
type host struct {
	base *url.URL // scheme, host and path in front of /cgi-bin, without a slash at its end
	name string   // as it stands in logs and metrics
}

// hosts are the API's domains in order of preference, and which of them failed lately.
type hosts struct {
	all []*host
	now func() time.Time

	mu    sync.Mutex
	until map[*host]time.Time // avoided until then
}

func newHosts(base string, further []string, now func() time.Time) (*hosts, error) {
	first, err := parseBase(base)
	if err != nil {
		return nil, fmt.Errorf("wechat api: api_base %q: %w: write it like %s", base, err, DefaultBase)
	}
	h := &hosts{all: []*host{first}, now: now, until: map[*host]time.Time{}}
	for _, f := range further {
		address := f
		if !strings.Contains(f, "://") {
			address = first.base.Scheme + "://" + f
		}
		next, err := parseBase(address)
		if err != nil {
			return nil, fmt.Errorf("wechat api: api_hosts %q: %w: write it like api2.weixin.qq.com", f, err)
		}
		if !slices.ContainsFunc(h.all, func(other *host) bool { return *other.base == *next.base }) {
			h.all = append(h.all, next)
		}
	}
	return h, nil
}

func parseBase(s string) (*host, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("not an http or https URL")
	case u.Host == "":
		return nil, errors.New("no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("more than scheme, host and path")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return &host{base: u, name: u.Host}, nil
}

// order is whom to ask, one after the other: first those that did not fail lately, as configured; then the others, the one whose
// failure is oldest first.
func (h *hosts) order() []*host {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	out := slices.Clone(h.all)
	slices.SortStableFunc(out, func(a, b *host) int {
		return cmp.Compare(h.remaining(a, now), h.remaining(b, now))
	})
	return out
}

func (h *hosts) remaining(x *host, now time.Time) time.Duration {
	return max(0, h.until[x].Sub(now))
}

// failed notes that the host gave no answer. It reports whether the host was in good standing until now.
func (h *hosts) failed(x *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	fresh := h.remaining(x, now) == 0
	h.until[x] = now.Add(avoidFor)
	return fresh
}

// answered notes that the host works. It reports whether it was avoided.
func (h *hosts) answered(x *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, avoided := h.until[x]
	delete(h.until, x)
	return avoided
}
