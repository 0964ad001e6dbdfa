package bench

import (
	"bytes"
	"errors"
	"fmt"

	"hongyan/wechat/crypt"
)

// What a response can be guilty of. Both fail the run.
var (
	errMissing = errors.New("missing answer")
	errWrong   = errors.New("wrong answer")
)

// checker opens answers as WeChat would. Its cost is the same for every target.
type checker struct {
	account Account
	codec   *crypt.Codec // nil in plain mode
	rules   []Rule
}

// check says what is wrong with a response to the request that want belongs to; nil means a right answer.
func (c *checker) check(status int, body []byte, want expectation) error {
	if status != 200 {
		return fmt.Errorf("%w: HTTP status %d", errMissing, status)
	}
	if len(body) == 0 || string(body) == "success" {
		return fmt.Errorf("%w: %q instead of an answer", errMissing, body)
	}
	plain, err := c.open(body)
	if err != nil {
		return err
	}
	for _, expected := range [...]struct{ element, text string }{
		{"ToUserName", openID(want.user)},
		{"FromUserName", c.account.OriginalID},
		{"MsgType", "text"},
		{"Content", c.rules[want.rule].Reply},
	} {
		if got, ok := element(plain, expected.element); !ok || string(got) != expected.text {
			return fmt.Errorf("%w: %s is %q, not %q", errWrong, expected.element, got, expected.text)
		}
	}
	return nil
}

// open returns the plaintext of an answer after checking its signature.
func (c *checker) open(body []byte) ([]byte, error) {
	if c.codec == nil {
		return body, nil
	}
	encrypted, hasEncrypted := element(body, "Encrypt")
	signature, hasSignature := element(body, "MsgSignature")
	timestamp, hasTimestamp := element(body, "TimeStamp")
	nonce, hasNonce := element(body, "Nonce")
	if !hasEncrypted || !hasSignature || !hasTimestamp || !hasNonce {
		return nil, fmt.Errorf("%w: not the envelope of protocol §1.5: %.80q", errWrong, body)
	}
	text := string(encrypted)
	if c.codec.Sign(string(timestamp), string(nonce), text) != string(signature) {
		return nil, fmt.Errorf("%w: MsgSignature does not fit", errWrong)
	}
	plain, err := c.codec.Decrypt(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWrong, err)
	}
	return plain, nil
}

// element returns the text of the only element of that name, without CDATA marks. It is no XML parser: it knows the flat
// documents that WeChat's replies are, and the run's texts need no escapes.
func element(document []byte, name string) ([]byte, bool) {
	var buffer [40]byte
	open := append(append(append(buffer[:0], '<'), name...), '>')
	_, rest, found := bytes.Cut(document, open)
	if !found || bytes.Contains(rest, open) {
		return nil, false
	}
	var buffer2 [40]byte
	text, _, found := bytes.Cut(rest, append(append(append(buffer2[:0], "</"...), name...), '>'))
	if !found {
		return nil, false
	}
	if inner, ok := bytes.CutPrefix(text, []byte("<![CDATA[")); ok {
		return bytes.CutSuffix(inner, []byte("]]>"))
	}
	return text, true
}

// masked is the plaintext with its CreateTime blanked: two servers that answer the same message must agree on it.
func masked(plain []byte) []byte {
	if value, ok := element(plain, "CreateTime"); ok {
		return bytes.Replace(plain, append([]byte(">"), append(bytes.Clone(value), '<')...), []byte(">0<"), 1)
	}
	return plain
}
