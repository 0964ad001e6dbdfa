package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Events of subscription messages.
const (
	EventTemplateDone   = "TEMPLATESENDJOBFINISH"
	EventSubscribePopup = "subscribe_msg_popup_event"
	EventSubscribeSent  = "subscribe_msg_sent_event"
)

// templateMemory is how long the same client_msg_id is one message.
const templateMemory = 10 * time.Minute

// sentTemplate is a template message that a client_msg_id stands for.
type sentTemplate struct {
	msgID json.Number
	at    time.Time
}

// sentTemplates are those of the last templateMemory.
type sentTemplates struct {
	byName map[string]sentTemplate // by OpenID and client_msg_id
	order  []string                // oldest first
}

// at finds the message that a name still stands for; what is too old is forgotten.
func (s *sentTemplates) at(name string, now time.Time) (t sentTemplate, known bool) {
	for len(s.order) > 0 && now.Sub(s.byName[s.order[0]].at) >= templateMemory {
		delete(s.byName, s.order[0])
		s.order = s.order[1:]
	}
	t, known = s.byName[name]
	return t, known
}

func (s *sentTemplates) add(name string, t sentTemplate) {
	s.byName[name] = t
	s.order = append(s.order, name)
}

// templateMessage is the body of /cgi-bin/message/template/send and /cgi-bin/message/subscribe/bizsend.
type templateMessage struct {
	ToUser      string                         `json:"touser"`
	TemplateID  string                         `json:"template_id"`
	ClientMsgID string                         `json:"client_msg_id"`
	URL         string                         `json:"url"`
	Page        string                         `json:"page"`
	Data        map[string]struct{ Value any } `json:"data"`
}

// templateSend is POST /cgi-bin/message/template/send. Its result is pushed to the callback as TEMPLATESENDJOBFINISH.
func (c *call) templateSend() (any, error) {
	in, f, err := c.templateCall()
	if err != nil {
		return nil, err
	}
	if !f.following {
		return nil, fail(CodeNotFollowing)
	}
	name := in.ToUser + "\x00" + in.ClientMsgID
	if in.ClientMsgID != "" {
		if old, known := c.ledger.templates.at(name, c.now); known {
			c.note.MsgID = old.msgID.String()
			return map[string]any{"errcode": 0, "errmsg": "ok", "msgid": old.msgID}, nil
		}
	}
	id := json.Number(c.p.newMsgID())
	if in.ClientMsgID != "" {
		c.ledger.templates.add(name, sentTemplate{id, c.now})
	}
	status := "success"
	if f.refuses {
		status = "failed:user block"
	}
	c.deliverTemplate(in, RecordTemplate, id.String(), !f.refuses,
		Message{Type: "event", Event: EventTemplateDone, MsgID: id.String(), Status: status})
	return map[string]any{"errcode": 0, "errmsg": "ok", "msgid": id}, nil
}

// subscribeSend is POST /cgi-bin/message/subscribe/bizsend: one message for each consent that the user gave to the template. It
// tells no msgid; that comes in subscribe_msg_sent_event.
func (c *call) subscribeSend() (any, error) {
	in, f, err := c.templateCall()
	if err != nil {
		return nil, err
	}
	if f.accepted[in.TemplateID] < 1 || f.refuses {
		return nil, fail(CodeNotAccepted)
	}
	f.accepted[in.TemplateID]--
	id := c.p.newMsgID()
	c.deliverTemplate(in, RecordSubscribe, id, true,
		Message{Type: "event", Event: EventSubscribeSent, MsgID: id, TemplateID: in.TemplateID, Status: "success"})
	return ok(), nil
}

// templateCall reads and checks what both calls have in common.
func (c *call) templateCall() (in templateMessage, f *follower, err error) {
	if err := c.decode(&in); err != nil {
		return in, nil, err
	}
	c.note.OpenID, c.note.TemplateID = in.ToUser, in.TemplateID
	f = c.ledger.followers[in.ToUser]
	switch {
	case f == nil:
		return in, nil, fail(CodeBadOpenID)
	case in.TemplateID == "", len(c.account.Templates) > 0 && !slices.Contains(c.account.Templates, in.TemplateID):
		return in, nil, fail(CodeBadTemplate)
	case len(in.Data) == 0:
		return in, nil, fail(CodeTemplateData)
	case len(in.ClientMsgID) > 32:
		return in, nil, failText(CodeBadArgument, "client_msg_id is longer than 32 characters")
	}
	return in, f, nil
}

// deliverTemplate shows a template message on the phone and has its result pushed to the callback once the call is over.
func (c *call) deliverTemplate(in templateMessage, kind RecordKind, msgID string, shown bool, result Message) {
	c.note.MsgID, c.note.Effect = msgID, shown
	if shown {
		answer := &Answer{Type: string(kind), Title: in.TemplateID, Description: in.lines(), URL: in.URL, CreateTime: c.now.Unix()}
		c.note.Answer = answer
		seen := c.note
		seen.At, seen.Kind = c.now, kind
		c.p.witness.add(seen)
		c.p.phone.show(c.account.ID, in.ToUser, ShownTemplate, answer, c.now)
	}
	a := c.account
	c.after = append(c.after, func() { c.p.pushJob(a, in.ToUser, result) })
}

// lines are the data of a template message, one a line, in the order of their names.
func (in templateMessage) lines() string {
	names := make([]string, 0, len(in.Data))
	for name := range in.Data {
		names = append(names, name)
	}
	slices.Sort(names)
	out := ""
	for i, name := range names {
		if i > 0 {
			out += "\n"
		}
		out += fmt.Sprintf("%s: %v", name, in.Data[name].Value)
	}
	return out
}

// pushJob delivers the result of a job to the callback, a bounded number of them at once. Close ends and awaits them.
func (p *Platform) pushJob(a *account, openID string, m Message) {
	if !p.begin() {
		return
	}
	go func() { // ends with the push, at the latest when Close cancels p.ctx; Close waits for it
		defer p.run.Done()
		select {
		case p.api.jobs <- struct{}{}:
			defer func() { <-p.api.jobs }()
		case <-p.ctx.Done():
			return
		}
		if m, err := p.complete(m); err != nil {
			p.log.Error("the result of a job cannot be pushed", "account", a.ID, "event", m.Event, "error", err)
		} else if _, err := p.push(p.ctx, a, openID, m, unwatched); err != nil && p.ctx.Err() == nil {
			p.log.Error("the result of a job was not pushed", "account", a.ID, "event", m.Event, "error", err)
		}
	}()
}
