package bench

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"hongyan/wechat/crypt"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func newBareAt(t *testing.T, account Account, now time.Time) *Bare {
	t.Helper()
	b, err := NewBare(BareSpec{Account: account, Rules: rules(), MaxClockSkew: clockSkew})
	if err != nil {
		t.Fatal(err)
	}
	b.now = func() time.Time { return now }
	return b
}

func newRendererAndChecker(t *testing.T, account Account) (*renderer, *checker) {
	t.Helper()
	r, err := newRenderer(account, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return r, &checker{account: account, codec: r.codec, rules: r.rules}
}

// parseRequest reads rendered bytes with net/http, which is stricter than any server needs to be.
func parseRequest(t *testing.T, wire []byte) *http.Request {
	t.Helper()
	reader := bufio.NewReader(bytes.NewReader(wire))
	request, err := http.ReadRequest(reader)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil || reader.Buffered() != 0 {
		t.Fatalf("%v, %d bytes behind the request", err, reader.Buffered())
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	return request
}

func answer(b http.Handler, r *http.Request) (int, []byte) {
	recorder := httptest.NewRecorder()
	b.ServeHTTP(recorder, r)
	return recorder.Code, recorder.Body.Bytes()
}

func TestBareAnswersEveryRule(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{ModePlain, ModeSafe} {
		account := NewAccount(mode)
		bare := newBareAt(t, account, noon)
		render, check := newRendererAndChecker(t, account)
		for rule := range rules() {
			want := expectation{user: uint32(rule), rule: rule}
			status, body := answer(bare, parseRequest(t, render.render(nil, want, 1, noon)))
			if err := check.check(status, body, want); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			want.rule = (rule + 1) % len(rules())
			if check.check(status, body, want) == nil {
				t.Errorf("%s: the checker takes the answer of rule %d for that of %d", mode, rule, want.rule)
			}
		}
	}
}

func TestBareRefuses(t *testing.T) {
	t.Parallel()
	safe, plain := NewAccount(ModeSafe), NewAccount(ModePlain)
	stranger := safe
	stranger.Token = "another"
	elsewhere := safe
	elsewhere.AppID = "wx1111111111111111"
	for name, c := range map[string]struct {
		serves, sends Account
		at            time.Time
		spoil         func(*http.Request)
	}{
		"safe, wrong token":       {serves: safe, sends: stranger, at: noon},
		"safe, other receiver":    {serves: safe, sends: elsewhere, at: noon},
		"safe, plain push":        {serves: safe, sends: Account{ID: "bench", Mode: ModePlain, Token: safe.Token}, at: noon},
		"safe, stale":             {serves: safe, sends: safe, at: noon.Add(-clockSkew - time.Second)},
		"safe, from the future":   {serves: safe, sends: safe, at: noon.Add(clockSkew + time.Second)},
		"plain, wrong token":      {serves: plain, sends: Account{ID: "bench", Mode: ModePlain, Token: "another"}, at: noon},
		"plain, no timestamp":     {serves: plain, sends: plain, at: noon, spoil: func(r *http.Request) { r.URL.RawQuery = "" }},
		"safe, no XML":            {serves: safe, sends: safe, at: noon, spoil: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{")) }},
		"plain, larger than 1MiB": {serves: plain, sends: plain, at: noon, spoil: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Repeat(" ", maxCallback+1))) }},
	} {
		render, _ := newRendererAndChecker(t, c.sends)
		request := parseRequest(t, render.render(nil, expectation{}, 1, c.at))
		if c.spoil != nil {
			c.spoil(request)
		}
		if status, body := answer(newBareAt(t, c.serves, noon), request); status != http.StatusForbidden {
			t.Errorf("%s: HTTP %d %q", name, status, body)
		}
	}
}

func TestBareHandshakeAndUnknownText(t *testing.T) {
	t.Parallel()
	account := NewAccount(ModePlain)
	bare := newBareAt(t, account, noon)
	render, _ := newRendererAndChecker(t, account)
	link, echo := render.handshake("127.0.0.1:80", noon)
	if status, body := answer(bare, httptest.NewRequest(http.MethodGet, link, nil)); status != 200 || string(body) != echo {
		t.Errorf("handshake: HTTP %d %q", status, body)
	}
	if status, _ := answer(bare, httptest.NewRequest(http.MethodGet, strings.Replace(link, "nonce=", "nonce=9", 1), nil)); status != 403 {
		t.Errorf("forged handshake: HTTP %d", status)
	}
	unix := strconv.FormatInt(noon.Unix(), 10)
	query := url.Values{"timestamp": {unix}, "nonce": {"1"}, "signature": {crypt.Signature(account.Token, unix, "1")}}
	for name, body := range map[string]string{
		"no rule": "<xml><MsgType>text</MsgType><Content>别的</Content></xml>",
		"image":   "<xml><MsgType>image</MsgType><Content>价格 1</Content></xml>",
	} {
		request := httptest.NewRequest(http.MethodPost, account.path()+"?"+query.Encode(), strings.NewReader(body))
		if status, body := answer(bare, request); status != 200 || string(body) != "success" {
			t.Errorf("%s: HTTP %d %q", name, status, body)
		}
	}
}

func TestBareSpecErrors(t *testing.T) {
	t.Parallel()
	account := NewAccount(ModeSafe)
	account.AESKey = account.AESKey[:42]
	if _, err := NewBare(BareSpec{Account: account}); err == nil || strings.Contains(err.Error(), account.AESKey) {
		t.Errorf("short key: %v", err)
	}
	if err := ServeBare(t.Context(), "127.0.0.1:0", strings.NewReader("{")); err == nil {
		t.Error("half a spec is served")
	}
}

// TestServeBareEndsWithItsControl: the yardstick ends when the other side of its standard input does.
func TestServeBareEndsWithItsControl(t *testing.T) {
	t.Parallel()
	spec := `{"account": {"id": "bench", "mode": "plain", "token": "t"}}`
	if err := ServeBare(t.Context(), "127.0.0.1:0", strings.NewReader(spec)); err != nil {
		t.Error(err)
	}
}

func TestAccountCredentials(t *testing.T) {
	t.Parallel()
	a, b := NewAccount(ModeSafe), NewAccount(ModeSafe)
	if a.Token == b.Token || a.AESKey == b.AESKey || len(a.AESKey) != 43 || strings.Trim(a.AESKey, alphanumeric) != "" {
		t.Errorf("%+v, %+v", a, b)
	}
	if key, err := base64.StdEncoding.DecodeString(a.AESKey + "="); err != nil || len(key) != 32 {
		t.Errorf("%d bytes, %v", len(key), err)
	}
	if id := openID(99_999_999); len(id) != 28 {
		t.Errorf("OpenID %q has %d characters", id, len(id))
	}
}
