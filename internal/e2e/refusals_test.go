package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
)

// What must never stand in the log of a node, beside the credentials. The users and texts of the genuine messages count too.
const (
	secretUser  = "oSecretUser5Kd5ggOC-bXrbNODIiE3bGY"
	forgedUser  = "oForgedUser9AgO5Kd5ggOC-bXrbNODIiE"
	secretText  = "问 机密正文Secret7731"
	forgedText  = "伪造正文Forged4402"
	secretReply = "《机密正文Secret7731》"
)

// refusals are callbacks that are not genuine, each with the reason that the counters give and nobody else learns.
var refusals = []struct {
	name   string
	reason string
	bend   func(t *testing.T, f *forgery)
}{
	{"wrong msg_signature", "signature", func(_ *testing.T, f *forgery) {
		f.query.Set("msg_signature", strings.Repeat("0", 40))
	}},
	{"no msg_signature", "signature", func(_ *testing.T, f *forgery) { f.query["msg_signature"] = nil }},
	{"signature alone, plain body to a safe account", "mode", func(_ *testing.T, f *forgery) {
		f.query["msg_signature"], f.query["encrypt_type"], f.body = nil, nil, f.plain
	}},
	{"aes announced, plain body", "mode", func(_ *testing.T, f *forgery) { f.body = f.plain }},
	{"encrypt_type raw", "mode", func(_ *testing.T, f *forgery) { f.query.Set("encrypt_type", "raw") }},
	{"10 MiB body", "too_large", func(_ *testing.T, f *forgery) { f.body = huge() }},
	{"10 MiB body in chunks", "too_large", func(_ *testing.T, f *forgery) { f.body, f.chunked = huge(), true }},
	{"entity bomb as envelope", "malformed", func(t *testing.T, f *forgery) {
		t.Helper()
		f.seal(t)
		f.body = bomb("<Encrypt>" + f.encrypt + "&e9;</Encrypt>")
	}},
	{"entity bomb inside", "malformed", func(_ *testing.T, f *forgery) {
		f.plain = bomb("<FromUserName>" + forgedUser + "</FromUserName><MsgType>text</MsgType><MsgId>1</MsgId><Content>&e9;</Content>")
	}},
	{"deep nesting inside", "malformed", func(_ *testing.T, f *forgery) {
		f.plain = strings.Replace(f.plain, "<MsgId>", strings.Repeat("<a>", 20_000)+strings.Repeat("</a>", 20_000)+"<MsgId>", 1)
	}},
	{"deep nesting as envelope", "malformed", func(_ *testing.T, f *forgery) {
		f.body = "<xml>" + strings.Repeat("<a>", 20_000) + strings.Repeat("</a>", 20_000) + "</xml>"
	}},
	{"flipped ciphertext", "signature", func(t *testing.T, f *forgery) {
		t.Helper()
		f.seal(t)
		f.body = strings.Replace(f.body, f.encrypt, flip(f.encrypt), 1)
	}},
	{"flipped ciphertext, signed anew", "decrypt", func(t *testing.T, f *forgery) {
		t.Helper()
		f.seal(t)
		f.encrypt, f.body = flip(f.encrypt), ""
	}},
	{"cut ciphertext, signed anew", "decrypt", func(t *testing.T, f *forgery) {
		t.Helper()
		f.seal(t)
		f.encrypt, f.body = f.encrypt[:len(f.encrypt)/2], ""
	}},
	{"another account's AppID", "decrypt", func(_ *testing.T, f *forgery) { f.appID = "wx0000000000000000" }},
	{"stale timestamp", "stale", func(_ *testing.T, f *forgery) { f.timestamp -= int64(16 * time.Minute / time.Second) }},
	{"timestamp of the future", "stale", func(_ *testing.T, f *forgery) { f.timestamp += int64(16 * time.Minute / time.Second) }},
	{"timestamp that is none", "query", func(_ *testing.T, f *forgery) { f.query.Set("timestamp", "yesterday") }},
	{"a parameter twice", "query", func(_ *testing.T, f *forgery) { f.query["nonce"] = []string{f.nonce, f.nonce} }},
	{"a field twice", "malformed", func(_ *testing.T, f *forgery) {
		f.plain = strings.Replace(f.plain, "<MsgId>", "<FromUserName>x</FromUserName><MsgId>", 1)
	}},
	{"bytes after the root", "malformed", func(_ *testing.T, f *forgery) { f.plain += "<xml/>" }},
	{"no UTF-8", "malformed", func(_ *testing.T, f *forgery) { f.plain = strings.Replace(f.plain, "伪", "\xff\xfe", 1) }},
	{"nothing", "malformed", func(_ *testing.T, f *forgery) { f.body = " " }},
	{"unknown account", "unknown_account", func(_ *testing.T, f *forgery) { f.account = "nobody" }},
	{"handshake with a wrong signature", "signature", func(_ *testing.T, f *forgery) {
		f.method = http.MethodGet
		f.query.Set("echostr", "4375120948345356249")
		f.query.Set("signature", strings.Repeat("f", 40))
	}},
	{"handshake of an unknown account", "unknown_account", func(_ *testing.T, f *forgery) {
		f.method, f.account = http.MethodGet, "nobody"
		f.query.Set("echostr", "4375120948345356249")
	}},
}

func huge() string { return "<xml><Encrypt>" + strings.Repeat("A", 10<<20) + "</Encrypt></xml>" }

// bomb is a document whose entities would grow to 10⁹ characters.
func bomb(inside string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><!DOCTYPE xml [<!ENTITY e0 "x">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, `<!ENTITY e%d "%s">`, i, strings.Repeat(fmt.Sprintf("&e%d;", i-1), 10))
	}
	return b.String() + "]><xml>" + inside + "</xml>"
}

// TestRefusals: what is not genuine is refused alike to the byte, has no effect, and the counters alone say why. A replay
// inside the time window is a duplicate. Whatever happened, no secret, user or text stands in the log.
func TestRefusals(t *testing.T) {
	realProcess(t)
	n := newNode(t, settings{durability: "os", rules: checker.Rules(0)})
	n.startReady()
	var first, firstName string
	for i, c := range refusals {
		f := genuine(forgedUser, fmt.Sprint(1000+i), forgedText)
		c.bend(t, &f)
		before := refused(n)
		raw, resp, _ := exchange(t, n.callback, f.bytes(t, n.callback))
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d, not 403", c.name, resp.StatusCode)
		}
		if first == "" {
			first, firstName = raw, c.name
		}
		if raw != first {
			t.Errorf("%s is told apart from %s by its response:\n%q\n%q", c.name, firstName, raw, first)
		}
		account := "demo"
		if f.account != account {
			account = ""
		}
		want := maps.Clone(before)
		want[fmt.Sprintf("hongyan_ingress_refused_total{account=%q,reason=%q}", account, c.reason)]++
		if have := refused(n); !maps.Equal(have, want) {
			t.Errorf("%s: the counters are %v, not %v", c.name, have, want)
		}
	}
	if _, _, code := run(t, n.dir, "user", "show", "-c", "hongyan.yaml", "demo/"+forgedUser); code != 3 {
		t.Errorf("user show of a user in whose name only forgeries came: exit code %d, not 3", code)
	}

	replay(t, n)
	wrongAdminToken(t, n)
	n.stop()
	if j := readJournal(t, n); len(j.Entries) == 0 {
		t.Error("the genuine messages are not in the log")
	} else {
		for _, e := range j.Entries {
			if e.OpenID == forgedUser {
				t.Errorf("a forgery is in the log at %d", e.Sequence)
			}
		}
	}
	saysNothing(t, n, []string{
		testToken, testAESKey, testAdminToken, secretUser, forgedUser, secretText, forgedText, strings.TrimPrefix(secretText, "问 "), secretReply,
	})
}

// refused are the counters of refusals, by account and reason.
func refused(n *node) map[string]float64 {
	all := n.metrics()
	maps.DeleteFunc(all, func(series string, _ float64) bool {
		return !strings.HasPrefix(series, "hongyan_ingress_refused_total")
	})
	return all
}

// replay sends one genuine callback twice, byte by byte the same: the second one gets the recorded answer and has no effect.
func replay(t *testing.T, n *node) {
	t.Helper()
	f := genuine(secretUser, "23456789012345678", secretText)
	request := f.bytes(t, n.callback)
	for i := range 3 {
		_, resp, body := exchange(t, n.callback, request)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("genuine callback, time %d: status %d", i+1, resp.StatusCode)
		}
		switch {
		case i > 0 && body == "success":
		case openReply(t, body) != secretReply:
			t.Errorf("genuine callback, time %d: answer %q", i+1, openReply(t, body))
		}
	}
	if u := n.show(secretUser); u.Counts.Turns != 1 || len(u.Messages) != 1 || len(u.Turns) != 2 {
		t.Errorf("after a replay: %+v", u)
	}
	f.nonce, f.timestamp = "another1", f.timestamp+1 // as a redelivery has them
	_, resp, _ := exchange(t, n.callback, f.bytes(t, n.callback))
	if u := n.show(secretUser); resp.StatusCode != http.StatusOK || u.Counts.Turns != 1 {
		t.Errorf("after a redelivery: status %d, %+v", resp.StatusCode, u)
	}

	shake := forgery{method: http.MethodGet, account: "demo", timestamp: time.Now().Unix(), nonce: "1514711492", appID: testAppID,
		query: url.Values{"echostr": {"4375120948345356249"}}}
	if _, resp, body := exchange(t, n.callback, shake.bytes(t, n.callback)); resp.StatusCode != http.StatusOK || body != "4375120948345356249" {
		t.Errorf("handshake: status %d, %q", resp.StatusCode, body)
	}
}

// wrongAdminToken: the admin API tells nobody about users who has no token, and does not write what it was asked with.
func wrongAdminToken(t *testing.T, n *node) {
	t.Helper()
	status, body, err := n.get("/api/v1/users/demo/" + secretUser)
	if err != nil || status != http.StatusUnauthorized || strings.Contains(body, secretUser) {
		t.Errorf("the admin API without a token: status %d, %v: %s", status, err, body)
	}
}

// saysNothing looks for what must not stand in the log, as it is and as Go, JSON and URLs write it.
func saysNothing(t *testing.T, n *node, secrets []string) {
	t.Helper()
	said := n.said()
	if len(strings.TrimSpace(said)) == 0 {
		t.Fatal("the node said nothing at all: nothing is shown by that")
	}
	for _, secret := range secrets {
		quoted := strings.Trim(fmt.Sprintf("%+q", secret), `"`)
		for _, form := range []string{secret, quoted, url.QueryEscape(secret), url.PathEscape(secret)} {
			for line := range strings.Lines(said) {
				if strings.Contains(line, form) {
					t.Errorf("a line of the log has %q in it: %s", secret, strings.ReplaceAll(line, form, "…"))
				}
			}
		}
	}
}

// TestDebugLog: at debug, lines may name users, and never secrets or texts.
func TestDebugLog(t *testing.T) {
	realProcess(t)
	n := newNode(t, settings{durability: "os", rules: checker.Rules(0), level: "debug"})
	n.startReady()
	replay(t, n)
	wrongAdminToken(t, n)
	for i, c := range refusals {
		f := genuine(forgedUser, fmt.Sprint(2000+i), forgedText)
		c.bend(t, &f)
		exchange(t, n.callback, f.bytes(t, n.callback))
	}
	n.stop()
	saysNothing(t, n, []string{testToken, testAESKey, testAdminToken, secretText, forgedText, secretReply})
}
