package simulator

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// typingLife is how long the sign "is typing" stays without a message.
const typingLife = 15 * time.Second

// customMessage is the body of /cgi-bin/message/custom/send.
type customMessage struct {
	ToUser  string                             `json:"touser"`
	Type    string                             `json:"msgtype"`
	Text    struct{ Content string }           `json:"text"`
	Image   customMedia                        `json:"image"`
	Voice   customMedia                        `json:"voice"`
	Video   customMedia                        `json:"video"`
	Music   customMedia                        `json:"music"`
	News    struct{ Articles []customArticle } `json:"news"`
	MPNews  customMedia                        `json:"mpnews"`
	Article struct {
		ID string `json:"article_id"`
	} `json:"mpnewsarticle"`
	Menu customMenu `json:"msgmenu"`
	Card struct {
		ID string `json:"card_id"`
	} `json:"wxcard"`
	Mini  customMedia `json:"miniprogrampage"`
	Agent struct {
		Account string `json:"kf_account"`
	} `json:"customservice"`
}

type customMedia struct {
	MediaID      string `json:"media_id"`
	ThumbMediaID string `json:"thumb_media_id"`
	Title        string `json:"title"`
	Description  string `json:"description"`
	MusicURL     string `json:"musicurl"`
	HQMusicURL   string `json:"hqmusicurl"`
	AppID        string `json:"appid"`
	PagePath     string `json:"pagepath"`
}

type customArticle struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	URL         string `json:"url"`
	PicURL      string `json:"picurl"`
}

type customMenu struct {
	Head string `json:"head_content"`
	List []struct {
		ID      any    `json:"id"` // a text in the documentation, a number in what many send
		Content string `json:"content"`
	} `json:"list"`
	Tail string `json:"tail_content"`
}

// customSend is POST /cgi-bin/message/custom/send. What fails uses no grant.
func (c *call) customSend() (any, error) {
	if !c.account.CustomerService {
		return nil, fail(CodeNoRight)
	}
	var in customMessage
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	c.note.OpenID, c.note.Type = in.ToUser, in.Type
	answer, err := c.customAnswer(in)
	c.note.Answer = answer
	if err != nil {
		return nil, err
	}
	f := c.ledger.followers[in.ToUser]
	switch {
	case in.ToUser == "" || f == nil:
		return nil, fail(CodeBadOpenID)
	case in.Agent.Account != "" && !slices.Contains(c.account.Agents, in.Agent.Account):
		return nil, fail(CodeBadAgent)
	case !f.following:
		return nil, fail(CodeWindowClosed)
	case f.refuses:
		return nil, fail(CodeNotReceiving)
	}
	g, err := f.take(c.now)
	if err != nil {
		return nil, err
	}
	f.typingUntil = time.Time{}
	c.note.Effect, c.note.Grant, c.note.GrantLeft = true, g.trigger, g.left
	seen := c.note // the moment at which the user's phone shows it
	seen.At, seen.Kind = c.now, RecordCustom
	c.p.witness.add(seen)
	c.p.phone.show(c.account.ID, in.ToUser, ShownCustom, answer, c.now)
	return ok(), nil
}

// customAnswer checks a message by its kind and gives it as the phone shows it, which is also there where it is refused.
func (c *call) customAnswer(in customMessage) (*Answer, error) {
	answer := &Answer{Type: in.Type, CreateTime: c.now.Unix(), KfAccount: in.Agent.Account}
	media := func(m customMedia) {
		answer.MediaID, answer.ThumbMediaID, answer.Title, answer.Description = m.MediaID, m.ThumbMediaID, m.Title, m.Description
		answer.MusicURL, answer.HQMusicURL, answer.AppID, answer.PagePath = m.MusicURL, m.HQMusicURL, m.AppID, m.PagePath
	}
	switch in.Type {
	case "text":
		answer.Content = in.Text.Content
		return answer, checkText(in.Text.Content)
	case "image":
		media(in.Image)
		return answer, c.checkMedia(in.Image.MediaID)
	case "voice":
		media(in.Voice)
		return answer, c.checkMedia(in.Voice.MediaID)
	case "video":
		media(in.Video)
		if in.Video.ThumbMediaID != "" {
			return answer, c.checkMedia(in.Video.MediaID, in.Video.ThumbMediaID)
		}
		return answer, c.checkMedia(in.Video.MediaID)
	case "music":
		media(in.Music)
		return answer, c.checkMedia(in.Music.ThumbMediaID)
	case "mpnews":
		media(in.MPNews)
		return answer, c.checkMedia(in.MPNews.MediaID)
	case "miniprogrampage":
		media(in.Mini)
		if in.Mini.AppID == "" || in.Mini.PagePath == "" {
			return answer, failText(CodeUnparsable, "miniprogrampage needs appid and pagepath")
		}
		return answer, c.checkMedia(in.Mini.ThumbMediaID)
	case "news":
		return answer, answer.customNews(in.News.Articles)
	case "mpnewsarticle":
		answer.ArticleID = in.Article.ID
		return answer, needed(in.Article.ID, "article_id")
	case "wxcard":
		answer.CardID = in.Card.ID
		return answer, needed(in.Card.ID, "card_id")
	case "msgmenu":
		return answer, answer.customMenu(in.Menu)
	}
	return answer, fail(CodeMessageType)
}

func needed(value, name string) error {
	if value == "" {
		return failText(CodeUnparsable, name+" is missing")
	}
	return nil
}

func checkText(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fail(CodeEmptyText)
	case len(text) > maxText:
		return fail(CodeTooLong)
	case !utf8.ValidString(text):
		return fail(CodeCharset)
	}
	return nil
}

func (c *call) checkMedia(ids ...string) error {
	for _, id := range ids {
		if !c.ledger.media.knows(id, c.now) && !slices.Contains(c.account.PermanentMedia, id) {
			return fail(CodeBadMedia)
		}
	}
	return nil
}

func (n *Answer) customNews(articles []customArticle) error {
	for _, a := range articles {
		n.Articles = append(n.Articles, Article{Title: a.Title, Description: a.Description, PicURL: a.PicURL, URL: a.URL})
	}
	switch len(articles) {
	case 0:
		return fail(CodeEmptyNews)
	case 1:
		return nil
	}
	return fail(CodeTooManyNews)
}

func (n *Answer) customMenu(m customMenu) error {
	n.Menu = &Menu{Head: m.Head, Tail: m.Tail}
	for _, item := range m.List {
		id := menuID(item.ID)
		if id == "" || item.Content == "" {
			return failText(CodeUnparsable, "each item of msgmenu.list needs id and content")
		}
		n.Menu.Items = append(n.Menu.Items, MenuItem{ID: id, Content: item.Content})
	}
	if len(n.Menu.Items) == 0 {
		return failText(CodeUnparsable, "msgmenu.list is empty")
	}
	return nil
}

// typing is POST /cgi-bin/message/custom/typing.
func (c *call) typing() (any, error) {
	if !c.account.CustomerService {
		return nil, fail(CodeNoRight)
	}
	var in struct {
		ToUser  string `json:"touser"`
		Command string `json:"command"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	c.note.OpenID, c.note.Detail = in.ToUser, in.Command
	f := c.ledger.followers[in.ToUser]
	on := in.Command == "Typing"
	switch {
	case !on && in.Command != "CancelTyping":
		return nil, fail(CodeTypingCommand)
	case f == nil:
		return nil, fail(CodeBadOpenID)
	case !f.following || c.now.Sub(f.acted) > interactionWindow:
		return nil, fail(CodeNoInteraction)
	case on && c.now.Before(f.typingUntil):
		return nil, fail(CodeTypingAlready)
	}
	f.typingUntil = time.Time{}
	if on {
		f.typingUntil = c.now.Add(typingLife)
	}
	c.note.Effect = true
	seen := c.note
	seen.At, seen.Kind = c.now, RecordTyping
	c.p.witness.add(seen)
	c.p.phone.typing(c.account.ID, in.ToUser, on)
	return ok(), nil
}
