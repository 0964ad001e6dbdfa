package simulator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Answer is a passive reply or a message of the API as the user's phone would show it.
type Answer struct {
	// Type is text, image, voice, video, music, news or transfer_customer_service; of the API also msgmenu, mpnews, mpnewsarticle,
	// wxcard, miniprogrampage, template and subscribe.
	Type         string    `json:"type"`
	Content      string    `json:"content,omitempty"`
	MediaID      string    `json:"media_id,omitempty"`
	Title        string    `json:"title,omitempty"`
	Description  string    `json:"description,omitempty"`
	MusicURL     string    `json:"music_url,omitempty"`
	HQMusicURL   string    `json:"hq_music_url,omitempty"`
	ThumbMediaID string    `json:"thumb_media_id,omitempty"`
	Articles     []Article `json:"articles,omitempty"`
	KfAccount    string    `json:"kf_account,omitempty"`
	Menu         *Menu     `json:"menu,omitempty"`       // msgmenu
	CardID       string    `json:"card_id,omitempty"`    // wxcard
	ArticleID    string    `json:"article_id,omitempty"` // mpnewsarticle
	AppID        string    `json:"app_id,omitempty"`     // miniprogrampage
	PagePath     string    `json:"page_path,omitempty"`  // miniprogrampage
	URL          string    `json:"url,omitempty"`        // template
	CreateTime   int64     `json:"create_time"`          // Unix seconds, as the reply says
	Encrypted    bool      `json:"encrypted"`
}

// Menu is a text with lines to tap (msgmenu). A tap sends the line as a text message with the item's id in bizmsgmenuid.
type Menu struct {
	Head  string     `json:"head,omitempty"`
	Items []MenuItem `json:"items"`
	Tail  string     `json:"tail,omitempty"`
}

// MenuItem is one line of a Menu.
type MenuItem struct {
	ID      string `json:"id"`
	Content string `json:"content"`
}

// Article is one card of a news answer.
type Article struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	PicURL      string `json:"pic_url"`
	URL         string `json:"url"`
}

// reply is a passive reply, or the envelope of an encrypted one, in either form. encoding/xml and encoding/json read it, on
// purpose not the engine's own decoder: a witness must not share its faults.
type reply struct {
	ToUserName   string
	FromUserName string
	CreateTime   json.Number
	MsgType      string
	Content      string
	Image        replyMedia
	Voice        replyMedia
	Video        replyMedia
	Music        replyMedia
	ArticleCount json.Number
	Articles     replyArticles
	TransInfo    struct{ KfAccount string }

	Encrypt      string
	MsgSignature string
	TimeStamp    json.Number
	Nonce        string
}

type replyMedia struct {
	MediaID      string `json:"MediaId" xml:"MediaId"`
	Title        string
	Description  string
	MusicURL     string `json:"MusicUrl" xml:"MusicUrl"`
	HQMusicURL   string `json:"HQMusicUrl" xml:"HQMusicUrl"`
	ThumbMediaID string `json:"ThumbMediaId" xml:"ThumbMediaId"`
}

type replyArticle struct {
	Title       string
	Description string
	PicURL      string `json:"PicUrl" xml:"PicUrl"`
	URL         string `json:"Url" xml:"Url"`
}

// replyArticles is <Articles><item>… in XML; in JSON the list itself, or an object whose item is the list.
type replyArticles struct {
	Items []replyArticle `json:"item" xml:"item"`
}

// UnmarshalJSON takes both JSON shapes.
func (a *replyArticles) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return json.Unmarshal(b, &a.Items)
	}
	var o struct {
		Item []replyArticle `json:"item"`
	}
	err := json.Unmarshal(b, &o)
	a.Items = o.Item
	return err
}

// parseReply reads one document that fills body wholly, in the given form. Blanks and a BOM around it are passed over.
func parseReply(format string, body []byte) (*reply, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("it is not UTF-8")
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(body) == 0 {
		return nil, errors.New("there is nothing but blanks")
	}
	r := new(reply)
	switch {
	case format == FormatJSON && body[0] != '{':
		return nil, fmt.Errorf("it begins with %q: the push was JSON, and so must be the reply", body[0])
	case format == FormatXML && body[0] != '<':
		return nil, fmt.Errorf("it begins with %q: neither XML nor success", body[0])
	case format == FormatJSON:
		if err := json.Unmarshal(body, r); err != nil {
			return nil, fmt.Errorf("it is not well-formed JSON: %w", err)
		}
	default:
		if err := wellFormed(body); err != nil {
			return nil, fmt.Errorf("it is not well-formed XML: %w", err)
		}
		if err := xml.Unmarshal(body, r); err != nil {
			return nil, fmt.Errorf("its XML cannot be read: %w", err)
		}
	}
	return r, nil
}

// wellFormed wants exactly one element <xml>, nothing but blanks around it, and no declarations that a reader would have to obey.
func wellFormed(body []byte) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	depth, roots := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if roots != 1 || depth != 0 {
				return errors.New("there is no whole <xml> element")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				if roots++; roots > 1 {
					return errors.New("there is a second root element")
				}
				if t.Name.Local != "xml" {
					return fmt.Errorf("the root element is <%s>, not <xml>", t.Name.Local)
				}
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errors.New("there is text outside the root element")
			}
		case xml.Directive:
			return errors.New("there is a document type declaration")
		}
	}
}
