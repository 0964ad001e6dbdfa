package simulator

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"hongyan/wechat/crypt"
)

// request builds one delivery: the push body in the account's mode and form, signed for this moment. Every delivery of a message
// has its own timestamp, nonce, random prefix and so signatures; what it says is the same.
func (p *Platform) request(ctx context.Context, a *account, address, openID string, m Message) (*http.Request, error) {
	timestamp := strconv.FormatInt(p.now().Unix(), 10)
	nonce := newNonce()
	query := "signature=" + crypt.Signature(a.Token, timestamp, nonce) +
		"&timestamp=" + timestamp + "&nonce=" + nonce + "&openid=" + url.QueryEscape(openID)

	fields := m.fields(a.OriginalID, openID)
	if a.Mode != ModePlain {
		var random [16]byte
		_, _ = rand.Read(random[:])
		encrypt := a.codec.Encrypt(encode(a.Format, fields), random)
		query += "&encrypt_type=aes&msg_signature=" + a.codec.Sign(timestamp, nonce, encrypt)
		if a.Mode == ModeSafe {
			fields = fields[:1] // ToUserName alone stays readable
		}
		fields = append(fields, field{name: "Encrypt", value: encrypt})
	}
	target, err := withQuery(address, query)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(encode(a.Format, fields)))
	if err != nil {
		return nil, fmt.Errorf("callback request: %w", err)
	}
	req.Header.Set("Content-Type", "text/xml")
	if a.Format == FormatJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Pragma", "no-cache")
	req.Header.Set("User-Agent", "Mozilla/4.0") // what WeChat's own callbacks say
	return req, nil
}

// withQuery appends the platform's parameters behind those that the callback URL already has.
func withQuery(callback, query string) (string, error) {
	u, err := url.Parse(callback)
	if err != nil {
		return "", fmt.Errorf("callback URL: %w", err)
	}
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = query
	return u.String(), nil
}

// newNonce is nine or ten digits, as WeChat's.
func newNonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	n := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	return strconv.FormatUint(100_000_000+n%1_900_000_000, 10)
}

func encode(format string, fields []field) []byte {
	if format == FormatJSON {
		return encodeJSON(fields)
	}
	return encodeXML(fields)
}

// encodeXML writes numbers bare and texts as CDATA, without the characters that XML forbids.
func encodeXML(fields []field) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, f := range fields {
		b.WriteString("<" + f.name + ">")
		switch {
		case len(f.list) > 0:
			b.WriteString(inner(encodeXML(f.list)))
		case f.number && isDecimal(f.value):
			b.WriteString(f.value)
		default:
			b.WriteString("<![CDATA[")
			b.WriteString(strings.ReplaceAll(strings.Map(xmlChar, f.value), "]]>", "]]]]><![CDATA[>"))
			b.WriteString("]]>")
		}
		b.WriteString("</" + f.name + ">\n")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

// inner is what stands between <xml> and </xml>.
func inner(document []byte) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(document), "<xml>"), "</xml>")
}

// xmlChar drops what XML 1.0 cannot carry (section 2.2, Char).
func xmlChar(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return r
	case r < 0x20, r >= 0xD800 && r <= 0xDFFF, r == 0xFFFE, r == 0xFFFF:
		return -1
	}
	return r
}

func encodeJSON(fields []field) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		if len(f.list) > 0 { // WeChat leaves the outer element away in JSON
			b.Write(quoted(f.list[0].name))
			b.WriteByte(':')
			b.Write(encodeJSON(f.list[0].list))
			continue
		}
		b.Write(quoted(f.name))
		b.WriteByte(':')
		if f.number && isDecimal(f.value) {
			b.WriteString(f.value)
		} else {
			b.Write(quoted(f.value))
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

// quoted is s as a JSON string, with <, > and & as they are.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// isDecimal tells a number that may stand bare in JSON too: no leading zeros, so that a MsgId keeps its digits.
func isDecimal(s string) bool {
	var n json.Number
	return s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && json.Unmarshal([]byte(s), &n) == nil
}
