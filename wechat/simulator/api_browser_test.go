package simulator

import (
	"net/http"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAPIInBrowser: what comes by the API is seen on the phone, and its panel makes the API fail.
func TestAPIInBrowser(t *testing.T) {
	t.Parallel()
	base, address := phoneRig(t, func(o *Options) {
		o.Accounts[0].AppSecret, o.Accounts[0].CustomerService = testSecret, true
	})
	r := &apiRig{t: t, rig: base}
	r.token, _ = r.stable(false)["access_token"].(string)
	p := openPage(t, address, "zh-CN")
	send := func(kind string, object any) {
		t.Helper()
		r.expect(kind, r.post(CallCustomSend, map[string]any{"touser": "u1", "msgtype": kind, kind: object}), 0)
	}
	type o = map[string]any

	p.write("你好")
	p.shows("您说：“你好”")
	r.expect("typing", r.post(CallTyping, o{"touser": "u1", "command": "Typing"}), 0)
	p.until("the sign of typing", `document.getElementById('typing').innerText === '对方正在输入…'`)
	p.shot("typing", 1280, 800, false)
	send("text", o{"content": "迟到的回答 <b>&"})
	p.shows("迟到的回答 <b>&")
	p.shows("客服消息")
	p.until("typing is over", `document.getElementById('typing').hidden`)
	send("msgmenu", o{"head_content": "满意吗？", "list": []any{o{"id": "yes", "content": "满意"}, o{"id": "no", "content": "不满意"}}, "tail_content": "谢谢"})
	p.shows("满意吗？")
	p.run(chromedp.Click(chromedp.CSS(`[data-menu-item="no"]`)))
	p.shows("您说：“不满意”")
	if i := slices.IndexFunc(r.back.all(), func(d delivered) bool { return d.Fields["bizmsgmenuid"] == "no" && d.Fields["Content"] == "不满意" }); i < 0 {
		t.Error("the tapped line was not pushed with its id")
	}
	for _, c := range []struct {
		kind   string
		object o
	}{
		{"wxcard", o{"card_id": "card-1"}}, {"mpnewsarticle", o{"article_id": "article-1"}},
		{"news", o{"articles": []any{o{"title": "一则", "description": "短文", "url": "https://www.example.com/"}}}},
	} {
		send(c.kind, c.object)
	}
	p.until("three cards", `document.querySelectorAll('.row.shown .placeholder, .row.shown .card').length === 3`)
	r.expect("template", r.post(CallTemplate, o{"touser": "u2", "template_id": "T1", "data": o{"订单": o{"value": "已发货"}}}), 0)
	p.until("unread at the other user", `document.querySelector('[data-user="u2"] .badge')?.innerText === '1'`)
	p.run(chromedp.Click(chromedp.CSS(`[data-user="u2"]`)))
	p.shows("订单: 已发货")
	p.run(chromedp.Click(chromedp.CSS(`[data-user="u1"]`)))
	p.shows("迟到的回答") // comes from the platform again

	p.run(chromedp.Click(chromedp.CSS("#faults summary")))
	flip := func(name string, on string) {
		t.Helper()
		p.run(chromedp.Click(chromedp.CSS(`[data-fault="` + name + `"]`)))
		p.until(name+" is "+on, `document.querySelector('[data-fault="`+name+`"]').getAttribute('aria-pressed') === '`+on+`'`)
	}
	flip("code", "true")
	r.expect("with the switch on", r.sendText("u1", "x"), CodeDailyQuota)
	flip("latency", "true")
	p.until("two faults are counted", `document.getElementById('fault-count').innerText === '2'`)
	p.until("and listed", `document.getElementById('fault-list').innerText.includes('errcode · 45009')`)
	p.shot("faults", 1280, 800, false)
	p.shot("faults", 1280, 800, true)
	p.shot("faults", 390, 844, false)
	p.run(chromedp.EmulateViewport(1280, 800))
	flip("latency", "false")
	flip("code", "false")
	p.run(chromedp.Click(chromedp.CSS(`[data-fault="storm"]`)))
	p.until("the notice", `document.getElementById('toast').innerText.includes('失效')`)
	r.expect("after the storm", r.sendText("u1", "x"), CodeBadToken)
	if _, err := r.Inject(Fault{ID: "elsewhere", Kind: FaultDown}); err != nil {
		t.Fatal(err)
	}
	p.until("a fault from elsewhere", `document.getElementById('fault-list').innerText.includes('unavailable')`)
	p.run(chromedp.Click(chromedp.CSS(`#fault-list button`)))
	p.until("it is gone", `document.getElementById('fault-count').hidden`)
	if n := len(r.Faults()); n != 0 {
		t.Errorf("%d faults are left", n)
	}
	r.token, _ = r.stable(false)["access_token"].(string)
	r.expect("at the end", r.sendText("u1", "再见"), 0)
	p.shows("再见")
	p.run(chromedp.Click(chromedp.CSS("#language")))
	p.shows("Customer-service message")
	p.calm()
	if w := serve(r.Handler(), http.MethodGet, "/api/history?account=demo&openid=u1", ""); w.Code != http.StatusOK {
		t.Errorf("history: %d", w.Code)
	}
}
