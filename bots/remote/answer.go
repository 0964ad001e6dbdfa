package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hongyan/bots"
	"hongyan/messages"
)

// answer is one answer of a response: a JSON string is a text, an object has exactly one of these.
type answer struct {
	Text  *string    `json:"text"`
	Image *mediaID   `json:"image"`
	Voice *mediaID   `json:"voice"`
	Video *videoForm `json:"video"`
	Music *musicForm `json:"music"`
	News  *newsForm  `json:"news"`

	// These leave as customer-service messages alone.
	Menu          *menuForm `json:"menu"`
	MpNews        *mediaID  `json:"mp_news"`
	MpNewsArticle *struct {
		ArticleID string `json:"article_id"`
	} `json:"mp_news_article"`
	Card *struct {
		CardID string `json:"card_id"`
	} `json:"card"`
	Page *pageForm `json:"mini_program_page"`
}

type mediaID struct {
	MediaID string `json:"media_id"`
}

type videoForm struct {
	MediaID      string `json:"media_id"`
	Title        string `json:"title"`
	Description  string `json:"description"`
	ThumbMediaID string `json:"thumb_media_id"`
}

type musicForm struct {
	Title        string `json:"title"`
	Description  string `json:"description"`
	URL          string `json:"music_url"`
	HQURL        string `json:"hq_music_url"`
	ThumbMediaID string `json:"thumb_media_id"`
}

type newsForm struct {
	Articles []struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		PicURL      string `json:"pic_url"`
		URL         string `json:"url"`
	} `json:"articles"`
}

type menuForm struct {
	Head    string `json:"head"`
	Options []struct {
		ID      string `json:"id"`
		Content string `json:"content"`
	} `json:"options"`
	Tail string `json:"tail"`
}

type pageForm struct {
	Title        string `json:"title"`
	AppID        string `json:"app_id"`
	Path         string `json:"page_path"`
	ThumbMediaID string `json:"thumb_media_id"`
}

// answerKinds is said where an answer is none of them.
const answerKinds = "text, image, voice, video, music, news, menu, mp_news, mp_news_article, card, mini_program_page"

// readAnswer makes an answer of one element of answers.
func readAnswer(raw json.RawMessage) (a *messages.Answer, unknown string, err error) {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, "", plain(err)
		}
		a, err = textAnswer(text)
		return a, "", err
	}
	var form answer
	if unknown, err = decode(raw, &form); err != nil {
		return nil, "", err
	}
	if n := form.count(); n != 1 {
		return nil, unknown, fmt.Errorf("an answer is a text, or an object with exactly one of %s; this one has %d of them", answerKinds, n)
	}
	a, err = form.answer()
	return a, unknown, err
}

// count is how many kinds the answer has.
func (f answer) count() int {
	n := 0
	for _, set := range []bool{
		f.Text != nil, f.Image != nil, f.Voice != nil, f.Video != nil, f.Music != nil, f.News != nil, f.Menu != nil, f.MpNews != nil,
		f.MpNewsArticle != nil, f.Card != nil, f.Page != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// answer is the one that is set.
func (f answer) answer() (*messages.Answer, error) {
	switch {
	case f.Text != nil:
		return textAnswer(*f.Text)
	case f.Image != nil:
		return &messages.Answer{Content: &messages.Answer_Image{Image: f.Image.answer()}}, need("image.media_id", f.Image.MediaID)
	case f.Voice != nil:
		return &messages.Answer{Content: &messages.Answer_Voice{Voice: f.Voice.answer()}}, need("voice.media_id", f.Voice.MediaID)
	case f.Video != nil:
		v := f.Video
		return &messages.Answer{Content: &messages.Answer_Video{Video: &messages.VideoAnswer{
			MediaId: v.MediaID, Title: v.Title, Description: v.Description, ThumbMediaId: v.ThumbMediaID,
		}}}, need("video.media_id", v.MediaID)
	case f.Music != nil:
		m := f.Music
		return &messages.Answer{Content: &messages.Answer_Music{Music: &messages.MusicAnswer{
			Title: m.Title, Description: m.Description, MusicUrl: m.URL, HqMusicUrl: m.HQURL, ThumbMediaId: m.ThumbMediaID,
		}}}, errors.Join(need("music.music_url", m.URL), need("music.thumb_media_id", m.ThumbMediaID))
	case f.News != nil:
		return f.News.answer()
	default:
		return f.pushed()
	}
}

// pushed is the answer of a kind that leaves as a customer-service message alone.
func (f answer) pushed() (*messages.Answer, error) {
	switch {
	case f.Menu != nil:
		return f.Menu.answer()
	case f.MpNews != nil:
		return &messages.Answer{Content: &messages.Answer_MpNews{MpNews: f.MpNews.answer()}}, need("mp_news.media_id", f.MpNews.MediaID)
	case f.MpNewsArticle != nil:
		id := f.MpNewsArticle.ArticleID
		return &messages.Answer{Content: &messages.Answer_MpNewsArticle{MpNewsArticle: &messages.MpNewsArticleAnswer{ArticleId: id}}},
			need("mp_news_article.article_id", id)
	case f.Card != nil:
		return &messages.Answer{Content: &messages.Answer_Card{Card: &messages.CardAnswer{CardId: f.Card.CardID}}},
			need("card.card_id", f.Card.CardID)
	case f.Page != nil:
		return f.Page.answer()
	default:
		return nil, errors.New("the answer has no content")
	}
}

func (m mediaID) answer() *messages.MediaAnswer { return &messages.MediaAnswer{MediaId: m.MediaID} }

func (n newsForm) answer() (*messages.Answer, error) {
	if len(n.Articles) == 0 {
		return nil, errors.New("news.articles is empty")
	}
	news := &messages.NewsAnswer{}
	for i, a := range n.Articles {
		if err := need(fmt.Sprintf("news.articles[%d].title", i), a.Title); err != nil {
			return nil, err
		}
		news.Articles = append(news.Articles, &messages.Article{Title: a.Title, Description: a.Description, PicUrl: a.PicURL, Url: a.URL})
	}
	return &messages.Answer{Content: &messages.Answer_News{News: news}}, nil
}

func (m menuForm) answer() (*messages.Answer, error) {
	if len(m.Options) == 0 {
		return nil, errors.New("menu.options is empty")
	}
	menu := &messages.MenuAnswer{Head: m.Head, Tail: m.Tail}
	for i, o := range m.Options {
		err := errors.Join(need(fmt.Sprintf("menu.options[%d].id", i), o.ID), need(fmt.Sprintf("menu.options[%d].content", i), o.Content))
		if err != nil {
			return nil, err
		}
		menu.Options = append(menu.Options, &messages.MenuOption{Id: o.ID, Content: o.Content})
	}
	return &messages.Answer{Content: &messages.Answer_Menu{Menu: menu}}, nil
}

func (p pageForm) answer() (*messages.Answer, error) {
	err := errors.Join(
		need("mini_program_page.app_id", p.AppID),
		need("mini_program_page.page_path", p.Path),
		need("mini_program_page.thumb_media_id", p.ThumbMediaID),
	)
	return &messages.Answer{Content: &messages.Answer_MiniProgramPage{MiniProgramPage: &messages.MiniProgramPageAnswer{
		Title: p.Title, AppId: p.AppID, PagePath: p.Path, ThumbMediaId: p.ThumbMediaID,
	}}}, err
}

func textAnswer(text string) (*messages.Answer, error) {
	if err := need("text", text); err != nil {
		return nil, fmt.Errorf("%w; silence is handled: true without answers", err)
	}
	return bots.Text(text), nil
}

// need refuses a blank value of what WeChat cannot do without.
func need(field, value string) error {
	if strings.TrimSpace(value) == "" {
		return fmt.Errorf("%s is missing or blank", field)
	}
	return nil
}
