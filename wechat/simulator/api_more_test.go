package simulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTemplate(t *testing.T) {
	inBubble(t, func(o *Options) { o.Accounts[0].Templates = []string{"T1"} }, func(r *apiRig) {
		send := func(user, template, id string) map[string]any {
			return r.call(http.MethodPost, CallTemplate+"?access_token="+r.token, map[string]any{
				"touser": user, "template_id": template, "client_msg_id": id, "data": map[string]any{"k": map[string]string{"value": "v"}}})
		}
		r.expect("unknown user", codeOf(send("nobody", "T1", "")), CodeBadOpenID)
		r.expect("unknown template", codeOf(send("u1", "T2", "")), CodeBadTemplate)
		r.expect("no data", r.post(CallTemplate, map[string]any{"touser": "u1", "template_id": "T1"}), CodeTemplateData)
		first := send("u1", "T1", "a")
		r.expect("first", codeOf(first), 0)
		time.Sleep(templateMemory - time.Second)
		if again := send("u1", "T1", "a"); again["msgid"] != first["msgid"] {
			t.Errorf("the same client_msg_id gave %v and %v", first["msgid"], again["msgid"])
		}
		time.Sleep(time.Second)
		if later := send("u1", "T1", "a"); later["msgid"] == first["msgid"] {
			t.Error("the same client_msg_id counts after ten minutes")
		}
		send("u1", "T1", "")
		send("u1", "T1", "")
		if err := r.SetReceiving("demo", "u2", false); err != nil {
			t.Fatal(err)
		}
		r.expect("a user who refuses", codeOf(send("u2", "T1", "")), 0)
		r.does("u1", Message{Type: "event", Event: EventUnsubscribe})
		r.expect("unfollowed", codeOf(send("u1", "T1", "")), CodeNotFollowing)
		synctest.Wait()
		done := map[string]int{}
		for _, d := range r.back.all() {
			if d.Fields["Event"] == EventTemplateDone {
				done[d.Fields["FromUserName"]+" "+d.Fields["Status"]]++
				if d.Fields["MsgID"] == "" {
					t.Error("a result without MsgID")
				}
			}
		}
		if done["u1 success"] != 4 || done["u2 failed:user block"] != 1 || len(done) != 2 {
			t.Errorf("results: %v", done)
		}
		if got := len(r.records(RecordTemplate)); got != 4 {
			t.Errorf("the phones showed %d template messages", got)
		}
	})
}

func TestSubscribeMessage(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		send := func() int {
			return r.post(CallSubscribe, map[string]any{"touser": "u1", "template_id": "S1", "data": map[string]any{"k": map[string]string{"value": "v"}}})
		}
		popup := func(status string) {
			r.does("u1", Message{Type: "event", Event: EventSubscribePopup, TemplateID: "S1", Status: status})
		}
		r.expect("without consent", send(), CodeNotAccepted)
		popup("accept")
		r.expect("with consent", send(), 0)
		r.expect("a consent is good for one", send(), CodeNotAccepted)
		popup("accept")
		popup("reject")
		r.expect("refused", send(), CodeNotAccepted)
		synctest.Wait()
		var sent []delivered
		for _, d := range r.back.all() {
			if d.Fields["Event"] == EventSubscribeSent {
				sent = append(sent, d)
			}
		}
		if len(sent) != 1 || sent[0].Fields["FromUserName"] != "u1" {
			t.Fatalf("sent events: %v", sent)
		}
	})
}

// TestNestedEvents: subscribe_msg_* events have their list below an element of its own in XML, and at the top in JSON.
func TestNestedEvents(t *testing.T) {
	t.Parallel()
	m := Message{Type: "event", Event: EventSubscribeSent, TemplateID: "S<1>", Status: "success", MsgID: "77", CreateTime: 1}
	xml := string(encodeXML(m.fields("gh", "u")))
	flat := strings.ReplaceAll(strings.ReplaceAll(xml, "\n", ""), "<![CDATA[", "")
	flat = strings.ReplaceAll(flat, "]]>", "")
	if want := "<SubscribeMsgSentEvent><List><TemplateId>S<1></TemplateId><MsgID>77</MsgID><ErrorCode>0</ErrorCode><ErrorStatus>success</ErrorStatus></List></SubscribeMsgSentEvent>"; !strings.Contains(flat, want) {
		t.Errorf("XML: %s", xml)
	}
	readFields(t, FormatXML, []byte(xml))
	var out struct {
		List map[string]string
	}
	if err := json.Unmarshal(encodeJSON(m.fields("gh", "u")), &out); err != nil || out.List["MsgID"] != "77" {
		t.Errorf("JSON: %v %v", out, err)
	}
}

func TestMedia(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		png := append([]byte("\x89PNG\r\n\x1a\n"), 0, 255, 13, 10)
		id := r.uploaded("image", "雁.PNG", png)
		w := r.request(http.MethodGet, CallDownload+"?media_id="+id+"&access_token="+r.token, nil, "")
		if !bytes.Equal(w.Body.Bytes(), png) || w.Header().Get("Content-Type") != "image/png" || !strings.Contains(w.Header().Get("Content-Disposition"), id+".png") {
			t.Errorf("download: %q %v", w.Body, w.Header())
		}
		video := r.uploaded("video", "v.mp4", []byte("moving"))
		out := r.call(http.MethodGet, CallDownload+"?media_id="+video+"&access_token="+r.token, nil)
		address, _ := out["video_url"].(string)
		if got := r.request(http.MethodGet, address, nil, "").Body.String(); got != "moving" {
			t.Errorf("video_url %q leads to %q", address, got)
		}
		for _, c := range []struct {
			what, kind, name string
			size, code       int
		}{
			{"unknown type", "poem", "a.txt", 1, CodeMediaType},
			{"nothing", "image", "a.png", 0, CodeNoMedia},
			{"wrong kind of file", "voice", "a.wav", 1, CodeFileType},
			{"too large an image", "image", "a.jpg", 10<<20 + 1, CodeMediaSize},
			{"too large a voice", "voice", "a.amr", 2<<20 + 1, CodeMediaSize},
			{"far too large", "image", "a.jpg", 12 << 20, CodeMediaSize},
			{"largest thumb", "thumb", "a.jpg", 64 << 10, 0},
			{"too large a thumb", "thumb", "a.jpg", 64<<10 + 1, CodeMediaSize},
		} {
			r.expect(c.what, codeOf(r.upload(c.kind, c.name, make([]byte, c.size))), c.code)
		}
		get := func(id string) int {
			return codeOf(r.call(http.MethodGet, CallDownload+"?media_id="+id+"&access_token="+r.token, nil))
		}
		r.expect("unknown", get("media_0"), CodeBadMedia)
		r.does("u1", Message{Type: "image", MediaID: "of-the-user"})
		r.expect("what a user sent can be sent back", r.post(CallCustomSend, map[string]any{
			"touser": "u1", "msgtype": "image", "image": map[string]string{"media_id": "of-the-user"}}), 0)
		time.Sleep(mediaLife)
		r.token, _ = r.stable(false)["access_token"].(string)
		r.expect("after three days", get(id), CodeBadMedia)
	})
}

func TestMediaShelfIsBounded(t *testing.T) {
	t.Parallel()
	s := newMediaStore()
	for _, id := range []string{"a", "b", "c"} {
		s.keep(id, &storedMedia{data: make([]byte, mediaShelfBytes/2), until: time.Now().Add(time.Hour)})
	}
	if s.knows("a", time.Now()) || !s.knows("b", time.Now()) || !s.knows("c", time.Now()) || s.bytes != mediaShelfBytes {
		t.Errorf("kept: %v, %d bytes", s.order, s.bytes)
	}
}

func TestQuotas(t *testing.T) {
	inBubble(t, func(o *Options) {
		o.Accounts[0].DailyQuota = map[string]int{CallCustomSend: 3}
		o.Accounts[0].MinuteQuota = map[string]int{CallUserInfo: 2}
	}, func(r *apiRig) {
		r.does("u1", text("hi"))
		for range 3 {
			r.expect("within the day's quota", r.sendText("u1", "x"), 0)
		}
		r.expect("beyond it", r.sendText("u1", "x"), CodeDailyQuota)
		out := r.call(http.MethodPost, CallQuota+"?access_token="+r.token, map[string]string{"cgi_path": CallCustomSend})
		if got := string(plainJSON(out["quota"])); got != `{"daily_limit":3,"remain":0,"used":3}` {
			t.Errorf("quota: %s", got)
		}
		r.expect("quota of no call", r.post(CallQuota, map[string]string{"cgi_path": "/x"}), CodeNoPath)
		r.expect("clear with another appid", r.post(CallClearQuota, map[string]string{"appid": "wx"}), CodeBadAppID)
		r.expect("clear", r.post(CallClearQuota, map[string]string{"appid": testAppID}), 0)
		r.expect("after clearing", r.sendText("u1", "x"), 0)
		r.expect("clear with a wrong secret", codeOf(r.call(http.MethodPost, CallClearQuota2, map[string]string{"appid": testAppID, "appsecret": "x"})), CodeBadSecret)
		for range clearancesPerMonth - 1 {
			r.expect("clear v2", codeOf(r.call(http.MethodPost, CallClearQuota2, map[string]string{"appid": testAppID, "appsecret": testSecret})), 0)
		}
		r.expect("the eleventh of the month", r.post(CallClearQuota, map[string]string{"appid": testAppID}), CodeClearances)

		info := func() int {
			return codeOf(r.call(http.MethodGet, CallUserInfo+"?openid=u1&access_token="+r.token, nil))
		}
		r.expect("first of the minute", info(), 0)
		r.expect("second", info(), 0)
		r.expect("third", info(), CodeMinuteRate)
		time.Sleep(time.Minute)
		r.expect("a minute later", info(), 0)

		// WeChat's day begins at midnight in China.
		r.does("u1", text("hi"))
		for range 3 {
			r.expect("the rest of the day", r.sendText("u1", "x"), 0)
		}
		r.expect("used up", r.sendText("u1", "x"), CodeDailyQuota)
		now := time.Now().In(china)
		midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, china)
		time.Sleep(time.Until(midnight) - time.Second)
		r.token, _ = r.stable(false)["access_token"].(string)
		r.does("u1", text("hi"))
		r.expect("a second before midnight", r.sendText("u1", "x"), CodeDailyQuota)
		time.Sleep(time.Second)
		r.expect("at midnight", r.sendText("u1", "x"), 0)
	})
}

func TestUserInfo(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		info := func(user string) map[string]any {
			return r.call(http.MethodGet, CallUserInfo+"?openid="+user+"&access_token="+r.token, nil)
		}
		r.expect("nobody", codeOf(info("nobody")), CodeBadOpenID)
		r.does("q", Message{Type: "event", Event: "subscribe", EventKey: "qrscene_12"})
		out := info("q")
		if out["subscribe"].(json.Number) != "1" || out["qr_scene_str"] != "12" || out["qr_scene"].(json.Number) != "12" || out["subscribe_scene"] != "ADD_SCENE_QR_CODE" || out["nickname"] != "" {
			t.Errorf("follower: %v", out)
		}
		r.does("q", Message{Type: "event", Event: EventUnsubscribe})
		if out := info("q"); out["subscribe"].(json.Number) != "0" {
			t.Errorf("unfollowed: %v", out)
		}
	})
}

func TestRID(t *testing.T) {
	inBubble(t, nil, func(r *apiRig) {
		out := r.call(http.MethodPost, CallCustomSend+"?access_token="+r.token, map[string]any{"touser": "nobody", "msgtype": "text", "text": map[string]string{"content": "x"}})
		_, rid, _ := strings.Cut(out["errmsg"].(string), "rid: ")
		got := r.call(http.MethodPost, CallRID+"?access_token="+r.token, map[string]string{"rid": rid})
		request, _ := got["request"].(map[string]any)
		if request == nil || !strings.Contains(request["request_body"].(string), "nobody") || !strings.Contains(request["response_body"].(string), "40003") {
			t.Errorf("request: %v", got)
		}
		whole := string(plainJSON(r.api.requests))
		for _, l := range r.api.requests.byRID {
			whole += string(plainJSON(l))
		}
		if strings.Contains(whole, r.token) || strings.Contains(whole, testSecret) {
			t.Error("the log of requests has a token or a secret")
		}
		r.expect("unknown rid", r.post(CallRID, map[string]string{"rid": "x"}), CodeNoRID)
	})
}

// TestAPIOverHTTP makes the calls that need a network.
func TestAPIOverHTTP(t *testing.T) {
	t.Parallel()
	r := &apiRig{t: t, rig: newRig(t, ModeSafe, FormatXML, silent, func(o *Options) {
		o.Accounts[0].AppSecret = testSecret
		o.CallbackIPs = []string{"203.0.113.0/24"}
	})}
	r.token, _ = r.stable(false)["access_token"].(string)
	out := r.call(http.MethodPost, CallCheck+"?access_token="+r.token, map[string]string{"action": "all", "check_operator": "DEFAULT"})
	if dns, ok := out["dns"].([]any); !ok || len(dns) == 0 || dns[0].(map[string]any)["ip"] != "127.0.0.1" {
		t.Errorf("callback check: %v", out)
	}
	if ping, ok := out["ping"].([]any); !ok || ping[0].(map[string]any)["package_loss"] != "0%" {
		t.Errorf("callback check: %v", out)
	}
	r.expect("bad action", r.post(CallCheck, map[string]string{"action": "x"}), CodeBadArgument)
	if got := r.call(http.MethodGet, CallCallbackIPs+"?access_token="+r.token, nil); string(plainJSON(got["ip_list"])) != `["203.0.113.0/24"]` {
		t.Errorf("callback addresses: %v", got)
	}
	if got := r.call(http.MethodGet, CallAPIIPs+"?access_token="+r.token, nil); len(got["ip_list"].([]any)) != 2 {
		t.Errorf("API addresses: %v", got)
	}
}
