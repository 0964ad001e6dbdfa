package conversation

import (
	"strings"

	"hongyan/messages"
)

// Describe is a message as it stands in the conversation: its text, or a short description of what is not text.
func Describe(in *messages.Inbound) string {
	switch in.GetKind() {
	case messages.Kind_KIND_TEXT:
		return in.GetText().GetContent()
	case messages.Kind_KIND_IMAGE:
		return "[图片]"
	case messages.Kind_KIND_VOICE:
		if r := in.GetMedia().GetRecognition(); r != "" {
			return "[语音] " + r
		}
		return "[语音]"
	case messages.Kind_KIND_VIDEO, messages.Kind_KIND_SHORT_VIDEO:
		return "[视频]"
	case messages.Kind_KIND_LOCATION:
		return labelled("[位置]", in.GetLocation().GetLabel())
	case messages.Kind_KIND_LINK:
		return labelled("[链接]", in.GetLink().GetTitle())
	case messages.Kind_KIND_FILE:
		return labelled("[文件]", in.GetFile().GetTitle())
	case messages.Kind_KIND_MINI_PROGRAM_PAGE:
		return labelled("[小程序]", in.GetMiniProgramPage().GetTitle())
	default:
		return labelled("[事件] "+in.GetEvent().GetName(), in.GetEvent().GetKey())
	}
}

// DescribeAnswer is an answer as it stands in the conversation.
func DescribeAnswer(a *messages.Answer) string {
	switch c := a.GetContent().(type) {
	case *messages.Answer_Text:
		return c.Text.GetContent()
	case *messages.Answer_Image:
		return "[图片]"
	case *messages.Answer_Voice:
		return "[语音]"
	case *messages.Answer_Video:
		return labelled("[视频]", c.Video.GetTitle())
	case *messages.Answer_Music:
		return labelled("[音乐]", c.Music.GetTitle())
	case *messages.Answer_News:
		titles := make([]string, 0, len(c.News.GetArticles()))
		for _, article := range c.News.GetArticles() {
			titles = append(titles, article.GetTitle())
		}
		return labelled("[图文]", strings.Join(titles, "、"))
	case *messages.Answer_Transfer:
		return "[转人工客服]"
	case *messages.Answer_Menu:
		return labelled("[菜单]", c.Menu.GetHead())
	case *messages.Answer_MpNews, *messages.Answer_MpNewsArticle:
		return "[图文]"
	case *messages.Answer_Card:
		return "[卡券]"
	case *messages.Answer_MiniProgramPage:
		return labelled("[小程序]", c.MiniProgramPage.GetTitle())
	default:
		return ""
	}
}

func labelled(kind, label string) string {
	if label == "" {
		return kind
	}
	return kind + " " + label
}
