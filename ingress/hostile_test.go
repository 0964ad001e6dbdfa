package ingress

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/crypt"
)

// hostile is everything that is not genuine for an account in the given mode, by the reason that is counted.
func hostile(tb testing.TB, mode Mode) map[string]hostileCall { return hostileAt(tb, mode, time.Now()) }

type hostileCall struct {
	call call
	why  reason
}

func hostileAt(tb testing.TB, mode Mode, now time.Time) map[string]hostileCall {
	good := textXML("1", "hi", now)
	push := func(body string) call { return pushCall(tb, mode, testToken, testAESKey, body, now) }
	with := func(c call, change func(*call)) call {
		c.query, _ = url.ParseQuery(c.query.Encode())
		change(&c)
		return c
	}
	cases := map[string]hostileCall{
		"unknown account":     {with(push(good), func(c *call) { c.path = "/wechat/callback/nobody" }), reasonAccount},
		"no account":          {with(push(good), func(c *call) { c.path = "/wechat/callback/" }), reasonAccount},
		"wrong token":         {pushCall(tb, mode, "nobody", testAESKey, good, now), reasonSignature},
		"no query":            {with(push(good), func(c *call) { c.query = nil }), reasonQuery},
		"stale":               {pushCall(tb, mode, testToken, testAESKey, good, now.Add(-16*time.Minute)), reasonStale},
		"from the future":     {pushCall(tb, mode, testToken, testAESKey, good, now.Add(16*time.Minute)), reasonStale},
		"timestamp no number": {with(push(good), func(c *call) { c.query.Set("timestamp", "-1714036504") }), reasonQuery},
		"repeated nonce":      {with(push(good), func(c *call) { c.query.Add("nonce", testNonce) }), reasonQuery},
		"bad escape":          {with(push(good), func(c *call) { c.path += "?nonce=%zz&x="; c.query = nil }), reasonQuery},
		"long query":          {with(push(good), func(c *call) { c.query.Set("x", strings.Repeat("x", maxQuery)) }), reasonQuery},
		"oversize":            {with(push(good), func(c *call) { c.body += strings.Repeat(" ", DefaultMaxBody) }), reasonTooLarge},
		"10 MiB":              {with(push(good), func(c *call) { c.body += strings.Repeat(" ", 10<<20) }), reasonTooLarge},
		"not XML":             {push("hello"), reasonMalformed},
		"empty":               {push(""), reasonMalformed},
		"unclosed":            {push(strings.TrimSuffix(good, "</xml>")), reasonMalformed},
		"bytes after root":    {push(good + "<xml/>"), reasonMalformed},
		"repeated field":      {push(strings.Replace(good, "<MsgId>", "<MsgId>2</MsgId><MsgId>", 1)), reasonMalformed},
		"no sender":           {push(strings.ReplaceAll(good, "FromUserName", "From")), reasonMalformed},
		"not UTF-8":           {push(strings.Replace(good, "hi", "\xff\xfe", 1)), reasonMalformed},
		"deep":                {push("<xml>" + strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40) + "</xml>"), reasonMalformed},
		"entity bomb": {push(`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>` +
			strings.Replace(good, "<![CDATA[hi]]>", "&b;", 1)), reasonMalformed},
		"handshake without echostr": {call{method: "GET", path: "/wechat/callback/demo", query: signedQuery(testToken, now)}, reasonQuery},
		"handshake wrongly signed":  {handshakeCall("nobody", "1", now), reasonSignature},
		"container path probe": {call{
			method: "POST", path: "/wechat/callback/demo", body: `{"action":"CheckContainerPath"}`,
		}, reasonQuery},
	}
	if mode == ModePlain {
		sealed := pushCall(tb, ModeSafe, testToken, testAESKey, good, now)
		cases["safe push to plain account"] = hostileCall{sealed, reasonMode}
		return cases
	}
	codec, _ := crypt.NewCodec(testToken, testAESKey, testAppID)
	stranger, _ := crypt.NewCodec(testToken, testAESKey, "wxffffffffffffffff")
	seal := func(ciphertext string) call {
		return sealedCall(call{method: "POST", path: "/wechat/callback/demo", query: signedQuery(testToken, now), body: good},
			testToken, ciphertext, mode == ModeCompat)
	}
	flip := func(i int) string {
		raw, _ := base64.StdEncoding.DecodeString(codec.Encrypt([]byte(good), [16]byte{}))
		raw[(i+len(raw))%len(raw)] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	cases["plain push"] = hostileCall{pushCall(tb, ModePlain, testToken, "", good, now), reasonMode}
	cases["raw"] = hostileCall{with(push(good), func(c *call) { c.query.Set("encrypt_type", "raw") }), reasonMode}
	cases["no envelope"] = hostileCall{with(push(good), func(c *call) { c.body = good }), reasonMode}
	cases["no msg_signature"] = hostileCall{with(push(good), func(c *call) { c.query.Del("msg_signature") }), reasonSignature}
	cases["msg_signature twice"] = hostileCall{with(push(good), func(c *call) { c.query.Add("msg_signature", "x") }), reasonQuery}
	cases["wrong key"] = hostileCall{pushCall(tb, mode, testToken, otherAESKey, good, now), reasonDecrypt}
	cases["wrong receiver"] = hostileCall{seal(stranger.Encrypt([]byte(good), [16]byte{})), reasonDecrypt}
	// CBC: a bit flipped in the first block garbles the random bytes and flips one of the length.
	cases["first bit flipped"] = hostileCall{seal(flip(0)), reasonDecrypt}
	cases["last bit flipped"] = hostileCall{seal(flip(-1)), reasonDecrypt}
	cases["cut"] = hostileCall{seal(flip(1)[:64]), reasonDecrypt}
	cases["not base64"] = hostileCall{seal("!!!"), reasonDecrypt}
	cases["bit flipped, not signed anew"] = hostileCall{with(push(good), func(c *call) {
		c.body = strings.Replace(c.body, "<Encrypt><![CDATA[", "<Encrypt><![CDATA[A", 1)
	}), reasonSignature}
	return cases
}

// Everything that is not genuine gets the same bytes, has no effect, is counted under its own reason, and tells the log
// nothing that is secret.
func TestRefusalsAreAlike(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.name(), func(t *testing.T) {
			t.Parallel()
			var same string
			for name, c := range hostile(t, mode) {
				b := newBench(t, mode, nil)
				server := b.Server()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() { defer close(done); _ = server.Serve(l) }() // ends with Close
				got := exchangeRaw(t, l.Addr().String(), c.call.wire())
				_ = server.Close()
				<-done
				if same == "" {
					same = got
				}
				if got != same {
					t.Errorf("%s: response\n%q\ndiffers from\n%q", name, got, same)
				}
				account := "demo"
				if c.why == reasonAccount {
					account = ""
				}
				if n := counter(t, b.metrics.refused, account, string(c.why)); n != 1 {
					t.Errorf("%s: not counted as %s; log:\n%s", name, c.why, b.lines)
				}
				if len(b.log.all()) != 0 {
					t.Errorf("%s: the log has it", name)
				}
				for _, secret := range []string{testToken, testAESKey, openID, "hi]]>", testNonce} {
					if strings.Contains(b.lines.String(), secret) {
						t.Errorf("%s: the log line shows %q: %s", name, secret, b.lines)
					}
				}
			}
			if !strings.HasPrefix(same, "HTTP/1.1 403 Forbidden\r\n") || !strings.HasSuffix(same, "\r\n\r\nforbidden\n") {
				t.Errorf("the refusal is %q", same)
			}
		})
	}
}

// exchangeRaw sends wire and returns all that comes back until the server hangs up, without the Date.
func exchangeRaw(t *testing.T, addr, wire string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	sent := make(chan struct{})
	go func() { // ends when all is sent or the server has hung up
		defer close(sent)
		_, _ = io.WriteString(conn, wire)
	}()
	got, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && len(got) == 0 {
		t.Fatalf("no response: %v", err)
	}
	_ = conn.Close()
	<-sent
	var lines []string
	for line := range strings.SplitSeq(string(got), "\r\n") {
		if !strings.HasPrefix(line, "Date: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\r\n")
}

// A body that streams beyond the limit is refused without being read on, and memory does not grow with it.
func TestStreamedOversize(t *testing.T) {
	t.Parallel()
	b := newBench(t, ModeSafe, nil)
	good := pushCall(t, ModeSafe, testToken, testAESKey, textXML("1", "hi", time.Now()), time.Now())
	body := &endless{}
	r := httptest.NewRequest(http.MethodPost, good.path+"?"+good.query.Encode(), body)
	r.ContentLength = -1
	w := httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.Handler().ServeHTTP(w, r)
	runtime.ReadMemStats(&after)
	if w.Code != http.StatusForbidden || counter(t, b.metrics.refused, "demo", "too_large") != 1 {
		t.Errorf("%d", w.Code)
	}
	if body.read > 2<<20 {
		t.Errorf("%d bytes were read", body.read)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 { // other tests run at the same time; alone it is 1.4 MiB
		t.Errorf("%d bytes were allocated", got)
	}
}

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

// A hostile body of the full size costs less than 2 MiB of heap, with the buffers that hold it.
func TestHostileBodiesAreCheap(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, DefaultMaxBody/len(s)+1)[:DefaultMaxBody] }
	now := time.Now()
	for _, mode := range modes {
		b := newBench(t, mode, nil)
		for name, body := range map[string]string{
			"open elements":  fill("<a>"),
			"siblings":       "<xml>" + fill("<a/>")[:DefaultMaxBody-10],
			"attributes":     "<xml " + fill(`a="b" `)[:DefaultMaxBody-10],
			"entities":       "<xml>" + fill("&amp;")[:DefaultMaxBody-10],
			"open arrays":    fill("["),
			"objects":        fill(`{"a":`),
			"members":        "{" + fill(`"a":1,`)[:DefaultMaxBody-10],
			"CDATA":          "<xml>" + fill("<![CDATA[x]]>")[:DefaultMaxBody-10],
			"entity bomb":    fill(`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>`),
			"big ciphertext": "<xml><Encrypt>" + fill("AAAA")[:DefaultMaxBody-32] + "</Encrypt></xml>",
		} {
			c := call{method: http.MethodPost, path: "/wechat/callback/demo", query: signedQuery(testToken, now), body: body}
			if mode != ModePlain {
				c.query.Set("encrypt_type", "aes")
				c.query.Set("msg_signature", strings.Repeat("0", sizeSHA1Hex))
			}
			if mode == ModePlain && name == "big ciphertext" {
				continue // an unknown kind with a payload too large to keep; the same as siblings
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			w := b.do(c)
			runtime.ReadMemStats(&after)
			if w.Code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", mode.name(), name, w.Code)
			}
			// 256 KiB of it are the test's own request.
			if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
				t.Errorf("%s, %s: %d KiB allocated", mode.name(), name, got>>10)
			}
		}
	}
}
