package api

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"hongyan/messages"
)

// fixture is a JSON file of testdata/skit as encoding/json reads it.
func fixture(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "skit", name))
	must(t, err)
	return parsed(t, bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")))
}

func parsed(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func answerOf(t *testing.T, text string) *messages.Answer {
	t.Helper()
	a := &messages.Answer{}
	must(t, prototext.Unmarshal([]byte(text), a))
	return a
}

// TestSendCustomBodies compares each kind with the fixture, in which all kinds stand side by side.
func TestSendCustomBodies(t *testing.T) {
	t.Parallel()
	all := fixture(t, "CgibinMessageCustomSendRequest.json")
	all["mpnews"] = map[string]any{"media_id": "MEDIA_ID"}            // not in the fixture: wechat-protocol §5.1
	all["mpnewsarticle"] = map[string]any{"article_id": "ARTICLE_ID"} // the same
	cases := map[string]string{
		"text":  `text: {content: "Hello World"}`,
		"image": `image: {media_id: "MEDIA_ID"}`,
		"voice": `voice: {media_id: "MEDIA_ID"}`,
		"video": `video: {media_id: "MEDIA_ID", thumb_media_id: "MEDIA_ID", title: "TITLE", description: "DESCRIPTION"}`,
		"music": `music: {title: "MUSIC_TITLE", description: "MUSIC_DESCRIPTION", music_url: "MUSIC_URL", hq_music_url: "HQ_MUSIC_URL",
			thumb_media_id: "THUMB_MEDIA_ID"}`,
		"news": `news: {articles: {title: "Happy Day", description: "Is Really A Happy Day", url: "URL", pic_url: "PIC_URL"}
			articles: {title: "a second one, which WeChat does not take"}}`,
		"msgmenu": `menu: {head: "您对本次服务是否满意呢? ", options: {id: "101", content: "满意"}, options: {id: "102", content: "不满意"},
			tail: "欢迎再次光临"}`,
		"wxcard": `card: {card_id: "123dsdajkasd231jhksad"}`,
		"miniprogrampage": `mini_program_page: {title: "title", app_id: "appid", page_path: "pagepath",
			thumb_media_id: "thumb_media_id"}`,
		"mpnews":        `mp_news: {media_id: "MEDIA_ID"}`,
		"mpnewsarticle": `mp_news_article: {article_id: "ARTICLE_ID"}`,
	}
	p := serve(t, says(`{"errcode":0,"errmsg":"ok"}`))
	c := newTestClient(t, p.URL)
	sent := 0
	for kind, text := range cases {
		want := map[string]any{"touser": "OPENID", "msgtype": kind, kind: all[kind]}
		agent := ""
		if kind == "text" {
			agent, want["customservice"] = "test1@kftest", all["customservice"]
		}
		must(t, c.SendCustom(t.Context(), testToken, "OPENID", answerOf(t, text), agent))
		sent++
		r := p.requests()[sent-1]
		if got := parsed(t, r.body); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", kind, got, want)
		}
		if r.path != "/cgi-bin/message/custom/send" || r.method != "POST" || r.query["access_token"][0] != testToken || r.length == "" {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	kinds := (&messages.Answer{}).ProtoReflect().Descriptor().Oneofs().ByName("content").Fields().Len()
	if len(cases) != kinds-1 { // all but transfer_customer_service
		t.Errorf("%d kinds tested of %d that an answer has", len(cases), kinds-1)
	}
}

// TestBodiesAreUTF8 holds WeChat's rule (§4): it shows escapes to users as they stand.
func TestBodiesAreUTF8(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0}`))
	c := newTestClient(t, p.URL)
	text := "你好 😀 <a href=\"https://x/?a=1&b=2\">&\u2028</a>\n\\ 'q' \u007f\x01"
	must(t, c.SendCustom(t.Context(), testToken, "o", textAnswer(text), ""))
	want := `{"touser":"o","msgtype":"text","text":{"content":"你好 😀 <a href=\"https://x/?a=1&b=2\">&` + "\u2028" +
		`</a>\n\\ 'q' ` + "\u007f" + `"}}`
	r := p.requests()[0]
	if string(r.body) != want {
		t.Errorf("\n got %s\nwant %s", r.body, want)
	}
	if r.contentType != "application/json" {
		t.Errorf("Content-Type %q", r.contentType)
	}
}

func TestUnsendableAnswersMakeNoCall(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0}`))
	c := newTestClient(t, p.URL)
	for _, text := range []string{
		``, `text: {content: " \n"}`, `image: {}`, `news: {}`, `transfer: {kf_account: "a@b"}`, `menu: {}`, `card: {}`, `mp_news: {}`,
		`mp_news_article: {}`, `mini_program_page: {title: "x"}`,
	} {
		e := asError(t, c.SendCustom(t.Context(), testToken, testOpenID, answerOf(t, text), ""))
		if e.Class != BadMessage || !e.Unsent {
			t.Errorf("%q: %v", text, e)
		}
	}
	if n := len(p.requests()); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestTyping(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0,"errmsg":"ok"}`))
	c := newTestClient(t, p.URL)
	must(t, c.Typing(t.Context(), testToken, "OPENID", true))
	must(t, c.Typing(t.Context(), testToken, "OPENID", false))
	r := p.requests()
	if want := fixture(t, "CgibinMessageCustomTypingRequest.json"); !reflect.DeepEqual(parsed(t, r[0].body), want) {
		t.Errorf("got %s, want %v", r[0].body, want)
	}
	if !strings.Contains(string(r[1].body), `"CancelTyping"`) {
		t.Errorf("got %s", r[1].body)
	}
}

func TestSendTemplate(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("testdata/skit/CgibinMessageTemplateSendResponse.json")
	must(t, err)
	p := serve(t, says(string(answer)))
	c := newTestClient(t, p.URL)
	m := TemplateMessage{
		OpenID: "OPENID", TemplateID: "ngqIpbwh8bUfcSsECmogfXcV14J0tQlEpBO27izEYtY", URL: "http://weixin.qq.com/download",
		MiniProgram: &MiniProgramLink{AppID: "xiaochengxuappid12345", PagePath: "index?foo=bar"},
		Data: []Field{
			{"first", "恭喜你购买成功！", "#173177"}, {"keyword1", "巧克力", "#173177"}, {"keyword2", "39.8元", "#173177"},
			{"keyword3", "2014年9月22日", "#173177"}, {"remark", "欢迎再次购买！", "#173177"},
		},
	}
	id, err := c.SendTemplate(t.Context(), testToken, m)
	must(t, err)
	if id != "200228332" {
		t.Errorf("msgid %q", id)
	}
	if want := fixture(t, "CgibinMessageTemplateSendRequest.json"); !reflect.DeepEqual(parsed(t, p.requests()[0].body), want) {
		t.Errorf("got %s, want %v", p.requests()[0].body, want)
	}
	_, err = c.SendTemplate(t.Context(), testToken, TemplateMessage{OpenID: "o", TemplateID: "t", ClientMsgID: "once-1"})
	must(t, err)
	if want := `{"touser":"o","template_id":"t","client_msg_id":"once-1","data":{}}`; string(p.requests()[1].body) != want {
		t.Errorf("got %s, want %s", p.requests()[1].body, want)
	}
}

func TestSendSubscribe(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":0,"errmsg":"ok"}`))
	c := newTestClient(t, p.URL)
	must(t, c.SendSubscribe(t.Context(), testToken, SubscribeMessage{
		OpenID: "OPENID", TemplateID: "TEMPLATEID", Page: "mp.weixin.qq.com",
		MiniProgram: &MiniProgramLink{AppID: "APPID", PagePath: "index?foo=bar"},
		Data: []Field{
			{Name: "name1", Value: "广州腾讯科技有限公司"}, {Name: "thing8", Value: "广州腾讯科技有限公司"}, {Name: "time7", Value: "2019年8月8日"},
		},
	}))
	want := fixture(t, "CgibinMessageSubscribeBusinessSendRequest.json")
	if r := p.requests()[0]; !reflect.DeepEqual(parsed(t, r.body), want) || r.path != "/cgi-bin/message/subscribe/bizsend" {
		t.Errorf("got %s, want %v", r.body, want)
	}
}
