package wechat_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/wechat"
)

const hostileSize = wechat.MaxBody

// wellFormed are the hostile bodies that only Decode refuses: they say too much that would have to be kept raw.
var wellFormed = map[string]bool{"unknown": true, "event items": true, "event texts": true, "JSON event items": true}

// hostileBodies are malformed only at their end, so that everything in front has been read in vain.
func hostileBodies() map[string][]byte {
	fill := func(head, piece, tail string) []byte {
		n := (hostileSize - len(head) - len(tail)) / len(piece)
		return []byte(head + strings.Repeat(piece, n) + tail)
	}
	var keys strings.Builder
	for i := 0; keys.Len() < hostileSize-20; i++ {
		fmt.Fprintf(&keys, `"\u0061%d":"",`, i)
	}
	return map[string][]byte{
		"text":             fill("<xml><a>", "a", "</b>"),
		"Chinese text":     fill("<xml><a>", "汉", "</b>"),
		"references":       fill("<xml><a>", "&lt;", "</b>"),
		"long references":  fill("<xml><a>", "&#x00000041;", "</b>"),
		"CDATA sections":   fill("<xml><a>", "<![CDATA[]]>", "</b>"),
		"near CDATA end":   fill("<xml><a><![CDATA[", "]]", ""),
		"near end in text": fill("<xml><a>", "]]", "</b>"),
		"blanks":           fill("<xml>", " ", "</b>"),
		"trailing blanks":  fill("<xml><a>x", " ", "</b>"),
		"elements":         fill("<xml>", "<a/>", "</b>"),
		"nesting":          fill("", "<a>", ""),
		"attributes":       fill("<xml", " a='&lt;'", "<"),
		"name":             fill("<", "a", "<"),
		"less-than":        fill("", "<", ""),
		"repeat at end":    fill("<xml><MsgId>1</MsgId><a>", "a&lt;", "</a><MsgId>1</MsgId></xml>"),
		"unknown":          fill("<xml><a>", "a", "</a></xml>"),
		"JSON string":      fill(`{"a":"`, "a", `"`),
		"JSON Chinese":     fill(`{"a":"`, "汉", `"`),
		"JSON escapes":     fill(`{"a":"`, `\u0041`, `"`),
		"JSON quotes":      fill(`{"a":"`, `\"`, `"`),
		"JSON array":       fill(`{"a":[`, "1,", "1]"),
		"JSON nesting":     fill(`{"a":`, "[", ""),
		"JSON objects":     fill(`{"a":[`, "{},", "{}]"),
		"JSON number":      fill(`{"a":`, "1", ""),
		"JSON blanks":      fill(`{"a":`, " ", ""),
		"JSON keys":        []byte("{" + keys.String() + `"z":`),
		"JSON long key":    fill(`{"`, `\u0041`, `":`),
		"event items": fill("<xml><New>1</New><MsgType>event</MsgType><Event>masssendjobfinish</Event><CopyrightCheckResult>",
			"<i><ArticleIdx>1</ArticleIdx><OriginalArticleUrl>"+strings.Repeat("a", 331)+"</OriginalArticleUrl></i>",
			"</CopyrightCheckResult></xml>"),
		"event texts": fill("<xml><New>1</New><MsgType>event</MsgType><Event>pic_weixin</Event><SendPicsInfo>",
			"<PicMd5Sum>"+strings.Repeat("&lt;", 29)+"</PicMd5Sum>", "</SendPicsInfo></xml>"),
		"JSON event items": fill(`{"New":1,"MsgType":"event","Event":"subscribe_msg_sent_event","List":[`,
			`{"TemplateId":"`+strings.Repeat("a", 400)+`"},`, `{}]}`),
		"JSON repeat": fill(`{"MsgId":1,"a":"`, `a\n`, `","MsgId":1}`),
	}
}

// A body over the limit is refused unread, however well it is formed.
func TestMaxBody(t *testing.T) {
	t.Parallel()
	body := func(size int) []byte {
		const head = "<xml><FromUserName>o1</FromUserName><CreateTime>9</CreateTime><MsgType>text</MsgType><MsgId>1</MsgId><Content>"
		const tail = "</Content></xml>"
		return []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
	}
	if _, err := wechat.Decode("demo", body(wechat.MaxBody)); err != nil {
		t.Error(err)
	}
	if _, err := wechat.DecodeEnvelope(body(wechat.MaxBody)); err != nil {
		t.Error(err)
	}
	for _, size := range []int{wechat.MaxBody + 1, 10 << 20} {
		if _, err := wechat.Decode("demo", body(size)); !errors.Is(err, wechat.ErrMalformed) {
			t.Errorf("Decode of %d bytes: %v", size, err)
		}
		if _, err := wechat.DecodeEnvelope(body(size)); !errors.Is(err, wechat.ErrMalformed) {
			t.Errorf("DecodeEnvelope of %d bytes: %v", size, err)
		}
	}
}

// A malformed body of the greatest size costs no more than a megabyte of heap in all (scorecard: malformed, deeply nested).
func TestHostileHeap(t *testing.T) { //nolint:paralleltest // it measures the whole process
	for name, body := range hostileBodies() {
		if len(body) > hostileSize {
			t.Fatalf("%s has %d bytes", name, len(body))
		}
		for what, decode := range map[string]func() error{
			"Decode":         func() error { _, err := wechat.Decode("demo", body); return err },
			"DecodeEnvelope": func() error { _, err := wechat.DecodeEnvelope(body); return err },
		} {
			var err error
			var cost uint64
			for range 3 { // another goroutine of the test binary may have allocated meanwhile
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err = decode()
				runtime.ReadMemStats(&after)
				if cost = after.TotalAlloc - before.TotalAlloc; cost <= 1<<20 {
					break
				}
			}
			if !errors.Is(err, wechat.ErrMalformed) && (what == "Decode" || !wellFormed[name]) {
				t.Errorf("%s %s: %v", what, name, err)
			}
			if cost > 1<<20 {
				t.Errorf("%s %s allocates %d bytes", what, name, cost)
			}
		}
	}
}

// A malformed body costs time in proportion to its size: 1 ms where nothing else runs (BenchmarkHostile), and with the race detector
// on a busy machine no more than this. What searches again from the start for each piece would take seconds.
func TestHostileTime(t *testing.T) { //nolint:paralleltest // it measures
	const limit = 50 * time.Millisecond
	for name, body := range hostileBodies() {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if _, err := wechat.Decode("demo", body); !errors.Is(err, wechat.ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
			if best = min(best, time.Since(start)); best < limit {
				break
			}
		}
		if best > limit {
			t.Errorf("%s takes %v", name, best)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	bodies := hostileBodies()
	names := make([]string, 0, len(bodies))
	for name := range bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wechat.Decode("demo", bodies[name]); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func seed(f *testing.F) {
	for _, body := range callbacks(f) {
		f.Add(body)
	}
	for _, name := range []string{"C1", "S4", "O2", "W1"} {
		v := vector(f, name)
		f.Add([]byte("<xml><ToUserName>gh</ToUserName><Encrypt><![CDATA[" + v["encrypt"] + "]]></Encrypt></xml>"))
		f.Add([]byte(strings.ReplaceAll(v["plaintext"], `\n`, "\n")))
	}
	f.Add([]byte(`{"ToUserName":"gh","Encrypt":"` + vector(f, "D3")["encrypt"] + `"}`))
	f.Add([]byte(`{"action":"CheckContainerPath"}`))
}

// FuzzDecode: never a panic; what is accepted can stand in the log, has its key, and can be answered in its own format.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := wechat.Decode("demo", body)
		if err != nil {
			if !errors.Is(err, wechat.ErrMalformed) || in != nil || !utf8.ValidString(err.Error()) {
				t.Fatalf("%v, %v", in, err)
			}
			return
		}
		wire, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		back := &messages.Inbound{}
		if err := proto.Unmarshal(wire, back); err != nil || !proto.Equal(in, back) {
			t.Fatalf("the log gives back %v, %v", back, err)
		}
		if key := messages.DedupeKey(back); !bytes.Equal(key[:], in.GetKey()) {
			t.Fatalf("key %x, want %s", in.GetKey(), key)
		}
		if raw := in.GetRaw(); raw != nil && !bytes.Equal(raw, body) || raw == nil && in.GetKind() == messages.Kind_KIND_UNKNOWN {
			t.Fatalf("%v keeps %q", in.GetKind(), raw)
		}
		if k := in.GetKind(); k != messages.Kind_KIND_UNKNOWN && !k.IsEvent() && in.GetOpenId() == "" {
			t.Fatal("a message without a sender")
		}
		reply, err := wechat.EncodeReply(in, textAnswer("好]]>"), 9)
		if err != nil {
			t.Fatal(err)
		}
		if in.GetOpenId() == "" {
			return
		}
		again, err := wechat.Decode("demo", reply)
		if err != nil || again.GetToUser() != in.GetOpenId() || again.GetFormat() != in.GetFormat() {
			if in.GetToUser() != "" { // a reply without a sender is no push
				t.Fatalf("reply %s: %v, %v", reply, again, err)
			}
		}
	})
}

// FuzzEnvelope: never a panic, and the same strictness as Decode: what it refuses is no push either, and
// both read one body alike.
func FuzzEnvelope(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		envelope, err := wechat.DecodeEnvelope(body)
		if err != nil {
			if !errors.Is(err, wechat.ErrMalformed) || envelope != (wechat.Envelope{}) {
				t.Fatalf("%+v, %v", envelope, err)
			}
			if in, err := wechat.Decode("demo", body); err == nil {
				t.Fatalf("refused as an envelope, accepted as a push: %v", in)
			}
			return
		}
		if !utf8.ValidString(envelope.Encrypt + envelope.ToUserName) {
			t.Fatalf("invalid UTF-8: %+v", envelope)
		}
		if in, err := wechat.Decode("demo", body); err == nil {
			if in.GetToUser() != envelope.ToUserName || in.GetFormat() != envelope.Format {
				t.Fatalf("%+v and %v", envelope, in)
			}
			if (in.GetMsgType() != "" || in.GetOpenId() != "") && !envelope.Plain {
				t.Fatalf("plain fields not seen: %v", in)
			}
		}
	})
}

func benchmarkDecode(b *testing.B, path string) {
	body := callbacks(b)[path]
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wechat.Decode("demo", body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeXML(b *testing.B)  { benchmarkDecode(b, "MpMessage/TextMessageEvent.xml") }
func BenchmarkDecodeJSON(b *testing.B) { benchmarkDecode(b, "MpMessage/TextMessageEvent.json") }
func BenchmarkDecodeEvent(b *testing.B) {
	benchmarkDecode(b, "MpPush/ScanCodePushEvent.xml")
}

func BenchmarkDecodeEnvelope(b *testing.B) {
	body := []byte("<xml><ToUserName><![CDATA[gh_a96a4a619366]]></ToUserName><Encrypt><![CDATA[" + vector(b, "S4")["encrypt"] + "]]></Encrypt></xml>")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wechat.DecodeEnvelope(body); err != nil {
			b.Fatal(err)
		}
	}
}
