package simulator

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hongyan/messages"
)

// serve calls the phone's handler without a socket.
func serve(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func silent(w http.ResponseWriter, _ *http.Request, _ delivered, _ int) {
	_, _ = io.WriteString(w, "success")
}

func TestPageFilesAndHeaders(t *testing.T) {
	t.Parallel()
	h := newRig(t, ModePlain, FormatXML, silent, nil).Handler()
	for path, kind := range map[string]string{
		"/": "text/html", "/css/base.css": "text/css", "/js/app.js": "text/javascript", "/icon.svg": "image/svg+xml", "/icons.svg": "image/svg+xml", "/api/state": "application/json",
	} {
		w := serve(h, http.MethodGet, path, "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	page := serve(h, http.MethodGet, "/", "").Body.String()
	for _, bad := range []string{"onclick=", "style=", "<script>", "<style>", "https://", "http://"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	w := serve(http.StripPrefix("/phone", h), http.MethodGet, "/phone", "")
	if w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "/phone/" {
		t.Errorf("prefix without slash: %d %s", w.Code, w.Header().Get("Location"))
	}
	for _, secret := range []string{testToken, testAESKey} {
		if strings.Contains(serve(h, http.MethodGet, "/api/state", "").Body.String(), secret) {
			t.Error("the state tells a secret")
		}
	}
}

func TestPostsAreGuarded(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	h := r.Handler()
	const body = `{"account":"demo","openid":"u1","message":{"type":"text","content":"x"}}`
	for _, test := range []struct {
		name   string
		body   string
		status int
		header []string
	}{
		{"no browser", body, http.StatusAccepted, nil},
		{"same origin", body, http.StatusAccepted, []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"}},
		{"other site", body, http.StatusForbidden, []string{"Sec-Fetch-Site", "cross-site"}},
		{"same site, other origin", body, http.StatusForbidden, []string{"Sec-Fetch-Site", "same-site"}},
		{"old browser, other origin", body, http.StatusForbidden, []string{"Origin", "http://evil.example"}},
		{"form", body, http.StatusUnsupportedMediaType, []string{"Content-Type", "text/plain"}},
		{"broken", body[:20], http.StatusBadRequest, nil},
		{"large", `"` + strings.Repeat("x", maxRequest) + `"`, http.StatusBadRequest, nil},
		{"no message", `{"account":"demo","openid":"u1"}`, http.StatusBadRequest, nil},
		{"unknown user", strings.Replace(body, "u1", "u9", 1), http.StatusNotFound, nil},
		{"unknown account", strings.Replace(body, "demo", "none", 1), http.StatusNotFound, nil},
		{"does not follow", strings.Replace(body, "u1", "u3", 1), http.StatusConflict, nil},
	} {
		if w := serve(h, http.MethodPost, "/api/push", test.body, test.header...); w.Code != test.status {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
	}
	r.Close()
	if w := serve(h, http.MethodPost, "/api/push", body); w.Code != http.StatusServiceUnavailable {
		t.Errorf("closed: %d", w.Code)
	}
	if n := len(r.back.all()); n > 2 {
		t.Errorf("%d callbacks for two accepted posts", n)
	}
}

// history asks until every exchange of the user is done.
func history(t *testing.T, h http.Handler, openID string, want int) []exchange {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var got struct{ Exchanges []exchange }
		if err := json.Unmarshal(serve(h, http.MethodGet, "/api/history?account=demo&openid="+openID, "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		done := len(got.Exchanges) == want
		for _, x := range got.Exchanges {
			done = done && x.Done
		}
		if done {
			return got.Exchanges
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not %d finished exchanges: %+v", want, got.Exchanges)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestFollowAndUnfollow(t *testing.T) {
	t.Parallel()
	h := newRig(t, ModePlain, FormatXML, silent, nil).Handler()
	push := func(message string) int {
		return serve(h, http.MethodPost, "/api/push", `{"account":"demo","openid":"u3","message":`+message+`}`).Code
	}
	for i, step := range []struct {
		message string
		status  int
	}{
		{`{"type":"text","content":"x"}`, http.StatusConflict},
		{`{"type":"event","event":"subscribe"}`, http.StatusAccepted},
		{`{"type":"text","content":"x"}`, http.StatusAccepted},
		{`{"type":"event","event":"unsubscribe"}`, http.StatusAccepted},
		{`{"type":"text","content":"x"}`, http.StatusConflict},
	} {
		if got := push(step.message); got != step.status {
			t.Errorf("step %d: %d", i, got)
		}
	}
	history(t, h, "u3", 3)
}

func TestUsersAreAdded(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	h := r.Handler()
	add := func(openID string) *httptest.ResponseRecorder {
		return serve(h, http.MethodPost, "/api/users", fmt.Sprintf(`{"account":"demo","openid":%q}`, openID))
	}
	if w := add(""); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"openid":"u4"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for range 2 { // twice the same: the same
		if w := add("u5"); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"number":5`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if w := add("no spaces"); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for range maxUsers - 5 {
		if w := add(""); w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := add(""); w.Code != http.StatusTooManyRequests {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPictures(t *testing.T) {
	t.Parallel()
	h := newRig(t, ModePlain, FormatXML, silent, nil).Handler()
	png := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 64)...)
	keep := func(data []byte) *httptest.ResponseRecorder {
		return serve(h, http.MethodPost, "/api/media", fmt.Sprintf(`{"data":%q}`, base64.StdEncoding.EncodeToString(data)))
	}
	var kept struct {
		MediaID string `json:"media_id"`
	}
	w := keep(png)
	if err := json.Unmarshal(w.Body.Bytes(), &kept); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := serve(h, http.MethodGet, "/media/"+kept.MediaID, "")
	if got.Code != http.StatusOK || got.Header().Get("Content-Type") != "image/png" || !bytes.Equal(got.Body.Bytes(), png) {
		t.Errorf("%d %s", got.Code, got.Header())
	}
	for name, data := range map[string][]byte{"html": []byte("<html><script>"), "svg": []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "large": append(png, make([]byte, maxPicture)...), "empty": nil} {
		if w := keep(data); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for range maxPictures {
		keep(png)
	}
	if got := serve(h, http.MethodGet, "/media/"+kept.MediaID, ""); got.Code != http.StatusNotFound {
		t.Errorf("the oldest picture is still there: %d", got.Code)
	}
}

// TestHistoryIsBounded says more than is kept; what is forgotten takes no trace any more.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	h := r.Handler()
	for i := range maxExchanges + 5 {
		if i == maxExchanges {
			history(t, h, "u1", maxExchanges) // only what is done is forgotten
		}
		if _, err := r.say("demo", "u1", text(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := history(t, h, "u1", maxExchanges)[0].Message.Content; got != "5" {
		t.Errorf("the oldest exchange is %s", got)
	}
	if k, m := len(r.phone.byKey), len(r.phone.byMsgID); k != maxExchanges || m != maxExchanges {
		t.Errorf("%d keys, %d message ids are kept", k, m)
	}
}

// TestTraceFindsItsBubble by the engine's key or by the message id, for messages and events; the rest is passed over.
func TestTraceFindsItsBubble(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	h := r.Handler()
	for _, m := range []Message{{Type: "text", Content: "x", MsgID: "1"}, {Type: "event", Event: "CLICK", EventKey: "HELP"}} {
		if _, err := r.say("demo", "u1", m); err != nil {
			t.Fatal(err)
		}
	}
	xs := history(t, h, "u1", 2)
	r.Trace(messages.TraceEvent{Stage: messages.StageVerified, Account: "demo", OpenID: "u1", MsgID: "1", Key: "unknown"})
	r.Trace(messages.TraceEvent{Stage: messages.StageAccepted, Key: xs[0].Message.key("demo", "u1")})
	r.Trace(messages.TraceEvent{Stage: messages.StageTurn, Key: xs[1].Message.key("demo", "u1")})
	r.Trace(messages.TraceEvent{Stage: messages.StageTurn, Key: "unknown"})
	r.Trace(messages.TraceEvent{Stage: messages.StageTurn, Account: "demo", OpenID: "u2", MsgID: "1"})
	xs = history(t, h, "u1", 2)
	if len(xs[0].Trace) != 2 || len(xs[1].Trace) != 1 || xs[1].Trace[0].Stage != messages.StageTurn {
		t.Errorf("traces %+v, %+v", xs[0].Trace, xs[1].Trace)
	}
	for range 2 * maxTrace {
		r.Trace(messages.TraceEvent{Key: xs[0].Message.key("demo", "u1")})
	}
	if n := len(history(t, h, "u1", 2)[0].Trace); n != maxTrace {
		t.Errorf("%d stations are kept", n)
	}
}

// TestEventStream follows one message over a real connection, and the end of the platform.
func TestEventStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	next := func() (event string, data []byte) {
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if body, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return event, []byte(body)
			}
		}
		return "end", nil
	}
	if event, _ := next(); event != "hello" {
		t.Fatalf("first event %q", event)
	}
	if _, err := r.say("demo", "u1", text("x")); err != nil {
		t.Fatal(err)
	}
	var x exchange
	for rev := uint64(1); !x.Done; rev++ {
		event, data := next()
		if err := json.Unmarshal(data, &x); err != nil || event != "exchange" || x.Rev != rev {
			t.Fatalf("%s %s: %v", event, data, err)
		}
	}
	if len(x.Deliveries) != 1 || x.Deliveries[0].Outcome != OutcomeSilent || !x.Silent {
		t.Errorf("%+v", x)
	}
	r.Close()
	if event, _ := next(); event != "end" {
		t.Errorf("the stream goes on after Close: %s", event)
	}
}

// TestSlowPageIsCutOff: a page that does not read never holds anybody up.
func TestSlowPageIsCutOff(t *testing.T) {
	t.Parallel()
	var h hub
	slow, quick := h.join(), h.join()
	for i := range hubBacklog + 1 {
		h.send("user", i)
		<-quick
	}
	n := 0
	for range slow {
		n++
	}
	if n != hubBacklog {
		t.Errorf("%d events before the end", n)
	}
	h.leave(slow)
	h.leave(quick)
	h.close()
	if h.join() != nil {
		t.Error("joined a closed hub")
	}
}

func TestWitnessOverHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, silent, nil)
	if _, err := r.Push(t.Context(), "demo", "u1", text("x")); err != nil {
		t.Fatal(err)
	}
	body := serve(r.Handler(), http.MethodGet, "/api/witness", "").Body.String()
	if n := strings.Count(body, "\n"); n != 4 {
		t.Errorf("%d lines:\n%s", n, body)
	}
}
