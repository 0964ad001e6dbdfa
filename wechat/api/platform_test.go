package api

import (
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// world is a simulated platform with one account and one user, and a client of its API.
type world struct {
	*simulator.Platform
	*Client

	token string
}

func newWorld(t *testing.T, hosts ...string) *world {
	t.Helper()
	backend := httptest.NewServer(says("success"))
	t.Cleanup(backend.Close)
	p, err := simulator.New(simulator.Options{
		Accounts: []simulator.Account{{
			ID: "demo", AppID: "wx0123456789abcdef", Token: "token", Mode: "plain", CallbackURL: backend.URL, AppSecret: testSecret,
			CustomerService: true, PermanentMedia: []string{"MEDIA"}, Agents: []string{"test1@kftest"}, Templates: []string{"T"},
		}},
		CallbackIPs: []string{"101.226.103.0/25", "101.226.62.77"}, APIIPs: []string{"203.205.239.82"},
	})
	must(t, err)
	t.Cleanup(p.Close)
	s := httptest.NewServer(p.APIHandler())
	t.Cleanup(s.Close)
	w := &world{Platform: p, Client: newTestClient(t, s.URL, func(o *Options) { o.Hosts = hosts })}
	t.Cleanup(w.Client.Close)
	token, err := w.StableToken(t.Context(), false)
	must(t, err)
	w.token = token.Value
	return w
}

// does lets the user do something, which opens a grant.
func (w *world) does(t *testing.T, m simulator.Message) {
	t.Helper()
	_, err := w.Push(t.Context(), "demo", testOpenID, m)
	must(t, err)
}

func (w *world) writes(t *testing.T) {
	t.Helper()
	w.does(t, simulator.Message{Type: "text", Content: "hello"})
}

// arrived is what the user's phone got as customer-service messages, by kind.
func (w *world) arrived() []string {
	var kinds []string
	for _, r := range w.Witness() {
		if r.Kind == simulator.RecordCustom {
			kinds = append(kinds, r.Type)
		}
	}
	return kinds
}

// TestEveryKindArrives sends each kind of answer to the simulated platform, five to a grant.
func TestEveryKindArrives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for i, c := range []struct{ kind, answer string }{
		{"text", `text: {content: "你好 <a href='x'>&</a>"}`}, {"image", `image: {media_id: "MEDIA"}`}, {"voice", `voice: {media_id: "MEDIA"}`},
		{"video", `video: {media_id: "MEDIA", title: "t"}`}, {"music", `music: {thumb_media_id: "MEDIA", music_url: "http://m"}`},
		{"news", `news: {articles: {title: "t", url: "http://n"}}`}, {"mpnews", `mp_news: {media_id: "MEDIA"}`},
		{"mpnewsarticle", `mp_news_article: {article_id: "A"}`}, {"wxcard", `card: {card_id: "C"}`},
		{"msgmenu", `menu: {head: "?", options: {id: "1", content: "是"}, options: {id: "2", content: "否"}}`},
		{"miniprogrampage", `mini_program_page: {title: "t", app_id: "wx1", page_path: "p", thumb_media_id: "MEDIA"}`},
	} {
		if i%5 == 0 {
			w.writes(t)
		}
		if err := w.SendCustom(t.Context(), w.token, testOpenID, answerOf(t, c.answer), "test1@kftest"); err != nil {
			t.Errorf("%s: %v", c.kind, err)
		}
		want = append(want, c.kind)
	}
	if got := w.arrived(); !slices.Equal(got, want) {
		t.Errorf("arrived %v, want %v", got, want)
	}
}

// TestClassesOfThePlatform meets the classes where the platform makes them by its own rules.
func TestClassesOfThePlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	text := textAnswer("x")
	expect := func(what string, err error, class Class, code int) {
		t.Helper()
		e := asError(t, err)
		if e.Class != class || e.Code != code || e.RID == "" {
			t.Errorf("%s: got %+v", what, e)
		}
	}
	expect("nobody knows the user", w.SendCustom(ctx, w.token, testOpenID, text, ""), NoUser, 40003)
	w.writes(t)
	must(t, w.Typing(ctx, w.token, testOpenID, true))
	expect("typing already", w.Typing(ctx, w.token, testOpenID, true), Typing, 45081)
	must(t, w.Typing(ctx, w.token, testOpenID, false))
	expect("no such agent", w.SendCustom(ctx, w.token, testOpenID, text, "a@b"), NoRight, 65401)
	expect("no such media", w.SendCustom(ctx, w.token, testOpenID, answerOf(t, `image: {media_id: "M"}`), ""), BadMessage, 40007)
	expect("too long", w.SendCustom(ctx, w.token, testOpenID, textAnswer(strings.Repeat("字", 1000)), ""), BadMessage, 45002)
	for range 5 {
		must(t, w.SendCustom(ctx, w.token, testOpenID, text, ""))
	}
	expect("grant used up", w.SendCustom(ctx, w.token, testOpenID, text, ""), NoWindow, 45047)
	must(t, w.SetReceiving("demo", testOpenID, false))
	expect("switched off", w.SendCustom(ctx, w.token, testOpenID, text, ""), NoUser, 48002)
	expect("no such token", w.SendCustom(ctx, "40_nothing", testOpenID, text, ""), TokenInvalid, 40014)
	must(t, w.InvalidateTokens("demo"))
	expect("superseded", w.Typing(ctx, w.token, testOpenID, true), TokenInvalid, 40001)

	for _, code := range []int{-1, 45009, 45011, 48001, 45015, 40164} {
		_, err := w.Inject(simulator.Fault{Kind: simulator.FaultCode, Code: code, Count: 1})
		must(t, err)
		err = w.SendCustom(ctx, w.token, testOpenID, text, "")
		expect("injected", err, codes[code].class, code)
		if code == 40164 && asError(t, err).SeenIP.String() != "127.0.0.1" {
			t.Errorf("the address seen is %v", asError(t, err).SeenIP)
		}
	}
}

// TestEveryOtherCall makes each of the remaining calls once.
func TestEveryOtherCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.does(t, simulator.Message{Type: "event", Event: "subscribe", EventKey: "qrscene_77", Ticket: "t"})

	u, err := w.UserInfo(ctx, w.token, testOpenID, "en")
	if err != nil || !u.Subscribed || u.OpenID != testOpenID || u.Language != "en" || u.SubscribedAt.IsZero() {
		t.Errorf("user: %+v, %v", u, err)
	}
	up, err := w.UploadMedia(ctx, w.token, MediaImage, "图.png", strings.NewReader("\x89PNG\r\n\x1a\nrest"), 12)
	must(t, err)
	m, err := w.GetMedia(ctx, w.token, up.MediaID)
	must(t, err)
	data, err := io.ReadAll(m.Body)
	m.Body.Close()
	if err != nil || string(data) != "\x89PNG\r\n\x1a\nrest" || m.ContentType != "image/png" {
		t.Errorf("media: %q, %+v, %v", data, m, err)
	}
	video, err := w.UploadMedia(ctx, w.token, MediaVideo, "v.mp4", strings.NewReader("film"), 4)
	must(t, err)
	if m, err = w.GetMedia(ctx, w.token, video.MediaID); err != nil || m.URL == "" || m.Body != nil {
		t.Errorf("video: %+v, %v", m, err)
	}
	template := TemplateMessage{OpenID: testOpenID, TemplateID: "T", ClientMsgID: "once", Data: []Field{{Name: "a", Value: "b"}}}
	id, err := w.SendTemplate(ctx, w.token, template)
	must(t, err)
	if again, err := w.SendTemplate(ctx, w.token, template); err != nil || again != id || id == "" {
		t.Errorf("template: %q, then %q, %v", id, again, err)
	}
	template.TemplateID = "none"
	_, err = w.SendTemplate(ctx, w.token, template)
	refused := asError(t, err)
	if refused.Class != BadMessage || refused.Code != 40037 {
		t.Errorf("template: %+v", refused)
	}
	if r, err := w.LookupRID(ctx, w.token, refused.RID); err != nil || !strings.Contains(r.ResponseBody, "40037") || r.ClientIP != "127.0.0.1" {
		t.Errorf("rid: %+v, %v", r, err)
	}
	if e := asError(t, w.SendSubscribe(ctx, w.token, SubscribeMessage{OpenID: testOpenID, TemplateID: "T", Data: template.Data})); e.Code != 43101 || e.Class != NoUser {
		t.Errorf("subscribe: %+v", e)
	}
	q, err := w.Quota(ctx, w.token, callTemplate)
	if err != nil || q.DailyLimit != 100_000 || q.Used != 3 || q.Remain != 99_997 {
		t.Errorf("quota: %+v, %v", q, err)
	}
	must(t, w.ClearQuota(ctx, w.token))
	must(t, w.ClearQuotaBySecret(ctx))
	ips, err := w.CallbackIPs(ctx, w.token)
	domains, err2 := w.APIDomainIPs(ctx, w.token)
	if got := fmt.Sprint(ips, domains, err, err2); got != "[101.226.103.0/25 101.226.62.77/32] [203.205.239.82/32] <nil> <nil>" {
		t.Error(got)
	}
	check, err := w.CheckCallback(ctx, w.token, "all", "DEFAULT")
	if err != nil || len(check.DNS) != 1 || len(check.Ping) != 1 || check.Ping[0].PackageLoss != "0%" {
		t.Errorf("check: %+v, %v", check, err)
	}
	classic, err := w.Token(ctx)
	forced, err2 := w.StableToken(ctx, true)
	if err != nil || err2 != nil || classic.Value == forced.Value || forced.ExpiresIn <= 0 {
		t.Errorf("tokens: %v, %v", err, err2)
	}
}

// TestFaultsOfThePlatform: what the client says of a send agrees with what the platform's witness saw, however the exchange broke.
func TestFaultsOfThePlatform(t *testing.T) {
	t.Parallel()
	other := serve(t, says(`{"errcode":0}`)) // a send must never come here
	for _, c := range []struct {
		name    string
		fault   simulator.Fault
		class   Class
		arrived int
		silent  bool // no answer comes
	}{
		{"reset before", simulator.Fault{Kind: simulator.FaultReset}, Unknown, 0, false},
		{"reset after", simulator.Fault{Kind: simulator.FaultReset, When: simulator.After}, Unknown, 1, false},
		{"503 before", simulator.Fault{Kind: simulator.FaultStatus}, Unknown, 0, false},
		{"502 after", simulator.Fault{Kind: simulator.FaultStatus, Status: 502, When: simulator.After}, Unknown, 1, false},
		{"lost", simulator.Fault{Kind: simulator.FaultLost}, Unknown, 1, true},
		{"late", simulator.Fault{Kind: simulator.FaultLatency, Latency: 10 * time.Second, When: simulator.After}, Unknown, 1, true},
		{"busy", simulator.Fault{Kind: simulator.FaultCode, Code: -1}, Busy, 0, false},
		{"all tokens stale", simulator.Fault{Kind: simulator.FaultStale, Account: "demo"}, TokenInvalid, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, other.URL)
			w.writes(t)
			c.fault.Call = simulator.CallCustomSend
			_, err := w.Inject(c.fault)
			must(t, err)
			if c.silent {
				impatient(w.Client, 500*time.Millisecond)
			}
			e := asError(t, w.SendCustom(t.Context(), w.token, testOpenID, textAnswer("x"), ""))
			if e.Class != c.class || e.Unsent {
				t.Errorf("got %+v", e)
			}
			if n := len(w.arrived()); n != c.arrived {
				t.Errorf("%d messages arrived, want %d", n, c.arrived)
			}
		})
	}
	t.Cleanup(func() {
		for _, r := range other.requests() {
			t.Errorf("a send was made again on another host: %s", r.path)
		}
	})
}
