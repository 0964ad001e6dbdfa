package simulator

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/wechat/crypt"
)

const (
	testToken  = "pamtest"
	testAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	testAppID  = "wxb11529c136998cb6"
	testGH     = "gh_0123456789ab"
)

// delivered is one callback as the back end of these tests understood it.
type delivered struct {
	Query     map[string]string
	Encrypted bool
	Fields    map[string]string // body after decryption, by element name
	Outer     map[string]string // body as it came
	At        time.Time
}

// backend is a small account owner's server: it verifies and decrypts with its own code (besides package crypt) and hands every
// callback to answer. It counts what it got.
type backend struct {
	t      testing.TB
	mode   string
	format string
	answer func(w http.ResponseWriter, r *http.Request, d delivered, number int)

	mu   sync.Mutex
	seen []delivered
}

func (b *backend) all() []delivered {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]delivered(nil), b.seen...)
}

// ServeHTTP does what WeChat's guide asks of a server.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if crypt.Signature(testToken, q.Get("timestamp"), q.Get("nonce")) != q.Get("signature") {
		http.Error(w, "forged", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, q.Get("echostr"))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	d := delivered{Query: map[string]string{}, Outer: readFields(b.t, b.format, body), At: time.Now()}
	for k := range q {
		d.Query[k] = q.Get(k)
	}
	d.Fields = d.Outer
	if encrypt := d.Outer["Encrypt"]; encrypt != "" {
		codec := testCodec(b.t)
		if codec.Sign(q.Get("timestamp"), q.Get("nonce"), encrypt) != q.Get("msg_signature") || q.Get("encrypt_type") != "aes" {
			http.Error(w, "forged", http.StatusForbidden)
			return
		}
		plain, err := codec.Decrypt(encrypt)
		if err != nil {
			b.t.Errorf("callback does not decrypt: %v", err)
		}
		d.Encrypted, d.Fields = true, readFields(b.t, b.format, plain)
	}
	b.mu.Lock()
	b.seen = append(b.seen, d)
	number := 0
	for _, other := range b.seen {
		if other.Fields["FromUserName"] == d.Fields["FromUserName"] && other.Fields["MsgId"] == d.Fields["MsgId"] &&
			other.Fields["CreateTime"] == d.Fields["CreateTime"] && other.Fields["EventKey"] == d.Fields["EventKey"] {
			number++
		}
	}
	b.mu.Unlock()
	b.answer(w, r, d, number)
}

func testCodec(t testing.TB) *crypt.Codec {
	codec, err := crypt.NewCodec(testToken, testAESKey, testAppID)
	if err != nil {
		t.Errorf("codec: %v", err)
	}
	return codec
}

// readFields reads the top level of a body as names and texts.
func readFields(t testing.TB, format string, body []byte) map[string]string {
	fields := map[string]string{}
	if format == FormatJSON {
		var values map[string]any
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		if err := d.Decode(&values); err != nil {
			t.Errorf("callback is no JSON: %v\n%s", err, body)
		}
		for k, v := range values {
			fields[k] = fmt.Sprint(v)
		}
		return fields
	}
	var document struct {
		XMLName xml.Name `xml:"xml"`
		Nodes   []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(body, &document); err != nil {
		t.Errorf("callback is no XML: %v\n%s", err, body)
	}
	for _, n := range document.Nodes {
		fields[n.XMLName.Local] = n.Text
	}
	return fields
}

// replyText is a correct text reply in the mode and form of the push.
func (b *backend) replyText(d delivered, content string) string {
	if b.format == FormatJSON {
		return b.seal(d, fmt.Sprintf(`{"ToUserName":%q,"FromUserName":%q,"CreateTime":1700000000,"MsgType":"text","Content":%q}`,
			d.Fields["FromUserName"], d.Fields["ToUserName"], content))
	}
	return b.seal(d, b.replyXML(d, "text", "<Content><![CDATA["+strings.ReplaceAll(content, "]]>", "]]]]><![CDATA[>")+"]]></Content>"))
}

func (b *backend) replyXML(d delivered, kind, inner string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName><FromUserName><![CDATA[%s]]></FromUserName><CreateTime>1700000000</CreateTime>"+
		"<MsgType><![CDATA[%s]]></MsgType>%s</xml>", d.Fields["FromUserName"], d.Fields["ToUserName"], kind, inner)
}

// seal encrypts a reply where the push was encrypted.
func (b *backend) seal(d delivered, plain string) string {
	if !d.Encrypted {
		return plain
	}
	return envelope(b.format, testCodec(b.t), strconv.FormatInt(time.Now().Unix(), 10), d.Query["nonce"], plain)
}

func envelope(format string, codec *crypt.Codec, timestamp, nonce, plain string) string {
	encrypt := codec.Encrypt([]byte(plain), [16]byte{1, 2, 3})
	sign := codec.Sign(timestamp, nonce, encrypt)
	if format == FormatJSON {
		return fmt.Sprintf(`{"Encrypt":%q,"MsgSignature":%q,"TimeStamp":%s,"Nonce":%q}`, encrypt, sign, timestamp, nonce)
	}
	return fmt.Sprintf("<xml><Encrypt><![CDATA[%s]]></Encrypt><MsgSignature><![CDATA[%s]]></MsgSignature><TimeStamp>%s</TimeStamp><Nonce><![CDATA[%s]]></Nonce></xml>",
		encrypt, sign, timestamp, nonce)
}

// rig is a platform with one account, demo, in front of a back end on loopback.
type rig struct {
	*Platform
	back *backend
}

type answerFunc = func(w http.ResponseWriter, r *http.Request, d delivered, number int)

// newRig starts both; they end with the test. edit may be nil.
func newRig(t testing.TB, mode, format string, answer answerFunc, edit func(*Options)) rig {
	t.Helper()
	back := &backend{t: t, mode: mode, format: format, answer: answer}
	server := httptest.NewServer(back)
	o := Options{Accounts: []Account{{
		ID: "demo", AppID: testAppID, OriginalID: testGH, Token: testToken, AESKey: testAESKey, Mode: mode, Format: format,
		CallbackURL: server.URL + "/wechat/callback/demo",
	}}}
	if edit != nil {
		edit(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); server.Close() })
	return rig{p, back}
}
