package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
)

var update = flag.Bool("update", false, "write the golden requests anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNow = time.Date(2026, 11, 23, 4, 0, 0, 250_000_000, time.UTC)

// inbound is a message of the user of the golden examples.
func inbound(kind messages.Kind, typ string, change func(in *messages.Inbound)) *messages.Inbound {
	in := &messages.Inbound{
		Account: "demo", OpenId: "oGOLDENexampleOpenID00000001", ToUser: "gh_0123456789ab", CreateTime: testNow.Unix() - 1, MsgType: typ, Kind: kind,
		Key: bytes.Repeat([]byte{0xab}, 16),
	}
	if !kind.IsEvent() {
		in.MsgId = "24789000000000001"
	}
	change(in)
	return in
}

func eventOf(kind messages.Kind, e *messages.Event) *messages.Inbound {
	return inbound(kind, "event", func(in *messages.Inbound) { in.Body = &messages.Inbound_Event{Event: e} })
}

func mediaOf(kind messages.Kind, typ string, m *messages.Media) *messages.Inbound {
	return inbound(kind, typ, func(in *messages.Inbound) { in.Body = &messages.Inbound_Media{Media: m} })
}

// goldenMessages has one message of every kind that can reach a bot.
func goldenMessages() []*messages.Inbound {
	point := &messages.Location{Latitude: 39.9087, Longitude: 116.3975, Scale: 15, Label: "东城区东长安街", PoiName: "天安门"}
	all := []*messages.Inbound{
		inbound(messages.Kind_KIND_TEXT, "text", func(in *messages.Inbound) {
			in.Body = &messages.Inbound_Text{Text: &messages.Text{Content: "明天会下雨吗？", MenuId: "weather"}}
			in.MsgDataId, in.ArticleIndex = "2247483700", 1
		}),
		mediaOf(messages.Kind_KIND_IMAGE, "image", &messages.Media{MediaId: "MEDIA_ID", PicUrl: "http://mmbiz.qpic.cn/mmbiz_jpg/example/0"}),
		mediaOf(messages.Kind_KIND_VOICE, "voice", &messages.Media{MediaId: "MEDIA_ID", Format: "amr", Recognition: "你好"}),
		mediaOf(messages.Kind_KIND_VIDEO, "video", &messages.Media{MediaId: "MEDIA_ID", ThumbMediaId: "THUMB_ID"}),
		mediaOf(messages.Kind_KIND_SHORT_VIDEO, "shortvideo", &messages.Media{MediaId: "MEDIA_ID", ThumbMediaId: "THUMB_ID"}),
		inbound(messages.Kind_KIND_LOCATION, "location", func(in *messages.Inbound) { in.Body = &messages.Inbound_Location{Location: point} }),
		inbound(messages.Kind_KIND_LINK, "link", func(in *messages.Inbound) {
			in.Body = &messages.Inbound_Link{Link: &messages.Link{Title: "标题", Description: "摘要", Url: "https://example.com/a"}}
		}),
		inbound(messages.Kind_KIND_FILE, "file", func(in *messages.Inbound) {
			in.Body = &messages.Inbound_File{File: &messages.File{
				Title: "发票.pdf", FileKey: "FILE_KEY", Md5: "9e107d9d372bb6826bd81d3542a419d6", TotalBytes: 20480,
			}}
		}),
		inbound(messages.Kind_KIND_MINI_PROGRAM_PAGE, "miniprogrampage", func(in *messages.Inbound) {
			in.Body = &messages.Inbound_MiniProgramPage{MiniProgramPage: &messages.MiniProgramPage{
				Title: "商品", AppId: "wx0123456789abcdef", PagePath: "pages/goods?id=1", ThumbUrl: "https://example.com/t.jpg", ThumbMediaId: "THUMB_ID",
			}}
		}),
		eventOf(messages.Kind_KIND_SUBSCRIBE, &messages.Event{Name: "subscribe", Key: "qrscene_shop-7", Scene: "shop-7", Ticket: "TICKET"}),
		eventOf(messages.Kind_KIND_UNSUBSCRIBE, &messages.Event{Name: "unsubscribe"}),
		eventOf(messages.Kind_KIND_SCAN, &messages.Event{Name: "SCAN", Key: "shop-7", Scene: "shop-7", Ticket: "TICKET"}),
		eventOf(messages.Kind_KIND_LOCATION_REPORT, &messages.Event{
			Name: "LOCATION", Point: &messages.Location{Latitude: 39.9087, Longitude: 116.3975, Precision: 65},
		}),
		eventOf(messages.Kind_KIND_CLICK, &messages.Event{Name: "CLICK", Key: "orders"}),
		eventOf(messages.Kind_KIND_VIEW, &messages.Event{Name: "VIEW", Key: "https://example.com/", MenuId: "429000000"}),
		eventOf(messages.Kind_KIND_VIEW_MINI_PROGRAM, &messages.Event{Name: "view_miniprogram", Key: "pages/index", MenuId: "429000000"}),
		eventOf(messages.Kind_KIND_LOCATION_SELECT, &messages.Event{Name: "location_select", Key: "where", Point: point}),
		eventOf(messages.Kind_KIND_SUBSCRIBE_MSG_POPUP, &messages.Event{Name: "subscribe_msg_popup_event", Detail: &messages.Event_SubscribeMsgs{
			SubscribeMsgs: &messages.SubscribeMsgs{Items: []*messages.SubscribeMsg{{TemplateId: "TEMPLATE_ID", Status: "accept"}}},
		}}),
		eventOf(messages.Kind_KIND_SUBSCRIBE_MSG_CHANGE, &messages.Event{Name: "subscribe_msg_change_event", Detail: &messages.Event_SubscribeMsgs{
			SubscribeMsgs: &messages.SubscribeMsgs{Items: []*messages.SubscribeMsg{{TemplateId: "TEMPLATE_ID", Status: "reject"}}},
		}}),
		eventOf(messages.Kind_KIND_USER_ENTER_TEMP_SESSION, &messages.Event{Name: "user_enter_tempsession", Detail: &messages.Event_TempSession{
			TempSession: &messages.TempSession{From: "pages/index"},
		}}),
		eventOf(messages.Kind_KIND_DEBUG_DEMO, &messages.Event{Name: "debug_demo", Detail: &messages.Event_DebugDemo{
			DebugDemo: &messages.DebugDemo{Text: "hello world"},
		}}),
	}
	for kind, name := range map[messages.Kind]string{
		messages.Kind_KIND_SCANCODE_PUSH: "scancode_push", messages.Kind_KIND_SCANCODE_WAITMSG: "scancode_waitmsg",
	} {
		all = append(all, eventOf(kind, &messages.Event{Name: name, Key: "scan", ScanType: "qrcode", ScanResult: "https://example.com/x"}))
	}
	for kind, name := range map[messages.Kind]string{
		messages.Kind_KIND_PIC_SYSPHOTO: "pic_sysphoto", messages.Kind_KIND_PIC_PHOTO_OR_ALBUM: "pic_photo_or_album",
		messages.Kind_KIND_PIC_WEIXIN: "pic_weixin",
	} {
		all = append(all, eventOf(kind, &messages.Event{Name: name, Key: "photo", Detail: &messages.Event_Pictures{
			Pictures: &messages.Pictures{Count: 1, Md5: []string{"9e107d9d372bb6826bd81d3542a419d6"}},
		}}))
	}
	for kind, s := range map[messages.Kind]*messages.KfSession{
		messages.Kind_KIND_KF_CREATE_SESSION: {Account: "kf2001@demo"},
		messages.Kind_KIND_KF_CLOSE_SESSION:  {Account: "kf2001@demo", CloseType: "KF"},
		messages.Kind_KIND_KF_SWITCH_SESSION: {FromAccount: "kf2001@demo", ToAccount: "kf2002@demo"},
	} {
		name := strings.TrimPrefix(kind.String(), "KIND_")
		all = append(all, eventOf(kind, &messages.Event{Name: strings.ToLower(name), Detail: &messages.Event_KfSession{KfSession: s}}))
	}
	for _, kind := range []messages.Kind{
		messages.Kind_KIND_USER_INFO_MODIFIED, messages.Kind_KIND_USER_AUTHORIZATION_REVOKE, messages.Kind_KIND_USER_AUTHORIZATION_CANCELLATION,
	} {
		name := strings.ToLower(strings.TrimPrefix(kind.String(), "KIND_"))
		all = append(all, eventOf(kind, &messages.Event{Name: name, Detail: &messages.Event_UserNotice{
			UserNotice: &messages.UserNotice{AppId: "wx0123456789abcdef", RevokeInfo: "1"},
		}}))
	}
	return all
}

// goldenRequest is the turn of a golden example.
func goldenRequest(in *messages.Inbound) *bots.Request {
	req := &bots.Request{ID: "4f2d1c9be0a74c1f9d5a1b2c3d4e5f60", Message: in, Now: testNow}
	if in.GetKind() == messages.Kind_KIND_TEXT {
		req.Session = map[string]string{"city": "北京"}
		req.History = []conversation.Turn{
			{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_TEXT), Text: "今天天气怎么样？", AtMS: testNow.UnixMilli() - 60_000},
			{Role: conversation.RoleBot, Text: "晴，12 度。", AtMS: testNow.UnixMilli() - 58_000},
			{Role: conversation.RoleAgent, Text: "您好，我是客服。", AtMS: testNow.UnixMilli() - 30_000},
		}
	}
	return req
}

// schemaOf compiles a schema of the contract. A closed one refuses what it does not name, which is how a field without a description in
// the schema is found.
func schemaOf(t *testing.T, name string, closed bool) *jsonschema.Schema {
	t.Helper()
	data, err := Schemas.ReadFile("schema/" + name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if closed {
		shut(doc)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func shut(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, ok := n["properties"]; ok && n["type"] == "object" {
			n["additionalProperties"] = false
		}
		for _, v := range n {
			shut(v)
		}
	case []any:
		for _, v := range n {
			shut(v)
		}
	}
}

func validate(t *testing.T, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return schema.Validate(v)
}

// pretty is the form in which golden files are kept.
func pretty(t *testing.T, v any) []byte {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// golden compares with, or under -update writes, a golden file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%s, want\n%s", name, got, want)
	}
}

// Every kind that can reach a bot has its example; each is what the code writes, and what the schema describes, to the last field.
func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "request", true)
	seen := map[messages.Kind]bool{}
	for _, in := range goldenMessages() {
		seen[in.GetKind()] = true
		r := write(goldenRequest(in))
		r.DeadlineMS = 58_000
		if in.GetKind() == messages.Kind_KIND_IMAGE {
			r.Message.Media.ContentType, r.Message.Media.Data = "image/jpeg", []byte{0xff, 0xd8, 0xff, 0xe0}
		}
		data := pretty(t, r)
		golden(t, "request-"+kindName(in.GetKind())+".json", data)
		if err := validate(t, schema, data); err != nil {
			t.Errorf("%s: %v", in.GetKind(), err)
		}
		var back request
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&back); err != nil {
			t.Errorf("%s: %v", in.GetKind(), err)
		}
		if again := pretty(t, back); !bytes.Equal(again, data) {
			t.Errorf("%s becomes %s", data, again)
		}
		sent, out, err := r.body(0)
		if err != nil || out != (omitted{}) || validate(t, schema, sent) != nil {
			t.Errorf("%s is sent as %s, %v", in.GetKind(), sent, err)
		}
	}
	for number := range messages.Kind_name {
		kind := messages.Kind(number)
		if in := eventOf(kind, &messages.Event{}); in.ForUser() != seen[kind] {
			t.Errorf("%s reaches users: %v, has an example: %v", kind, in.ForUser(), seen[kind])
		}
	}
}

// goldenResponses is what the engine makes of each example.
func goldenResponses() map[string]bots.Response {
	answered := func(all ...*messages.Answer) bots.Response { return bots.Response{Handled: true, Answers: all} }
	id := &messages.MediaAnswer{MediaId: "MEDIA_ID"}
	handed := func(account string) bots.Response {
		return bots.Response{Handled: true, HandOver: &bots.HandOver{Account: account}}
	}
	session := answered(bots.Text("好的，已切换到上海。"))
	session.Session = map[string]string{"city": "上海", "draft": "", "old": ""}
	forget := answered(bots.Text("我们重新开始吧。"))
	forget.Forget, forget.Session = true, map[string]string{"turns": "1"}
	return map[string]bots.Response{
		"text":  answered(bots.Text("明天晴，不用带伞。")),
		"texts": answered(bots.Text("第一条"), bots.Text("第二条")),
		"image": answered(&messages.Answer{Content: &messages.Answer_Image{Image: id}}),
		"voice": answered(&messages.Answer{Content: &messages.Answer_Voice{Voice: id}}),
		"video": answered(&messages.Answer{Content: &messages.Answer_Video{Video: &messages.VideoAnswer{
			MediaId: "MEDIA_ID", Title: "标题", Description: "说明", ThumbMediaId: "THUMB_ID",
		}}}),
		"music": answered(&messages.Answer{Content: &messages.Answer_Music{Music: &messages.MusicAnswer{
			Title: "歌名", Description: "歌手", MusicUrl: "https://example.com/a.mp3", HqMusicUrl: "https://example.com/a.flac", ThumbMediaId: "THUMB_ID",
		}}}),
		"news": answered(&messages.Answer{Content: &messages.Answer_News{News: &messages.NewsAnswer{Articles: []*messages.Article{{
			Title: "标题", Description: "摘要", PicUrl: "https://example.com/p.jpg", Url: "https://example.com/",
		}}}}}),
		"menu": answered(&messages.Answer{Content: &messages.Answer_Menu{Menu: &messages.MenuAnswer{
			Head: "满意吗？", Options: []*messages.MenuOption{{Id: "yes", Content: "满意"}, {Id: "no", Content: "不满意"}}, Tail: "谢谢",
		}}}),
		"mp_news": answered(&messages.Answer{Content: &messages.Answer_MpNews{MpNews: id}}),
		"mp_news_article": answered(&messages.Answer{Content: &messages.Answer_MpNewsArticle{
			MpNewsArticle: &messages.MpNewsArticleAnswer{ArticleId: "ARTICLE_ID"},
		}}),
		"card": answered(&messages.Answer{Content: &messages.Answer_Card{Card: &messages.CardAnswer{CardId: "CARD_ID"}}}),
		"mini_program_page": answered(&messages.Answer{Content: &messages.Answer_MiniProgramPage{MiniProgramPage: &messages.MiniProgramPageAnswer{
			Title: "商品", AppId: "wx0123456789abcdef", PagePath: "pages/goods?id=1", ThumbMediaId: "THUMB_ID",
		}}}),
		"session": session, "forget": forget, "hand_over": handed(""), "hand_over_to": handed("kf2001@demo"),
		"silence": {Handled: true}, "pass": {},
	}
}

// Every kind of answer has its example, and every example is what the schema allows and what the engine reads.
func TestGoldenResponses(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "response", false)
	want := goldenResponses()
	files, err := filepath.Glob("testdata/golden/response-*.json")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	var seen []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "response-"), ".json")
		seen = append(seen, name)
		if err := validate(t, schema, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "working" || name == "error" {
			if got := isLife(bytes.Join(bytes.Fields(data), nil)); got != (name == "working") {
				t.Errorf("%s is a sign of life: %v", name, got)
			}
			if _, _, err := read(data, nil); err == nil {
				t.Errorf("%s is an answer", name)
			}
			continue
		}
		got, unknown, err := read(data, map[string]string{"city": "北京", "draft": "x", "old": "y"})
		if err != nil || unknown != "" {
			t.Errorf("%s: %v, unknown %q", name, err, unknown)
		}
		for _, a := range got.Answers {
			kinds[string(a.ProtoReflect().WhichOneof(a.ProtoReflect().Descriptor().Oneofs().Get(0)).Name())] = true
		}
		same(t, name, got, want[name])
	}
	for name := range want {
		if !slices.Contains(seen, name) {
			t.Errorf("there is no example of %s", name)
		}
	}
	fields := (&messages.Answer{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !kinds[name] && name != "transfer" {
			t.Errorf("there is no example of the answer %s", name)
		}
	}
}

// same compares what a bot's response became with what it should.
func same(t *testing.T, name string, got, want bots.Response) {
	t.Helper()
	if got.Handled != want.Handled || got.Forget != want.Forget || len(got.Answers) != len(want.Answers) || len(got.Session) != len(want.Session) ||
		(got.HandOver == nil) != (want.HandOver == nil) {
		t.Errorf("%s: %+v, want %+v", name, got, want)
		return
	}
	if got.HandOver != nil && *got.HandOver != *want.HandOver {
		t.Errorf("%s: handed over to %+v", name, got.HandOver)
	}
	for i, a := range got.Answers {
		if !proto.Equal(a, want.Answers[i]) {
			t.Errorf("%s: answer %d is %v, want %v", name, i, a, want.Answers[i])
		}
	}
	for k, v := range want.Session {
		if found, ok := got.Session[k]; !ok || found != v {
			t.Errorf("%s: session %q is %q, want %q", name, k, found, v)
		}
	}
}

// The examples of a tool's contract.
func TestGoldenTools(t *testing.T) {
	t.Parallel()
	golden(t, "tool-request.json", pretty(t, toolRequest{
		V: Version, ID: "4f2d1c9be0a74c1f9d5a1b2c3d4e5f60.call_1", Tool: "weather", Arguments: json.RawMessage(`{"city": "北京"}`), Account: "demo",
		User: "oGOLDENexampleOpenID00000001", DeadlineMS: 10_000,
	}))
	for name, want := range map[string]string{
		"tool-request": "", "tool-response": `{"weather": "晴", "temperature": 12}`, "tool-response-error": "没有这个城市的天气",
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		schema, closed := strings.TrimSuffix(name, "-error"), name == "tool-request"
		if err := validate(t, schemaOf(t, schema, closed), data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if closed {
			continue
		}
		got, err := toolResult(data)
		var report *ToolError
		if errors.As(err, &report) {
			got = report.ToolReport()
		}
		if got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
