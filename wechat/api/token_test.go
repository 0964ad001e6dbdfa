package api

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("testdata/skit/CgibinTokenResponse.json")
	must(t, err)
	p := serve(t, says(string(answer)))
	c := newTestClient(t, p.URL+"/prefix/")
	want := Token{Value: "ACCESS_TOKEN", ExpiresIn: 2 * time.Hour}
	if got, err := c.Token(t.Context()); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := c.StableToken(t.Context(), true); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	r := p.requests()
	query := map[string][]string{"grant_type": {"client_credential"}, "appid": {"wx0123456789abcdef"}, "secret": {testSecret}}
	if r[0].method != "GET" || r[0].path != "/prefix/cgi-bin/token" || !reflect.DeepEqual(r[0].query, query) {
		t.Errorf("got %+v", r[0])
	}
	body := `{"grant_type":"client_credential","appid":"wx0123456789abcdef","secret":"` + testSecret + `","force_refresh":true}`
	if r[1].method != "POST" || r[1].path != "/prefix/cgi-bin/stable_token" || len(r[1].query) != 0 || string(r[1].body) != body {
		t.Errorf("got %+v", r[1])
	}
}

func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("t", 600)
	for answer, want := range map[string]any{
		`{"access_token":"` + long + `","expires_in":"300"}`: Token{long, 300 * time.Second},
		`{"access_token":"t","expires_in":7200.0}`:           Token{"t", 2 * time.Hour},
		`{"access_token":"","expires_in":7200}`:              Unknown,
		`{"access_token":"t"}`:                               Unknown,
		`{"access_token":"t","expires_in":-1}`:               Unknown,
		`{"access_token":"t","expires_in":"soon"}`:           Unknown,
		`{"errcode":0,"errmsg":"ok"}`:                        Unknown,
		`{"errcode":40001,"errmsg":"invalid credential"}`:    Config,
		`{"errcode":40125,"errmsg":"invalid appsecret"}`:     Config,
		`{"errcode":45009,"errmsg":"reach max api daily"}`:   DailyQuota,
		`{"errcode":-1,"errmsg":"system error"}`:             Busy,
	} {
		got, err := newTestClient(t, serve(t, says(answer)).URL).StableToken(t.Context(), false)
		if class, failed := want.(Class); failed {
			if e := asError(t, err); e.Class != class || got != (Token{}) {
				t.Errorf("%s: got %v, %v", answer, got, err)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: got %v, %v", answer, got, err)
		}
	}
}

// TestSeenIP reads the address out of WeChat's words, and tells the operator what to do with it.
func TestSeenIP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answer, ip, rid string }{
		{`{"errcode":40164,"errmsg":"invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist rid: 5f8fca68-7427fe07-1b8b1ad8"}`,
			"203.0.113.9", "5f8fca68-7427fe07-1b8b1ad8"},
		{`{"errcode":40164,"errmsg":"invalid ip ::ffff:203.0.113.9, not in whitelist hint: [abc]"}`, "203.0.113.9", ""},
		{`{"errcode":61004,"errmsg":"access clientip is not registered requestIP: 2001:db8::1 rid: 1-2-3"}`, "2001:db8::1", "1-2-3"},
		{`{"errcode":40164,"errmsg":"not in whitelist"}`, "invalid IP", ""},
	} {
		_, err := newTestClient(t, serve(t, says(c.answer)).URL).Token(t.Context())
		e := asError(t, err)
		if e.Class != Config || e.SeenIP.String() != c.ip || e.RID != c.rid || strings.Contains(e.Msg, "rid") {
			t.Errorf("%s: got %+v", c.answer, e)
		}
		if want := "IP allow-list"; !strings.Contains(e.Error(), want) || e.SeenIP.IsValid() && !strings.Contains(e.Error(), "add "+c.ip) {
			t.Errorf("%v does not say what to do", e)
		}
	}
	// An address in another error is none that WeChat speaks of.
	e := asError(t, sendText(t.Context(), newTestClient(t, serve(t, says(`{"errcode":45002,"errmsg":"1.2.3.4"}`)).URL), "x"))
	if e.SeenIP.IsValid() {
		t.Errorf("got %v", e.SeenIP)
	}
}
