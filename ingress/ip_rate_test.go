package ingress

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// newLimited is an ingress with a rate, drained at the end of the test.
func newLimited(t *testing.T, perSecond float64, proxies ...string) *bench {
	t.Helper()
	b := newBench(t, ModeSafe, func(o *Options) {
		o.IPRate = perSecond
		for _, p := range proxies {
			o.Proxies = append(o.Proxies, netip.MustParsePrefix(p))
		}
	})
	t.Cleanup(func() {
		if err := b.Drain(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return b
}

// from sends a request from an address, through a proxy where forwarded is set.
func (b *bench) from(c call, remote, forwarded string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path+"?"+c.query.Encode(), strings.NewReader(c.body))
	r.RemoteAddr = remote
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w
}

// An address over its rate gets 503 before anything is done with its requests, and no other address feels it.
func TestOneAddressOverItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newLimited(t, 10)
		b.answering("hello")
		echo := func(remote string) *httptest.ResponseRecorder {
			return b.from(handshakeCall(testToken, "echo", time.Now()), remote, "")
		}
		const burst = 20
		for i := range burst {
			if w := echo("203.0.113.7:4711"); w.Code != http.StatusOK || w.Body.String() != "echo" {
				t.Fatalf("request %d: %d %q", i, w.Code, w.Body)
			}
		}
		w := echo("203.0.113.7:4712") // another port is the same client
		if w.Code != http.StatusServiceUnavailable || w.Body.Len() != 0 || w.Header().Get("Retry-After") != "1" ||
			w.Header().Get("Connection") != "close" {
			t.Errorf("over the rate: %d %q %v", w.Code, w.Body, w.Header())
		}
		push := pushCall(t, ModeSafe, testToken, testAESKey, textXML("1", "hello", time.Now()), time.Now())
		unread := &countedBody{Reader: strings.NewReader(push.body)}
		r := httptest.NewRequest(push.method, push.path+"?"+push.query.Encode(), unread)
		r.RemoteAddr = "203.0.113.7:4711"
		rec := httptest.NewRecorder()
		b.Handler().ServeHTTP(rec, r)
		if rec.Code != http.StatusServiceUnavailable || unread.reads.Load() != 0 || len(b.log.all()) != 0 {
			t.Errorf("a push over the rate: %d, %d reads of its body, %d entries", rec.Code, unread.reads.Load(), len(b.log.all()))
		}
		stranger := call{method: http.MethodGet, path: "/nothing"}
		if w := b.from(stranger, "203.0.113.7:4711", ""); w.Code != http.StatusServiceUnavailable {
			t.Errorf("another path over the rate: %d", w.Code)
		}
		if w := b.from(stranger, "203.0.113.8:4711", ""); w.Code != http.StatusNotFound {
			t.Errorf("another path from elsewhere: %d", w.Code)
		}
		if w := b.from(push, "198.51.100.1:80", ""); w.Code != http.StatusOK || len(b.log.all()) != 1 {
			t.Errorf("a push from elsewhere: %d, %d entries", w.Code, len(b.log.all()))
		}
		for range 100 {
			echo("203.0.113.7:4711")
		}
		if n := testutil.ToFloat64(b.metrics.limited); n != 103 {
			t.Errorf("%v were counted, want 103", n)
		}
		if n := strings.Count(b.lines.String(), "limits.ip_rate"); n != 1 {
			t.Errorf("%d lines in a second, want 1", n)
		}
		time.Sleep(time.Second)
		for i := range 11 { // a second's worth, and no more
			if w := echo("203.0.113.7:4711"); (w.Code == http.StatusOK) != (i < 10) {
				t.Errorf("a second later, request %d: %d", i, w.Code)
			}
		}
		if s := b.lines.String(); strings.Count(s, "limits.ip_rate") != 2 || !strings.Contains(s, "left_out=102") {
			t.Errorf("the lines:\n%s", s)
		}
		b.perIP.stop()
	})
}

// countedBody counts its reads.
type countedBody struct {
	io.Reader
	reads atomic.Int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Reader.Read(p)
}

// Which requests are one client's.
func TestClientsOfTheRate(t *testing.T) {
	t.Parallel()
	type client struct{ remote, forwarded string }
	const ours = "10.0.0.0/8"
	cases := []struct {
		name          string
		first, second client
		same          bool
		proxies       string
	}{
		{"two clients behind one proxy", client{"10.0.0.1:1", "203.0.113.1"}, client{"10.0.0.1:1", "203.0.113.2"}, false, ours},
		{"one client through two proxies", client{"10.0.0.1:1", "203.0.113.1"}, client{"10.0.0.2:1", "203.0.113.1, 10.0.0.1"}, true, ours},
		{
			"what a client writes itself is nothing",
			client{"10.0.0.1:1", "1.1.1.1, 203.0.113.1"}, client{"10.0.0.1:1", "2.2.2.2, 203.0.113.1"}, true, ours,
		},
		{"nobody trusts the peer", client{"203.0.113.1:1", "1.1.1.1"}, client{"203.0.113.1:1", "2.2.2.2"}, true, ""},
		{"a proxy that names nobody is the client", client{"10.0.0.1:1", "unknown"}, client{"10.0.0.1:2", "_hidden"}, true, ours},
		{"two of those", client{"10.0.0.1:1", "unknown"}, client{"10.0.0.2:1", "unknown"}, false, ours},
		{"one IPv6 network", client{remote: "[2001:db8::1]:1"}, client{remote: "[2001:db8::ffff:0:0:2]:1"}, true, ""},
		{"two IPv6 networks", client{remote: "[2001:db8::1]:1"}, client{remote: "[2001:db8:0:1::1]:1"}, false, ""},
		{"IPv4 in IPv6", client{remote: "[::ffff:203.0.113.1]:1"}, client{remote: "203.0.113.1:1"}, true, ""},
		{"two IPv4 in IPv6", client{remote: "[::ffff:203.0.113.1]:1"}, client{remote: "[::ffff:203.0.113.2]:1"}, false, ""},
		{"two IPv4 neighbours", client{remote: "203.0.113.1:1"}, client{remote: "203.0.113.2:1"}, false, ""},
		{"no addresses at all", client{remote: "@"}, client{remote: "pipe"}, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var proxies []string
			if c.proxies != "" {
				proxies = append(proxies, c.proxies)
			}
			b := newLimited(t, 0.001, proxies...)
			h := handshakeCall(testToken, "echo", time.Now())
			for i := range ipBurstMin + 1 {
				if w := b.from(h, c.first.remote, c.first.forwarded); (w.Code == http.StatusOK) != (i < ipBurstMin) {
					t.Fatalf("request %d of the first: %d", i, w.Code)
				}
			}
			if w := b.from(h, c.second.remote, c.second.forwarded); (w.Code != http.StatusOK) != c.same {
				t.Errorf("the second got %d; the same client: %v", w.Code, c.same)
			}
		})
	}
}

// A million addresses fit into the memory of the table, and who comes often is still known among them.
func TestFloodOfAddresses(t *testing.T) {
	addresses := 1_000_000
	if raceDetector { // which makes it forty times slower: twice what fits
		addresses = 2 * ipAddresses
	}
	l, err := newIPRates(1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.stop()
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, now, most := heap(), time.Now(), 0
	often := netip.MustParseAddr("203.0.113.7")
	passed := 0
	for i := range addresses {
		if !l.allow(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), now) {
			t.Fatalf("address %d was refused its first request", i)
		}
		if i%10 == 0 && l.allow(often, now) {
			passed++
		}
		if i%1000 == 0 {
			most = max(most, l.buckets.EstimatedSize())
		}
	}
	l.buckets.CleanUp()
	grown := heap() - before
	t.Logf("%d addresses kept, %d at most on the way; %d MiB; the address that came %d times passed %d times", l.buckets.EstimatedSize(), most,
		grown>>20, addresses/10, passed)
	if n := l.buckets.EstimatedSize(); n > ipAddresses || most > ipAddresses*11/10 {
		t.Errorf("%d addresses are kept, %d at most on the way", n, most)
	}
	if grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if passed > 10*ipBurstMin {
		t.Errorf("an address that came %d times passed %d times", addresses/10, passed)
	}
	runtime.KeepAlive(l)
}

// Addresses that are silent for a minute go by themselves.
func TestIdleAddressesGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := newIPRates(1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.stop()
		for i := range 1000 {
			l.allow(netip.AddrFrom4([4]byte{100, 0, byte(i >> 8), byte(i)}), time.Now())
		}
		busy := netip.MustParseAddr("203.0.113.7")
		for range 20 {
			l.allow(busy, time.Now())
		}
		for range 12 {
			time.Sleep(10 * time.Second)
			l.allow(busy, time.Now())
		}
		if n := l.buckets.EstimatedSize(); n != 1 {
			t.Errorf("%d addresses are kept after two minutes, want the one that still comes", n)
		}
	})
}

// Requests of one address that come at the same time share one bucket.
func TestRateOfOneAddressAtOnce(t *testing.T) {
	t.Parallel()
	l, err := newIPRates(100)
	if err != nil {
		t.Fatal(err)
	}
	defer l.stop()
	now := time.Now()
	for i := range 50 {
		from := netip.AddrFrom4([4]byte{100, 0, 0, byte(i)})
		var passed atomic.Int64
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				for range 50 {
					if l.allow(from, now) {
						passed.Add(1)
					}
				}
			})
		}
		asking.Wait()
		if passed.Load() != 200 {
			t.Fatalf("%d of 400 requests passed, want a burst of 200", passed.Load())
		}
	}
}

func TestIPRateOption(t *testing.T) {
	t.Parallel()
	for perSecond, burst := range map[float64]int{0.01: 5, 2: 5, 2.6: 6, 50: 100, 1e300: 2 * math.MaxInt32} {
		l, err := newIPRates(perSecond)
		if err != nil || l.burst != burst {
			t.Errorf("%v a second: a burst of %d, %v; want %d", perSecond, l.burst, err, burst)
		}
		l.stop()
	}
	for _, perSecond := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, err := New(Options{Accounts: []Account{testAccount(ModePlain)}, Log: &memoryLog{}, ID: "i1", IPRate: perSecond}); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprint(perSecond)) {
			t.Errorf("%v a second: %v", perSecond, err)
		}
	}
	b := newBench(t, ModePlain, nil)
	for range 1000 {
		if w := b.from(handshakeCall(testToken, "echo", time.Now()), "203.0.113.7:1", ""); w.Code != http.StatusOK {
			t.Fatalf("without a rate: %d", w.Code)
		}
	}
}
