package messages_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// Rule 10: two messages never share a key, and one message has one key however often it is delivered.
func TestDedupeKeyTellsApart(t *testing.T) {
	t.Parallel()
	text := &messages.Inbound{Account: "demo", OpenId: "u1", MsgId: "7", MsgType: "text", CreateTime: 100}
	event := &messages.Inbound{
		Account: "demo", OpenId: "u1", MsgType: "event", CreateTime: 100,
		Body: &messages.Inbound_Event{Event: &messages.Event{Name: "CLICK", Key: "menu", Ticket: "t"}},
	}
	bare := &messages.Inbound{Account: "demo", OpenId: "u1", MsgType: "text", CreateTime: 100, Raw: []byte("a")}
	publish := func(id string) *messages.Inbound {
		return &messages.Inbound{Account: "demo", OpenId: "u1", MsgType: "event", CreateTime: 100, Body: &messages.Inbound_Event{
			Event: &messages.Event{Name: "PUBLISHJOBFINISH", Detail: &messages.Event_PublishJob{PublishJob: &messages.PublishJob{PublishId: id}}},
		}}
	}
	sent := func(ids ...string) *messages.Inbound {
		list := &messages.SubscribeMsgs{}
		for _, id := range ids {
			list.Items = append(list.Items, &messages.SubscribeMsg{MsgId: id})
		}
		return &messages.Inbound{Account: "demo", OpenId: "u1", MsgType: "event", CreateTime: 100, Body: &messages.Inbound_Event{
			Event: &messages.Event{Name: "subscribe_msg_sent_event", Detail: &messages.Event_SubscribeMsgs{SubscribeMsgs: list}},
		}}
	}
	change := func(in *messages.Inbound, f func(*messages.Inbound)) *messages.Inbound {
		other := proto.CloneOf(in)
		f(other)
		return other
	}
	all := map[string]*messages.Inbound{
		"text": text, "event": event, "bare": bare,
		"text of another account":    change(text, func(in *messages.Inbound) { in.Account = "demo2" }),
		"text of another user":       change(text, func(in *messages.Inbound) { in.OpenId = "u2" }),
		"text of another id":         change(text, func(in *messages.Inbound) { in.MsgId = "8" }),
		"text of another second":     change(text, func(in *messages.Inbound) { in.CreateTime = 101 }),
		"fields that run together":   change(text, func(in *messages.Inbound) { in.OpenId, in.MsgId = "u17", "" }),
		"event of another name":      change(event, func(in *messages.Inbound) { in.GetEvent().Name = "VIEW" }),
		"event of another key":       change(event, func(in *messages.Inbound) { in.GetEvent().Key = "other" }),
		"event of another ticket":    change(event, func(in *messages.Inbound) { in.GetEvent().Ticket = "u" }),
		"event of another second":    change(event, func(in *messages.Inbound) { in.CreateTime = 101 }),
		"bare of another payload":    change(bare, func(in *messages.Inbound) { in.Raw = []byte("b") }),
		"publication":                publish("1"),
		"another publication":        publish("2"),
		"sent":                       sent("1"),
		"another sent":               sent("2"),
		"two sent":                   sent("1", "2"),
		"two sent that run together": sent("12"),
		"bare of another type":       change(bare, func(in *messages.Inbound) { in.MsgType = "image" }),
	}
	seen := make(map[messages.Key]string, len(all))
	for name, in := range all {
		key := messages.DedupeKey(in)
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
		if again := messages.DedupeKey(proto.CloneOf(in)); again != key {
			t.Errorf("%s: the redelivery has another key", name)
		}
	}
	redelivered := change(text, func(in *messages.Inbound) { in.Nonce, in.Encrypted = "other", true })
	if messages.DedupeKey(redelivered) != messages.DedupeKey(text) {
		t.Error("what differs between two deliveries of one message enters its key")
	}
}
