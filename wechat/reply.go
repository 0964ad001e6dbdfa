package wechat

import (
	"fmt"
	"strings"

	"hongyan/messages"
)

// Success is the reply that ends a delivery without an answer. It is never encrypted. It must not be changed.
var Success = []byte("success")

// maxArticles is what WeChat shows of a news answer to an event; a message that the user wrote gets one (wechat-protocol §3).
const maxArticles = 8

// EncodeReply is the passive reply to in with answer a, in the format of its push, with To and From swapped; createTime is in
// Unix seconds. An answer that WeChat would show as a fault banner, because it is nil, empty, without its media id, or for
// nobody, becomes Success; a text over MaxTextBytes is cut (callers who want the rest cut it themselves, see CutText), and
// articles over WeChat's number are left out. The error is one for an answer of a kind that has no passive reply: it can only be
// sent as a customer-service message (see Passive).
func EncodeReply(in *messages.Inbound, a *messages.Answer, createTime int64) ([]byte, error) {
	if in.GetOpenId() == "" {
		return Success, nil
	}
	if !Passive(a) {
		return nil, fmt.Errorf("answer %T has no passive reply: send it as a customer-service message", a.GetContent())
	}
	w := newWriter(in.GetFormat(), sizeHint(a))
	w.text("ToUserName", in.GetOpenId())
	w.text("FromUserName", in.GetToUser())
	w.number("CreateTime", createTime)
	if !w.answer(a, in.GetKind().IsEvent()) {
		return Success, nil
	}
	return w.finish(), nil
}

// Shows tells whether WeChat would show anything of the answer. What it would not show, being nil, blank, or without its media id or
// articles, must not be sent: the user would see a fault banner.
func Shows(a *messages.Answer) bool {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		return strings.TrimFunc(c.Text.GetContent(), invisible) != ""
	case *messages.Answer_Image:
		return c.Image.GetMediaId() != ""
	case *messages.Answer_Voice:
		return c.Voice.GetMediaId() != ""
	case *messages.Answer_Video:
		return c.Video.GetMediaId() != ""
	case *messages.Answer_Music:
		return c.Music.GetThumbMediaId() != ""
	case *messages.Answer_News:
		return len(c.News.GetArticles()) > 0
	case *messages.Answer_Transfer:
		return true
	case *messages.Answer_Menu:
		return len(c.Menu.GetOptions()) > 0 || strings.TrimFunc(c.Menu.GetHead()+c.Menu.GetTail(), invisible) != ""
	case *messages.Answer_MpNews:
		return c.MpNews.GetMediaId() != ""
	case *messages.Answer_MpNewsArticle:
		return c.MpNewsArticle.GetArticleId() != ""
	case *messages.Answer_Card:
		return c.Card.GetCardId() != ""
	case *messages.Answer_MiniProgramPage:
		return c.MiniProgramPage.GetAppId() != "" && c.MiniProgramPage.GetThumbMediaId() != ""
	default:
		return false
	}
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

// answer writes MsgType and body. It returns false for an answer that must not be sent.
func (w *writer) answer(a *messages.Answer, toEvent bool) bool {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		head, _ := CutText(c.Text.GetContent(), MaxTextBytes)
		if strings.TrimFunc(head, invisible) == "" {
			return false
		}
		w.text("MsgType", "text")
		w.text("Content", head)
	case *messages.Answer_Image:
		return w.media("image", "Image", c.Image.GetMediaId())
	case *messages.Answer_Voice:
		return w.media("voice", "Voice", c.Voice.GetMediaId())
	case *messages.Answer_Video:
		if c.Video.GetMediaId() == "" {
			return false
		}
		w.text("MsgType", "video")
		w.open("Video")
		w.text("MediaId", c.Video.GetMediaId())
		w.text("Title", c.Video.GetTitle())
		w.text("Description", c.Video.GetDescription())
		w.close("Video")
	case *messages.Answer_Music:
		if c.Music.GetThumbMediaId() == "" {
			return false
		}
		w.text("MsgType", "music")
		w.open("Music")
		w.text("Title", c.Music.GetTitle())
		w.text("Description", c.Music.GetDescription())
		w.text("MusicUrl", c.Music.GetMusicUrl())
		w.text("HQMusicUrl", c.Music.GetHqMusicUrl())
		w.text("ThumbMediaId", c.Music.GetThumbMediaId())
		w.close("Music")
	case *messages.Answer_News:
		return w.news(c.News.GetArticles(), toEvent)
	case *messages.Answer_Transfer:
		w.text("MsgType", "transfer_customer_service")
		if agent := c.Transfer.GetKfAccount(); agent != "" {
			w.open("TransInfo")
			w.text("KfAccount", agent)
			w.close("TransInfo")
		}
	default:
		return false
	}
	return true
}

func (w *writer) media(msgType, element, id string) bool {
	if id == "" {
		return false
	}
	w.text("MsgType", msgType)
	w.open(element)
	w.text("MediaId", id)
	w.close(element)
	return true
}

func (w *writer) news(articles []*messages.Article, toEvent bool) bool {
	limit := 1
	if toEvent {
		limit = maxArticles
	}
	articles = articles[:min(len(articles), limit)]
	if len(articles) == 0 {
		return false
	}
	w.text("MsgType", "news")
	w.number("ArticleCount", int64(len(articles)))
	w.openList("Articles")
	for _, a := range articles {
		w.openItem()
		w.text("Title", a.GetTitle())
		w.text("Description", a.GetDescription())
		w.text("PicUrl", a.GetPicUrl())
		w.text("Url", a.GetUrl())
		w.closeItem()
	}
	w.closeList("Articles")
	return true
}

// sizeHint is about how long the reply will be, in bytes. Only texts are long and frequent enough to matter.
func sizeHint(a *messages.Answer) int {
	return 384 + min(len(a.GetText().GetContent()), MaxTextBytes)
}

// invisible is what leaves an empty bubble: blanks, and the control characters that are not written.
func invisible(r rune) bool { return r <= ' ' || r == 0xFFFE || r == 0xFFFF }
