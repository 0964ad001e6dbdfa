package api

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUserInfo(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"subscribe":1,"openid":"o1","nickname":"","language":"zh_CN","subscribe_time":"1382694957","unionid":"u1",
		"remark":"a`+"\t"+`b","groupid":0,"tagid_list":[128,"2"],"subscribe_scene":"ADD_SCENE_QR_CODE","qr_scene":98765,"qr_scene_str":""}`))
	got, err := newTestClient(t, p.URL).UserInfo(t.Context(), testToken, "o1", "zh_CN")
	must(t, err)
	want := UserInfo{
		Subscribed: true, OpenID: "o1", UnionID: "u1", Language: "zh_CN", Remark: "a b", Tags: []int64{128, 2},
		SubscribedAt: time.Unix(1382694957, 0), Scene: "ADD_SCENE_QR_CODE", QRScene: "98765",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if r := p.requests()[0]; r.method != "GET" || r.query["openid"][0] != "o1" || r.query["lang"][0] != "zh_CN" {
		t.Errorf("got %+v", r)
	}
	got, err = newTestClient(t, serve(t, says(`{"subscribe":0,"openid":"o1"}`)).URL).UserInfo(t.Context(), testToken, "o1", "")
	if err != nil || !reflect.DeepEqual(got, UserInfo{OpenID: "o1"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	empty, err := os.ReadFile("testdata/skit/CgibinOpenApiQuotaGetResponse.json")
	must(t, err)
	for answer, want := range map[string]Quota{
		string(empty): {},
		`{"errcode":0,"quota":{"daily_limit":500000,"used":"12","remain":499988},"rate_limit":{"call_count":300,"refresh_second":60}}`: {
			DailyLimit: 500000, Used: 12, Remain: 499988, Rate: Rate{Calls: 300, Per: time.Minute},
		},
	} {
		p := serve(t, says(answer))
		got, err := newTestClient(t, p.URL).Quota(t.Context(), testToken, "/wxa/gettemplatedraftlist")
		if err != nil || got != want {
			t.Errorf("got %+v, %v", got, err)
		}
		if want := fixture(t, "CgibinOpenApiQuotaGetRequest.json"); !reflect.DeepEqual(parsed(t, p.requests()[0].body), want) {
			t.Errorf("got %s", p.requests()[0].body)
		}
	}
}

func TestClearQuota(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0,"errmsg":"ok"}`))
	c := newTestClient(t, p.URL)
	must(t, c.ClearQuota(t.Context(), testToken))
	must(t, c.ClearQuotaBySecret(t.Context()))
	r := p.requests()
	if string(r[0].body) != `{"appid":"wx0123456789abcdef"}` || r[0].query["access_token"][0] != testToken {
		t.Errorf("got %+v", r[0])
	}
	if want := `{"appid":"wx0123456789abcdef","appsecret":"` + testSecret + `"}`; string(r[1].body) != want || len(r[1].query) != 0 {
		t.Errorf("got %+v", r[1])
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"ip_list":["101.226.103.0/25"," 101.226.62.77 ","2001:db8::1","10.1.2.3/8"]}`))
	c := newTestClient(t, p.URL)
	want := "[101.226.103.0/25 101.226.62.77/32 2001:db8::1/128 10.0.0.0/8]"
	for _, ask := range []func() ([]netip.Prefix, error){
		func() ([]netip.Prefix, error) { return c.CallbackIPs(t.Context(), testToken) },
		func() ([]netip.Prefix, error) { return c.APIDomainIPs(t.Context(), testToken) },
	} {
		if got, err := ask(); err != nil || fmt.Sprint(got) != want {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if r := p.requests(); r[0].path != "/cgi-bin/getcallbackip" || r[1].path != "/cgi-bin/get_api_domain_ip" {
		t.Errorf("got %+v", r)
	}
	// A list that an endpoint enforces must not lack an entry without a word.
	for _, answer := range []string{`{"ip_list":[]}`, `{}`, `{"ip_list":["1.2.3.4","1.2.3"]}`, `{"ip_list":["1.2.3.4/33"]}`, `{"ip_list":"1.2.3.4"}`} {
		_, err := newTestClient(t, serve(t, says(answer)).URL).CallbackIPs(t.Context(), testToken)
		if e := asError(t, err); e.Class != Unknown {
			t.Errorf("%s: got %v", answer, e)
		}
	}
}

func TestCheckCallback(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"dns":[{"ip":"111.161.64.40","real_operator":"UNICOM"}],
		"ping":[{"ip":"111.161.64.40","from_operator":"UNICOM","package_loss":"0%","time":"23.079ms"}]}`))
	got, err := newTestClient(t, p.URL).CheckCallback(t.Context(), testToken, "all", "DEFAULT")
	must(t, err)
	want := CallbackCheck{
		DNS:  []ResolvedAddress{{IP: "111.161.64.40", Operator: "UNICOM"}},
		Ping: []PingResult{{IP: "111.161.64.40", From: "UNICOM", PackageLoss: "0%", Time: "23.079ms"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if want := `{"action":"all","check_operator":"DEFAULT"}`; string(p.requests()[0].body) != want {
		t.Errorf("got %s", p.requests()[0].body)
	}
}

func TestLookupRID(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0,"errmsg":"ok","request":{"invoke_time":1635156704,"cost_in_ms":30,
		"request_url":"access_token=50_nobody&appid=wx1&secret=nobody","request_body":"{\"appsecret\": \"nobody&\\\"x\",\"a\":1}",
		"response_body":"{\"access_token\":\"50_nobody\",\"expires_in\":7200}","client_ip":"113.0.0.1"}}`))
	got, err := newTestClient(t, p.URL).LookupRID(t.Context(), testToken, "1-2-3")
	must(t, err)
	want := RequestRecord{
		InvokedAt: time.Unix(1635156704, 0), Cost: 30 * time.Millisecond, URL: "access_token=***&appid=wx1&secret=***",
		RequestBody: `{"appsecret": "***","a":1}`, ResponseBody: `{"access_token":"***","expires_in":7200}`, ClientIP: "113.0.0.1",
	}
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if want := `{"rid":"1-2-3"}`; string(p.requests()[0].body) != want {
		t.Errorf("got %s", p.requests()[0].body)
	}
}

// TestIncomplete: an answer without the thing that was asked for is no answer.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0,"errmsg":"ok"}`))
	c := newTestClient(t, p.URL)
	ctx := t.Context()
	for name, ask := range map[string]func() error{
		"token": func() error { _, err := c.Token(ctx); return err },
		"user":  func() error { _, err := c.UserInfo(ctx, testToken, testOpenID, ""); return err },
		"quota": func() error { _, err := c.Quota(ctx, testToken, "/x"); return err },
		"ips":   func() error { _, err := c.CallbackIPs(ctx, testToken); return err },
		"check": func() error { _, err := c.CheckCallback(ctx, testToken, "all", "DEFAULT"); return err },
		"rid":   func() error { _, err := c.LookupRID(ctx, testToken, "x"); return err },
		"upload": func() error {
			_, err := c.UploadMedia(ctx, testToken, MediaImage, "x", strings.NewReader("x"), 1)
			return err
		},
		"download": func() error { _, err := c.GetMedia(ctx, testToken, "x"); return err },
	} {
		if e := asError(t, ask()); e.Class != Unknown {
			t.Errorf("%s: got %v", name, e)
		}
	}
	bare := newTestClient(t, serve(t, says(`{}`)).URL)
	if _, err := bare.SendTemplate(ctx, testToken, TemplateMessage{OpenID: testOpenID}); asError(t, err).Class != Unknown {
		t.Errorf("got %v", err)
	}
}
