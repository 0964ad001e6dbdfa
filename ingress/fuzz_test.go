package ingress

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"hongyan/wechat"
	"hongyan/wechat/crypt"
)

// fuzzNow is the wall clock of FuzzCallback, so that its corpus does not grow stale.
var fuzzNow = time.Unix(1714112445, 0)

// FuzzCallback sends anything to the whole handler. Whatever has an effect must be signed, and must decode, by the words of
// the protocol, checked here by another way than the handler's.
func FuzzCallback(f *testing.F) {
	for _, mode := range modes {
		push := pushCall(f, mode, testToken, testAESKey, textXML("1", "hi", fuzzNow), fuzzNow)
		f.Add(uint8(mode), push.method, push.path, push.query.Encode(), []byte(push.body))
		for _, c := range hostileAt(f, mode, fuzzNow) {
			if len(c.call.body) < 64<<10 {
				f.Add(uint8(mode), c.call.method, c.call.path, c.call.query.Encode(), []byte(c.call.body))
			}
		}
	}
	for _, body := range fixtures(f) {
		f.Add(uint8(ModePlain), "POST", pathSingle, signedQuery(testToken, fuzzNow).Encode(), []byte(body))
		c := pushCall(f, ModeSafe, testToken, testAESKey, body, fuzzNow)
		f.Add(uint8(ModeSafe), "POST", pathSingle, c.query.Encode(), []byte(c.body))
	}
	handshake := handshakeCall(testToken, "4375120948345356249", fuzzNow)
	f.Add(uint8(ModePlain), handshake.method, handshake.path, handshake.query.Encode(), []byte(nil))

	f.Fuzz(func(t *testing.T, m uint8, method, path, rawQuery string, body []byte) {
		mode := Mode(m % 3)
		b := newBench(t, mode, func(o *Options) { o.Now = func() time.Time { return fuzzNow } })
		b.answering("hello")
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: rawQuery}, Header: http.Header{}, Host: "hongyan",
			Body: http.NoBody, ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body))).Body
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			if !genuineBy(mode, method, r.URL.Query(), body) {
				t.Errorf("200 with %q for a request that is not genuine", w.Body)
			}
		case http.StatusForbidden:
			if w.Body.String() != string(refusal) || len(w.Header()) != 4 {
				t.Errorf("a refusal of its own: %q %v", w.Body, w.Header())
			}
			fallthrough
		default:
			if len(b.log.all()) != 0 {
				t.Errorf("%d with an effect", w.Code)
			}
		}
	})
}

// genuineBy is wechat-protocol §1 once more, written with url.Values.
func genuineBy(mode Mode, method string, q url.Values, body []byte) bool {
	ts, nonce := q.Get("timestamp"), q.Get("nonce")
	if method == http.MethodGet {
		return crypt.Signature(testToken, ts, nonce) == q.Get("signature") && q.Get("echostr") != ""
	}
	if mode == ModePlain {
		_, err := wechat.Decode("demo", body)
		return crypt.Signature(testToken, ts, nonce) == q.Get("signature") && err == nil
	}
	envelope, err := wechat.DecodeEnvelope(body)
	if err != nil || crypt.Signature(testToken, ts, nonce, envelope.Encrypt) != q.Get("msg_signature") {
		return false
	}
	codec, err := crypt.NewCodec(testToken, testAESKey, testAppID)
	if err != nil {
		return false
	}
	plain, err := codec.Decrypt(envelope.Encrypt)
	if err != nil {
		return false
	}
	_, err = wechat.Decode("demo", plain)
	return err == nil && q.Get("encrypt_type") == "aes"
}

// parseQuery agrees with net/url wherever both accept.
func FuzzQuery(f *testing.F) {
	f.Add("signature=a&timestamp=1&nonce=2&openid=o&encrypt_type=aes&msg_signature=b")
	f.Add("echostr=a%20b+c&signatur%65=x&&=&a")
	f.Add("nonce=1&nonce=2")
	f.Fuzz(func(t *testing.T, raw string) {
		q, ok := parseQuery(raw)
		values, err := url.ParseQuery(raw)
		if !ok || err != nil {
			return
		}
		for name, got := range map[string]string{
			"signature": q.signature, "timestamp": q.timestamp, "nonce": q.nonce, "echostr": q.echostr,
			"encrypt_type": q.encryptType, "msg_signature": q.msgSignature,
		} {
			if got != values.Get(name) || len(values[name]) > 1 {
				t.Errorf("%s is %q, net/url has %q", name, got, values[name])
			}
		}
	})
}
