package simulator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"hongyan/messages"
)

// EventUnsubscribe is the one event that nobody is left to answer.
const EventUnsubscribe = "unsubscribe"

// Message is what a user does: writes, sends a picture, taps the menu. Field names follow WeChat's.
type Message struct {
	Type string `json:"type"` // text, image, voice, video, shortvideo, location, link, or event

	Content      string `json:"content,omitempty"`   // text
	MediaID      string `json:"media_id,omitempty"`  // image, voice, video; made up when empty
	PicURL       string `json:"pic_url,omitempty"`   // image; made up when empty
	Format       string `json:"format,omitempty"`    // voice; amr when empty
	ThumbMediaID string `json:"thumb_id,omitempty"`  // video; made up when empty
	Title        string `json:"title,omitempty"`     // link
	Description  string `json:"desc,omitempty"`      // link
	URL          string `json:"url,omitempty"`       // link
	Label        string `json:"label,omitempty"`     // location
	Scale        int    `json:"scale,omitempty"`     // location; 16 when zero
	Event        string `json:"event,omitempty"`     // event: subscribe, unsubscribe, SCAN, CLICK, VIEW, LOCATION or any other
	EventKey     string `json:"event_key,omitempty"` // as WeChat sends it: qrscene_… on subscribe, the bare scene on SCAN
	Ticket       string `json:"ticket,omitempty"`    // subscribe by QR, SCAN; made up when empty
	MenuID       string `json:"menu_id,omitempty"`   // VIEW
	MenuItemID   string `json:"menu_item,omitempty"` // text: bizmsgmenuid, the tapped line of a msgmenu
	TemplateID   string `json:"template,omitempty"`  // subscribe_msg_* events
	Status       string `json:"status,omitempty"`    // subscribe_msg_popup_event: accept or reject; job results: as WeChat writes it

	Latitude  float64 `json:"latitude,omitempty"`  // degrees
	Longitude float64 `json:"longitude,omitempty"` // degrees
	Precision float64 `json:"precision,omitempty"` // metres; LOCATION event

	MsgID      string `json:"msg_id,omitempty"`      // generated when empty; of events only job results have one
	CreateTime int64  `json:"create_time,omitempty"` // Unix seconds; now when zero
}

// IsEvent tells whether m is an event and not something that the user wrote.
func (m Message) IsEvent() bool { return m.Type == "event" }

// ErrMessage is a message that no WeChat client could have sent.
var ErrMessage = errors.New("message cannot be pushed")

// complete checks m and fills what the platform itself adds: MsgId, CreateTime, media ids.
func (p *Platform) complete(m Message) (Message, error) {
	if err := m.check(); err != nil {
		return m, err
	}
	if m.CreateTime == 0 {
		m.CreateTime = p.now().Unix()
	}
	if m.MsgID == "" && !m.IsEvent() {
		m.MsgID = p.newMsgID()
	}
	made := func(field *string, prefix string) {
		if *field == "" {
			*field = prefix + m.MsgID
		}
	}
	switch m.Type {
	case "image":
		made(&m.MediaID, "media_")
		made(&m.PicURL, "http://mmbiz.qpic.cn/mmbiz_jpg/")
	case "voice":
		made(&m.MediaID, "media_")
		if m.Format == "" {
			m.Format = "amr"
		}
	case "video", "shortvideo":
		made(&m.MediaID, "media_")
		made(&m.ThumbMediaID, "thumb_")
	case "location":
		if m.Scale == 0 {
			m.Scale = 16
		}
	case "event":
		byQR := strings.EqualFold(m.Event, "scan") || (m.Event == "subscribe" && m.EventKey != "")
		if byQR && m.Ticket == "" {
			m.Ticket = "TICKET_" + m.EventKey
		}
	}
	return m, nil
}

// check refuses what cannot be pushed; the error names the field.
func (m Message) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrMessage}, args...)...)
	}
	switch m.Type {
	case "text":
		if m.Content == "" {
			return fail("a text needs content")
		}
	case "image", "voice", "video", "shortvideo":
	case "location":
		if !(m.Latitude >= -90 && m.Latitude <= 90 && m.Longitude >= -180 && m.Longitude <= 180) { // so that NaN fails, too
			return fail("latitude %v, longitude %v is no place on earth", m.Latitude, m.Longitude)
		}
	case "link":
		if m.URL == "" {
			return fail("a link needs a url")
		}
	case "event":
		if m.Event == "" {
			return fail("an event needs a name, such as subscribe or CLICK")
		}
	default:
		return fail("type %q is none of text, image, voice, video, shortvideo, location, link, event", m.Type)
	}
	for _, s := range []string{m.Content, m.MediaID, m.PicURL, m.Title, m.Description, m.URL, m.Label, m.Event, m.EventKey, m.MsgID} {
		if !utf8.ValidString(s) {
			return fail("it has bytes that are not UTF-8")
		}
	}
	return nil
}

// newMsgID returns 19 digits as WeChat's: milliseconds and a serial, so that restarts and neighbouring processes do not repeat one.
func (p *Platform) newMsgID() string {
	const serials = 1_000_000
	ms := uint64(p.now().UnixMilli())
	return strconv.FormatUint(ms*serials+p.msgSerial.Add(1)%serials, 10)
}

// key is the dedupe key that the engine will compute for m, by which its trace is found again. Events have no MsgId of their own.
func (m Message) key(account, openID string) string {
	in := &messages.Inbound{Account: account, OpenId: openID, MsgId: m.MsgID, CreateTime: m.CreateTime, MsgType: m.Type}
	if m.IsEvent() {
		in.Body = &messages.Inbound_Event{Event: &messages.Event{Name: m.Event, Key: m.EventKey, Ticket: m.Ticket}}
	}
	return messages.DedupeKey(in).String()
}

// field is one element of a push body. Numbers stand bare in both forms, texts in CDATA or quotes.
type field struct {
	name, value string
	number      bool
	list        []field // not empty: an element with these inside, and no value
}

// fields is m as WeChat lays it out, from openID to the account's original id.
func (m Message) fields(originalID, openID string) []field {
	fs := []field{
		{name: "ToUserName", value: originalID},
		{name: "FromUserName", value: openID},
		{name: "CreateTime", value: strconv.FormatInt(m.CreateTime, 10), number: true},
		{name: "MsgType", value: m.Type},
	}
	text := func(name, value string) { fs = append(fs, field{name: name, value: value}) }
	number := func(name, value string) { fs = append(fs, field{name: name, value: value, number: true}) }
	switch m.Type {
	case "text":
		text("Content", m.Content)
		if m.MenuItemID != "" {
			text("bizmsgmenuid", m.MenuItemID)
		}
	case "image":
		text("PicUrl", m.PicURL)
		text("MediaId", m.MediaID)
	case "voice":
		text("MediaId", m.MediaID)
		text("Format", m.Format)
		text("Recognition", "") // WeChat withdrew it in 2023 and still sends the element
	case "video", "shortvideo":
		text("MediaId", m.MediaID)
		text("ThumbMediaId", m.ThumbMediaID)
	case "location":
		number("Location_X", degrees(m.Latitude))
		number("Location_Y", degrees(m.Longitude))
		number("Scale", strconv.Itoa(m.Scale))
		text("Label", m.Label)
	case "link":
		text("Title", m.Title)
		text("Description", m.Description)
		text("Url", m.URL)
	case "event":
		return m.eventFields(fs)
	}
	number("MsgId", m.MsgID)
	return fs
}

func (m Message) eventFields(fs []field) []field {
	text := func(name, value string) { fs = append(fs, field{name: name, value: value}) }
	text("Event", m.Event)
	switch strings.ToLower(m.Event) {
	case "subscribe", "scan":
		text("EventKey", m.EventKey)
		if m.Ticket != "" {
			text("Ticket", m.Ticket)
		}
	case "location":
		for _, c := range []field{
			{name: "Latitude", value: degrees(m.Latitude)},
			{name: "Longitude", value: degrees(m.Longitude)},
			{name: "Precision", value: degrees(m.Precision)},
		} {
			c.number = true
			fs = append(fs, c)
		}
	case "view":
		text("EventKey", m.EventKey)
		if m.MenuID != "" {
			text("MenuId", m.MenuID)
		}
	case EventUnsubscribe:
		text("EventKey", "")
	default:
		if m.EventKey != "" {
			text("EventKey", m.EventKey)
		}
	}
	if list := m.subscribeMessages(); list != nil {
		return append(fs, list...)
	}
	if m.MsgID != "" {
		fs = append(fs, field{name: "MsgID", value: m.MsgID, number: true}) // job results; capital D
	}
	if m.Status != "" {
		text("Status", m.Status)
	}
	return fs
}

// subscribeMessages is the body of subscribe_msg_* events: in XML <SubscribeMsgPopupEvent><List>…, in JSON a List at the top.
func (m Message) subscribeMessages() []field {
	item := []field{{name: "TemplateId", value: m.TemplateID}}
	text := func(name, value string) { item = append(item, field{name: name, value: value}) }
	var name string
	switch strings.ToLower(m.Event) {
	case EventSubscribePopup:
		name = "SubscribeMsgPopupEvent"
		text("SubscribeStatusString", m.Status)
		text("PopupScene", "0")
	case "subscribe_msg_change_event":
		name = "SubscribeMsgChangeEvent"
		text("SubscribeStatusString", m.Status)
	case EventSubscribeSent:
		name = "SubscribeMsgSentEvent"
		text("MsgID", m.MsgID)
		text("ErrorCode", "0")
		text("ErrorStatus", m.Status)
	default:
		return nil
	}
	return []field{{name: name, list: []field{{name: "List", list: item}}}}
}

func degrees(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
