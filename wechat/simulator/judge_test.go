package simulator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hongyan/wechat/crypt"
)

func testAccount(t testing.TB, mode, format string) *account {
	t.Helper()
	a, err := checkAccount(Account{ID: "demo", AppID: testAppID, OriginalID: testGH, Token: testToken, AESKey: testAESKey, Mode: mode, Format: format, CallbackURL: "http://h/"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func xmlReply(kind, inner string) string {
	return "<xml><ToUserName>u1</ToUserName><FromUserName>" + testGH + "</FromUserName><CreateTime>1</CreateTime><MsgType>" + kind + "</MsgType>" + inner + "</xml>"
}

func TestJudgePlain(t *testing.T) {
	t.Parallel()
	good := xmlReply("text", "<Content>好</Content>")
	item := "<item><Title>t</Title><Description>d</Description><PicUrl>p</PicUrl><Url>u</Url></item>"
	for _, test := range []struct {
		name, body string
		want       string // of the answer's type; "silent"; or a part of the complaint
	}{
		{"success", "success", "silent"},
		{"success with a newline", "success\n", "silent"},
		{"empty", "", "silent"},
		{"text", good, "text"},
		{"blanks around", "\n " + good + "\n", "text"},
		{"declaration", `<?xml version="1.0" encoding="UTF-8"?>` + good, "text"},
		{"other order, CDATA, unknown element", "<xml><Content><![CDATA[好]]></Content><X>1</X><MsgType><![CDATA[text]]></MsgType><CreateTime>1</CreateTime><FromUserName>" + testGH + "</FromUserName><ToUserName>u1</ToUserName></xml>", "text"},
		{"image", xmlReply("image", "<Image><MediaId>m</MediaId></Image>"), "image"},
		{"voice", xmlReply("voice", "<Voice><MediaId>m</MediaId></Voice>"), "voice"},
		{"video", xmlReply("video", "<Video><MediaId>m</MediaId><Title>t</Title></Video>"), "video"},
		{"music", xmlReply("music", "<Music><ThumbMediaId>m</ThumbMediaId></Music>"), "music"},
		{"news", xmlReply("news", "<ArticleCount>1</ArticleCount><Articles>"+item+"</Articles>"), "news"},
		{"transfer", xmlReply("transfer_customer_service", ""), "transfer_customer_service"},

		{"SUCCESS", "SUCCESS", "neither XML nor success"},
		{"json", `{"errcode":0}`, "neither XML nor success"},
		{"html", "<html><body>502</body></html>", "root element"},
		{"cut", good[:len(good)-4], "well-formed"},
		{"two roots", good + good, "second root"},
		{"text behind", good + "success", "outside"},
		{"entity bomb", `<!DOCTYPE xml [<!ENTITY a "b">]>` + good, "document type"},
		{"not UTF-8", "<xml>\xff</xml>", "UTF-8"},
		{"empty content", xmlReply("text", "<Content></Content>"), "the text reply has an empty Content"},
		{"blank content", xmlReply("text", "<Content> \n</Content>"), "the text reply has an empty Content"},
		{"no content", xmlReply("text", ""), "the text reply has an empty Content"},
		{"2,048 bytes", xmlReply("text", "<Content>"+strings.Repeat("a", maxText)+"</Content>"), "text"},
		{"2,049 bytes", xmlReply("text", "<Content>"+strings.Repeat("a", maxText-2)+"雁</Content>"), "more than"},
		{"not swapped", strings.Replace(strings.Replace(good, ">u1<", ">"+testGH+"<", 1), "<FromUserName>"+testGH, "<FromUserName>u1", 1), "ToUserName"},
		{"other user", strings.Replace(good, ">u1<", ">u2<", 1), "ToUserName"},
		{"other account", strings.Replace(good, testGH, "gh_other", 1), "FromUserName"},
		{"no time", strings.Replace(good, "<CreateTime>1<", "<CreateTime><", 1), "CreateTime"},
		{"no type", strings.Replace(good, ">text<", "><", 1), "MsgType"},
		{"unknown type", xmlReply("file", ""), "MsgType"},
		{"image without id", xmlReply("image", ""), "MediaId"},
		{"music without thumb", xmlReply("music", "<Music><Title>t</Title></Music>"), "ThumbMediaId"},
		{"no articles", xmlReply("news", "<ArticleCount>0</ArticleCount>"), "no article"},
		{"wrong count", xmlReply("news", "<ArticleCount>2</ArticleCount><Articles>"+item+"</Articles>"), "ArticleCount"},
		{"encrypted for a plain account", "<xml><Encrypt>x</Encrypt></xml>", "plain mode"},
		{"too long", strings.Repeat(" ", maxReply) + good, "longer"},
	} {
		answer, err := testAccount(t, ModePlain, FormatXML).judge("u1", text("x"), []byte(test.body))
		checkJudgement(t, test.name, test.want, answer, err)
	}
}

func checkJudgement(t *testing.T, name, want string, answer *Answer, err error) {
	t.Helper()
	switch {
	case err != nil:
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		if answer != nil {
			t.Errorf("%s: an answer beside an error", name)
		}
	case answer == nil:
		if want != "silent" {
			t.Errorf("%s: silence; want %q", name, want)
		}
	case answer.Type != want:
		t.Errorf("%s: %s; want %q", name, answer.Type, want)
	}
}

func TestJudgeEncrypted(t *testing.T) {
	t.Parallel()
	codec := testCodec(t)
	otherApp, err := crypt.NewCodec(testToken, testAESKey, "wx0000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	otherToken, err := crypt.NewCodec("another", testAESKey, testAppID)
	if err != nil {
		t.Fatal(err)
	}
	good := xmlReply("text", "<Content>好</Content>")
	seal := func(c *crypt.Codec, plain string) string { return envelope(FormatXML, c, "1700000000", "n", plain) }
	sealed := seal(codec, good)
	flipped := []byte(sealed)
	flipped[len("<xml><Encrypt><![CDATA[")+40] ^= 1
	for _, test := range []struct{ name, mode, body, want string }{
		{"safe", ModeSafe, sealed, "text"},
		{"compat", ModeCompat, sealed, "text"},
		{"compat in clear", ModeCompat, good, "text"},
		{"bare success", ModeSafe, "success", "silent"},
		{"safe in clear", ModeSafe, good, "not encrypted"},
		{"encrypted success", ModeSafe, seal(codec, "success"), "neither XML nor success"},
		{"nothing inside", ModeSafe, seal(codec, ""), "nothing inside"},
		{"wrong token", ModeSafe, seal(otherToken, good), "MsgSignature"},
		{"wrong AppID", ModeSafe, seal(otherApp, good), "cannot be decrypted"},
		{"flipped bit", ModeSafe, string(flipped), "MsgSignature"},
		{"milliseconds", ModeSafe, envelope(FormatXML, codec, "1700000000000", "n", good), "not in seconds"},
		{"no time", ModeSafe, envelope(FormatXML, codec, "", "n", good), "TimeStamp"},
		{"no nonce", ModeSafe, envelope(FormatXML, codec, "1", "", good), "Nonce"},
		{"empty content inside", ModeSafe, seal(codec, xmlReply("text", "<Content/>")), "Content"},
	} {
		answer, err := testAccount(t, test.mode, FormatXML).judge("u1", text("x"), []byte(test.body))
		checkJudgement(t, test.name, test.want, answer, err)
	}
}

func TestJudgeJSON(t *testing.T) {
	t.Parallel()
	reply := func(rest string) string {
		return fmt.Sprintf(`{"ToUserName":"u1","FromUserName":%q,"CreateTime":1,%s}`, testGH, rest)
	}
	article := `{"Title":"t","Description":"d","PicUrl":"p","Url":"u"}`
	for _, test := range []struct{ name, body, want string }{
		{"text", reply(`"MsgType":"text","Content":"好"`), "text"},
		{"time as text", strings.Replace(reply(`"MsgType":"text","Content":"好"`), ":1,", `:"1",`, 1), "text"},
		{"image", reply(`"MsgType":"image","Image":{"MediaId":"m"}`), "image"},
		{"news", reply(`"MsgType":"news","ArticleCount":1,"Articles":[` + article + `]`), "news"},
		{"news with item", reply(`"MsgType":"news","ArticleCount":1,"Articles":{"item":[` + article + `]}`), "news"},
		{"xml", xmlReply("text", "<Content>好</Content>"), "so must be the reply"},
		{"cut", `{"ToUserName":"u1"`, "well-formed JSON"},
		{"something behind", reply(`"MsgType":"text","Content":"好"`) + "x", "well-formed JSON"},
		{"array", "[]", "so must be the reply"},
		{"empty content", reply(`"MsgType":"text","Content":""`), "Content"},
	} {
		answer, err := testAccount(t, ModePlain, FormatJSON).judge("u1", text("x"), []byte(test.body))
		checkJudgement(t, test.name, test.want, answer, err)
		if test.want == "news" && (len(answer.Articles) != 1 || answer.Articles[0].URL != "u") {
			t.Errorf("%s: %+v", test.name, answer)
		}
	}
}

// TestArticlesShown: one to who wrote, eight to an event.
func TestArticlesShown(t *testing.T) {
	t.Parallel()
	body := xmlReply("news", "<ArticleCount>9</ArticleCount><Articles>"+strings.Repeat("<item><Title>t</Title></item>", 9)+"</Articles>")
	for _, test := range []struct {
		m     Message
		shown int
	}{{text("x"), 1}, {Message{Type: "event", Event: "CLICK"}, 8}} {
		answer, err := testAccount(t, ModePlain, FormatXML).judge("u1", test.m, []byte(body))
		if err != nil || len(answer.Articles) != test.shown {
			t.Errorf("%s: %+v %v", test.m.Type, answer, err)
		}
	}
}

// TestJudgeFixtures reads passive replies that nobody here wrote.
func TestJudgeFixtures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/replies/*.xml")
	if err != nil || len(files) < 7 {
		t.Fatalf("fixtures: %v %v", files, err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		user, account := "toUser", "fromUser"
		if strings.Contains(file, "Transfer") {
			user, account = "touser", "fromuser"
		}
		a := testAccount(t, ModePlain, FormatXML)
		a.OriginalID = account
		answer, err := a.judge(user, text("x"), body)
		if err != nil || answer == nil || !strings.Contains(strings.ToLower(filepath.Base(file)), strings.ReplaceAll(answer.Type, "_", "")[:4]) {
			t.Errorf("%s: %+v %v", filepath.Base(file), answer, err)
		}
	}
}

// FuzzJudge: whatever a back end says, the verdict is an answer, silence or a complaint, and an answer is complete.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{"success", "", "<xml/>", xmlReply("text", "<Content>好</Content>"), "{}", "<", "{", "\xef\xbb\xbf", " \ufeff ",
		xmlReply("news", "<ArticleCount>1</ArticleCount><Articles><item/></Articles>"), "<xml><Encrypt>x</Encrypt></xml>", `{"Articles":[{}]}`} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(5))
	}
	modes, formats := []string{ModePlain, ModeCompat, ModeSafe}, []string{FormatXML, FormatJSON}
	f.Fuzz(func(t *testing.T, body []byte, choice uint8) {
		a := testAccount(t, modes[int(choice)%3], formats[int(choice/3)%2])
		answer, err := a.judge("u1", text("x"), body)
		if err != nil && answer != nil {
			t.Fatal("an answer beside an error")
		}
		if answer != nil && (answer.Type == "" || answer.Type == "text" && answer.Content == "") {
			t.Fatalf("an incomplete answer: %+v", answer)
		}
	})
}
