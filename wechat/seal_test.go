package wechat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/wechat"
	"hongyan/wechat/crypt"
)

// docsCodec is the account of the official documentation's examples, vectors D3 and D4.
func docsCodec(t testing.TB) *crypt.Codec {
	t.Helper()
	c, err := crypt.NewCodec("AAAAA", strings.Repeat("A", 43), "wxba5fad812f8e6fb9")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Vector D4: with its random bytes the documentation's encrypted reply comes out, byte for byte.
func TestSealReplyD4(t *testing.T) {
	t.Parallel()
	const (
		encrypt   = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
		signature = "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1"
	)
	plain, random := []byte(`{"demo_resp":"good luck"}`), [16]byte([]byte("707722b803182950"))
	for format, want := range map[messages.Format]string{
		messages.Format_FORMAT_JSON: `{"Encrypt":"` + encrypt + `","MsgSignature":"` + signature + `","TimeStamp":1713424427,"Nonce":"415670741"}`,
		messages.Format_FORMAT_XML: "<xml><Encrypt><![CDATA[" + encrypt + "]]></Encrypt><MsgSignature><![CDATA[" + signature +
			"]]></MsgSignature><TimeStamp>1713424427</TimeStamp><Nonce><![CDATA[415670741]]></Nonce></xml>",
	} {
		got, err := wechat.SealReply(docsCodec(t), format, plain, 1713424427, "415670741", random)
		if err != nil || string(got) != want {
			t.Errorf("%v: got %s, %v; want %s", format, got, err, want)
		}
	}
}

func TestSealReplyBare(t *testing.T) {
	t.Parallel()
	for _, plain := range []string{"", "success"} {
		got, err := wechat.SealReply(docsCodec(t), messages.Format_FORMAT_XML, []byte(plain), 1, "n", [16]byte{})
		if err != nil || string(got) != plain {
			t.Errorf("%q: %q, %v", plain, got, err)
		}
	}
	if _, err := wechat.SealReply(nil, messages.Format_FORMAT_XML, []byte("<xml/>"), 1, "n", [16]byte{}); err == nil {
		t.Error("no codec is no error")
	}
}

// Whatever the request's nonce holds, the envelope can be read and its signature fits.
func TestSealReplyRoundTrip(t *testing.T) {
	t.Parallel()
	c := docsCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := append([]byte("<"), rapid.SliceOf(rapid.Byte()).Draw(t, "plain")...)
		nonce := rapid.String().Draw(t, "nonce") + rapid.SampledFrom([]string{"", "]]>", "\x01", "\xff", `"`, " "}).Draw(t, "end")
		format := rapid.SampledFrom([]messages.Format{messages.Format_FORMAT_XML, messages.Format_FORMAT_JSON}).Draw(t, "format")
		at := rapid.Int64Range(0, 1<<40).Draw(t, "at")
		sealed, err := wechat.SealReply(c, format, plain, at, nonce, [16]byte{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if format == messages.Format_FORMAT_JSON {
			var e struct {
				Encrypt, MsgSignature, Nonce string
				TimeStamp                    int64
			}
			if err := json.Unmarshal(sealed, &e); err != nil {
				t.Fatal(err)
			}
			got = map[string]string{"Encrypt": e.Encrypt, "MsgSignature": e.MsgSignature, "Nonce": e.Nonce, "TimeStamp": strconv.FormatInt(e.TimeStamp, 10)}
		} else {
			for _, leaf := range meaning(t, sealed) {
				name, value, _ := strings.Cut(strings.TrimPrefix(leaf, "xml/"), "=")
				got[name] = value
			}
		}
		if !c.VerifyMessage(got["MsgSignature"], got["TimeStamp"], got["Nonce"], got["Encrypt"]) {
			t.Fatalf("the signature does not fit: %s", sealed)
		}
		if back, err := c.Decrypt(got["Encrypt"]); err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("got %q, %v", back, err)
		}
		envelope, err := wechat.DecodeEnvelope(sealed)
		if err != nil || envelope.Encrypt != got["Encrypt"] || envelope.Format != format || envelope.Plain {
			t.Fatalf("%+v, %v", envelope, err)
		}
	})
}

func TestDecodeEnvelope(t *testing.T) {
	t.Parallel()
	xml, js := messages.Format_FORMAT_XML, messages.Format_FORMAT_JSON
	for _, c := range []struct {
		name, body string
		want       wechat.Envelope
	}{
		{"safe", "<xml>\n<ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt> <![CDATA[abc=]]>\n</Encrypt></xml>", wechat.Envelope{ToUserName: "gh_1", Encrypt: "abc=", Format: xml}},
		{"safe, JSON", `{"ToUserName":"gh_1","Encrypt":"a\/b="}`, wechat.Envelope{ToUserName: "gh_1", Encrypt: "a/b=", Format: js}},
		{"compat", "<xml><ToUserName>gh_1</ToUserName><FromUserName>o</FromUserName><MsgType>text</MsgType><Encrypt>abc=</Encrypt></xml>", wechat.Envelope{ToUserName: "gh_1", Encrypt: "abc=", Format: xml, Plain: true}},
		{"plain", `{"MsgType":"event"}`, wechat.Envelope{Format: js, Plain: true}},
		{"third-party platform", "<xml><AppId>wx1</AppId><Encrypt>abc=</Encrypt></xml>", wechat.Envelope{Encrypt: "abc=", Format: xml}},
		{"third-party platform, plain", "<xml><AppId>wx1</AppId><InfoType>x</InfoType></xml>", wechat.Envelope{Format: xml, Plain: true}},
		{"no fields", "<xml/>", wechat.Envelope{Format: xml}},
	} {
		if got, err := wechat.DecodeEnvelope([]byte(c.body)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	for name, body := range map[string]string{
		"empty":            "",
		"text":             "Encrypt=abc",
		"two Encrypt":      "<xml><Encrypt>a</Encrypt><Encrypt>b</Encrypt></xml>",
		"two Encrypt JSON": `{"Encrypt":"a","Encrypt":"b"}`,
		"Encrypt list":     `{"Encrypt":["a","b"]}`,
		"Encrypt element":  "<xml><Encrypt><a/></Encrypt></xml>",
		"two ToUserName":   "<xml><ToUserName>a</ToUserName><Encrypt>b</Encrypt><ToUserName>a</ToUserName></xml>",
		"two sender":       "<xml><FromUserName>a</FromUserName><Encrypt>b</Encrypt><FromUserName>a</FromUserName></xml>",
		"DTD":              "<!DOCTYPE xml><xml><Encrypt>b</Encrypt></xml>",
		"bytes after":      "<xml><Encrypt>b</Encrypt></xml>.",
		"long ToUserName":  "<xml><ToUserName>" + strings.Repeat("g", 300) + "</ToUserName><Encrypt>b</Encrypt></xml>",
	} {
		if got, err := wechat.DecodeEnvelope([]byte(body)); !errors.Is(err, wechat.ErrMalformed) || got != (wechat.Envelope{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
