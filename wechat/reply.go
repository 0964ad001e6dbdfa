package wechat

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"hongyan/messages"
)

// Success is the reply that ends a delivery without an answer. It is never encrypted. It must not be changed.
var Success = []byte("success")

// maxArticles is what WeChat shows of a news answer to an event; a message that the user wrote gets one (wechat-protocol §3).
const maxArticles = 8

// EncodeReply is the passive reply to in with answer a, in the format of its push, with To and From swapped; createTime is in
// Unix seconds. An answer that WeChat would show as a fault banner (see Shows), and one for nobody, becomes Success; a text over
// MaxTextBytes is cut (callers who want the rest cut it themselves, see SplitText), and articles over WeChat's number are left
// out. The error is one for an answer of a kind that has no passive reply: it can only be sent as a customer-service message
// (see Passive).
func EncodeReply(in *messages.Inbound, a *messages.Answer, createTime int64) ([]byte, error) {
	if in.GetOpenId() == "" {
		return Success, nil
	}
	if !Passive(a) {
		return nil, fmt.Errorf("answer %T has no passive reply: send it as a customer-service message", a.GetContent())
	}
	if !Shows(a) {
		return Success, nil
	}
	w := newWriter(in.GetFormat(), sizeHint(a))
	w.text("ToUserName", in.GetOpenId())
	w.text("FromUserName", in.GetToUser())
	w.number("CreateTime", createTime)
	w.answer(a, in.GetKind().IsEvent())
	return w.finish(), nil
}

// Shows tells whether WeChat would show anything of the answer. What it would not show, being nil, blank, or without its media id or
// articles, must not be sent: the user would see a fault banner.
func Shows(a *messages.Answer) bool {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		return !blank(c.Text.GetContent())
	case *messages.Answer_Image:
		return !blank(c.Image.GetMediaId())
	case *messages.Answer_Voice:
		return !blank(c.Voice.GetMediaId())
	case *messages.Answer_Video:
		return !blank(c.Video.GetMediaId())
	case *messages.Answer_Music:
		return !blank(c.Music.GetThumbMediaId())
	case *messages.Answer_News:
		return slices.ContainsFunc(c.News.GetArticles(), articleShows)
	case *messages.Answer_Transfer:
		return true
	case *messages.Answer_Menu:
		return len(c.Menu.GetOptions()) > 0 // without one WeChat refuses it (47001)
	case *messages.Answer_MpNews:
		return !blank(c.MpNews.GetMediaId())
	case *messages.Answer_MpNewsArticle:
		return !blank(c.MpNewsArticle.GetArticleId())
	case *messages.Answer_Card:
		return !blank(c.Card.GetCardId())
	case *messages.Answer_MiniProgramPage:
		return !blank(c.MiniProgramPage.GetAppId()) && !blank(c.MiniProgramPage.GetThumbMediaId())
	default:
		return false
	}
}

// articleShows tells whether anything of an article is seen: a link alone is not.
func articleShows(a *messages.Article) bool {
	return !blank(a.GetTitle()) || !blank(a.GetDescription()) || !blank(a.GetPicUrl())
}

// Passive tells whether the answer is of a kind that WeChat takes as a passive reply (wechat-protocol §3). The others can only be
// sent as customer-service messages (§5.1). No answer at all is one: it is Success.
func Passive(a *messages.Answer) bool {
	switch a.GetContent().(type) {
	case *messages.Answer_Menu, *messages.Answer_MpNews, *messages.Answer_MpNewsArticle, *messages.Answer_Card,
		*messages.Answer_MiniProgramPage:
		return false
	default:
		return true
	}
}

// answer writes MsgType and body of an answer that shows.
func (w *writer) answer(a *messages.Answer, toEvent bool) {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		w.text("MsgType", "text")
		w.text("Content", firstText(c.Text.GetContent()))
	case *messages.Answer_Image:
		w.media("image", "Image", c.Image.GetMediaId())
	case *messages.Answer_Voice:
		w.media("voice", "Voice", c.Voice.GetMediaId())
	case *messages.Answer_Video:
		w.text("MsgType", "video")
		w.open("Video")
		w.text("MediaId", c.Video.GetMediaId())
		w.text("Title", c.Video.GetTitle())
		w.text("Description", c.Video.GetDescription())
		w.close("Video")
	case *messages.Answer_Music:
		w.text("MsgType", "music")
		w.open("Music")
		w.text("Title", c.Music.GetTitle())
		w.text("Description", c.Music.GetDescription())
		w.text("MusicUrl", c.Music.GetMusicUrl())
		w.text("HQMusicUrl", c.Music.GetHqMusicUrl())
		w.text("ThumbMediaId", c.Music.GetThumbMediaId())
		w.close("Music")
	case *messages.Answer_News:
		w.news(c.News.GetArticles(), toEvent)
	case *messages.Answer_Transfer:
		w.text("MsgType", "transfer_customer_service")
		if agent := c.Transfer.GetKfAccount(); !blank(agent) {
			w.open("TransInfo")
			w.text("KfAccount", agent)
			w.close("TransInfo")
		}
	}
}

// firstText is what fits of a text that has something to see, and has itself something to see.
func firstText(text string) string {
	head, _ := CutText(text, MaxTextBytes)
	if blank(head) {
		head, _ = CutText(strings.TrimLeftFunc(text, invisible), MaxTextBytes)
	}
	return head
}

func (w *writer) media(msgType, element, id string) {
	w.text("MsgType", msgType)
	w.open(element)
	w.text("MediaId", id)
	w.close(element)
}

func (w *writer) news(articles []*messages.Article, toEvent bool) {
	limit := 1
	if toEvent {
		limit = maxArticles
	}
	shown := make([]*messages.Article, 0, limit)
	for _, a := range articles {
		if len(shown) < limit && articleShows(a) {
			shown = append(shown, a)
		}
	}
	w.text("MsgType", "news")
	w.number("ArticleCount", int64(len(shown)))
	w.openList("Articles")
	for _, a := range shown {
		w.openItem()
		w.text("Title", a.GetTitle())
		w.text("Description", a.GetDescription())
		w.text("PicUrl", a.GetPicUrl())
		w.text("Url", a.GetUrl())
		w.closeItem()
	}
	w.closeList("Articles")
}

// sizeHint is about how long the reply will be, in bytes. Only texts are long and frequent enough to matter.
func sizeHint(a *messages.Answer) int {
	return 384 + min(len(a.GetText().GetContent()), MaxTextBytes)
}

// blank tells a value with nothing to see in it.
func blank(s string) bool { return strings.TrimFunc(s, invisible) == "" }

// invisible is what leaves an empty bubble: blanks of all scripts, what has no width, and the control characters that are not
// written.
func invisible(r rune) bool {
	switch r {
	case '\u200B', '\u200C', '\u200D', '\u2060', '\uFEFF', 0xFFFE, 0xFFFF:
		return true
	default:
		return r < ' ' || unicode.IsSpace(r)
	}
}
