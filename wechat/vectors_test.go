package wechat_test

import (
	"os"
	"strings"
	"testing"

	"hongyan/messages"
	"hongyan/wechat"
	"hongyan/wechat/crypt"
)

// vector reads one of crypt's published vectors.
func vector(t testing.TB, name string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("crypt/testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "["+name+"]")
	if !ok {
		t.Fatalf("no vector %s", name)
	}
	rest, _, _ = strings.Cut(rest, "\n\n")
	v := map[string]string{}
	for line := range strings.Lines(rest) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		v[key] = value
	}
	return v
}

// The encrypted pushes among the vectors go the whole way: envelope, signature, decryption, decoding.
func TestVectorsEndToEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, openID, msgID, content string
		kind                         messages.Kind
		json                         bool
	}{
		{"D3", "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", "", "", messages.Kind_KIND_DEBUG_DEMO, true},
		{"C1", "mycreate", "4561255354251345929", "hello", messages.Kind_KIND_TEXT, false},
		{"S4", "olPjZjsXuQPJoV0HlruZkNzKc91E", "22478079132150902", "11", messages.Kind_KIND_TEXT, false},
		{"O2", "", "", "", messages.Kind_KIND_UNKNOWN, false},
		{"W1", "WangChaoYi", "6972028683187026694", "密文测试", messages.Kind_KIND_TEXT, false},
	} {
		v := vector(t, c.name)
		outer := "<xml><ToUserName><![CDATA[gh_x]]></ToUserName><Encrypt><![CDATA[" + v["encrypt"] + "]]></Encrypt></xml>"
		if c.json {
			outer = `{"ToUserName":"gh_x","Encrypt":"` + v["encrypt"] + `"}`
		}
		envelope, err := wechat.DecodeEnvelope([]byte(outer))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		codec, err := crypt.NewCodec(v["token"], v["EncodingAESKey"], v["receiver id"])
		if err != nil {
			t.Fatal(err)
		}
		if !codec.VerifyMessage(v["msg_signature"], v["timestamp"], v["nonce"], envelope.Encrypt) {
			t.Errorf("%s: signature refused", c.name)
		}
		plain, err := codec.Decrypt(envelope.Encrypt)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		in, err := wechat.Decode("demo", plain)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if in.GetKind() != c.kind || in.GetOpenId() != c.openID || in.GetMsgId() != c.msgID || in.GetText().GetContent() != c.content {
			t.Errorf("%s: %v", c.name, in)
		}
		if wantJSON := in.GetFormat() == messages.Format_FORMAT_JSON; wantJSON != c.json || envelope.Format != in.GetFormat() {
			t.Errorf("%s: formats %v and %v", c.name, envelope.Format, in.GetFormat())
		}
	}
}
