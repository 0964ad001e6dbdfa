package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

func TestClientAddress(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	cases := []struct {
		remote    string
		forwarded []string
		want      string // empty: there is none
	}{
		{"203.0.113.7:4711", nil, "203.0.113.7"},
		{"203.0.113.7:4711", []string{"198.51.100.1"}, "203.0.113.7"}, // whoever calls may write that
		{"10.0.0.1:80", []string{"203.0.113.7"}, "203.0.113.7"},
		{"10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"10.0.0.1:80", []string{"198.51.100.1", "203.0.113.7, 10.1.2.3"}, "203.0.113.7"},
		{"10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7:5000"}, "203.0.113.7"},
		{"10.0.0.1:80", []string{"203.0.113.7,, "}, "203.0.113.7"},
		{"10.0.0.1:80", nil, "10.0.0.1"},
		{"10.0.0.1:80", []string{"10.0.0.9"}, "10.0.0.9"},
		{"10.0.0.1:80", []string{"203.0.113.7, unknown"}, ""},
		{"10.0.0.1:80", []string{"203.0.113.7, 1.2.3"}, ""},
		{"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"[::ffff:10.0.0.1]:80", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"pipe", []string{"203.0.113.7"}, ""},
	}
	for _, c := range cases {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		got, ok := clientAddress(r, proxies)
		if ok != (c.want != "") || ok && got != netip.MustParseAddr(c.want) {
			t.Errorf("%s, %q: %v %v, want %q", c.remote, c.forwarded, got, ok, c.want)
		}
	}
}

// listed is a fixed list.
type listed struct {
	networks []netip.Prefix // nil: not known yet
	mu       sync.Mutex
	doubts   int
}

func (l *listed) Listed(_ string, from netip.Addr) (bool, bool) {
	return within(from, l.networks), l.networks != nil
}

func (l *listed) Doubt(string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts++
}

func TestCallbackAddresses(t *testing.T) {
	t.Parallel()
	weixin := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	cases := []struct {
		name     string
		policy   AddressPolicy
		networks []netip.Prefix
		from     string
		refused  bool
		found    string // empty: it was not looked at
	}{
		{"off", AddressOff, weixin, "198.51.100.1:1", false, ""},
		{"report, listed", AddressReport, weixin, "203.0.113.9:1", false, addressListed},
		{"report, elsewhere", AddressReport, weixin, "198.51.100.1:1", false, addressUnlisted},
		{"report, no list yet", AddressReport, nil, "198.51.100.1:1", false, addressUnknown},
		{"enforce, listed", AddressEnforce, weixin, "203.0.113.9:1", false, addressListed},
		{"enforce, elsewhere", AddressEnforce, weixin, "198.51.100.1:1", true, addressUnlisted},
		{"enforce, no list yet", AddressEnforce, nil, "198.51.100.1:1", false, addressUnknown},
		{"enforce, no address", AddressEnforce, weixin, "pipe", true, addressUnlisted},
	}
	for _, mode := range modes {
		for _, c := range cases {
			t.Run(mode.name()+", "+c.name, func(t *testing.T) {
				t.Parallel()
				callers := &listed{networks: c.networks}
				b := newBench(t, mode, func(o *Options) {
					o.Accounts[0].CallbackIPs, o.Callers = c.policy, callers
				})
				do := func(call call) *httptest.ResponseRecorder {
					r := httptest.NewRequest(call.method, call.path+"?"+call.query.Encode(), strings.NewReader(call.body))
					r.RemoteAddr = c.from
					w := httptest.NewRecorder()
					b.Handler().ServeHTTP(w, r)
					return w
				}
				forged := handshakeCall(testToken, "echo", time.Now())
				forged.query.Set("signature", strings.Repeat("0", 40))
				refusedAs := do(forged)
				if n := counter(t, b.metrics.addresses, "demo", addressUnlisted); n != 0 {
					t.Errorf("a forged request counts %v unlisted addresses", n)
				}
				w := do(handshakeCall(testToken, "echo", time.Now()))
				if refused := w.Code == http.StatusForbidden; refused != c.refused || !refused && w.Body.String() != "echo" {
					t.Errorf("status %d, body %q; refused should be %v", w.Code, w.Body, c.refused)
				}
				want := 1
				if c.refused {
					push := do(pushCall(t, mode, testToken, testAESKey, textXML("1", "hello", time.Now()), time.Now()))
					if push.Code != refusedAs.Code || push.Body.String() != refusedAs.Body.String() || len(push.Header()) != len(refusedAs.Header()) {
						t.Errorf("refused with %d %q, a forged one with %d %q", push.Code, push.Body, refusedAs.Code, refusedAs.Body)
					}
					if len(b.log.all()) != 0 {
						t.Error("a refused push stands in the log")
					}
					want = 2
				}
				if n := counter(t, b.metrics.refused, "demo", string(reasonAddress)); (n > 0) != c.refused {
					t.Errorf("%v were refused for their address", n)
				}
				if c.found != "" {
					if n := counter(t, b.metrics.addresses, "demo", c.found); n != float64(want) {
						t.Errorf("%v counted as %s, want %d", n, c.found, want)
					}
				}
				told := strings.Count(b.lines.String(), "an address that WeChat does not publish")
				if unlisted := c.found == addressUnlisted; (told == 1) != unlisted || (callers.doubts > 0) != unlisted {
					t.Errorf("%d lines in the log, %d doubts", told, callers.doubts)
				}
			})
		}
	}
}

func TestAddressPolicyNeedsLists(t *testing.T) {
	t.Parallel()
	a := testAccount(ModePlain)
	a.CallbackIPs = AddressEnforce
	_, err := New(Options{Accounts: []Account{a}, Log: &memoryLog{}, ID: "i1"})
	if err == nil || !strings.Contains(err.Error(), "Callers") {
		t.Errorf("without lists: %v", err)
	}
}

// The lists come from the accounts' actors; one that was there once stays, and one that is in doubt is asked for at once.
func TestCallerLists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked, doubted int
		ranges, fault := []string(nil), error(nil)
		set := func(r []string, err error) {
			mu.Lock()
			defer mu.Unlock()
			ranges, fault = r, err
		}
		lists := NewCallerLists([]string{"demo"}, func(_ context.Context, u messages.User, m proto.Message) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if id, ok := u.OfAccount(); !ok || id != "demo" {
				t.Errorf("asked %v", u)
			}
			asked++
			if m.(*messages.CallbackIPs).GetDoubt() {
				doubted++
			}
			if fault != nil {
				return nil, fault
			}
			return &messages.CallbackIPList{Ranges: ranges}, nil
		}, discard())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { // ended by cancel
			defer close(ended)
			_ = lists.Run(ctx)
		}()
		check := func(address string, listed, known bool) {
			t.Helper()
			synctest.Wait()
			if l, k := lists.Listed("demo", netip.MustParseAddr(address)); l != listed || k != known {
				t.Errorf("%s: listed %v, known %v; want %v, %v", address, l, k, listed, known)
			}
		}
		check("203.0.113.1", false, false)
		set([]string{"203.0.113.0/24"}, nil)
		time.Sleep(2 * time.Second)
		check("203.0.113.1", true, true)
		check("198.51.100.1", false, true)
		set(nil, errors.New("nobody answers"))
		time.Sleep(time.Hour)
		check("203.0.113.1", true, true)
		set([]string{"203.0.113.0/24", "198.51.100.0/24"}, nil)
		lists.Doubt("demo")
		lists.Doubt("demo")
		check("198.51.100.1", true, true)
		time.Sleep(3 * time.Second)
		mu.Lock()
		if asked > 80 || doubted == 0 || doubted > 2 {
			t.Errorf("asked %d times, %d in doubt", asked, doubted)
		}
		mu.Unlock()
		if _, known := lists.Listed("other", netip.MustParseAddr("203.0.113.1")); known {
			t.Error("a list for nobody")
		}
		lists.Doubt("other")
		cancel()
		<-ended
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
