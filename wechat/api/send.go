package api

import (
	"context"
	"fmt"

	"hongyan/messages"
	"hongyan/wechat"
)

// SendCustom sends one customer-service message (wechat-protocol §5.1). kfAccount is the support agent in whose name it comes, such
// as "test1@kftest"; empty for the account itself. A text must fit WeChat's limit; of news only the first article is sent, because
// WeChat takes one. An answer that cannot travel this way, or of which WeChat would show nothing, is BadMessage without a call.
//
// WeChat keeps no idempotency key: after Unknown a second call may show the message twice. Order is only kept by one call at a time
// per user.
func (c *Client) SendCustom(ctx context.Context, token, openID string, a *messages.Answer, kfAccount string) error {
	o := newObject()
	o.text("touser", openID)
	if !wechat.Shows(a) || !o.answer(a) {
		return &Error{
			Call: callSendCustom, Class: BadMessage, Unsent: true,
			Msg: fmt.Sprintf("an answer of the kind %T with this content cannot be sent as a customer-service message", a.GetContent()),
		}
	}
	if kfAccount != "" {
		o.in("customservice", func() { o.text("kf_account", kfAccount) })
	}
	return c.do(ctx, call{path: callSendCustom, token: token, body: o, private: openID})
}

// Typing shows or ends the sign that an answer is being written (wechat-protocol §5.2). WeChat ends it by itself after some seconds.
func (c *Client) Typing(ctx context.Context, token, openID string, on bool) error {
	command := "CancelTyping"
	if on {
		command = "Typing"
	}
	o := newObject()
	o.text("touser", openID)
	o.text("command", command)
	return c.do(ctx, call{path: callTyping, token: token, body: o, private: openID})
}

// answer writes msgtype and the object of that name. It returns false for a kind that is no customer-service message.
func (o *object) answer(a *messages.Answer) bool {
	kind := func(name string, fill func()) {
		o.text("msgtype", name)
		o.in(name, fill)
	}
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		kind("text", func() { o.text("content", c.Text.GetContent()) })
	case *messages.Answer_Image:
		kind("image", func() { o.text("media_id", c.Image.GetMediaId()) })
	case *messages.Answer_Voice:
		kind("voice", func() { o.text("media_id", c.Voice.GetMediaId()) })
	case *messages.Answer_Video:
		kind("video", func() { o.video(c.Video) })
	case *messages.Answer_Music:
		kind("music", func() { o.music(c.Music) })
	case *messages.Answer_News:
		kind("news", func() { o.list("articles", func() { o.article(c.News.GetArticles()[0]) }) })
	case *messages.Answer_MpNews:
		kind("mpnews", func() { o.text("media_id", c.MpNews.GetMediaId()) })
	case *messages.Answer_MpNewsArticle:
		kind("mpnewsarticle", func() { o.text("article_id", c.MpNewsArticle.GetArticleId()) })
	case *messages.Answer_Menu:
		kind("msgmenu", func() { o.menu(c.Menu) })
	case *messages.Answer_Card:
		kind("wxcard", func() { o.text("card_id", c.Card.GetCardId()) })
	case *messages.Answer_MiniProgramPage:
		kind("miniprogrampage", func() { o.miniProgramPage(c.MiniProgramPage) })
	default:
		return false
	}
	return true
}

func (o *object) video(v *messages.VideoAnswer) {
	o.text("media_id", v.GetMediaId())
	o.optional("thumb_media_id", v.GetThumbMediaId())
	o.text("title", v.GetTitle())
	o.text("description", v.GetDescription())
}

func (o *object) music(m *messages.MusicAnswer) {
	o.text("title", m.GetTitle())
	o.text("description", m.GetDescription())
	o.text("musicurl", m.GetMusicUrl())
	o.text("hqmusicurl", m.GetHqMusicUrl())
	o.text("thumb_media_id", m.GetThumbMediaId())
}

func (o *object) article(a *messages.Article) {
	o.in("", func() {
		o.text("title", a.GetTitle())
		o.text("description", a.GetDescription())
		o.text("url", a.GetUrl())
		o.text("picurl", a.GetPicUrl())
	})
}

func (o *object) menu(m *messages.MenuAnswer) {
	o.text("head_content", m.GetHead())
	o.list("list", func() {
		for _, option := range m.GetOptions() {
			o.in("", func() {
				o.text("id", option.GetId())
				o.text("content", option.GetContent())
			})
		}
	})
	o.text("tail_content", m.GetTail())
}

func (o *object) miniProgramPage(p *messages.MiniProgramPageAnswer) {
	o.text("title", p.GetTitle())
	o.text("appid", p.GetAppId())
	o.text("pagepath", p.GetPagePath())
	o.text("thumb_media_id", p.GetThumbMediaId())
}
