package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/console"
	"hongyan/messages"
	"hongyan/stream"
	"hongyan/stream/embedded"
)

const deadPartitions = 4

// deadBundle is the admin API over a real log.
type deadBundle struct {
	*bundle
	log *stream.Log

	mu       sync.Mutex
	accepted []*messages.Entry                             // in the order of their acknowledgement
	before   func(e *messages.Entry) error                 // may refuse an entry; may be nil
	after    func(e *messages.Entry, seq uint64) (_ error) // may hide an acknowledgement; may be nil
}

// Accept implements console.Log over the real one.
func (d *deadBundle) Accept(ctx context.Context, e *messages.Entry) (messages.Position, error) {
	if d.before != nil {
		if err := d.before(e); err != nil {
			return messages.Position{}, err
		}
	}
	at, err := d.log.Accept(ctx, e)
	if err == nil {
		d.mu.Lock()
		d.accepted = append(d.accepted, e)
		d.mu.Unlock()
		if d.after != nil {
			err = d.after(e, at.Sequence)
		}
	}
	return at, err
}

func setUpDead(t *testing.T) *deadBundle {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := server.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		_ = server.Close()
	})
	log, err := stream.Open(t.Context(), conn, stream.Options{Partitions: deadPartitions, MaxBytes: 256 << 20, Node: "test",
		OpTimeout: 10 * time.Second,
		Logger:    slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	d := &deadBundle{log: log}
	d.bundle = setUp(t, func(o *console.Options) { o.Dead, o.Log, o.Accounts = log, d, []string{"demo"} })
	return d
}

func deadMessage(user string, n int) *messages.Inbound {
	in := &messages.Inbound{Account: "demo", OpenId: user, MsgId: fmt.Sprint(n), Kind: messages.Kind_KIND_TEXT,
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: fmt.Sprintf("question %d", n)}}}
	k := messages.DedupeKey(in)
	in.Key = k[:]
	return in
}

// bury stores the letter of a user's n-th message, and returns its id.
func (d *deadBundle) bury(t *testing.T, user string, n int, change func(*messages.DeadLetter)) string {
	t.Helper()
	letter := &messages.DeadLetter{Inbound: deadMessage(user, n), Generation: 1, Sequence: uint64(n), Reason: "bot", Detail: "no route",
		AtMs: 1_700_000_000_000 + int64(n)*1000, Attempt: 1}
	if change != nil {
		change(letter)
	}
	account := letter.GetInbound().GetAccount()
	if account == "" {
		account = "none"
	}
	p := messages.User{Account: "demo", OpenID: user}.Partition(deadPartitions)
	id := fmt.Sprintf("%s.%d.%d", user, letter.GetAttempt(), n)
	if err := d.log.Bury(t.Context(), p, account, id, letter); err != nil {
		t.Fatal(err)
	}
	return stream.LetterID(p, account, id)
}

// take says that an entry took the letter up.
func (d *deadBundle) take(t *testing.T, id string) {
	t.Helper()
	if taken, err := d.log.TakeUp(t.Context(), id, &messages.Redriven{Generation: 1, Sequence: 99,
		AtMs: 1_700_000_099_000}); err != nil || !taken {
		t.Fatal(taken, err)
	}
}

func (d *deadBundle) get(t *testing.T, path string, into any) {
	t.Helper()
	w := d.do(http.MethodGet, path, "Authorization", "Bearer the-reader-token")
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

// post sends a body with a token.
func (d *deadBundle) post(path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Host = "127.0.0.1:9090"
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w
}

// change sends one change and returns the answer.
func (d *deadBundle) change(t *testing.T, how string, ask console.DeadChange) console.DeadChanged {
	t.Helper()
	body, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	w := d.post("/api/v1/dead/"+how, "the-admin-token", string(body))
	var out console.DeadChanged
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &out) != nil {
		t.Fatalf("%s %s: %d %s", how, body, w.Code, w.Body)
	}
	if n := out.Done + out.Refused + out.Failed; n != len(out.Results) || out.DryRun != ask.DryRun {
		t.Fatalf("%s: %+v", how, out)
	}
	return out
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	var want []string
	for n := range 30 {
		want = append(want, d.bury(t, fmt.Sprint("u", n%3), n, nil))
	}
	d.take(t, want[0])
	var list console.DeadList
	var got []string
	for cursor, pages := "", 0; ; pages++ {
		list = console.DeadList{}
		d.get(t, "/api/v1/dead?limit=7&state=open&cursor="+cursor, &list)
		for _, l := range list.Letters {
			got = append(got, l.ID)
		}
		if cursor = list.Next; cursor == "" {
			break
		}
		if len(list.Letters) != 7 || pages > 5 {
			t.Fatalf("%d letters on page %d", len(list.Letters), pages)
		}
	}
	if !slices.Equal(got, want[1:]) {
		t.Fatalf("listed %v, want %v", got, want[1:])
	}
	list = console.DeadList{}
	d.get(t, "/api/v1/dead?state=redriven", &list)
	if len(list.Letters) != 1 || list.Letters[0].ID != want[0] || list.Letters[0].Redriven.Entry.Sequence != 99 ||
		list.Letters[0].State != "redriven" {
		t.Errorf("redriven: %+v", list)
	}
	for query, n := range map[string]int{
		"": 30, "?account=demo&user=u1": 10, "?reason=panic": 0, "?account=other": 0, "?since=2023-11-14T22:13:30Z": 20,
		"?until=" + url.QueryEscape("2023-11-15T06:13:30+08:00"): 10,
	} {
		list = console.DeadList{}
		d.get(t, "/api/v1/dead"+query, &list)
		if len(list.Letters) != n || list.Letters == nil {
			t.Errorf("%q: %d letters, want %d", query, len(list.Letters), n)
		}
	}
	for _, query := range []string{"?acount=demo", "?user=u1", "?state=gone", "?limit=0", "?limit=1001", "?cursor=x",
		"?since=yesterday", "?reason=a&reason=b"} {
		if w := d.do(http.MethodGet, "/api/v1/dead"+query, "Authorization", "Bearer the-reader-token"); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestDeadShow(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	first := d.bury(t, "u1", 1, nil)
	d.take(t, first)
	second := d.bury(t, "u1", 1, func(l *messages.DeadLetter) {
		l.Attempt, l.Sequence, l.Reason, l.AtMs = 2, 99, "unknown", l.GetAtMs()+5000
		l.Answer = &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: "the answer"}}}
	})
	d.bury(t, "u1", 2, nil)
	var l console.LetterDetail
	d.get(t, "/api/v1/dead/"+second, &l)
	if l.ID != second || l.State != "open" || l.OpenID != "u1" || l.Text != "question 1" || l.Kind != "text" || l.Attempt != 2 ||
		!l.Answered ||
		!strings.Contains(string(l.Answer), "the answer") || !strings.Contains(string(l.Message), "question 1") ||
		!strings.Contains(l.Meaning, "nobody can tell") {
		t.Errorf("%+v", l)
	}
	if len(l.History) != 2 || l.History[0].ID != first || l.History[0].State != "redriven" || l.History[1].ID != second {
		t.Errorf("history: %+v", l.History)
	}
	garbage := d.bury(t, "u2", 3, func(l *messages.DeadLetter) {
		l.Inbound, l.Payload, l.Reason = nil, []byte("\x00garbage"), "undecodable"
	})
	l = console.LetterDetail{}
	d.get(t, "/api/v1/dead/"+garbage, &l)
	if string(l.Payload) != "\x00garbage" || l.Account != "none" || len(l.Message) != 0 || l.Advice == "" {
		t.Errorf("%+v", l)
	}
	for _, id := range []string{"1.demo.nobody", "1.demo.>", "x"} {
		if w := d.do(http.MethodGet, "/api/v1/dead/"+url.PathEscape(id), "Authorization",
			"Bearer the-reader-token"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"not_found"`) {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
}

// What changes letters needs the admin token, and a body that says what it means.
func TestDeadChangesAreGuarded(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	id := d.bury(t, "u1", 1, nil)
	for _, call := range []string{"redrive", "drop"} {
		path := "/api/v1/dead/" + call
		for _, token := range []string{"the-reader-token", "another", ""} {
			if w := d.post(path, token, `{"filter":{}}`); w.Code != http.StatusUnauthorized {
				t.Errorf("%s with token %q: %d", call, token, w.Code)
			}
		}
		if w := d.do(http.MethodGet, path, "Authorization", "Bearer the-admin-token"); w.Code == http.StatusOK {
			t.Errorf("GET %s: %d", call, w.Code)
		}
		for _, body := range []string{``, `{}`, `[]`, `{"ids":[]}`, `{"ids":["x"],"filter":{}}`, `{"filter":{"acount":"demo"}}`,
			`{"filter":{"user":"u1"}}`,
			`{"filter":{"state":"gone"}}`, `{"filter":{"since":"yesterday"}}`, `{"filter":{}} {}`, `{"ids":["x"],"cursor":"y"}`,
			`{"filter":{},"cursor":"?"}`,
			`{"filter":{},"cursor":"e30xx"}`, `{"ids":["` + strings.Repeat(`x","`, 1000) + `x"]}`, `{"ids":["` + strings.Repeat("x",
				1<<20) + `"]}`} {
			if w := d.post(path, "the-admin-token", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"bad_request"`) {
				t.Errorf("%s %.60s: %d %.200s", call, body, w.Code, w.Body)
			}
		}
	}
	if _, _, err := d.log.Letter(t.Context(), id); err != nil || len(d.accepted) != 0 {
		t.Errorf("something changed: %v, %d entries", err, len(d.accepted))
	}
	for _, secret := range []string{"u1", "question"} {
		if strings.Contains(d.bundle.log.String(), secret) {
			t.Errorf("the log has %q: %s", secret, d.bundle.log)
		}
	}
}
