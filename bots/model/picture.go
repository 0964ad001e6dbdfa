package model

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"hongyan/bots"
	"hongyan/conversation"
)

// In WeChat a picture and the question about it are messages of their own. So the picture of the last image message is kept in the
// bot's session and goes along with the questions that follow.
const (
	pictureKey      = "picture" // of the session
	pictureTurns    = 5         // for how many turns after its own a picture goes along
	maxPictureBytes = 5 << 20
	maxPicturesHeld = 64 << 20 // bytes of pictures that all turns of a bot hold at a time
	fetchTime       = 10 * time.Second
)

// picture is a picture in the conversation.
type picture struct {
	turn int    // index in the history; -1 for that of the new message
	url  string // https: or data:; empty where it cannot be shown
	why  string // instead of url, for the model
}

// missing is the picture without itself, with a word to the model about it.
func (p *picture) missing(why string) *picture { return &picture{turn: p.turn, why: why} }

// note is what stands in the text instead of a picture that cannot be shown.
func (p *picture) note() string {
	if p == nil || p.url != "" {
		return ""
	}
	return "（" + p.why + "）"
}

// keptPicture is what the session says of the last picture.
type keptPicture struct {
	Ref   string `json:"ref"`   // media id, or address
	AtMS  int64  `json:"at"`    // when the bot saw it, Unix milliseconds
	Turns int    `json:"turns"` // how many turns it has gone along since
}

// parsePicture reads the session's value; false where there is none to go along any more: it has been there for long enough, its turn
// is no longer in the conversation (which ends with the account's idle time), or the user has sent another picture since.
func parsePicture(session map[string]string, history []conversation.Turn) (kept keptPicture, turn int, ok bool) {
	value := session[pictureKey]
	if value == "" || json.Unmarshal([]byte(value), &kept) != nil || kept.Ref == "" || kept.Turns >= pictureTurns {
		return keptPicture{}, 0, false
	}
	turn = lastImage(history)
	if turn < 0 || history[turn].AtMS < kept.AtMS {
		return keptPicture{}, 0, false
	}
	for _, earlier := range history[:turn] { // an image turn in between: the last one is another picture
		if earlier.AtMS >= kept.AtMS && earlier.Kind == history[turn].Kind && earlier.Role == conversation.RoleUser {
			return keptPicture{}, 0, false
		}
	}
	return kept, turn, true
}

func (k keptPicture) String() string {
	value, err := json.Marshal(k)
	if err != nil { // a struct of a string and two numbers: it cannot happen
		return ""
	}
	return string(value)
}

// look finds the picture that goes along with the turn, its own or the one kept, and what the session says of it afterwards. Only a
// picture whose turn fits into the context is fetched, and none where no endpoint can be asked about it: look's error says so then.
func (t *turn) look(ctx context.Context) error {
	if t.bot.images == ImagesOff {
		return nil
	}
	kept, at, had := parsePicture(t.req.Session, t.req.History)
	switch {
	case t.question.image != "":
		kept, at = keptPicture{Ref: t.question.image, AtMS: t.req.Now.UnixMilli()}, -1
	case !had:
		if t.req.Session[pictureKey] != "" {
			t.session = map[string]string{pictureKey: ""}
		}
		return nil
	default:
		kept.Turns++
	}
	t.session = map[string]string{pictureKey: kept.String()}
	t.picture = &picture{turn: at, url: kept.Ref}
	if !t.shown() {
		t.picture = nil
		return nil
	}
	if t.bot.images == ImagesBytes {
		if err := t.bot.upstream.Ready(); err != nil {
			return err
		}
		t.picture.url, t.picture.why = t.fetch(ctx, kept.Ref)
	}
	return nil
}

// shown tells whether the picture's turn is in what the model gets.
func (t *turn) shown() bool {
	for _, u := range t.utterances(t.bot.params.context) {
		if u.picture != nil && u.picture.url != "" {
			return true
		}
	}
	return false
}

// fetch is the picture as a data: URL, or why there is none. The bytes that it holds are given back by release.
func (t *turn) fetch(ctx context.Context, ref string) (dataURL, why string) {
	const failed = "图片没能加载"
	if t.req.Media == nil {
		return "", failed
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if t.bot.pictures.Acquire(ctx, maxPictureBytes) != nil {
		return "", failed
	}
	t.held = maxPictureBytes
	defer func() {
		if dataURL == "" {
			t.release()
		}
	}()
	media, err := t.req.Media.Fetch(ctx, t.req.Message.GetAccount(), ref)
	if err != nil {
		t.bot.log.WarnContext(ctx, "picture not fetched, the model is told so", "bot", t.bot.name,
			"account", t.req.Message.GetAccount(), "user", t.user, "error", err)
		return "", failed
	}
	if dataURL, why = asDataURL(media); dataURL != "" { // its size was not known before
		size := int64(len(media.Bytes))
		t.bot.pictures.Release(t.held - size)
		t.held = size
	}
	return dataURL, why
}

// asDataURL is a picture as a data: URL, or why it cannot be one.
func asDataURL(media bots.Media) (dataURL, why string) {
	kind, _, _ := strings.Cut(media.Type, ";")
	if kind = strings.ToLower(strings.TrimSpace(kind)); !strings.HasPrefix(kind, "image/") {
		kind = http.DetectContentType(media.Bytes)
	}
	switch {
	case len(media.Bytes) > maxPictureBytes:
		return "", "图片太大，没能加载"
	case len(media.Bytes) == 0 || !strings.HasPrefix(kind, "image/"):
		return "", "图片没能加载"
	}
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(media.Bytes), ""
}

// release gives back what the turn's picture held.
func (t *turn) release() {
	if t.held > 0 {
		t.bot.pictures.Release(t.held)
		t.held = 0
	}
}
