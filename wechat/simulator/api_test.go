package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// apiRig is a platform whose API is called without a network, and its account's token.
type apiRig struct {
	rig
	t     *testing.T
	token string
}

// inBubble runs a test of the API in virtual time, against a back end that says success.
func inBubble(t *testing.T, edit func(*Options), test func(r *apiRig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &apiRig{t: t, rig: bubble(t, silent, func(o *Options) {
			o.Accounts[0].AppID, o.Accounts[0].AppSecret, o.Accounts[0].CustomerService = testAppID, testSecret, true
			if edit != nil {
				edit(o)
			}
		})}
		r.token = r.stable(false)["access_token"].(string)
		test(r)
		synctest.Wait()
		r.Close()
	})
}

// request makes one call; the reply must be 200.
func (r *apiRig) request(method, path string, body io.Reader, contentType string) *httptest.ResponseRecorder {
	r.t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, body)
	req.Header.Set("Content-Type", contentType)
	r.APIHandler().ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		r.t.Fatalf("%s %s: status %d: %s", method, path, w.Code, w.Body)
	}
	return w
}

func (r *apiRig) call(method, path string, body any) map[string]any {
	r.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		reader = bytes.NewReader(plainJSON(body))
	}
	w := r.request(method, path, reader, "application/json")
	var out map[string]any
	d := json.NewDecoder(w.Body)
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return out
}

// post calls with the rig's token and returns the errcode.
func (r *apiRig) post(path string, body any) (code int) {
	r.t.Helper()
	return codeOf(r.call(http.MethodPost, path+"?access_token="+r.token, body))
}

func codeOf(out map[string]any) int {
	n, _ := out["errcode"].(json.Number)
	code, _ := n.Int64()
	return int(code)
}

func (r *apiRig) stable(force bool) map[string]any {
	r.t.Helper()
	return r.call(http.MethodPost, CallStableToken,
		map[string]any{"grant_type": "client_credential", "appid": testAppID, "secret": testSecret, "force_refresh": force})
}

func (r *apiRig) classic() map[string]any {
	r.t.Helper()
	return r.call(http.MethodGet, CallToken+"?grant_type=client_credential&appid="+testAppID+"&secret="+testSecret, nil)
}

func (r *apiRig) does(openID string, m Message) {
	r.t.Helper()
	if _, err := r.Push(r.t.Context(), "demo", openID, m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *apiRig) sendText(openID, content string) int {
	r.t.Helper()
	return r.post(CallCustomSend, map[string]any{"touser": openID, "msgtype": "text", "text": map[string]string{"content": content}})
}

// works tells the errcode that a token gets.
func (r *apiRig) works(token string) int {
	r.t.Helper()
	return codeOf(r.call(http.MethodGet, CallCallbackIPs+"?access_token="+token, nil))
}

// expect compares errcodes step by step.
func (r *apiRig) expect(what string, got, want int) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: errcode %d, not %d", what, got, want)
	}
}

// records are the witness's, of the given kinds.
func (r *apiRig) records(kinds ...RecordKind) []Record {
	return slices.DeleteFunc(r.Witness(), func(x Record) bool { return !slices.Contains(kinds, x.Kind) })
}

func TestStableToken(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		first := r.token
		time.Sleep(100 * time.Second)
		same := r.stable(false)
		if same["access_token"] != first || same["expires_in"].(json.Number) != "7100" {
			t.Errorf("a second call gave another token or life: %v", same["expires_in"])
		}
		time.Sleep(6800*time.Second - time.Millisecond) // 300.001 s are left
		if got := r.stable(false); got["access_token"] != first || got["expires_in"].(json.Number) != "300" {
			t.Errorf("with five minutes left: %v", got["expires_in"])
		}
		time.Sleep(2 * time.Millisecond)
		second, _ := r.stable(false)["access_token"].(string)
		if second == first || second == "" {
			t.Fatal("with less than five minutes left the token was not renewed")
		}
		r.expect("the old one, just renewed", r.works(first), 0)
		time.Sleep(299 * time.Second)
		r.expect("the old one, at its end", r.works(first), 0)
		time.Sleep(time.Second)
		r.expect("the old one, afterwards", r.works(first), CodeTokenExpired)
		r.expect("the new one", r.works(second), 0)

		third, _ := r.stable(true)["access_token"].(string)
		r.expect("the one that force replaced", r.works(second), CodeBadToken)
		r.expect("the forced one", r.works(third), 0)
		time.Sleep(forceGap - time.Millisecond)
		if r.stable(true)["access_token"] != third {
			t.Error("force_refresh within 30 s refreshed")
		}
		time.Sleep(time.Millisecond)
		for n := 2; n <= forcesPerDay; n++ {
			if code := codeOf(r.stable(true)); code != 0 {
				t.Fatalf("force_refresh number %d of the day: %d", n, code)
			}
			time.Sleep(forceGap)
		}
		r.expect("the 21st of the day", codeOf(r.stable(true)), CodeDailyQuota)
		time.Sleep(24 * time.Hour)
		r.expect("the next day", codeOf(r.stable(true)), 0)
		if got, want := r.TokenGeneration("demo"), uint64(2+forcesPerDay+1); got != want {
			t.Errorf("generation %d, not %d", got, want)
		}
		if got := len(r.records(RecordToken)); got != 2+forcesPerDay+1 {
			t.Errorf("%d records of tokens", got)
		}
	})
}

func TestClassicToken(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		first, _ := r.classic()["access_token"].(string)
		second, _ := r.classic()["access_token"].(string)
		if first == second {
			t.Fatal("two calls, one token")
		}
		time.Sleep(tokenOverlap - time.Second)
		r.expect("the old one within five minutes", r.works(first), 0)
		time.Sleep(time.Second)
		r.expect("the old one after five minutes", r.works(first), CodeBadToken)
		r.expect("the new one", r.works(second), 0)
		r.expect("the stable one beside it", r.works(r.token), 0)
		r.stable(true)
		r.expect("the classic one after a forced stable one", r.works(second), 0)
		time.Sleep(tokenLife)
		r.expect("after two hours", r.works(second), CodeTokenExpired)
		for range 1998 {
			r.classic()
		}
		r.expect("call 2001 of the day", codeOf(r.classic()), CodeDailyQuota)
	})
}

func TestTokenErrors(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		ask := func(grant, id, secret string) int {
			q := url.Values{"grant_type": {grant}, "appid": {id}, "secret": {secret}}
			return codeOf(r.call(http.MethodGet, CallToken+"?"+q.Encode(), nil))
		}
		r.expect("grant_type", ask("x", testAppID, testSecret), CodeGrantType)
		r.expect("no appid", ask("client_credential", "", testSecret), CodeNoAppID)
		r.expect("no secret", ask("client_credential", testAppID, ""), CodeNoSecret)
		r.expect("appid", ask("client_credential", "wx0000000000000000", testSecret), CodeBadAppID)
		r.expect("secret", ask("client_credential", testAppID, "wrong"), CodeBadSecret)
		r.expect("method", codeOf(r.call(http.MethodPost, CallToken, "{}")), CodeNeedGET)
		r.expect("method", codeOf(r.call(http.MethodGet, CallStableToken, nil)), CodeNeedPOST)
		r.expect("path", codeOf(r.call(http.MethodGet, "/cgi-bin/nothing", nil)), CodeInvalidURL)
		r.expect("no token", r.works(""), CodeNoToken)
		r.expect("no such token", r.works(newTokenValue(1)), CodeBadToken)
		r.expect("malformed token", r.works("short"), CodeMalformedToken)
		out := r.call(http.MethodGet, CallCallbackIPs, nil)
		if text := out["errmsg"].(string); !strings.Contains(text, " rid: ") {
			t.Errorf("errmsg without a rid: %q", text)
		}
	})
}

func TestAllowedIPs(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		r.accounts["demo"].AllowedIPs = []string{"203.0.113.9"}
		out := r.stable(false)
		r.expect("foreign address", codeOf(out), CodeForbiddenIP)
		if !strings.Contains(out["errmsg"].(string), "invalid ip 192.0.2.1 ") {
			t.Errorf("errmsg does not name the caller: %v", out["errmsg"])
		}
		r.expect("with a token", r.works(r.token), 0)
		r.accounts["demo"].AllowedIPs = []string{"192.0.2.1"}
		r.expect("own address", codeOf(r.stable(false)), 0)
	})
}

func TestInvalidateTokens(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		if err := r.InvalidateTokens("demo"); err != nil {
			t.Fatal(err)
		}
		r.expect("after the invalidation", r.works(r.token), CodeBadToken)
		next, _ := r.stable(false)["access_token"].(string)
		r.expect("the next", r.works(next), 0)
	})
}

func TestMessageGrant(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		r.expect("unknown user", r.sendText("nobody", "x"), CodeBadOpenID)
		r.expect("a follower who never wrote", r.sendText("u1", "x"), CodeWindowClosed)
		r.does("u1", text("hi"))
		for n := range 5 {
			r.expect(fmt.Sprint("message ", n+1), r.sendText("u1", fmt.Sprint(n)), 0)
		}
		r.expect("the sixth", r.sendText("u1", "x"), CodeGrantUsed)
		time.Sleep(48*time.Hour - time.Second)
		r.expect("the sixth, still in the window", r.sendTextFresh("u1", "x"), CodeGrantUsed)
		time.Sleep(time.Second)
		r.expect("after 48 hours", r.sendText("u1", "x"), CodeWindowClosed)
		r.does("u1", text("again"))
		r.expect("after a new message", r.sendText("u1", "x"), 0)
		time.Sleep(time.Hour)
		r.does("u1", text("and again")) // five afresh, not nine
		for range 5 {
			r.expect("of the new five", r.sendText("u1", "x"), 0)
		}
		r.expect("the sixth of the new", r.sendText("u1", "x"), CodeGrantUsed)
		r.does("u1", Message{Type: "event", Event: EventUnsubscribe})
		r.expect("unfollowed", r.sendText("u1", "x"), CodeWindowClosed)

		custom := r.records(RecordCustom)
		if len(custom) != 11 {
			t.Fatalf("the phone showed %d messages", len(custom))
		}
		for i, c := range custom[:5] {
			if !c.Effect || c.Answer.Content != fmt.Sprint(i) || c.Grant != TriggerMessage || c.GrantLeft != 4-i || c.OpenID != "u1" || c.RID == "" {
				t.Errorf("record %d: %+v", i, c)
			}
		}
		effects := 0
		for _, c := range r.records(RecordAPI) {
			if c.Call == CallCustomSend && c.Effect {
				effects++
			}
			if c.Call == CallCustomSend && c.Effect != (c.ErrCode == 0) {
				t.Errorf("effect and errcode disagree: %+v", c)
			}
		}
		if effects != len(custom) {
			t.Errorf("%d calls with an effect, %d messages shown", effects, len(custom))
		}
	})
}

// sendTextFresh sends with a token of now.
func (r *apiRig) sendTextFresh(openID, content string) int {
	r.t.Helper()
	r.token, _ = r.stable(false)["access_token"].(string)
	return r.sendText(openID, content)
}

func TestShortGrants(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		for _, c := range []struct {
			event   Message
			trigger Trigger
		}{
			{Message{Type: "event", Event: "CLICK", EventKey: "k"}, TriggerMenu},
			{Message{Type: "event", Event: "scancode_push", EventKey: "k"}, TriggerMenu},
			{Message{Type: "event", Event: "scancode_waitmsg", EventKey: "k"}, TriggerMenu},
			{Message{Type: "event", Event: "subscribe"}, TriggerSubscribe},
			{Message{Type: "event", Event: "SCAN", EventKey: "1"}, TriggerScan},
		} {
			user := "user-" + c.event.Event
			r.does(user, c.event)
			for range 3 {
				r.expect(c.event.Event, r.sendText(user, "x"), 0)
			}
			if last := r.records(RecordCustom); last[len(last)-1].Grant != c.trigger {
				t.Errorf("%s: grant %q", c.event.Event, last[len(last)-1].Grant)
			}
			r.expect(c.event.Event+", the fourth", r.sendText(user, "x"), CodeGrantUsed)
			time.Sleep(time.Minute)
			r.expect(c.event.Event+", a minute later", r.sendText(user, "x"), CodeWindowClosed)
		}
		for _, event := range []string{"VIEW", "LOCATION", "location_select"} {
			r.does("user-"+event, Message{Type: "event", Event: event, EventKey: "k"})
			r.expect(event, r.sendText("user-"+event, "x"), CodeWindowClosed)
		}
	})
}

// TestGrantsBesideEachOther: each send uses the grant that ends first.
func TestGrantsBesideEachOther(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		r.does("u9", text("hi"))
		r.does("u9", Message{Type: "event", Event: "CLICK", EventKey: "k"})
		var used []Trigger
		for range 8 {
			r.expect("one of eight", r.sendText("u9", "x"), 0)
		}
		r.expect("the ninth", r.sendText("u9", "x"), CodeGrantUsed)
		for _, c := range r.records(RecordCustom) {
			used = append(used, c.Grant)
		}
		m, n := TriggerMenu, TriggerMessage
		if !slices.Equal(used, []Trigger{m, m, m, n, n, n, n, n}) {
			t.Errorf("used: %v", used)
		}
	})
}

func TestCustomKinds(t *testing.T) {
	inBubble(t, func(o *Options) {
		o.Accounts[0].PermanentMedia, o.Accounts[0].Agents = []string{"forever"}, []string{"kf1@demo"}
	}, func(r *apiRig) {
		image := r.uploaded("image", "a.png", []byte("\x89PNG\r\n\x1a\n"))
		send := func(kind string, object any, more ...any) int {
			r.does("u1", text("hi")) // a fresh grant for each
			body := map[string]any{"touser": "u1", "msgtype": kind, kind: object}
			for i := 0; i+1 < len(more); i += 2 {
				body[more[i].(string)] = more[i+1]
			}
			return r.post(CallCustomSend, body)
		}
		type o = map[string]any
		article := o{"title": "t", "description": "d", "url": "http://u", "picurl": "http://p"}
		for _, c := range []struct {
			what, kind string
			object     any
			code       int
		}{
			{"text", "text", o{"content": "你好<&>"}, 0},
			{"empty text", "text", o{"content": " \n"}, CodeEmptyText},
			{"longest text", "text", o{"content": strings.Repeat("é", 1024)}, 0},
			{"too long a text", "text", o{"content": strings.Repeat("é", 1024) + "."}, CodeTooLong},
			{"image", "image", o{"media_id": image}, 0},
			{"permanent image", "image", o{"media_id": "forever"}, 0},
			{"unknown image", "image", o{"media_id": "media_0"}, CodeBadMedia},
			{"voice", "voice", o{"media_id": image}, 0},
			{"video", "video", o{"media_id": image, "thumb_media_id": image, "title": "t"}, 0},
			{"video with an unknown thumb", "video", o{"media_id": image, "thumb_media_id": "x"}, CodeBadMedia},
			{"music", "music", o{"musicurl": "http://m", "hqmusicurl": "http://h", "thumb_media_id": image}, 0},
			{"music without a thumb", "music", o{"musicurl": "http://m"}, CodeBadMedia},
			{"news", "news", o{"articles": []any{article}}, 0},
			{"two articles", "news", o{"articles": []any{article, article}}, CodeTooManyNews},
			{"no article", "news", o{"articles": []any{}}, CodeEmptyNews},
			{"mpnews", "mpnews", o{"media_id": "forever"}, 0},
			{"mpnewsarticle", "mpnewsarticle", o{"article_id": "a"}, 0},
			{"mpnewsarticle without an id", "mpnewsarticle", o{}, CodeUnparsable},
			{"msgmenu", "msgmenu", o{"head_content": "h", "list": []any{o{"id": "1", "content": "yes"}, o{"id": 2, "content": "no"}}, "tail_content": "t"}, 0},
			{"empty msgmenu", "msgmenu", o{"head_content": "h"}, CodeUnparsable},
			{"wxcard", "wxcard", o{"card_id": "c"}, 0},
			{"miniprogrampage", "miniprogrampage", o{"title": "t", "appid": "wx1", "pagepath": "p", "thumb_media_id": image}, 0},
			{"miniprogrampage without a page", "miniprogrampage", o{"appid": "wx1", "thumb_media_id": image}, CodeUnparsable},
			{"unknown kind", "poem", o{}, CodeMessageType},
		} {
			r.expect(c.what, send(c.kind, c.object), c.code)
		}
		r.expect("an agent", send("text", o{"content": "x"}, "customservice", o{"kf_account": "kf1@demo"}), 0)
		r.expect("an unknown agent", send("text", o{"content": "x"}, "customservice", o{"kf_account": "kf2@demo"}), CodeBadAgent)
		r.expect("no JSON", r.post(CallCustomSend, "{"), CodeUnparsable)
		r.expect("nothing", r.post(CallCustomSend, ""), CodeEmptyBody)
		r.expect("escaped", r.post(CallCustomSend, `{"touser":"u1","msgtype":"text","text":{"content":"\u4f60"}}`), CodeCharset)
		r.expect("escaped <", r.post(CallCustomSend, `{"touser":"u1","msgtype":"text","text":{"content":"\u003c"}}`), CodeCharset)
		r.expect("an escaped backslash and a control character", r.post(CallCustomSend, `{"touser":"u1","msgtype":"text","text":{"content":"\\u4f60 \u0007"}}`), 0)
		if err := r.SetReceiving("demo", "u1", false); err != nil {
			t.Fatal(err)
		}
		r.expect("switched off", r.sendText("u1", "x"), CodeNotReceiving)
		r.accounts["demo"].CustomerService = false
		r.expect("without the right", r.sendText("u1", "x"), CodeNoRight)
		r.expect("typing without the right", r.post(CallTyping, o{"touser": "u1", "command": "Typing"}), CodeNoRight)
	})
}

func (r *apiRig) uploaded(kind, name string, data []byte) string {
	r.t.Helper()
	id, _ := r.upload(kind, name, data)["media_id"].(string)
	return id
}

func (r *apiRig) upload(kind, name string, data []byte) map[string]any {
	r.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("media", name)
	if err != nil {
		r.t.Fatal(err)
	}
	_, _ = part.Write(data)
	_ = form.Close()
	w := r.request(http.MethodPost, CallUpload+"?type="+kind+"&access_token="+r.token, &body, form.FormDataContentType())
	var out map[string]any
	d := json.NewDecoder(w.Body)
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		r.t.Fatal(err)
	}
	return out
}

func TestTyping(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		typing := func(command string) int {
			return r.post(CallTyping, map[string]string{"touser": "u1", "command": command})
		}
		r.expect("nobody acted yet", typing("Typing"), CodeNoInteraction)
		r.does("u1", text("hi"))
		r.expect("bad command", typing("typing"), CodeTypingCommand)
		r.expect("on", typing("Typing"), 0)
		r.expect("on again", typing("Typing"), CodeTypingAlready)
		r.expect("off", typing("CancelTyping"), 0)
		r.expect("on after off", typing("Typing"), 0)
		r.expect("a message ends it", r.sendText("u1", "x"), 0)
		r.expect("on after a message", typing("Typing"), 0)
		time.Sleep(typingLife)
		r.expect("on after its life", typing("Typing"), 0)
		time.Sleep(16 * time.Second)
		r.expect("30 s after the user's message", typing("Typing"), CodeNoInteraction)
		if got := len(r.records(RecordTyping)); got != 5 {
			t.Errorf("%d records of typing", got)
		}
	})
}
