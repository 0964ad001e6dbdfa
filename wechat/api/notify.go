package api

import "context"

// Field is one place of a template that is filled in.
type Field struct {
	Name  string // as the template calls it, such as "keyword1" or "thing8"
	Value string
	Color string // "#173177"; WeChat ignores it where it withdrew colours; template messages alone
}

// MiniProgramLink opens a page of a mini program when the message is tapped.
type MiniProgramLink struct {
	AppID    string
	PagePath string
}

// TemplateMessage is a template message of a service account.
type TemplateMessage struct {
	OpenID      string
	TemplateID  string
	URL         string           // opened by a tap; empty: none
	MiniProgram *MiniProgramLink // preferred to URL; nil: none
	Data        []Field
	ClientMsgID string // WeChat sends the same OpenID and id once in ten minutes; at most 32 characters; empty: no such guard
}

// SubscribeMessage is a message that the user agreed to by subscribing to its template.
type SubscribeMessage struct {
	OpenID      string
	TemplateID  string
	Page        string           // opened by a tap; empty: none
	MiniProgram *MiniProgramLink // nil: none
	Data        []Field
}

// SendTemplate sends a template message and returns WeChat's id of it, by which the event TEMPLATESENDJOBFINISH tells its end
// (wechat-protocol §5.3).
func (c *Client) SendTemplate(ctx context.Context, token string, m TemplateMessage) (msgID string, err error) {
	o := newObject()
	o.text("touser", m.OpenID)
	o.text("template_id", m.TemplateID)
	o.optional("url", m.URL)
	o.link(m.MiniProgram)
	o.optional("client_msg_id", m.ClientMsgID)
	o.fields(m.Data)
	var a struct {
		coded
		MsgID words `json:"msgid"`
	}
	err = c.do(ctx, call{path: callTemplate, token: token, body: o, private: m.OpenID, result: &a})
	return string(a.MsgID), err
}

// SendSubscribe sends a subscription message. WeChat returns no id of it (wechat-protocol §5.3).
func (c *Client) SendSubscribe(ctx context.Context, token string, m SubscribeMessage) error {
	o := newObject()
	o.text("touser", m.OpenID)
	o.text("template_id", m.TemplateID)
	o.optional("page", m.Page)
	o.link(m.MiniProgram)
	o.fields(m.Data)
	return c.do(ctx, call{path: callSubscribe, token: token, body: o, private: m.OpenID})
}

func (o *object) link(l *MiniProgramLink) {
	if l == nil {
		return
	}
	o.in("miniprogram", func() {
		o.text("appid", l.AppID)
		o.text("pagepath", l.PagePath)
	})
}

func (o *object) fields(data []Field) {
	o.in("data", func() {
		for _, f := range data {
			o.in(f.Name, func() {
				o.text("value", f.Value)
				o.optional("color", f.Color)
			})
		}
	})
}
