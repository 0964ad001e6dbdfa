package wechat_test

import (
	"bytes"
	"encoding/json"
	stdxml "encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/wechat"
)

func answer(t testing.TB, text string) *messages.Answer {
	t.Helper()
	a := &messages.Answer{}
	if err := prototext.Unmarshal([]byte(text), a); err != nil {
		t.Fatal(err)
	}
	return a
}

func textAnswer(text string) *messages.Answer {
	return &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: text}}}
}

// meaning is an XML document as encoding/xml reads it: the path and the text of each leaf, in order.
func meaning(t interface{ Fatalf(string, ...any) }, body []byte) []string {
	d := stdxml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\uFEFF"))))
	var path, leaves []string
	var text strings.Builder
	leaf := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return leaves
		}
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		switch token := token.(type) {
		case stdxml.StartElement:
			path, leaf = append(path, token.Name.Local), true
			text.Reset()
		case stdxml.CharData:
			text.Write(token)
		case stdxml.EndElement:
			if leaf {
				leaves = append(leaves, strings.Join(path, "/")+"="+strings.Trim(text.String(), " \t\r\n"))
			}
			path, leaf = path[:len(path)-1], false
		}
	}
}

// The platform's own samples and what we write mean the same.
func TestReplyFixtures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, answer string
		to, from     string
		at           int64
	}{
		{"TextMessageReply.xml", `text:{content:"你好"}`, "toUser", "fromUser", 12345678},
		{"ImageMessageReply.xml", `image:{media_id:"media_id"}`, "toUser", "fromUser", 12345678},
		{"VoiceMessageReply.xml", `voice:{media_id:"media_id"}`, "toUser", "fromUser", 12345678},
		{"VideoMessageReply.xml", `video:{media_id:"media_id" title:"title" description:"description"}`, "toUser", "fromUser", 12345678},
		{"MusicMessageReply.xml", `music:{title:"TITLE" description:"DESCRIPTION" music_url:"MUSIC_Url" hq_music_url:"HQ_MUSIC_Url" thumb_media_id:"media_id"}`, "toUser", "fromUser", 12345678},
		{"NewsMessageReply.xml", `news:{articles:{title:"title1" description:"description1" pic_url:"picurl" url:"url"}}`, "toUser", "fromUser", 12345678},
		{"TransferCustomerServiceReply.xml", `transfer:{kf_account:"test1@test"}`, "touser", "fromuser", 1399197672},
	} {
		want, err := os.ReadFile(filepath.Join("testdata", "replies", c.file))
		if err != nil {
			t.Fatal(err)
		}
		in := &messages.Inbound{OpenId: c.to, ToUser: c.from, Kind: messages.Kind_KIND_TEXT}
		got, err := wechat.EncodeReply(in, answer(t, c.answer), c.at)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := strings.Join(meaning(t, got), "\n"), strings.Join(meaning(t, want), "\n"); g != w {
			t.Errorf("%s: got\n%s\nwant\n%s", c.file, g, w)
		}
	}
}

func TestReplyJSON(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Format: messages.Format_FORMAT_JSON, Kind: messages.Kind_KIND_CLICK}
	const head = `{"ToUserName":"o1","FromUserName":"gh_1","CreateTime":9,"MsgType":`
	for _, c := range []struct{ answer, want string }{
		{`text:{content:"<a href=\"x\">你好</a>\n&\\"}`, `"text","Content":"<a href=\"x\">你好</a>\n&\\"}`},
		{`image:{media_id:"m"}`, `"image","Image":{"MediaId":"m"}}`},
		{`voice:{media_id:"m"}`, `"voice","Voice":{"MediaId":"m"}}`},
		{`video:{media_id:"m"}`, `"video","Video":{"MediaId":"m","Title":"","Description":""}}`},
		{`music:{title:"a" thumb_media_id:"m"}`, `"music","Music":{"Title":"a","Description":"","MusicUrl":"","HQMusicUrl":"","ThumbMediaId":"m"}}`},
		{
			`news:{articles:{title:"a"} articles:{title:"b" url:"u"}}`,
			`"news","ArticleCount":2,"Articles":[{"Title":"a","Description":"","PicUrl":"","Url":""},{"Title":"b","Description":"","PicUrl":"","Url":"u"}]}`,
		},
		{`transfer:{}`, `"transfer_customer_service"}`},
		{`transfer:{kf_account:"k@x"}`, `"transfer_customer_service","TransInfo":{"KfAccount":"k@x"}}`},
	} {
		got, err := wechat.EncodeReply(in, answer(t, c.answer), 9)
		if err != nil || string(got) != head+c.want {
			t.Errorf("%s: got %s, %v; want %s%s", c.answer, got, err, head, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("not valid: %s", got)
		}
	}
}

func TestReplyExact(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Kind: messages.Kind_KIND_TEXT}
	got, err := wechat.EncodeReply(in, textAnswer("a]]>b\n\x01\xff"), -1)
	const want = "<xml><ToUserName><![CDATA[o1]]></ToUserName><FromUserName><![CDATA[gh_1]]></FromUserName>" +
		"<CreateTime>-1</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[a]]]]><![CDATA[>b\n\uFFFD]]></Content></xml>"
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// Answers that would show the fault banner become a bare success.
func TestReplySuccess(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1"}
	for _, a := range []string{
		``, `text:{}`, `text:{content:" \n\x01"}`, `image:{}`, `voice:{}`, `video:{title:"t"}`, `music:{title:"t"}`, `news:{}`,
	} {
		for _, format := range []messages.Format{messages.Format_FORMAT_XML, messages.Format_FORMAT_JSON} {
			in.Format = format
			if got, err := wechat.EncodeReply(in, answer(t, a), 9); err != nil || string(got) != "success" {
				t.Errorf("%q: %s, %v", a, got, err)
			}
		}
	}
	if got, err := wechat.EncodeReply(in, nil, 9); err != nil || string(got) != "success" {
		t.Errorf("nil: %s, %v", got, err)
	}
	if got, err := wechat.EncodeReply(&messages.Inbound{}, answer(t, `text:{content:"a"}`), 9); err != nil || string(got) != "success" {
		t.Errorf("to nobody: %s, %v", got, err)
	}
}

func TestReplyLimits(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Kind: messages.Kind_KIND_TEXT}
	news := answer(t, strings.Replace(`news:{X}`, "X", strings.Repeat(`articles:{title:"t"} `, 9), 1))
	for kind, want := range map[messages.Kind]int{messages.Kind_KIND_TEXT: 1, messages.Kind_KIND_SUBSCRIBE: 8} {
		in.Kind = kind
		got, err := wechat.EncodeReply(in, news, 9)
		if err != nil || bytes.Count(got, []byte("<item>")) != want {
			t.Errorf("%v: %s, %v; want %d items", kind, got, err, want)
		}
	}
	got, err := wechat.EncodeReply(in, answer(t, `text:{content:"`+strings.Repeat("汉", 1000)+`"}`), 9)
	if err != nil || bytes.Count(got, []byte("汉")) != wechat.MaxTextBytes/3 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What has nothing to see is left out of an answer that has something to see.
func TestReplyLeavesOutBlanks(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Kind: messages.Kind_KIND_CLICK}
	for _, c := range []struct {
		name   string
		answer *messages.Answer
		want   string // the end of the reply
	}{
		{
			"articles", answer(t, `news:{articles:{url:"u"} articles:{title:"t"} articles:{} articles:{pic_url:"p"}}`),
			"<ArticleCount>2</ArticleCount><Articles><item><Title><![CDATA[t]]></Title><Description><![CDATA[]]></Description>" +
				"<PicUrl><![CDATA[]]></PicUrl><Url><![CDATA[]]></Url></item><item><Title><![CDATA[]]></Title><Description><![CDATA[]]>" +
				"</Description><PicUrl><![CDATA[p]]></PicUrl><Url><![CDATA[]]></Url></item></Articles></xml>",
		},
		{"agent", answer(t, `transfer:{kf_account:" "}`), "<MsgType><![CDATA[transfer_customer_service]]></MsgType></xml>"},
		{"indent", textAnswer("\u3000\u3000hi"), "<Content><![CDATA[\u3000\u3000hi]]></Content></xml>"},
		{"a screenful", textAnswer(strings.Repeat("\n", wechat.MaxTextBytes) + "hi"), "<Content><![CDATA[hi]]></Content></xml>"},
	} {
		got, err := wechat.EncodeReply(in, c.answer, 9)
		if err != nil || !strings.HasSuffix(string(got), c.want) {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// Any text arrives as it was, whatever is in it, but for what XML cannot carry and the blanks around it.
func TestReplyRoundTrip(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{"]]>", "]", ">", "<xml>", "&lt;", `"`, `\`, "\x02", "\n", "你好", "\xff", "😀"})
	rapid.Check(t, func(t *rapid.T) {
		text := "." + strings.Join(rapid.SliceOfN(pieces, 0, 40).Draw(t, "pieces"), "") + "."
		want := strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x02", "")
		for _, format := range []messages.Format{messages.Format_FORMAT_XML, messages.Format_FORMAT_JSON} {
			in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Kind: messages.Kind_KIND_TEXT, Format: format}
			body, err := wechat.EncodeReply(in, textAnswer(text), 9)
			if err != nil {
				t.Fatal(err)
			}
			// A reply has the form of a push, so that the way in can read it.
			back, err := wechat.Decode("demo", body)
			if err != nil {
				t.Fatal(err)
			}
			if got := back.GetText().GetContent(); got != want {
				t.Fatalf("%v: got %q, want %q", format, got, want)
			}
			if back.GetOpenId() != "gh_1" || back.GetToUser() != "o1" || back.GetCreateTime() != 9 || back.GetFormat() != format {
				t.Fatalf("head: %v", back)
			}
		}
	})
}

// drawAnswer is any answer that can be a passive reply, good or not.
func drawAnswer(t *rapid.T) *messages.Answer {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{
		"]]>", "]", "<a href=\"u\">", "&lt;", `"`, `\`, "\x02", "\n", " ", "你好", "\xff", "😀", "\u3000", "x",
	}), 0, 8)
	text := func(name string) string { return strings.Join(words.Draw(t, name), "") }
	article := func() *messages.Article {
		return &messages.Article{Title: text("title"), Description: text("description"), PicUrl: text("picture"), Url: text("url")}
	}
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return textAnswer(text("content"))
	case 1:
		return &messages.Answer{Content: &messages.Answer_Image{Image: &messages.MediaAnswer{MediaId: text("media")}}}
	case 2:
		return &messages.Answer{Content: &messages.Answer_Voice{Voice: &messages.MediaAnswer{MediaId: text("media")}}}
	case 3:
		return &messages.Answer{Content: &messages.Answer_Video{Video: &messages.VideoAnswer{
			MediaId: text("media"), Title: text("title"), Description: text("description"),
		}}}
	case 4:
		return &messages.Answer{Content: &messages.Answer_Music{Music: &messages.MusicAnswer{
			Title: text("title"), Description: text("description"), MusicUrl: text("url"), HqMusicUrl: text("hq"), ThumbMediaId: text("thumb"),
		}}}
	case 5:
		news := &messages.NewsAnswer{}
		for range rapid.IntRange(0, 10).Draw(t, "articles") {
			news.Articles = append(news.Articles, article())
		}
		return &messages.Answer{Content: &messages.Answer_News{News: news}}
	default:
		return &messages.Answer{Content: &messages.Answer_Transfer{Transfer: &messages.TransferAnswer{KfAccount: text("agent")}}}
	}
}

// leavesOf are the leaves of a reply in JSON, as meaning gives them of one in XML.
func leavesOf(t interface{ Fatalf(string, ...any) }, body []byte) []string {
	d := json.NewDecoder(bytes.NewReader(body))
	var leaves []string
	var read func(path string)
	read = func(path string) {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		switch token {
		case json.Delim('{'):
			for d.More() {
				key, err := d.Token()
				if err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				read(path + "/" + key.(string))
			}
		case json.Delim('['):
			for d.More() {
				read(path + "/item")
			}
		default:
			leaves = append(leaves, path+"="+strings.Trim(fmt.Sprint(token), " \t\r\n"))
			return
		}
		if _, err := d.Token(); err != nil { // the closing bracket
			t.Fatalf("%s: %v", body, err)
		}
	}
	read("xml")
	if d.More() {
		t.Fatalf("%s: bytes after the object", body)
	}
	return leaves
}

// Whatever an answer holds: what WeChat would show is a well-formed reply that means the same in both forms to parsers that nobody
// here wrote, with at most the articles that WeChat takes; all else is a bare success.
func TestAnyReply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := drawAnswer(t)
		in := &messages.Inbound{OpenId: "o1", ToUser: "gh_1", Kind: messages.Kind_KIND_TEXT}
		limit := 1
		if rapid.Bool().Draw(t, "to an event") {
			in.Kind, limit = messages.Kind_KIND_CLICK, 8
		}
		xml, err := wechat.EncodeReply(in, a, 9)
		if err != nil {
			t.Fatal(err)
		}
		in.Format = messages.Format_FORMAT_JSON
		js, err := wechat.EncodeReply(in, a, 9)
		if err != nil {
			t.Fatal(err)
		}
		if !wechat.Shows(a) {
			if string(xml) != "success" || string(js) != "success" {
				t.Fatalf("%v shows nothing, but is %s and %s", a, xml, js)
			}
			return
		}
		x, j := meaning(t, xml), leavesOf(t, js)
		if !slices.Equal(x, j) {
			t.Fatalf("%v is\n%q\nand\n%q", a, x, j)
		}
		if x[0] != "xml/ToUserName=o1" || x[1] != "xml/FromUserName=gh_1" || x[2] != "xml/CreateTime=9" {
			t.Fatalf("head: %q", x)
		}
		if news := a.GetNews(); news != nil {
			items := bytes.Count(xml, []byte("<item>"))
			if items < 1 || items > limit || x[4] != "xml/ArticleCount="+strconv.Itoa(items) {
				t.Fatalf("%d articles of %d: %s", items, len(news.GetArticles()), xml)
			}
		}
	})
}

func BenchmarkEncodeReply(b *testing.B) {
	in := &messages.Inbound{OpenId: "olPjZjsXuQPJoV0HlruZkNzKc91E", ToUser: "gh_a96a4a619366", Kind: messages.Kind_KIND_TEXT}
	a := answer(b, `text:{content:"您好！请问有什么可以帮您？"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wechat.EncodeReply(in, a, 1714112445); err != nil {
			b.Fatal(err)
		}
	}
}

// What WeChat would not show is exactly what becomes a bare success.
func TestShows(t *testing.T) {
	t.Parallel()
	in := &messages.Inbound{OpenId: "u1", ToUser: "gh_1", Kind: messages.Kind_KIND_TEXT}
	for name, tt := range map[string]struct {
		answer *messages.Answer
		want   bool
	}{
		"nil":               {nil, false},
		"nothing":           {&messages.Answer{}, false},
		"text":              {answer(t, `text: {content: "hi"}`), true},
		"blank text":        {answer(t, `text: {content: " \n\001"}`), false},
		"wide blanks":       {textAnswer("\u3000\u00a0\u200b\ufeff"), false},
		"blanks, then text": {textAnswer(strings.Repeat("\u3000\n", wechat.MaxTextBytes) + "hi"), true},
		"image":             {answer(t, `image: {media_id: "m"}`), true},
		"image without id":  {answer(t, `image: {}`), false},
		"voice":             {answer(t, `voice: {media_id: "m"}`), true},
		"voice without id":  {answer(t, `voice: {}`), false},
		"video":             {answer(t, `video: {media_id: "m"}`), true},
		"video without id":  {answer(t, `video: {title: "t"}`), false},
		"music":             {answer(t, `music: {thumb_media_id: "m"}`), true},
		"music without id":  {answer(t, `music: {title: "t"}`), false},
		"news":              {answer(t, `news: {articles: {title: "t"}}`), true},
		"no articles":       {answer(t, `news: {}`), false},
		"empty article":     {answer(t, `news: {articles: {url: "u"} articles: {title: " "}}`), false},
		"second article":    {answer(t, `news: {articles: {} articles: {pic_url: "p"}}`), true},
		"image of blanks":   {answer(t, `image: {media_id: " \n"}`), false},
		"transfer":          {answer(t, `transfer: {}`), true},
	} {
		body, err := wechat.EncodeReply(in, tt.answer, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := wechat.Shows(tt.answer); got != tt.want || got == bytes.Equal(body, wechat.Success) {
			t.Errorf("%s: shows %v, want %v; the reply has %d bytes", name, got, tt.want, len(body))
		}
	}
}
