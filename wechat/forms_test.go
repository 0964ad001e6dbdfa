package wechat_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/wechat"
)

// part is one field of a push, to be written as XML and as JSON.
type part struct {
	name  string
	value string   // of a leaf
	below [][]part // of a field with fields below it: one list, or several of an array
	item  bool     // XML has each list in an <item>; else the field's own element is repeated
	flat  bool     // JSON has what is below at the level above: the List of subscribe_msg_*_event
	text  bool     // JSON has the number as text
}

func writeXML(b *strings.Builder, parts []part) {
	tag := func(name string, inner func()) {
		b.WriteString("<" + name + ">")
		inner()
		b.WriteString("</" + name + ">")
	}
	for _, p := range parts {
		switch {
		case p.below == nil:
			tag(p.name, func() { b.WriteString("<![CDATA[" + strings.ReplaceAll(p.value, "]]>", "]]]]><![CDATA[>") + "]]>") })
		case p.item:
			tag(p.name, func() {
				for _, list := range p.below {
					tag("item", func() { writeXML(b, list) })
				}
			})
		default:
			for _, list := range p.below {
				tag(p.name, func() { writeXML(b, list) })
			}
		}
	}
}

func jsonValue(t *rapid.T, parts []part, into map[string]any) map[string]any {
	for _, p := range parts {
		switch {
		case p.below == nil:
			into[p.name] = p.value
			if n, err := strconv.ParseInt(p.value, 10, 64); err == nil && !p.text && p.value == strconv.FormatInt(n, 10) {
				into[p.name] = n
			}
		case p.flat:
			jsonValue(t, p.below[0], into)
		case len(p.below) == 1 && rapid.Bool().Draw(t, "one item as an object"):
			into[p.name] = jsonValue(t, p.below[0], map[string]any{})
		default:
			array := []any{}
			for _, list := range p.below {
				array = append(array, jsonValue(t, list, map[string]any{}))
			}
			into[p.name] = array
		}
	}
	return into
}

// drawPush is a push of any kind that has types, with any values.
func drawPush(t *rapid.T) []part {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "汉", "😀", "<b>", "&amp;", "]]>", `"`, `\u0041`, "\n", " ", "'"}), 0, 6)
	leaf := func(name string) part { return part{name: name, value: strings.Join(words.Draw(t, name), "")} }
	number := func(name string) part {
		return part{name: name, value: strconv.FormatInt(int64(rapid.Int32().Draw(t, name)), 10), text: rapid.Bool().Draw(t, "as text")}
	}
	flag := func(name string) part {
		return part{name: name, value: rapid.SampledFrom([]string{"0", "1"}).Draw(t, name)}
	}
	id := func(name string) part {
		return part{name: name, value: rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_-]{0,20}`).Draw(t, name)}
	}
	some := func(one func() []part) (lists [][]part) {
		for range rapid.IntRange(1, 4).Draw(t, "items") {
			lists = append(lists, one())
		}
		return lists
	}
	within := func(name string, parts ...part) part { return part{name: name, below: [][]part{parts}} }
	subscription := func(element string, one func() []part) []part {
		return []part{{name: element, flat: true, below: [][]part{{{name: "List", below: some(one)}}}}}
	}
	at := part{name: "CreateTime", value: strconv.Itoa(rapid.IntRange(1, 1<<40).Draw(t, "time")), text: rapid.Bool().Draw(t, "time as text")}
	head := []part{id("ToUserName"), id("FromUserName"), at}
	message := func(msgType string, rest ...part) []part {
		return append(append(head, part{name: "MsgType", value: msgType}, number("Idx"), leaf("MsgDataId"), id("MsgId")), rest...)
	}
	event := func(name string, rest ...part) []part {
		return append(append(head, part{name: "MsgType", value: "event"}, part{name: "Event", value: name}, id("EventKey")), rest...)
	}
	bodies := []func() []part{
		func() []part { return message("text", leaf("Content"), leaf("bizmsgmenuid")) },
		func() []part { return message("image", leaf("PicUrl"), leaf("MediaId")) },
		func() []part { return message("link", leaf("Title"), leaf("Description"), leaf("Url")) },
		func() []part { return message("file", leaf("Title"), leaf("FileKey"), leaf("FileMd5")) },
		func() []part {
			return message("location", number("Location_X"), number("Location_Y"), number("Scale"), leaf("Label"))
		},
		func() []part { return event("subscribe", leaf("Ticket")) },
		func() []part { return event("SCAN", leaf("Ticket")) },
		func() []part {
			return event("scancode_push", within("ScanCodeInfo", leaf("ScanType"), leaf("ScanResult")))
		},
		func() []part {
			return event("location_select", within("SendLocationInfo", number("Location_X"), number("Scale"), leaf("Poiname")))
		},
		func() []part {
			return event("pic_weixin", within("SendPicsInfo", number("Count"),
				part{name: "PicList", item: true, below: some(func() []part { return []part{leaf("PicMd5Sum")} })}))
		},
		func() []part { return event("TEMPLATESENDJOBFINISH", number("MsgID"), leaf("Status")) },
		func() []part {
			return event("MASSSENDJOBFINISH", number("MsgID"), leaf("Status"), number("TotalCount"), number("SentCount"),
				within("CopyrightCheckResult", number("Count"), part{name: "ResultList", item: true, below: some(func() []part {
					return []part{number("ArticleIdx"), leaf("OriginalArticleUrl"), flag("CanReprint"), flag("NeedReplaceContent")}
				})}, number("CheckState")),
				within("ArticleUrlResult", part{name: "ResultList", item: true, below: some(func() []part {
					return []part{number("ArticleIdx"), leaf("ArticleUrl")}
				})}))
		},
		func() []part {
			return event("PUBLISHJOBFINISH", within("PublishEventInfo", number("publish_id"), number("publish_status"), leaf("article_id"),
				within("article_detail", number("count"), part{name: "item", below: some(func() []part {
					return []part{number("idx"), leaf("article_url")}
				})})))
		},
		func() []part {
			return event("subscribe_msg_popup_event", subscription("SubscribeMsgPopupEvent", func() []part {
				return []part{leaf("TemplateId"), id("SubscribeStatusString"), number("PopupScene")}
			})...)
		},
		func() []part {
			return event("subscribe_msg_sent_event", subscription("SubscribeMsgSentEvent", func() []part {
				return []part{leaf("TemplateId"), number("MsgID"), number("ErrorCode"), leaf("ErrorStatus")}
			})...)
		},
		func() []part { return event("kf_switch_session", leaf("FromKfAccount"), leaf("ToKfAccount")) },
		func() []part {
			return event("user_authorization_revoke", id("OpenID"), leaf("AppID"), leaf("RevokeInfo"))
		},
		func() []part { return event("naming_verify_fail", number("FailTime"), leaf("FailReason")) },
		func() []part { return event("user_enter_tempsession", leaf("SessionFrom")) },
		func() []part { return event("debug_demo", leaf("debug_str")) },
	}
	return rapid.SampledFrom(bodies).Draw(t, "body")()
}

// A push means the same in XML and in JSON, whatever its kind, in whatever order its fields stand, with numbers as numbers or as text,
// and with a list of one as an object or as an array. Nothing of it has to be kept raw.
func TestXMLAndJSONMeanTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		push := drawPush(t)
		var xml strings.Builder
		writeXML(&xml, []part{{name: "xml", below: [][]part{rapid.Permutation(push).Draw(t, "order")}}})
		js, err := json.Marshal(jsonValue(t, push, map[string]any{}))
		if err != nil {
			t.Fatal(err)
		}
		a, err := wechat.Decode("demo", []byte(xml.String()))
		if err != nil {
			t.Fatalf("%s: %v", xml.String(), err)
		}
		b, err := wechat.Decode("demo", js)
		if err != nil {
			t.Fatalf("%s: %v", js, err)
		}
		if a.GetFormat() != messages.Format_FORMAT_XML || b.GetFormat() != messages.Format_FORMAT_JSON {
			t.Fatalf("formats %v and %v", a.GetFormat(), b.GetFormat())
		}
		b.Format = a.Format
		if !proto.Equal(a, b) || a.GetKind() == messages.Kind_KIND_UNKNOWN || a.GetRaw() != nil {
			t.Fatalf("%s\nis\n%v\n%s\nis\n%v", xml.String(), a, js, b)
		}
	})
}
