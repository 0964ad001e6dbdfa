package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/messages"
	"hongyan/wechat/crypt"
)

// do runs one call through the handler, without a connection.
func (b *bench) do(c call) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path+"?"+c.query.Encode(), strings.NewReader(c.body))
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w
}

// answering makes the log offer an answer to each slot that it sees, as an owner would. The goroutine ends with the offer.
func (b *bench) answering(text string) {
	b.log.hook = func(_ context.Context, e *messages.Entry) error {
		if s := e.GetSlot(); s != nil {
			go b.Offer(context.Background(), &messages.Offer{Slot: s.GetId(), Key: e.GetInbound().GetKey(), Answer: textAnswer(text)})
		}
		return nil
	}
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.name(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, mode, func(o *Options) { o.Accounts[0].PreviousToken = otherToken })
			now := time.Now()
			for _, token := range []string{testToken, otherToken} {
				w := b.do(handshakeCall(token, "4375120948345356249", now))
				if w.Code != 200 || w.Body.String() != "4375120948345356249" {
					t.Errorf("token %s: %d %q, want the echostr alone", token, w.Code, w.Body)
				}
				if w.Header().Get("Content-Type") != typePlain[0] || w.Header().Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("headers %v", w.Header())
				}
			}
			for _, why := range []struct {
				name string
				call call
			}{
				{"wrong token", handshakeCall("nobody", "1", now)},
				{"no echostr", handshakeCall(testToken, "", now)},
				{"long echostr", handshakeCall(testToken, strings.Repeat("1", maxEchostr+1), now)},
				{"stale", handshakeCall(testToken, "1", now.Add(-16*time.Minute))},
				{"from the future", handshakeCall(testToken, "1", now.Add(16*time.Minute))},
			} {
				if w := b.do(why.call); w.Code != http.StatusForbidden {
					t.Errorf("%s: %d, want 403", why.name, w.Code)
				}
			}
		})
	}
}

// The vectors D1 and F1 of wechat-protocol §6, as whole requests.
func TestHandshakeVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ token, timestamp, nonce, signature, echostr string }{
		{"AAAAA", "1714036504", "1514711492", "f464b24fc39322e44b38aa78f5edd27bd1441696", "4375120948345356249"},
		{"TOKEN", "1526545852", "nonce", "7aa016688a328036de9ea9164ee00f9fa581da5f", "echostr"},
	} {
		b := newBench(t, ModePlain, func(o *Options) { o.Accounts[0].Token, o.Accounts[0].MaxClockSkew = v.token, 0 })
		w := b.do(call{method: "GET", path: pathSingle, query: url.Values{
			"signature": {v.signature}, "timestamp": {v.timestamp}, "nonce": {v.nonce}, "echostr": {v.echostr},
		}})
		if w.Code != 200 || w.Body.String() != v.echostr {
			t.Errorf("%+v: %d %q", v, w.Code, w.Body)
		}
	}
}

// The recorded callback S4 (wechat-protocol §6): accepted at its own time and answered with its own pair; S2 is refused with
// its own signature and with a right one.
func TestRecordedCallbacks(t *testing.T) {
	t.Parallel()
	const s4 = "wVQjGs46yqw0j5IhISmROAFui9lgiZB3VM1rYd73dYMzYJSvRbYQe0f+K+mo/4iGgrqnQA0FucnRBj/FNY7PIku/s4FZ+jC5kK/LXCgsdN/57w9qcatKvvRLDaPrLiUZ+AFBkFjSqkRUZWAgVbBk8tpwtt8R22m0BoNqLcV1n2gRjX05b/Lw+fEm//7tX+yu2f66PNN2GiRFGKbvMasVHXKdqIRqW4224C3p0G7YxPEHLSTH1AWMjl9mDvIbtgCIMQ/yZf+Cm27B+pscDD9ocPl5ruc92yRGTtcjYmd0bQxW1eBAJJiIpA9TzZKjIxwIyoJ3jK56GUu25iC6KuBIQi357JhygGLSaoC6TlWMlJFEIxtd2JKHVEzGNJ+LuQrU5jgnMLLhSxsq5u8r/VMbyKroXGpWNvu9irPrcMhC4L0="
	const s2 = "LasT9+F3u/TTDVh3wUdOXtaMF/uJe8kKvvzZ54avW/DU8pSuJFy815e2rAFBz8bHNK+271sLFLbwBLHr2BOAHS32irOMt8Pwza4tm6TU+C6zWS00SLeF1RPTCd2EyGawFu9jlYHkjxc9kX5PovDI6FoiPs3LcVU2kpu2wE/cdqHsVvt583C8ynagjq3DAh62B8E1Uz9I7lM56J6siW+m82OPFaRJfRSWO6pLuGj8LnBJp0sUah27jJ4COSYuc6VQaf/LaO2K5zDgXklDmDxw/6rQeY1gJLIRuoKLEVUOLaJN3UYTgEjJmAMd1vHbEF12Ex6YYxVRW280IWlLDixgLsvpBkrSUoqXAFmQfNcRJZf3Yr/MSGlpsoUVRfNP7iJ70OtzVU3lbKcMmnn5FbB0EHNzJJSBVM/XPLr9VD9Ac+g="
	s4Call := call{method: "POST", path: "/wechat/callback/demo", query: url.Values{
		"signature": {"330ed3b64e363dc876f35e54a79e59b48739f567"}, "timestamp": {"1570075722"}, "nonce": {"863153744"},
		"openid": {"olPjZjsXuQPJoV0HlruZkNzKc91E"}, "encrypt_type": {"aes"},
		"msg_signature": {"71dc359205a4660bc3b3046b643452c994b5897d"},
	}, body: "<xml><ToUserName><![CDATA[gh_a96a4a619366]]></ToUserName><Encrypt><![CDATA[" + s4 + "]]></Encrypt></xml>"}
	withKey := func(key string, at int64) *bench {
		return newBench(t, ModeSafe, func(o *Options) {
			o.Accounts[0].Token, o.Accounts[0].AppID, o.Accounts[0].AESKey = "weixin", "wx669ef95216eef885", key
			o.Now = func() time.Time { return time.Unix(at, 0) }
		})
	}
	b := withKey("YTJkZmVjMzQ5NDU5NDY3MDhiZWI0NTdiMjFiY2I5MmU", 1570075723)
	b.answering("twenty-two")
	w := b.do(s4Call)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<MsgSignature>") {
		t.Fatalf("%d %q, want a sealed reply", w.Code, w.Body)
	}
	in := b.log.all()[0].GetInbound()
	if in.GetText().GetContent() != "11" || in.GetOpenId() != "olPjZjsXuQPJoV0HlruZkNzKc91E" || in.GetMsgId() != "22478079132150902" ||
		!in.GetEncrypted() || in.GetNonce() != "863153744" || in.GetAccount() != "demo" {
		t.Errorf("accepted %v", in)
	}
	delete(s4Call.query, "signature") // sometimes missing; msg_signature decides
	if w := b.do(s4Call); w.Code != 200 {
		t.Errorf("without signature: %d", w.Code)
	}

	b = withKey("mNnY5GekpChwqhy2c4NBH90g3hND6GeI4gii2YCvKLY", 1570032739)
	s2Call := call{method: "POST", path: "/wechat/callback/demo", query: url.Values{
		"timestamp": {"1570032739"}, "nonce": {"2068872452"}, "encrypt_type": {"aes"},
		"msg_signature": {"20f4a1263d198b696e6958e0d65e928aa68f7d96"},
	}, body: "<xml><ToUserName>gh_a96a4a619366</ToUserName><Encrypt>" + s2 + "</Encrypt></xml>"}
	if w := b.do(s2Call); w.Code != http.StatusForbidden || counter(t, b.metrics.refused, "demo", "signature") != 1 {
		t.Errorf("S2: %d", w.Code)
	}
	s2Call.query.Set("msg_signature", crypt.Signature("weixin", "1570032739", "2068872452", s2))
	if w := b.do(s2Call); w.Code != http.StatusForbidden || counter(t, b.metrics.refused, "demo", "decrypt") != 1 {
		t.Errorf("S2 signed anew: %d", w.Code)
	}
	if len(b.log.all()) != 0 {
		t.Error("S2 had an effect")
	}
}

// Every pair of token and key that a rotation can leave with the platform is accepted, and the reply is sealed with that pair.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, mode := range modes[1:] {
		for _, token := range []string{testToken, otherToken} {
			for _, key := range []string{testAESKey, otherAESKey} {
				b := newBench(t, mode, func(o *Options) {
					o.Accounts[0].PreviousToken, o.Accounts[0].PreviousAESKey = otherToken, otherAESKey
				})
				b.answering("hello")
				now := time.Now()
				w := b.do(pushCall(t, mode, token, key, textXML("1", "hi", now), now))
				if w.Code != 200 {
					t.Errorf("%s %s %s: %d", mode.name(), token, key, w.Code)
					continue
				}
				if plain := openReply(t, w.Body.String(), token, key); !strings.Contains(plain, "<![CDATA[hello]]>") {
					t.Errorf("%s %s %s: reply %q", mode.name(), token, key, plain)
				}
			}
		}
	}
}

// openReply checks a sealed reply's signature and returns what is in it.
func openReply(t *testing.T, body, token, key string) string {
	t.Helper()
	field := func(name string) string {
		_, rest, _ := strings.Cut(body, "<"+name+">")
		value, _, _ := strings.Cut(rest, "</"+name+">")
		return strings.TrimSuffix(strings.TrimPrefix(value, "<![CDATA["), "]]>")
	}
	codec, err := crypt.NewCodec(token, key, testAppID)
	if err != nil {
		t.Fatal(err)
	}
	if !codec.VerifyMessage(field("MsgSignature"), field("TimeStamp"), field("Nonce"), field("Encrypt")) {
		t.Fatalf("the reply %q is not signed with token %s", body, token)
	}
	plain, err := codec.Decrypt(field("Encrypt"))
	if err != nil {
		t.Fatalf("the reply %q is not sealed with key %s", body, key)
	}
	return string(plain)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	b := newBench(t, ModePlain, func(o *Options) {
		second := testAccount(ModePlain)
		second.ID = "second"
		o.Accounts = append(o.Accounts, second)
	})
	b.answering("hello")
	now := time.Now()
	c := pushCall(t, ModePlain, testToken, "", textXML("1", "hi", now), now)
	if w := b.do(c); w.Code != 200 || w.Header().Get("Content-Type") != typeXML[0] {
		t.Errorf("by name: %d %v", w.Code, w.Header())
	}
	c.path = pathSingle
	if w := b.do(c); w.Code != http.StatusForbidden {
		t.Errorf("without a name, with two accounts: %d", w.Code)
	}
	for _, path := range []string{"/wechat/callback/demo", pathSingle, "/wechat/callback/nobody"} {
		w := b.do(call{method: http.MethodPut, path: path})
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST" {
			t.Errorf("PUT %s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := b.do(call{method: http.MethodGet, path: "/elsewhere"}); w.Code != http.StatusNotFound {
		t.Errorf("elsewhere: %d", w.Code)
	}
	want := `
# HELP wechat_http_requests_total Requests to the callback listener; status 499: ended without a response.
# TYPE wechat_http_requests_total counter
wechat_http_requests_total{endpoint="/wechat/callback",method="POST",status="200"} 0
wechat_http_requests_total{endpoint="/wechat/callback",method="POST",status="403"} 1
wechat_http_requests_total{endpoint="/wechat/callback",method="other",status="405"} 1
wechat_http_requests_total{endpoint="/wechat/callback/{account}",method="POST",status="200"} 1
wechat_http_requests_total{endpoint="/wechat/callback/{account}",method="other",status="405"} 2
wechat_http_requests_total{endpoint="other",method="GET",status="404"} 1
`
	if err := testutil.GatherAndCompare(b.registry, strings.NewReader(want), "wechat_http_requests_total"); err != nil {
		t.Error(err)
	}
}

// What nobody answers is acknowledged without a slot.
func TestPushesWithoutAReply(t *testing.T) {
	t.Parallel()
	b := newBench(t, ModeSafe, nil)
	now := time.Now()
	for _, body := range []string{
		`{"action":"CheckContainerPath"}`, // signed: somebody who knows the token
		strings.Replace(textXML("1", "x", now), "<![CDATA[text]]>", "something_new", 1),
		`<xml><ToUserName>gh</ToUserName><FromUserName>` + openID + `</FromUserName><CreateTime>` +
			fmt.Sprint(now.Unix()) + `</CreateTime><MsgType>event</MsgType><Event>unsubscribe</Event></xml>`,
	} {
		w := b.do(pushCall(t, ModeSafe, testToken, testAESKey, body, now))
		if w.Code != 200 || w.Body.String() != "success" {
			t.Errorf("%s: %d %q", body, w.Code, w.Body)
		}
	}
	for _, e := range b.log.all() {
		if e.Slot != nil {
			t.Errorf("a slot for %v", e)
		}
	}
	if len(b.log.all()) != 3 {
		t.Errorf("%d entries, want 3", len(b.log.all()))
	}
	b.log.hook = func(context.Context, *messages.Entry) error { return errors.New("full") }
	if w := b.do(pushCall(t, ModeSafe, testToken, testAESKey, textXML("2", "x", now.Add(-time.Hour)), now)); w.Body.String() == "success" {
		t.Error("success without the log")
	}
}

func TestNewRefusesWhatWouldBeUnsafe(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no log":            func(o *Options) { o.Log = nil },
		"no id":             func(o *Options) { o.ID = "" },
		"no accounts":       func(o *Options) { o.Accounts = nil },
		"twice":             func(o *Options) { o.Accounts = append(o.Accounts, o.Accounts[0]) },
		"bad account id":    func(o *Options) { o.Accounts[0].ID = "a/b" },
		"empty token":       func(o *Options) { o.Accounts[0].Token = "" },
		"empty app id":      func(o *Options) { o.Accounts[0].AppID = "" },
		"no key":            func(o *Options) { o.Accounts[0].AESKey = "" },
		"short previous":    func(o *Options) { o.Accounts[0].PreviousAESKey = "short" },
		"unknown mode":      func(o *Options) { o.Accounts[0].Mode = 7 },
		"deadline too late": func(o *Options) { o.Accounts[0].Deadline = 5 * time.Second },
		"negative skew":     func(o *Options) { o.Accounts[0].MaxClockSkew = -1 },
		"no deliveries":     func(o *Options) { o.Accounts[0].Deliveries = -1 },
		"no randomness":     func(o *Options) { o.Random = bytes.NewReader(nil) },
	} {
		o := Options{Accounts: []Account{testAccount(ModeSafe)}, Log: &memoryLog{}, ID: "i1"}
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), testToken) || strings.Contains(err.Error(), testAESKey) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

// A previous token that is not set lets nobody in with an empty one.
func TestEmptyPreviousToken(t *testing.T) {
	t.Parallel()
	b := newBench(t, ModePlain, nil)
	if w := b.do(handshakeCall("", "1", time.Now())); w.Code != http.StatusForbidden {
		t.Errorf("%d", w.Code)
	}
}
