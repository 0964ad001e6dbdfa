package ingress

import (
	"net/url"
	"strings"
)

// maxQuery bounds the URL's query in bytes. WeChat's have about 250.
const maxQuery = 4096

// query holds the parameters of a callback (wechat-protocol §1.2, §1.3), unescaped. Parameters that prove nothing (openid and
// whatever else the configured URL carries) are passed over.
type query struct {
	signature    string
	timestamp    string
	nonce        string
	echostr      string
	encryptType  string
	msgSignature string
}

// parseQuery reads raw in one pass. It is false where raw is too long, a parameter of query stands there twice (two readers
// could see two different ones) or is not properly escaped.
func parseQuery(raw string) (query, bool) {
	var q query
	if len(raw) > maxQuery {
		return q, false
	}
	var seen [6]bool
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, ok := unescape(name)
		if !ok {
			return q, false
		}
		i, field := q.field(name)
		if field == nil {
			continue
		}
		if seen[i] {
			return q, false
		}
		seen[i] = true
		if *field, ok = unescape(value); !ok {
			return q, false
		}
	}
	return q, true
}

// field is the place of the parameter name, with a number of its own; nil for all others.
func (q *query) field(name string) (int, *string) {
	switch name {
	case "signature":
		return 0, &q.signature
	case "timestamp":
		return 1, &q.timestamp
	case "nonce":
		return 2, &q.nonce
	case "echostr":
		return 3, &q.echostr
	case "encrypt_type":
		return 4, &q.encryptType
	case "msg_signature":
		return 5, &q.msgSignature
	default:
		return 0, nil
	}
}

// unescape is url.QueryUnescape without its cost where there is nothing to do.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	u, err := url.QueryUnescape(s)
	return u, err == nil
}
