package remote

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hongyan/bots"
	"hongyan/bots/upstream"
	"hongyan/conversation"
	"hongyan/messages"
)

// Version is the contract's. It changes only where a bot that is written for it would misread what comes; fields are added without.
const Version = 1

// request is what a bot is sent: schema/request.schema.json. Times are RFC 3339 in UTC.
type request struct {
	V       int               `json:"v"`
	ID      string            `json:"id"`      // of the turn, the same whenever it is asked again
	Account string            `json:"account"` // our account id
	User    string            `json:"user"`    // OpenID
	Message message           `json:"message"`
	History []utterance       `json:"history"` // oldest first, without the message
	Session map[string]string `json:"session"`
	Now     time.Time         `json:"now"`
	// DeadlineMS is what is left of the turn's time, in milliseconds; absent where it has no end.
	DeadlineMS int64 `json:"deadline_ms,omitempty"`
	// HistoryOmitted is how many of the oldest utterances were left out, so that the request fits the transport.
	HistoryOmitted int `json:"history_omitted,omitempty"`
}

type message struct {
	Key        string    `json:"key"`  // 32 hex digits: the same for each delivery of one message
	Kind       string    `json:"kind"` // text, image, …, click, scan, …
	Type       string    `json:"type"` // MsgType as WeChat wrote it
	CreateTime time.Time `json:"create_time"`
	MsgID      string    `json:"msg_id,omitempty"`
	Text       string    `json:"text,omitempty"`
	MenuID     string    `json:"menu_id,omitempty"` // of the option of a menu answer that the user tapped
	Media      *media    `json:"media,omitempty"`
	Location   *location `json:"location,omitempty"`
	Link       *link     `json:"link,omitempty"`
	File       *file     `json:"file,omitempty"`
	Page       *page     `json:"mini_program_page,omitempty"`
	Event      *event    `json:"event,omitempty"`
	Article    *article  `json:"article,omitempty"`
}

// media is a picture, a voice message, a video. Data is there with media: bytes alone.
type media struct {
	ID          string `json:"id"`
	PicURL      string `json:"pic_url,omitempty"`
	Format      string `json:"format,omitempty"`
	ThumbID     string `json:"thumb_id,omitempty"`
	Recognition string `json:"recognition,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Data        []byte `json:"data,omitempty"`    // base64
	Missing     string `json:"missing,omitempty"` // why there is no Data: unavailable, too_large
}

// The values of media.Missing.
const (
	missingUnavailable = "unavailable" // WeChat did not give it to us, or there was no room for it
	missingTooLarge    = "too_large"   // for the transport, or at all
)

type location struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Precision float64 `json:"precision,omitempty"` // metres
	Scale     int32   `json:"scale,omitempty"`
	Label     string  `json:"label,omitempty"`
	POI       string  `json:"poi_name,omitempty"`
}

type link struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	URL         string `json:"url"`
}

type file struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Key         string `json:"key,omitempty"`
	MD5         string `json:"md5,omitempty"`
	TotalBytes  int64  `json:"total_bytes,omitempty"`
}

type page struct {
	Title        string `json:"title"`
	AppID        string `json:"app_id,omitempty"`
	Path         string `json:"page_path,omitempty"`
	ThumbURL     string `json:"thumb_url,omitempty"`
	ThumbMediaID string `json:"thumb_media_id,omitempty"`
}

// article is the one under which a message was written.
type article struct {
	MsgDataID string `json:"msg_data_id"`
	Index     int32  `json:"index"` // from 1 on
}

type event struct {
	Name     string      `json:"name"` // Event as WeChat wrote it
	Key      string      `json:"key,omitempty"`
	Scene    string      `json:"scene,omitempty"` // of a QR code
	Ticket   string      `json:"ticket,omitempty"`
	MenuID   string      `json:"menu_id,omitempty"`
	Scan     *scan       `json:"scan,omitempty"`
	Pictures *pictures   `json:"pictures,omitempty"`
	Session  *kfSession  `json:"kf_session,omitempty"`
	Choices  []choice    `json:"subscriptions,omitempty"`
	From     string      `json:"from,omitempty"` // where in a mini-program the user opened the chat
	Notice   *userNotice `json:"user_notice,omitempty"`
	Debug    string      `json:"debug,omitempty"`
}

type scan struct {
	Type   string `json:"type"`
	Result string `json:"result"`
}

type pictures struct {
	Count int32    `json:"count"`
	MD5   []string `json:"md5,omitempty"`
}

type kfSession struct {
	Account   string `json:"account,omitempty"`
	CloseType string `json:"close_type,omitempty"`
	From      string `json:"from_account,omitempty"`
	To        string `json:"to_account,omitempty"`
}

type choice struct {
	TemplateID string `json:"template_id"`
	Status     string `json:"status"` // accept, reject
}

type userNotice struct {
	AppID      string `json:"app_id,omitempty"`
	RevokeInfo string `json:"revoke_info,omitempty"`
}

// utterance is one of the conversation so far.
type utterance struct {
	Role string    `json:"role"` // user, bot, agent
	Kind string    `json:"kind,omitempty"`
	Text string    `json:"text"` // what was said, or a short description of what is not text
	At   time.Time `json:"at"`
}

// write is the request for a turn, without media bytes and deadline.
func write(req *bots.Request) request {
	in := req.Message
	r := request{
		V: Version, ID: req.ID, Account: in.GetAccount(), User: in.GetOpenId(), Message: writeMessage(in),
		History: make([]utterance, 0, len(req.History)), Session: req.Session, Now: req.Now.UTC().Truncate(time.Millisecond),
	}
	if r.Session == nil {
		r.Session = map[string]string{}
	}
	for _, t := range req.History {
		u := utterance{Role: roleName(t.Role), Text: t.Text, At: time.UnixMilli(t.AtMS).UTC()}
		if t.Kind != 0 {
			u.Kind = kindName(messages.Kind(t.Kind))
		}
		r.History = append(r.History, u)
	}
	return r
}

func roleName(r conversation.Role) string {
	switch r {
	case conversation.RoleUser:
		return "user"
	case conversation.RoleAgent:
		return "agent"
	default:
		return "bot"
	}
}

// kindName is the kind's name in the contract: KIND_SHORT_VIDEO is short_video.
func kindName(k messages.Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

func writeMessage(in *messages.Inbound) message {
	m := message{
		Key: messages.KeyOf(in).String(), Kind: kindName(in.GetKind()), Type: in.GetMsgType(),
		CreateTime: time.Unix(in.GetCreateTime(), 0).UTC(), MsgID: in.GetMsgId(),
	}
	if in.GetMsgDataId() != "" {
		m.Article = &article{MsgDataID: in.GetMsgDataId(), Index: in.GetArticleIndex()}
	}
	switch body := in.GetBody().(type) {
	case *messages.Inbound_Text:
		m.Text, m.MenuID = body.Text.GetContent(), body.Text.GetMenuId()
	case *messages.Inbound_Media:
		b := body.Media
		m.Media = &media{
			ID: b.GetMediaId(), PicURL: b.GetPicUrl(), Format: b.GetFormat(), ThumbID: b.GetThumbMediaId(), Recognition: b.GetRecognition(),
		}
	case *messages.Inbound_Location:
		m.Location = writeLocation(body.Location)
	case *messages.Inbound_Link:
		m.Link = &link{Title: body.Link.GetTitle(), Description: body.Link.GetDescription(), URL: body.Link.GetUrl()}
	case *messages.Inbound_File:
		b := body.File
		m.File = &file{
			Title: b.GetTitle(), Description: b.GetDescription(), Key: b.GetFileKey(), MD5: b.GetMd5(), TotalBytes: b.GetTotalBytes(),
		}
	case *messages.Inbound_MiniProgramPage:
		b := body.MiniProgramPage
		m.Page = &page{
			Title: b.GetTitle(), AppID: b.GetAppId(), Path: b.GetPagePath(), ThumbURL: b.GetThumbUrl(), ThumbMediaID: b.GetThumbMediaId(),
		}
	case *messages.Inbound_Event:
		m.Event, m.Location = writeEvent(body.Event), writeLocation(body.Event.GetPoint())
	}
	return m
}

func writeLocation(l *messages.Location) *location {
	if l == nil {
		return nil
	}
	return &location{
		Latitude: l.GetLatitude(), Longitude: l.GetLongitude(), Precision: l.GetPrecision(), Scale: l.GetScale(), Label: l.GetLabel(),
		POI: l.GetPoiName(),
	}
}

func writeEvent(e *messages.Event) *event {
	v := &event{
		Name: e.GetName(), Key: e.GetKey(), Scene: e.GetScene(), Ticket: e.GetTicket(), MenuID: e.GetMenuId(),
		From: e.GetTempSession().GetFrom(), Debug: e.GetDebugDemo().GetText(),
	}
	if e.GetScanType() != "" || e.GetScanResult() != "" {
		v.Scan = &scan{Type: e.GetScanType(), Result: e.GetScanResult()}
	}
	if p := e.GetPictures(); p != nil {
		v.Pictures = &pictures{Count: p.GetCount(), MD5: p.GetMd5()}
	}
	if s := e.GetKfSession(); s != nil {
		v.Session = &kfSession{Account: s.GetAccount(), CloseType: s.GetCloseType(), From: s.GetFromAccount(), To: s.GetToAccount()}
	}
	for _, s := range e.GetSubscribeMsgs().GetItems() {
		v.Choices = append(v.Choices, choice{TemplateID: s.GetTemplateId(), Status: s.GetStatus()})
	}
	if n := e.GetUserNotice(); n != nil {
		v.Notice = &userNotice{AppID: n.GetAppId(), RevokeInfo: n.GetRevokeInfo()}
	}
	return v
}

// omitted says what was left out of a body.
type omitted struct {
	media   bool
	history int // utterances
}

// body is the request in JSON, in at most limit bytes (0: any number): what does not fit is left out, the media's bytes first, then the
// oldest half of the history, again and again. A request that is too large even so is the request's own fault.
func (r request) body(limit int) ([]byte, omitted, error) {
	var out omitted
	if m := r.Message.Media; limit > 0 && m != nil && base64.StdEncoding.EncodedLen(len(m.Data)) > limit {
		r, out.media = r.withoutMedia(), true // not even written
	}
	for {
		data, err := json.Marshal(r)
		if err != nil {
			return nil, out, &upstream.Fault{Kind: upstream.Refused, Err: fmt.Errorf("writing the request: %w", err)}
		}
		if limit <= 0 || len(data) <= limit {
			return data, out, nil
		}
		switch {
		case r.Message.Media != nil && len(r.Message.Media.Data) > 0:
			r, out.media = r.withoutMedia(), true
		case len(r.History) > 0:
			drop := (len(r.History) + 1) / 2
			r.History = r.History[drop:]
			r.HistoryOmitted += drop
			out.history += drop
		default:
			return nil, out, &upstream.Fault{Kind: upstream.Refused, Err: fmt.Errorf(
				"the request has %d bytes without media and history, and the transport takes %d; raise max_payload of the NATS server",
				len(data), limit)}
		}
	}
}

// withoutMedia is the request without the media's bytes.
func (r request) withoutMedia() request {
	bare := *r.Message.Media
	bare.Data, bare.ContentType, bare.Missing = nil, "", missingTooLarge
	r.Message.Media = &bare
	return r
}
