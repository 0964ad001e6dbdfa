package wechat_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/wechat"
)

// kinds reads testdata/kinds.txt: path below callbacks → kind.
func kinds(t testing.TB) map[string]messages.Kind {
	t.Helper()
	raw, err := os.ReadFile("testdata/kinds.txt")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]messages.Kind{}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		path, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		kind, ok := messages.Kind_value["KIND_"+strings.ToUpper(name)]
		if !ok {
			t.Fatalf("kinds.txt: %q", line)
		}
		table[path] = messages.Kind(kind)
	}
	return table
}

func callbacks(t testing.TB) map[string][]byte {
	t.Helper()
	root := filepath.Join("testdata", "callbacks")
	bodies := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		bodies[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil || len(bodies) < 150 {
		t.Fatalf("%d callbacks, %v", len(bodies), err)
	}
	return bodies
}

// Every callback decodes to the kind that the table gives, and nothing of an unknown kind is lost.
func TestFixtureKinds(t *testing.T) {
	t.Parallel()
	want := kinds(t)
	bodies := callbacks(t)
	if len(want) != len(bodies) {
		t.Errorf("kinds.txt has %d lines for %d callbacks", len(want), len(bodies))
	}
	for path, body := range bodies {
		in, err := wechat.Decode("demo", body)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		kind, ok := want[path]
		if !ok || in.GetKind() != kind {
			t.Errorf("%s: %v, want %v (listed: %v)", path, in.GetKind(), kind, ok)
		}
		if (kind == messages.Kind_KIND_UNKNOWN) && !bytes.Equal(in.GetRaw(), body) {
			t.Errorf("%s: the payload of an unknown kind is not kept", path)
		}
		if kind != messages.Kind_KIND_UNKNOWN && in.GetBody() == nil {
			t.Errorf("%s: no typed body", path)
		}
		if in.GetAccount() != "demo" || in.GetFormat() == messages.Format_FORMAT_JSON != strings.HasSuffix(path, ".json") {
			t.Errorf("%s: account %q, format %v", path, in.GetAccount(), in.GetFormat())
		}
		if key := messages.DedupeKey(in); !bytes.Equal(in.GetKey(), key[:]) {
			t.Errorf("%s: key %x, want %s", path, in.GetKey(), key)
		}
	}
}

// Every callback of a kind that has types is decoded to the last field: nothing of it has to be kept raw.
func TestFixtureFields(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if path, fields, ok := strings.Cut(line, " "); ok && path != "#" {
			want[path] = fields
		}
	}
	typed := 0
	for path, body := range callbacks(t) {
		in, err := wechat.Decode("demo", body)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if in.GetKind() == messages.Kind_KIND_UNKNOWN {
			continue
		}
		typed++
		expected := &messages.Inbound{}
		if err := prototext.Unmarshal([]byte(want[path]), expected); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		expected.Account, in.Key = "demo", nil
		if !proto.Equal(in, expected) {
			t.Errorf("%s: got\n%v\nwant\n%v", path, in, expected)
		}
	}
	if typed != len(want) {
		t.Errorf("fields.txt has %d lines for %d callbacks", len(want), typed)
	}
}

// The fields of each kind, read from the fixtures and from bodies after wechat-protocol §2 where there is none.
func TestDecodeFields(t *testing.T) {
	t.Parallel()
	fixture := func(path string) string {
		body, err := os.ReadFile(filepath.Join("testdata", "callbacks", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	message := func(msgType, rest string) string {
		return "<xml><ToUserName>gh_1</ToUserName><FromUserName>o1</FromUserName><CreateTime>9</CreateTime><MsgType><![CDATA[" +
			msgType + "]]></MsgType>" + rest + "</xml>"
	}
	event := func(name, rest string) string { return message("event", "<Event><![CDATA["+name+"]]></Event>"+rest) }
	jsonEvent := func(name, rest string) string {
		return `{"ToUserName":"gh_1","FromUserName":"o1","CreateTime":"9","MsgType":"event","Event":"` + name + `",` + rest + `}`
	}
	const common = `account:"demo" open_id:"o1" to_user:"gh_1" create_time:9 `
	const mine = `account:"demo" open_id:"fromUser" to_user:"toUser" `
	for _, c := range []struct {
		name, body, want string
		raw              bool
	}{
		{"text", fixture("MpMessage/TextMessageEvent.xml"), mine + `create_time:1348831860 msg_type:"text" kind:KIND_TEXT msg_id:"1234567890123456" text:{content:"this is a test"}`, false},
		{"text, JSON", fixture("MpMessage/TextMessageEvent.json"), mine + `create_time:1482048670 msg_type:"text" kind:KIND_TEXT msg_id:"1234567890123456" format:FORMAT_JSON text:{content:"this is a test"}`, false},
		{"menu text", message("text", "<bizmsgmenuid>101</bizmsgmenuid><Content>满意</Content><MsgId>m</MsgId>"), common + `msg_type:"text" kind:KIND_TEXT msg_id:"m" text:{content:"满意" menu_id:"101"}`, false},
		{"text without MsgId", message("TEXT", "<Content>a</Content>"), common + `msg_type:"TEXT" kind:KIND_TEXT text:{content:"a"}`, true},
		{"image", fixture("MpMessage/ImageMessageEvent.xml"), mine + `create_time:1348831860 msg_type:"image" kind:KIND_IMAGE msg_id:"1234567890123456" media:{media_id:"media_id" pic_url:"this is a url"}`, false},
		{"voice", message("voice", "<MediaId>a</MediaId><Format>amr</Format><MediaId16K>b</MediaId16K><Recognition/><MsgId>1</MsgId>"), common + `msg_type:"voice" kind:KIND_VOICE msg_id:"1" media:{media_id:"a" format:"amr" media_id_16k:"b"}`, false},
		{"video", fixture("MpMessage/VideoMessageEvent.xml"), mine + `create_time:1357290913 msg_type:"video" kind:KIND_VIDEO msg_id:"1234567890123456" media:{media_id:"media_id" thumb_media_id:"thumb_media_id"}`, false},
		{"short video", fixture("MpMessage/ShortVideoMessageEvent.xml"), mine + `create_time:1357290913 msg_type:"shortvideo" kind:KIND_SHORT_VIDEO msg_id:"1234567890123456" media:{media_id:"media_id" thumb_media_id:"thumb_media_id"}`, false},
		{"location", fixture("MpMessage/LocationMessageEvent.xml"), mine + `create_time:1351776360 msg_type:"location" kind:KIND_LOCATION msg_id:"1234567890123456" location:{latitude:23.134521 longitude:113.358803 scale:20 label:"位置信息"}`, false},
		{"link", message("link", "<Title>a</Title><Description>b</Description><Url>c</Url><MsgId>1</MsgId>"), common + `msg_type:"link" kind:KIND_LINK msg_id:"1" link:{title:"a" description:"b" url:"c"}`, false},
		{"file", message("file", "<Title>a</Title><Description>b</Description><FileKey>c</FileKey><FileMd5>d</FileMd5><FileTotalLen>123</FileTotalLen><MsgId>1</MsgId>"), common + `msg_type:"file" kind:KIND_FILE msg_id:"1" file:{title:"a" description:"b" file_key:"c" md5:"d" total_bytes:123}`, false},
		{"mini-program page", message("miniprogrampage", "<Title>a</Title><AppId>b</AppId><PagePath>c</PagePath><ThumbUrl>d</ThumbUrl><ThumbMediaId>e</ThumbMediaId><MsgId>1</MsgId>"), common + `msg_type:"miniprogrampage" kind:KIND_MINI_PROGRAM_PAGE msg_id:"1" mini_program_page:{title:"a" app_id:"b" page_path:"c" thumb_url:"d" thumb_media_id:"e"}`, false},
		{"unknown message", message("hologram", "<MsgId>1</MsgId>"), common + `msg_type:"hologram" msg_id:"1"`, true},
		{"subscribe", event("subscribe", "<EventKey>qrscene_1</EventKey><Ticket>t</Ticket>"), common + `msg_type:"event" kind:KIND_SUBSCRIBE event:{name:"subscribe" key:"qrscene_1" ticket:"t" scene:"1"}`, false},
		{"subscribe by search", event("subscribe", "<EventKey/>"), common + `msg_type:"event" kind:KIND_SUBSCRIBE event:{name:"subscribe"}`, false},
		{"subscribe with another key", event("subscribe", "<EventKey>last_trade_no_1</EventKey>"), common + `msg_type:"event" kind:KIND_SUBSCRIBE event:{name:"subscribe" key:"last_trade_no_1"}`, false},
		{"scene with the prefix twice", event("subscribe", "<EventKey>qrscene_qrscene_</EventKey>"), common + `msg_type:"event" kind:KIND_SUBSCRIBE event:{name:"subscribe" key:"qrscene_qrscene_" scene:"qrscene_"}`, false},
		{"click with the prefix", event("CLICK", "<EventKey>qrscene_1</EventKey>"), common + `msg_type:"event" kind:KIND_CLICK event:{name:"CLICK" key:"qrscene_1"}`, false},
		{"scan in lower case", event("scan", "<EventKey>7</EventKey>"), common + `msg_type:"event" kind:KIND_SCAN event:{name:"scan" key:"7" scene:"7"}`, false},
		{"location report", event("LOCATION", "<Latitude>-23.1</Latitude><Longitude>113.3</Longitude><Precision>119.38</Precision>"), common + `msg_type:"event" kind:KIND_LOCATION_REPORT event:{name:"LOCATION" point:{latitude:-23.1 longitude:113.3 precision:119.38}}`, false},
		{"view", event("VIEW", "<EventKey>http://a</EventKey><MenuId>5</MenuId>"), common + `msg_type:"event" kind:KIND_VIEW event:{name:"VIEW" key:"http://a" menu_id:"5"}`, false},
		{"scan code", event("scancode_waitmsg", "<EventKey>6</EventKey><ScanCodeInfo><ScanType>qrcode</ScanType><ScanResult> <![CDATA[1]]> </ScanResult></ScanCodeInfo>"), common + `msg_type:"event" kind:KIND_SCANCODE_WAITMSG event:{name:"scancode_waitmsg" key:"6" scan_type:"qrcode" scan_result:"1"}`, false},
		{"scan code with more", event("scancode_push", "<ScanCodeInfo><ScanType>qrcode</ScanType><New>1</New></ScanCodeInfo>"), common + `msg_type:"event" kind:KIND_SCANCODE_PUSH event:{name:"scancode_push" scan_type:"qrcode"}`, true},
		{"location select", event("location_select", "<EventKey>6</EventKey><SendLocationInfo><Location_X>23</Location_X><Location_Y>113</Location_Y><Scale>15</Scale><Label>广州</Label><Poiname>塔</Poiname></SendLocationInfo>"), common + `msg_type:"event" kind:KIND_LOCATION_SELECT event:{name:"location_select" key:"6" point:{latitude:23 longitude:113 scale:15 label:"广州" poi_name:"塔"}}`, false},
		{"pictures", event("pic_weixin", "<EventKey>6</EventKey><SendPicsInfo><Count>1</Count></SendPicsInfo>"), common + `msg_type:"event" kind:KIND_PIC_WEIXIN event:{name:"pic_weixin" key:"6" pictures:{count:1}}`, false},
		{"many pictures", event("PIC_SYSPHOTO", "<SendPicsInfo><PicList><item><PicMd5Sum>a</PicMd5Sum></item><item><PicMd5Sum><![CDATA[b]]></PicMd5Sum></item></PicList><Count>2</Count></SendPicsInfo>"), common + `msg_type:"event" kind:KIND_PIC_SYSPHOTO event:{name:"PIC_SYSPHOTO" pictures:{count:2 md5:"a" md5:"b"}}`, false},
		{"many pictures, JSON", jsonEvent("pic_photo_or_album", `"SendPicsInfo":{"Count":"2","PicList":[{"PicMd5Sum":"a"},{"PicMd5Sum":"b"}]}`), common + `msg_type:"event" kind:KIND_PIC_PHOTO_OR_ALBUM format:FORMAT_JSON event:{name:"pic_photo_or_album" pictures:{count:2 md5:"a" md5:"b"}}`, false},
		{"pictures without a number", event("pic_weixin", "<SendPicsInfo><Count>many</Count></SendPicsInfo>"), common + `msg_type:"event" kind:KIND_PIC_WEIXIN event:{name:"pic_weixin" pictures:{}}`, true},
		{"pictures in plain text", event("pic_weixin", "<SendPicsInfo>two</SendPicsInfo>"), common + `msg_type:"event" kind:KIND_PIC_WEIXIN event:{name:"pic_weixin" pictures:{}}`, true},
		{"template job, blocked", event("TEMPLATESENDJOBFINISH", "<MsgID>5</MsgID><Status>failed:user block</Status>"), common + `msg_type:"event" kind:KIND_TEMPLATE_JOB_FINISH msg_id:"5" event:{name:"TEMPLATESENDJOBFINISH" status:"failed:user block" template_job:{result:RESULT_USER_BLOCK}}`, false},
		{"template job, failed", event("templatesendjobfinish", "<MsgID>5</MsgID><Status>failed: system failed</Status>"), common + `msg_type:"event" kind:KIND_TEMPLATE_JOB_FINISH msg_id:"5" event:{name:"templatesendjobfinish" status:"failed: system failed" template_job:{result:RESULT_SYSTEM_FAILED}}`, false},
		{"template job, else", event("TEMPLATESENDJOBFINISH", "<MsgID>5</MsgID><Status>failed: new</Status>"), common + `msg_type:"event" kind:KIND_TEMPLATE_JOB_FINISH msg_id:"5" event:{name:"TEMPLATESENDJOBFINISH" status:"failed: new" template_job:{}}`, false},
		{"mass job", event("MASSSENDJOBFINISH", "<MsgID>5</MsgID><Status>send success</Status><TotalCount>100</TotalCount><FilterCount>80</FilterCount><SentCount>75</SentCount><ErrorCount>5</ErrorCount>"), common + `msg_type:"event" kind:KIND_MASS_JOB_FINISH msg_id:"5" event:{name:"MASSSENDJOBFINISH" status:"send success" mass_job:{success:true total:100 filtered:80 sent:75 failed:5}}`, false},
		{"mass job, failed", event("MASSSENDJOBFINISH", "<MsgID>5</MsgID><Status>send fail</Status><TotalCount/>"), common + `msg_type:"event" kind:KIND_MASS_JOB_FINISH msg_id:"5" event:{name:"MASSSENDJOBFINISH" status:"send fail" mass_job:{}}`, false},
		{"mass job without numbers", event("MASSSENDJOBFINISH", "<MsgID>5</MsgID><Status>err(x)</Status><TotalCount>all</TotalCount>"), common + `msg_type:"event" kind:KIND_MASS_JOB_FINISH msg_id:"5" event:{name:"MASSSENDJOBFINISH" status:"err(x)" mass_job:{}}`, true},
		{"mass job, JSON", jsonEvent("MASSSENDJOBFINISH", `"MsgID":5,"Status":"send success","TotalCount":"7","ArticleUrlResult":{"Count":2,"ResultList":[{"ArticleIdx":1,"ArticleUrl":"a"},{"ArticleUrl":"b","ArticleIdx":2}]}`), common + `msg_type:"event" kind:KIND_MASS_JOB_FINISH msg_id:"5" format:FORMAT_JSON event:{name:"MASSSENDJOBFINISH" status:"send success" mass_job:{success:true total:7 articles:{index:1 url:"a"} articles:{index:2 url:"b"}}}`, false},
		{"publish job", event("PUBLISHJOBFINISH", "<PublishEventInfo><publish_id>8</publish_id><publish_status>2</publish_status><fail_idx>3</fail_idx></PublishEventInfo>"), common + `msg_type:"event" kind:KIND_PUBLISH_JOB_FINISH event:{name:"PUBLISHJOBFINISH" publish_job:{publish_id:"8" status:2 failed_indexes:3}}`, false},
		{"publish job, JSON", jsonEvent("PUBLISHJOBFINISH", `"PublishEventInfo":{"publish_id":"8","publish_status":0,"article_id":"a","article_detail":{"count":2,"item":[{"idx":1,"article_url":"u"},{"idx":2,"article_url":"v"}]},"fail_idx":[1,2]}`), common + `msg_type:"event" kind:KIND_PUBLISH_JOB_FINISH format:FORMAT_JSON event:{name:"PUBLISHJOBFINISH" publish_job:{publish_id:"8" article_id:"a" articles:{index:1 url:"u"} articles:{index:2 url:"v"} failed_indexes:1 failed_indexes:2}}`, false},
		{"publish job with a bad index", event("PUBLISHJOBFINISH", "<PublishEventInfo><fail_idx>1</fail_idx><fail_idx>x</fail_idx></PublishEventInfo>"), common + `msg_type:"event" kind:KIND_PUBLISH_JOB_FINISH event:{name:"PUBLISHJOBFINISH" publish_job:{failed_indexes:1}}`, true},
		{"subscription, several in JSON", jsonEvent("subscribe_msg_popup_event", `"List":[{"TemplateId":"a","SubscribeStatusString":"accept","PopupScene":"2"},{"TemplateId":"b","SubscribeStatusString":"reject","PopupScene":2}]`), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_POPUP format:FORMAT_JSON event:{name:"subscribe_msg_popup_event" subscribe_msgs:{items:{template_id:"a" status:"accept" popup_scene:2} items:{template_id:"b" status:"reject" popup_scene:2}}}`, false},
		{"subscription, JSON like XML", jsonEvent("subscribe_msg_change_event", `"SubscribeMsgChangeEvent":{"List":[{"TemplateId":"a"},{"TemplateId":"b"}]}`), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_CHANGE format:FORMAT_JSON event:{name:"subscribe_msg_change_event" subscribe_msgs:{items:{template_id:"a"} items:{template_id:"b"}}}`, false},
		{"subscription, list in XML", event("subscribe_msg_sent_event", "<List><TemplateId>a</TemplateId></List><List><TemplateId>b</TemplateId></List>"), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_SENT event:{name:"subscribe_msg_sent_event" subscribe_msgs:{items:{template_id:"a"} items:{template_id:"b"}}}`, false},
		{"subscription, empty list", jsonEvent("subscribe_msg_sent_event", `"List":[]`), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_SENT format:FORMAT_JSON event:{name:"subscribe_msg_sent_event" subscribe_msgs:{}}`, false},
		{"subscription with more", jsonEvent("subscribe_msg_sent_event", `"List":{"TemplateId":"a","New":1}`), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_SENT format:FORMAT_JSON event:{name:"subscribe_msg_sent_event" subscribe_msgs:{items:{template_id:"a"}}}`, true},
		{"subscription, list of texts", jsonEvent("subscribe_msg_sent_event", `"List":["a"]`), common + `msg_type:"event" kind:KIND_SUBSCRIBE_MSG_SENT format:FORMAT_JSON event:{name:"subscribe_msg_sent_event" subscribe_msgs:{}}`, true},
		{"list of another event", event("CLICK", "<List><TemplateId>a</TemplateId></List>"), common + `msg_type:"event" kind:KIND_CLICK event:{name:"CLICK"}`, true},
		{"support session begins", event("kf_create_session", "<KfAccount>a@b</KfAccount>"), common + `msg_type:"event" kind:KIND_KF_CREATE_SESSION event:{name:"kf_create_session" kf_session:{account:"a@b"}}`, false},
		{"support session ends", event("kf_close_session", "<KfAccount>a@b</KfAccount><CloseType>TIMEOUT</CloseType>"), common + `msg_type:"event" kind:KIND_KF_CLOSE_SESSION event:{name:"kf_close_session" kf_session:{account:"a@b" close_type:"TIMEOUT"}}`, false},
		{"support session moves", event("kf_switch_session", "<FromKfAccount>a@b</FromKfAccount><ToKfAccount>c@b</ToKfAccount>"), common + `msg_type:"event" kind:KIND_KF_SWITCH_SESSION event:{name:"kf_switch_session" kf_session:{from_account:"a@b" to_account:"c@b"}}`, false},
		{"account deleted", event("user_authorization_cancellation", "<OpenID>o2</OpenID><AppID>wx1</AppID><PluginID>wx2</PluginID>"), `account:"demo" open_id:"o2" to_user:"gh_1" create_time:9 msg_type:"event" kind:KIND_USER_AUTHORIZATION_CANCELLATION event:{name:"user_authorization_cancellation" user_notice:{app_id:"wx1" sender:"o1"}}`, true},
		{"notice about nobody", event("user_info_modified", ""), common + `msg_type:"event" kind:KIND_USER_INFO_MODIFIED event:{name:"user_info_modified" user_notice:{sender:"o1"}}`, false},
		{"OpenID of another event", event("CLICK", "<OpenID>o2</OpenID>"), common + `msg_type:"event" kind:KIND_CLICK event:{name:"CLICK"}`, true},
		{"verification without a date", event("verify_expired", "<ExpiredTime>soon</ExpiredTime>"), common + `msg_type:"event" kind:KIND_ACCOUNT_VERIFICATION event:{name:"verify_expired" account_notice:{}}`, true},
		{"debug", event("debug_demo", "<debug_str>hello world</debug_str>"), common + `msg_type:"event" kind:KIND_DEBUG_DEMO event:{name:"debug_demo" debug_demo:{text:"hello world"}}`, false},
		{"event in compat mode", event("CLICK", "<Encrypt>abc=</Encrypt>"), common + `msg_type:"event" kind:KIND_CLICK event:{name:"CLICK"}`, false},
		{"from under an article", message("text", "<Content>a</Content><MsgId>1</MsgId><MsgDataId>2247483650_1</MsgDataId><Idx>2</Idx>"), common + `msg_type:"text" kind:KIND_TEXT msg_id:"1" msg_data_id:"2247483650_1" article_index:2 text:{content:"a"}`, false},
		{"from under an article, JSON", `{"ToUserName":"gh_1","FromUserName":"o1","CreateTime":9,"MsgType":"image","MsgId":"1","PicUrl":"u","MediaId":"m","MsgDataId":2247483650,"Idx":"1"}`, common + `msg_type:"image" kind:KIND_IMAGE msg_id:"1" msg_data_id:"2247483650" article_index:1 format:FORMAT_JSON media:{media_id:"m" pic_url:"u"}`, false},
		{"from under no article", message("text", "<Content>a</Content><MsgId>1</MsgId><Idx>first</Idx>"), common + `msg_type:"text" kind:KIND_TEXT msg_id:"1" text:{content:"a"}`, true},
		{"event in any case", event("UnSubscribe", ""), common + `msg_type:"event" kind:KIND_UNSUBSCRIBE event:{name:"UnSubscribe"}`, false},
		{"unknown event", event("new_thing", "<EventKey>k</EventKey>"), common + `msg_type:"event" event:{name:"new_thing" key:"k"}`, true},
		{"event without a sender", "<xml><MsgType>event</MsgType><Event>CLICK</Event></xml>", `account:"demo" msg_type:"event" kind:KIND_CLICK event:{name:"CLICK"}`, false},
		{"numbers as text", `{"ToUserName":"gh_1","FromUserName":"o1","CreateTime":"9","MsgType":"text","MsgId":"abc-1","Content":"\u4f60\n好"}`, common + `msg_type:"text" kind:KIND_TEXT msg_id:"abc-1" format:FORMAT_JSON text:{content:"你\n好"}`, false},
		{"big MsgId", `{"ToUserName":"gh_1","FromUserName":"o1","CreateTime":9,"MsgType":"text","MsgId":18643237264612556809,"Content":""}`, common + `msg_type:"text" kind:KIND_TEXT msg_id:"18643237264612556809" format:FORMAT_JSON text:{}`, false},
		{"probe, XML", "<xml><action>CheckContainerPath</action></xml>", `account:"demo"`, true},
		{"probe, JSON", `{"action":"CheckContainerPath"}`, `account:"demo" format:FORMAT_JSON`, true},
		{"ticket", fixture("OpenComponent/ComponentVerifyTicketEvent.xml"), `account:"demo" create_time:1413192605`, true},
		{"any order", "<xml><MsgId>1</MsgId><Content>c</Content><MsgType>text</MsgType><CreateTime> 9 </CreateTime><FromUserName>o1</FromUserName><ToUserName>gh_1</ToUserName></xml>", common + `msg_type:"text" kind:KIND_TEXT msg_id:"1" text:{content:"c"}`, false},
	} {
		in, err := wechat.Decode("demo", []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := string(in.GetRaw()); c.raw && got != c.body || !c.raw && got != "" {
			t.Errorf("%s: raw is %q", c.name, got)
		}
		in.Raw, in.Key = nil, nil
		want := &messages.Inbound{}
		if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !proto.Equal(in, want) {
			t.Errorf("%s: got\n%v\nwant\n%v", c.name, in, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	message := func(rest string) string {
		return "<xml><FromUserName>o1</FromUserName><CreateTime>9</CreateTime><MsgType>text</MsgType>" + rest + "</xml>"
	}
	event := func(rest string) string { return "<xml><MsgType>event</MsgType><Event>CLICK</Event>" + rest + "</xml>" }
	notice := func(openID string) string {
		return "<xml><MsgType>event</MsgType><Event>user_info_modified</Event><OpenID>" + openID + "</OpenID></xml>"
	}
	bodies := map[string]string{
		"empty":                     "",
		"blank":                     " \n",
		"BOM only":                  "\uFEFF",
		"form":                      "a=b",
		"JSON array":                `[{"MsgType":"event"}]`,
		"sender missing":            "<xml><MsgType>text</MsgType><CreateTime>1</CreateTime></xml>",
		"sender empty":              "<xml><FromUserName> </FromUserName><MsgType>text</MsgType><CreateTime>1</CreateTime></xml>",
		"sender missing, new type":  "<xml><MsgType>new</MsgType><CreateTime>1</CreateTime></xml>",
		"sender missing, JSON":      `{"MsgType":"text","CreateTime":1}`,
		"sender null":               `{"MsgType":"text","FromUserName":null,"CreateTime":1}`,
		"sender a list":             `{"MsgType":"text","FromUserName":["o1"],"CreateTime":1}`,
		"sender an object":          `{"MsgType":"text","FromUserName":{"o1":1},"CreateTime":1}`,
		"sender an element":         "<xml><FromUserName><a>o1</a></FromUserName><MsgType>text</MsgType><CreateTime>1</CreateTime></xml>",
		"time missing":              "<xml><FromUserName>o1</FromUserName><MsgType>text</MsgType></xml>",
		"time garbage":              event("<CreateTime>soon</CreateTime>"),
		"time negative":             event("<CreateTime>-1</CreateTime>"),
		"time signed":               event("<CreateTime>+1</CreateTime>"),
		"time with a fraction":      `{"MsgType":"event","CreateTime":1.5}`,
		"time too big":              event("<CreateTime>9223372036854775808</CreateTime>"),
		"place no number":           strings.Replace(message("<Location_X>x</Location_X>"), "text", "location", 1),
		"place not a number":        strings.Replace(message("<Location_X>NaN</Location_X>"), "text", "location", 1),
		"place infinite":            strings.Replace(message("<Location_X>1e999</Location_X>"), "text", "location", 1),
		"scale too big":             strings.Replace(message("<Scale>9999999999</Scale>"), "text", "location", 1),
		"point no number":           event("<Latitude>0x1p4</Latitude>"),
		"selected point no number":  event("<SendLocationInfo><Location_Y>y</Location_Y></SendLocationInfo>"),
		"file size no number":       strings.Replace(message("<FileTotalLen>big</FileTotalLen>"), "text", "file", 1),
		"long sender":               strings.Replace(message(""), "o1", strings.Repeat("o", 257), 1),
		"line break in sender":      strings.Replace(message(""), "o1", "o\n1", 1),
		"NUL in MsgId":              message("<MsgId><![CDATA[1\x00]]></MsgId>"),
		"line break in type, JSON":  `{"MsgType":"a\nb","FromUserName":"o1","CreateTime":1}`,
		"long OpenID of a notice":   notice(strings.Repeat("o", 257)),
		"line break in a notice":    notice("o\n2"),
		"huge unknown":              event("<New>" + strings.Repeat("x", 64<<10) + "</New>"),
		"huge unknown, JSON":        `{"New":"` + strings.Repeat("x", 64<<10) + `"}`,
		"entity bomb":               `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><MsgType>&b;</MsgType></xml>`,
		"external entity":           `<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml/>`,
		"undefined entity":          message("<Content>&x;</Content>"),
		"invalid UTF-8":             message("<Content>\xff</Content>"),
		"invalid UTF-8, JSON":       "{\"Content\":\"\xff\"}",
		"bytes after the root":      message("") + "x",
		"bytes after the root, NUL": message("") + "\x00",
		"second root":               message("") + message(""),
		"bytes after, JSON":         `{"MsgType":"event"}]`,
		"repeated key, JSON":        `{"MsgType":"event","New":1,"New":2}`,
		"nested too deeply":         message(strings.Repeat("<a>", 32) + strings.Repeat("</a>", 32)),
		"nested too deeply, JSON":   `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}",
	}
	for _, name := range []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "Event", "EventKey", "Encrypt"} {
		bodies["repeated "+name] = fmt.Sprintf("<xml><%[1]s>1</%[1]s><x/><%[1]s>1</%[1]s></xml>", name)
		bodies["repeated "+name+", JSON"] = fmt.Sprintf(`{"%[1]s":"1","x":0,"%[1]s":"1"}`, name)
		bodies["repeated "+name+", JSON list"] = fmt.Sprintf(`{"%[1]s":["1","1"]}`, name)
		bodies["repeated "+name+", JSON escape"] = fmt.Sprintf(`{"%s":"1","\u%04x%s":"1"}`, name, name[0], name[1:])
	}
	for name, body := range bodies {
		in, err := wechat.Decode("demo", []byte(body))
		if !errors.Is(err, wechat.ErrMalformed) || in != nil {
			t.Errorf("%s: %v, %v", name, in, err)
			continue
		}
		if len(err.Error()) > 120 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: not a short reason: %q", name, err)
		}
	}
}

// Repeats of other names, names in other letters and the like are no reason to refuse.
func TestDecodeTolerates(t *testing.T) {
	t.Parallel()
	const head = "<xml><FromUserName>o1</FromUserName><CreateTime>9</CreateTime><MsgType>text</MsgType><MsgId>1</MsgId>"
	for name, body := range map[string]string{
		"list":                     head + "<Actions>1</Actions><Actions>2</Actions></xml>",
		"other case":               head + "<msgid>2</msgid><FROMUSERNAME>x</FROMUSERNAME></xml>",
		"sole names below the top": head + "<L><MsgId>2</MsgId><MsgId>3</MsgId></L></xml>",
		"attributes":               strings.Replace(head, "<xml>", `<xml version="1" a='b'>`, 1) + "</xml>",
		"JSON":                     "\uFEFF\n" + `{"FromUserName":"o1","CreateTime":9,"MsgType":"text","MsgId":1,"L":{"MsgId":2,"MsgId":3},"List":[]}`,
	} {
		in, err := wechat.Decode("demo", []byte(body))
		if err != nil || in.GetOpenId() != "o1" || in.GetMsgId() != "1" || in.GetKind() != messages.Kind_KIND_TEXT {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}

// Two messages of one second without a MsgId are two, and the same one twice is one.
func TestKeyWithoutMsgId(t *testing.T) {
	t.Parallel()
	key := func(content string) string {
		in, err := wechat.Decode("demo", []byte("<xml><FromUserName>o1</FromUserName><CreateTime>9</CreateTime>"+
			"<MsgType>text</MsgType><Content>"+content+"</Content></xml>"))
		if err != nil {
			t.Fatal(err)
		}
		return messages.KeyOf(in).String()
	}
	if first, again := key("a"), key("a"); first == key("b") || first != again {
		t.Error("the payload does not tell messages apart")
	}
}

// The caller may use body again.
func TestDecodeCopies(t *testing.T) {
	t.Parallel()
	for path, body := range callbacks(t) {
		in, err := wechat.Decode("demo", body)
		if err != nil {
			t.Fatal(err)
		}
		before := proto.Clone(in)
		clear(body)
		if !proto.Equal(in, before) {
			t.Errorf("%s: the result refers to the body", path)
		}
	}
}
