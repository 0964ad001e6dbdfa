package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faultRig is a platform whose API is on loopback.
type faultRig struct {
	rig
	t       *testing.T
	address string // with http://
	client  *http.Client
	token   string
}

func newFaultRig(t *testing.T, edit func(*Options)) *faultRig {
	t.Helper()
	r := &faultRig{t: t, client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}, rig: newRig(t, ModePlain, FormatXML, silent, func(o *Options) {
		o.Accounts[0].AppSecret, o.Accounts[0].CustomerService = testSecret, true
		if edit != nil {
			edit(o)
		}
	})}
	server := httptest.NewServer(r.APIHandler())
	r.address = server.URL
	t.Cleanup(func() { r.client.CloseIdleConnections(); r.Close(); server.Close() })
	r.token = r.newToken()
	if _, err := r.Push(t.Context(), "demo", "u1", text("hi")); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *faultRig) newToken() string {
	r.t.Helper()
	resp, err := r.client.Post(r.address+CallStableToken, "application/json",
		strings.NewReader(fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q}`, testAppID, testSecret)))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out tokenReply
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.AccessToken == "" {
		r.t.Fatalf("no token: %v", err)
	}
	return out.AccessToken
}

// send makes one customer-service message and tells status, errcode and the transport's error.
func (r *faultRig) send(ctx context.Context) (status, code int, err error) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address+CallCustomSend+"?access_token="+r.token,
		strings.NewReader(`{"touser":"u1","msgtype":"text","text":{"content":"x"}}`))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, 0, err
	}
	var out struct {
		Code int `json:"errcode"`
	}
	if resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &out)
	}
	return resp.StatusCode, out.Code, err
}

func (r *faultRig) shown() (n int) {
	for _, record := range r.Witness() {
		if record.Kind == RecordCustom {
			n++
		}
	}
	return n
}

func (r *faultRig) inject(f Fault) string {
	r.t.Helper()
	id, err := r.Inject(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// last is the record of the newest call.
func (r *faultRig) last() Record {
	r.t.Helper()
	all := r.Witness()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == RecordAPI {
			return all[i]
		}
	}
	r.t.Fatal("no call was recorded")
	return Record{}
}

func TestFaultKinds(t *testing.T) {
	t.Parallel()
	reset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) }
	for _, c := range []struct {
		name   string
		fault  Fault
		status int
		code   int
		broken bool
		effect bool
	}{
		{"reset before", Fault{Kind: FaultReset}, 0, 0, true, false},
		{"reset after", Fault{Kind: FaultReset, When: After}, 0, 0, true, true},
		{"503 before", Fault{Kind: FaultStatus}, 503, 0, false, false},
		{"502 after", Fault{Kind: FaultStatus, Status: 502, When: After}, 502, 0, false, true},
		{"errcode", Fault{Kind: FaultCode, Code: CodeDailyQuota}, 200, CodeDailyQuota, false, false},
		{"unavailable", Fault{Kind: FaultDown}, 503, 0, false, false},
		{"down, under another server", Fault{Kind: FaultRefuse}, 0, 0, true, false},
		{"stale", Fault{Kind: FaultStale, Account: "demo"}, 200, CodeBadToken, false, false},
		{"stale, of older generations", Fault{Kind: FaultStale, Below: 1}, 200, 0, false, true},
		{"of another call", Fault{Kind: FaultReset, Call: CallTyping}, 200, 0, false, true},
		{"of calls that begin so", Fault{Kind: FaultReset, Call: "/cgi-bin/message/*"}, 0, 0, true, false},
		{"not begun", Fault{Kind: FaultReset, After: time.Hour}, 200, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newFaultRig(t, nil)
			id := r.inject(c.fault)
			status, code, err := r.send(t.Context())
			if status != c.status || code != c.code || reset(err) != c.broken || (err != nil) != c.broken {
				t.Errorf("status %d, errcode %d, %v", status, code, err)
			}
			if n := r.shown(); n != map[bool]int{true: 1, false: 0}[c.effect] {
				t.Errorf("%d messages were shown", n)
			}
			met := c.broken || c.status != 200 || c.code != 0
			if last := r.last(); last.Effect != c.effect || last.Status != c.status || (last.Fault == id) != met {
				t.Errorf("record: %+v", last)
			}
			if n := r.Clear(id); n != 1 {
				t.Errorf("%d faults were cleared", n)
			}
			if status, code, err := r.send(t.Context()); status != 200 || code != 0 || err != nil {
				t.Errorf("after clearing: status %d, errcode %d, %v", status, code, err)
			}
		})
	}
}

// TestLostResponse: the effect is there, the caller waits in vain, and the platform ends orderly.
func TestLostResponse(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, nil)
	r.inject(Fault{Kind: FaultLost, Count: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if _, _, err := r.send(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the lost response: %v", err)
	}
	if r.shown() != 1 {
		t.Errorf("%d messages were shown", r.shown())
	}
	if status, code, err := r.send(t.Context()); status != 200 || code != 0 || err != nil {
		t.Errorf("the second call: status %d, errcode %d, %v", status, code, err)
	}
	if left := r.Faults(); len(left) != 0 {
		t.Errorf("a used-up fault is still listed: %v", left)
	}
}

func TestInvalidateFault(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, nil)
	r.inject(Fault{Kind: FaultInvalidate})
	if _, code, _ := r.send(t.Context()); code != CodeBadToken {
		t.Errorf("after the invalidation: %d", code)
	}
	r.token = r.newToken()
	if _, code, _ := r.send(t.Context()); code != 0 {
		t.Errorf("with the next token: %d", code)
	}
}

// TestFaultTimes: latency, jitter, begin and end follow the clock; a rate follows chance.
func TestFaultTimes(t *testing.T) {
	draws := []float64{0.05, 0.1, 0.5} // for the rate; the last for jitter
	inBubble(t, func(o *Options) {
		o.Chance = func() float64 { d := draws[0]; draws = append(draws[1:], d); return d }
	}, func(r *apiRig) {
		inject := func(f Fault) {
			if _, err := r.Inject(f); err != nil {
				t.Fatal(err)
			}
		}
		inject(Fault{Kind: FaultCode, Code: CodeBusy, Rate: 0.1})
		r.expect("a draw below the rate", r.works(r.token), CodeBusy)
		r.expect("a draw at the rate", r.works(r.token), 0)
		r.expect("a draw above the rate", r.works(r.token), 0)
		r.Clear("")

		draws = []float64{0.5}
		inject(Fault{Kind: FaultLatency, Latency: 2 * time.Second, Jitter: time.Second, When: After})
		begun := time.Now()
		r.works(r.token)
		if took := time.Since(begun); took != 2500*time.Millisecond {
			t.Errorf("the late answer took %v", took)
		}
		r.Clear("")

		inject(Fault{Kind: FaultCode, Code: CodeBusy, After: 10 * time.Second, For: 20 * time.Second})
		for _, c := range []struct {
			at   time.Duration
			code int
		}{{0, 0}, {10*time.Second - 1, 0}, {10 * time.Second, CodeBusy}, {30*time.Second - 1, CodeBusy}, {30 * time.Second, 0}} {
			time.Sleep(c.at - time.Since(begun.Add(2500*time.Millisecond)))
			r.expect(c.at.String(), r.works(r.token), c.code)
		}
		if n := len(r.Faults()); n != 0 {
			t.Errorf("%d faults are left", n)
		}
	})
}

func TestBadFaults(t *testing.T) {
	t.Parallel()
	p := newRig(t, ModePlain, FormatXML, silent, nil).Platform
	for _, f := range []Fault{
		{}, {Kind: "flood"}, {Kind: FaultLatency}, {Kind: FaultStatus, Status: 200}, {Kind: FaultCode}, {Kind: FaultReset, When: "later"},
		{Kind: FaultReset, Rate: 1.5}, {Kind: FaultReset, Count: -1}, {Kind: FaultReset, Account: "x"}, {Kind: FaultReset, Call: "custom"}, {Kind: FaultStale},
	} {
		if _, err := p.Inject(f); !errors.Is(err, ErrFault) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	t.Parallel()
	p := newRig(t, ModePlain, FormatXML, silent, nil).Platform
	h := p.Handler()
	w := serve(h, http.MethodPost, "/api/faults", `{"kind":"latency","latency":"1.5s","call":"/cgi-bin/token","for":"2m","rate":0.5}`)
	if w.Code != http.StatusCreated || w.Body.String() != `{"id":"latency-1"}` {
		t.Fatalf("inject: %d %s", w.Code, w.Body)
	}
	if got := p.Faults(); len(got) != 1 || got[0].Latency != 1500*time.Millisecond || got[0].For != 2*time.Minute || got[0].Rate != 0.5 {
		t.Errorf("injected: %+v", got)
	}
	if w := serve(h, http.MethodGet, "/api/faults", ""); w.Body.String() != `{"faults":[{"id":"latency-1","kind":"latency","call":"/cgi-bin/token","when":"before","latency":"1.5s","rate":0.5,"for":"2m0s"}]}` {
		t.Errorf("list: %s", w.Body)
	}
	if w := serve(h, http.MethodPost, "/api/faults", `{"kind":"latency","latency":"soon"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "1.5s") {
		t.Errorf("bad duration: %d %s", w.Code, w.Body)
	}
	if w := serve(h, http.MethodDelete, "/api/faults/none", ""); w.Code != http.StatusNotFound {
		t.Errorf("clear what is not there: %d", w.Code)
	}
	if w := serve(h, http.MethodDelete, "/api/faults/latency-1", ""); w.Code != http.StatusOK || w.Body.String() != `{"faults":[]}` {
		t.Errorf("clear: %d %s", w.Code, w.Body)
	}
	if w := serve(h, http.MethodDelete, "/api/faults", "", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("clear from another site: %d", w.Code)
	}
	if w := serve(h, http.MethodPost, "/api/receiving", `{"account":"demo","openid":"u1","on":false}`); w.Code != http.StatusOK {
		t.Errorf("receiving: %d %s", w.Code, w.Body)
	}
}

// TestServeAPIDown: while the API is down nobody listens, and it comes back at the same address.
func TestServeAPIDown(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	opened, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- r.ServeAPI(ctx, "127.0.0.1:0", func(a net.Addr) { opened <- a }) }() // ends with ctx
	r.address = "http://" + (<-opened).String()
	eventually := func(what string, ok func(status int, err error) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			status, _, err := r.send(t.Context())
			if ok(status, err) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: status %d, %v", what, status, err)
			}
		}
	}
	up := func(status int, err error) bool { return status == 200 && err == nil }
	refused := func(_ int, err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
	eventually("up", up)
	id := r.inject(Fault{Kind: FaultRefuse})
	eventually("down", refused)
	r.Clear(id)
	eventually("up again", up)
	r.inject(Fault{Kind: FaultRefuse, For: 100 * time.Millisecond})
	eventually("up again by itself", func(status int, err error) bool { return up(status, err) && len(r.Faults()) == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ServeAPI: %v", err)
	}
	if err := r.ServeAPI(t.Context(), "203.0.113.1:1", func(net.Addr) {}); err == nil {
		t.Error("an address of another machine was taken")
	}
}

// TestServeAPIEndsWithPlatform: Close alone ends it, too.
func TestServeAPIEndsWithPlatform(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	opened, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- r.ServeAPI(t.Context(), "127.0.0.1:0", func(a net.Addr) { opened <- a }) }() // ends with Close
	<-opened
	r.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("ServeAPI goes on after Close")
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := bubble(t, func(w http.ResponseWriter, _ *http.Request, d delivered, number int) {
			if d.Fields["MsgID"] == "2000000007" && number == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			if d.Fields["Event"] != EventTemplateDone || d.Fields["Status"] != "success" {
				t.Errorf("pushed: %v", d.Fields)
			}
		}, nil)
		got, err := r.Burst(t.Context(), "demo", Burst{Count: 500, Concurrency: 20, Message: TemplateResults})
		if err != nil || got.Pushed != 500 || got.Silent != 500 || got.Retried != 1 || got.Banner != 0 || got.Max != DefaultCutoff {
			t.Errorf("%v %+v", err, got)
		}
		if n := len(r.Witness()); n != 0 {
			t.Errorf("the witness wrote %d records", n)
		}
		users := map[string]bool{}
		for _, d := range r.back.all() {
			users[d.Fields["FromUserName"]] = true
		}
		if len(users) != 500 {
			t.Errorf("%d users", len(users))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Burst(ctx, "demo", Burst{Count: 5, Message: TemplateResults}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := r.Burst(t.Context(), "demo", Burst{Count: 5, Message: func(int) (string, Message) { return "u", Message{} }}); !errors.Is(err, ErrMessage) {
			t.Errorf("bad message: %v", err)
		}
	})
}
