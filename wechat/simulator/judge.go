package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxReply bounds what is read of a reply, maxText the content of a text reply (WeChat's limit): bytes, both.
const (
	maxReply = 1 << 20
	maxText  = 2048
)

// judge reads the body of a 200 reply to m as WeChat does. An answer is what the user sees; nil without an error is a deliberate
// silence (`success` or nothing); an error says why WeChat would show the fault banner at once.
func (a *account) judge(openID string, m Message, body []byte) (*Answer, error) {
	switch trimmed := bytes.TrimSpace(body); {
	case len(trimmed) == 0, string(trimmed) == "success":
		return nil, nil
	case len(body) > maxReply:
		return nil, fmt.Errorf("the reply is longer than %d bytes", maxReply)
	}
	r, err := parseReply(a.Format, body)
	if err != nil {
		return nil, fmt.Errorf("the reply cannot be understood: %w", err)
	}
	encrypted := r.Encrypt != ""
	if encrypted {
		if r, err = a.open(r); err != nil {
			return nil, err
		}
	} else if a.Mode == ModeSafe {
		return nil, errors.New("the reply is not encrypted, but the account is in safe mode")
	}
	answer, err := a.read(r, openID, m)
	if err != nil {
		return nil, err
	}
	answer.Encrypted = encrypted
	return answer, nil
}

// open checks the envelope's signature and decrypts it; the codec compares the receiver id.
func (a *account) open(r *reply) (*reply, error) {
	if a.codec == nil {
		return nil, errors.New("the reply is encrypted, but the account is in plain mode")
	}
	seconds, err := strconv.ParseInt(r.TimeStamp.String(), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("TimeStamp %q of the encrypted reply is not a number", r.TimeStamp)
	}
	if seconds > 99_999_999_999 {
		return nil, fmt.Errorf("TimeStamp %d of the encrypted reply is not in seconds", seconds)
	}
	if r.Nonce == "" {
		return nil, errors.New("the encrypted reply has no Nonce")
	}
	if want := a.codec.Sign(r.TimeStamp.String(), r.Nonce, r.Encrypt); r.MsgSignature != want {
		return nil, errors.New("MsgSignature of the encrypted reply is wrong")
	}
	plain, err := a.codec.Decrypt(r.Encrypt)
	if err != nil {
		return nil, fmt.Errorf("the encrypted reply cannot be decrypted with this account's key and AppID: %w", err)
	}
	if len(bytes.TrimSpace(plain)) == 0 {
		return nil, errors.New("the encrypted reply has nothing inside")
	}
	inner, err := parseReply(a.Format, plain)
	if err != nil {
		return nil, fmt.Errorf("the decrypted reply cannot be understood: %w", err)
	}
	return inner, nil
}

// read checks the addresses and what each type needs (passive replies, field by field).
func (a *account) read(r *reply, openID string, m Message) (*Answer, error) {
	if r.ToUserName != openID {
		return nil, errors.New("ToUserName of the reply is not the user who wrote")
	}
	if r.FromUserName != a.OriginalID {
		return nil, fmt.Errorf("FromUserName of the reply is %q, not the account's original id %q", r.FromUserName, a.OriginalID)
	}
	created, err := strconv.ParseInt(r.CreateTime.String(), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("CreateTime %q of the reply is not a number", r.CreateTime)
	}
	answer := &Answer{Type: r.MsgType, CreateTime: created}
	switch r.MsgType {
	case "text":
		answer.Content = r.Content
		if strings.TrimSpace(r.Content) == "" {
			return nil, errors.New("the text reply has an empty Content")
		}
		if len(r.Content) > maxText {
			return nil, fmt.Errorf("the text reply has a Content of %d bytes, more than %d", len(r.Content), maxText)
		}
	case "image":
		err = answer.media(r.Image, "Image")
	case "voice":
		err = answer.media(r.Voice, "Voice")
	case "video":
		err = answer.media(r.Video, "Video")
	case "music":
		answer.Title, answer.Description = r.Music.Title, r.Music.Description
		answer.MusicURL, answer.HQMusicURL, answer.ThumbMediaID = r.Music.MusicURL, r.Music.HQMusicURL, r.Music.ThumbMediaID
		if answer.ThumbMediaID == "" {
			err = errors.New("ThumbMediaId of the music reply is empty")
		}
	case "news":
		err = answer.news(r, m)
	case "transfer_customer_service":
		answer.KfAccount = r.TransInfo.KfAccount
	default:
		err = fmt.Errorf("MsgType %q of the reply is not one that WeChat knows", r.MsgType)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (n *Answer) media(part replyMedia, name string) error {
	n.MediaID, n.Title, n.Description = part.MediaID, part.Title, part.Description
	if part.MediaID == "" {
		return fmt.Errorf("MediaId of %s is empty", name)
	}
	return nil
}

// news keeps as many articles as WeChat shows: one in answer to what a user wrote (since October 2018), eight otherwise.
func (n *Answer) news(r *reply, m Message) error {
	items := r.Articles.Items
	if len(items) == 0 {
		return errors.New("the news reply has no article")
	}
	if count, err := strconv.Atoi(r.ArticleCount.String()); err != nil || count != len(items) {
		return fmt.Errorf("ArticleCount %q of the news reply does not match its %d articles", r.ArticleCount, len(items))
	}
	shown := 1
	if m.IsEvent() {
		shown = 8
	}
	for _, item := range items[:min(shown, len(items))] {
		n.Articles = append(n.Articles, Article(item))
	}
	return nil
}
