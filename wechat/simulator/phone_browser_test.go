package simulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hongyan/messages"
)

// phoneRig is a platform with its page on loopback and a back end that traces like the engine.
func phoneRig(t *testing.T, edit func(*Options)) (rig, string) {
	t.Helper()
	var r rig
	r = newRig(t, ModeSafe, FormatXML, func(w http.ResponseWriter, req *http.Request, d delivered, number int) {
		content := d.Fields["Content"] + d.Fields["Event"]
		trace(r.Platform, d, number)
		switch {
		case content == "坏":
			w.WriteHeader(http.StatusBadGateway)
		case content == "慢" && number == 1:
			<-req.Context().Done()
		case content == "沉默" || content == "unsubscribe":
			_, _ = w.Write([]byte("success"))
		case content == "图文":
			_, _ = w.Write([]byte(r.back.seal(d, r.back.replyXML(d, "news", "<ArticleCount>1</ArticleCount><Articles><item>"+
				"<Title>秋天的雁阵</Title><Description>它们向南飞，带着一封信。</Description><PicUrl></PicUrl><Url>https://www.example.com/a</Url></item></Articles>"))))
		case content == "subscribe":
			_, _ = w.Write([]byte(r.back.replyText(d, "欢迎关注！发送 你好 或点击菜单 帮助。")))
		case content == "CLICK":
			_, _ = w.Write([]byte(r.back.replyText(d, "菜单 "+d.Fields["EventKey"]+"：\n1. 发送 你好\n2. 发送 价格")))
		default:
			_, _ = w.Write([]byte(r.back.replyText(d, "您好！这里是<a href=\"https://www.example.com/\">鸿雁</a>。\n您说：“"+d.Fields["Content"]+"”")))
		}
	}, edit)
	server := httptest.NewServer(http.StripPrefix("/phone", r.Handler()))
	t.Cleanup(func() { r.Close(); server.Close() })
	return r, server.URL + "/phone"
}

// trace tells the stations that the engine would.
func trace(p *Platform, d delivered, number int) {
	m := Message{Type: d.Fields["MsgType"], Event: d.Fields["Event"], EventKey: d.Fields["EventKey"], Ticket: d.Fields["Ticket"], MsgID: d.Fields["MsgId"]}
	_, _ = fmt.Sscan(d.Fields["CreateTime"], &m.CreateTime)
	at := d.At
	for i, stage := range []messages.Stage{messages.StageVerified, messages.StageAccepted, messages.StageTurn, messages.StageCommitted, messages.StageOffered, messages.StageSettled} {
		at = at.Add(time.Duration(300+i*170) * time.Microsecond)
		e := messages.TraceEvent{At: at, Stage: stage, Account: "demo", OpenID: d.Fields["FromUserName"], MsgID: m.MsgID,
			Key: m.key("demo", d.Fields["FromUserName"]), Partition: -1, Delivery: number}
		if i >= 1 {
			e.Partition, e.Sequence = 17, 4711
		}
		if i >= 3 {
			e.Version = 42
		}
		p.Trace(e)
	}
}

func TestPhoneInBrowser(t *testing.T) {
	t.Parallel()
	r, address := phoneRig(t, func(o *Options) { o.Cutoff = 2 * time.Second })
	p := openPage(t, address, "zh-CN")

	p.write("你好")
	p.until("the answer's bubble", `document.querySelector('.row.answer .bubble')?.innerText.includes('您说：“你好”')`)
	if href := p.text(`document.querySelector('.row.answer a').href`); href != "https://www.example.com/" {
		t.Errorf("the answer's link leads to %q", href)
	}
	p.run(chromedp.Click(chromedp.CSS(".row.own .trail summary")))
	for _, part := range []string{"验签解密", "日志 #4711", "分区 17", "版本 42", "1/3 收到回复", "提交状态"} {
		p.shows(part)
	}

	p.write("慢")
	p.shows("您说：“慢”")
	p.until("the second delivery answered", `[...document.querySelectorAll('.row.own')].at(-1).querySelector('summary').innerText.includes('第 2 次')`)

	p.write("坏")
	p.until("the ring while deliveries go on", `document.querySelector('.ring')`)
	p.shows(Banner)
	if n := p.text(`String([...document.querySelectorAll('.row.own')].at(-1).querySelectorAll('.dot.bad').length)`); n != "3" {
		t.Errorf("%s failed deliveries are shown, not 3", n)
	}

	p.run(chromedp.Click(chromedp.CSS("#to-menu")), chromedp.Click(chromedp.CSS("#menu-buttons button")))
	p.shows("你点击了菜单 HELP")
	p.shows("菜单 HELP：")
	p.run(chromedp.Click(chromedp.CSS("#to-text")))

	p.run(chromedp.Click(chromedp.CSS("#language")))
	p.shows("You tapped the menu HELP")
	p.shows("unavailable. Please try again later.")
	p.run(chromedp.Reload())
	p.until("the reloaded page", `document.body.dataset.ready === 'true' && document.documentElement.lang === 'en'`)
	p.shows("您说：“你好”") // history comes from the platform
	p.calm()

	var kinds []RecordKind
	for _, record := range r.Witness() {
		if record.Content == "坏" || len(kinds) > 0 {
			kinds = append(kinds, record.Kind)
		}
	}
	if i := slices.Index(kinds, RecordEnd); i != 7 { // push, three times sent and received, end
		t.Errorf("the witness log tells of the failed message: %v", kinds)
	}
}

func TestPhoneSendsEverything(t *testing.T) {
	t.Parallel()
	r, address := phoneRig(t, nil)
	p := openPage(t, address, "en-US")
	tile := func(label string) {
		t.Helper()
		p.run(chromedp.Click(chromedp.CSS("#more")),
			chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`[...document.querySelectorAll('#panel button')].find(b => b.innerText.trim() === %q).click()`, label)))
	}
	for _, label := range []string{"Sample", "Voice", "Video", "Report"} {
		tile(label)
	}
	for _, label := range []string{"Location", "Link", "Scan"} {
		tile(label)
		p.run(chromedp.WaitVisible(chromedp.CSS("#dialog")), chromedp.Click(chromedp.CSS("#dialog-form .primary")), chromedp.WaitNotVisible(chromedp.CSS("#dialog")))
	}
	p.until("all seven answered", `document.querySelectorAll('.trail summary > .good').length === 7`)
	p.until("the picture is shown", `document.querySelector('.picture')?.naturalWidth === 480`)
	p.run(chromedp.Click(chromedp.CSS("#follow")))
	p.shows("You unfollowed the account")
	p.until("the composer is gone", `document.getElementById('composer').hidden`)
	p.run(chromedp.Click(chromedp.CSS("#follow")))
	p.shows("欢迎关注")

	p.run(chromedp.Click(chromedp.CSS("#add-user")), chromedp.WaitVisible(chromedp.CSS("#welcome-scan")),
		chromedp.Click(chromedp.CSS("#welcome-scan")), chromedp.WaitVisible(chromedp.CSS("#dialog")), chromedp.Click(chromedp.CSS("#dialog-form .primary")))
	p.shows("scene 123")
	p.shows("欢迎关注")
	p.calm()

	got := map[string]int{}
	for _, d := range r.back.all() {
		got[d.Fields["MsgType"]+strings.TrimSpace(" "+d.Fields["Event"])+d.Fields["EventKey"]]++
		if !d.Encrypted {
			t.Error("a callback came unencrypted")
		}
	}
	for _, want := range []string{"image", "voice", "video", "location", "link", "eventLOCATION", "eventSCAN123", "eventunsubscribe", "eventsubscribe", "eventsubscribeqrscene_123"} {
		if got[want] != 1 {
			t.Errorf("the back end got %q %d times; altogether %v", want, got[want], got)
		}
	}
}

// TestPhoneScreenshots takes pictures for people where HONGYAN_SCREENSHOTS names a folder; without it, it still walks the page.
func TestPhoneScreenshots(t *testing.T) {
	t.Parallel()
	_, address := phoneRig(t, func(o *Options) { o.Cutoff = 2 * time.Second })
	p := openPage(t, address, "zh-CN")
	sizes := [][2]int64{{1280, 800}, {390, 844}}
	both := func(name string) {
		for _, s := range sizes {
			p.shot(name, s[0], s[1], false)
			p.shot(name, s[0], s[1], true)
		}
		p.run(chromedp.EmulateViewport(1280, 800))
	}
	p.write("你好")
	p.shows("您说：“你好”")
	p.write("图文")
	p.shows("秋天的雁阵")
	p.run(chromedp.Click(chromedp.CSS(".row.own .trail summary")))
	both("trail")
	p.run(chromedp.Click(chromedp.CSS(".row.own .trail summary")))
	p.write("坏")
	p.write("慢")
	p.until("the second delivery of both", `document.querySelectorAll('.dot').length >= 3`)
	p.shot("ring", 1280, 800, false)
	p.shows(Banner)
	for _, label := range []string{"示例图片", "语音"} {
		p.run(chromedp.Click(chromedp.CSS("#more")),
			chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`[...document.querySelectorAll('#panel button')].find(b => b.innerText.trim() === %q).click()`, label)))
	}
	p.until("five good ends", `document.querySelectorAll('.trail summary > .good').length === 5`)
	p.run(chromedp.Click(chromedp.CSS("#more")))
	both("panel")
	p.run(chromedp.Click(chromedp.CSS("#more")), chromedp.Click(chromedp.CSS("#to-menu")),
		chromedp.Click(chromedp.CSS("#menu-buttons [aria-haspopup]")))
	both("menu")
	p.run(chromedp.Evaluate[chromedp.Void](`document.querySelector('[data-user="u3"]').click()`), chromedp.WaitVisible(chromedp.CSS("#welcome-follow")))
	both("welcome")
	p.run(chromedp.Evaluate[chromedp.Void](`document.body.dataset.view = 'list'`))
	p.shot("list", 390, 844, false)
	p.shot("list", 390, 844, true)
	p.calm()
}
