package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/crypt"
)

// forgery is a callback in the making: genuine as it comes from genuine, until a test bends it.
type forgery struct {
	method    string
	account   string
	timestamp int64
	nonce     string
	query     url.Values // what does not come from the other fields
	plain     string     // what is sealed
	appID     string     // receiver inside the sealed payload
	encrypt   string     // the sealed payload; made from plain where empty
	body      string     // of the request; the envelope around encrypt where empty
	chunked   bool       // no Content-Length
}

const nonceSize = 9 // letters and digits, as WeChat's

// genuine is what WeChat would send for a text of a user.
func genuine(openID, msgID, text string) forgery {
	now := time.Now().Unix()
	return forgery{
		method: http.MethodPost, account: "demo", timestamp: now, nonce: rand.Text()[:nonceSize], appID: testAppID, query: url.Values{},
		plain: push(openID, msgID, text, now),
	}
}

func push(openID, msgID, text string, created int64) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName><FromUserName><![CDATA[%s]]></FromUserName>"+
		"<CreateTime>%d</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[%s]]></Content><MsgId>%s</MsgId></xml>",
		testOriginalID, openID, created, text, msgID)
}

func codec(t *testing.T, appID string) *crypt.Codec {
	t.Helper()
	c, err := crypt.NewCodec(testToken, testAESKey, appID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seal fills in the sealed payload and the envelope.
func (f *forgery) seal(t *testing.T) {
	t.Helper()
	if f.encrypt == "" {
		var random [16]byte
		_, _ = rand.Read(random[:])
		f.encrypt = codec(t, f.appID).Encrypt([]byte(f.plain), random)
	}
	if f.body == "" {
		f.body = "<xml><ToUserName><![CDATA[" + testOriginalID + "]]></ToUserName><Encrypt><![CDATA[" + f.encrypt + "]]></Encrypt></xml>"
	}
}

// bytes is the whole request. Parameters of query stand in place of those that are computed; an empty one is left out.
func (f *forgery) bytes(t *testing.T, host string) []byte {
	t.Helper()
	f.seal(t)
	timestamp := strconv.FormatInt(f.timestamp, 10)
	q := url.Values{
		"signature": {crypt.Signature(testToken, timestamp, f.nonce)}, "timestamp": {timestamp}, "nonce": {f.nonce},
	}
	if f.method == http.MethodPost {
		q.Set("encrypt_type", "aes")
		q.Set("msg_signature", codec(t, f.appID).Sign(timestamp, f.nonce, f.encrypt))
	}
	for name, values := range f.query {
		if q[name] = values; len(values) == 0 {
			q.Del(name)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /wechat/callback/%s?%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/4.0\r\nContent-Type: text/xml\r\n",
		f.method, f.account, q.Encode(), host)
	switch {
	case f.method != http.MethodPost:
		b.WriteString("\r\n")
	case f.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(f.body), f.body)
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(f.body), f.body)
	}
	return b.Bytes()
}

var dateHeader = regexp.MustCompile(`(?m)^Date: [^\r]*\r$`)

// exchange sends bytes as they are on a connection of their own and returns the response's bytes, the date left out.
func exchange(t *testing.T, address string, request []byte) (raw string, resp *http.Response, body string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() { // ends with the connection
		defer close(written)
		_, _ = conn.Write(request) // a refusal may come before the end of a huge body
	}()
	defer func() { _ = conn.Close(); <-written }()
	var all bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &all))
	resp, err = http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("no response: %v; received %q", err, all.String())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("the response broke off: %v; received %q", err, all.String())
	}
	return dateHeader.ReplaceAllString(all.String(), "Date: \r"), resp, string(b)
}

// open is the text of a sealed reply.
func openReply(t *testing.T, body string) string {
	t.Helper()
	var outer struct{ Encrypt string }
	if err := xml.Unmarshal([]byte(body), &outer); err != nil {
		t.Fatalf("the reply is no envelope: %v: %q", err, body)
	}
	plain, err := codec(t, testAppID).Decrypt(outer.Encrypt)
	if err != nil {
		t.Fatalf("the reply cannot be opened: %v", err)
	}
	var inner struct{ Content string }
	if err := xml.Unmarshal(plain, &inner); err != nil {
		t.Fatalf("the reply is no XML: %v: %q", err, plain)
	}
	return strings.TrimSpace(inner.Content)
}

// flip changes one character of the base64 text, in the last block, where padding and receiver id stand.
func flip(text string) string {
	b := []byte(text)
	i := len(b) - 12
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
