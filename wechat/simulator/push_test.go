package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func text(content string) Message { return Message{Type: "text", Content: content} }

func modesAndForms(t *testing.T, f func(t *testing.T, mode, format string)) {
	for _, mode := range []string{ModePlain, ModeCompat, ModeSafe} {
		for _, format := range []string{FormatXML, FormatJSON} {
			t.Run(mode+"/"+format, func(t *testing.T) {
				t.Parallel()
				f(t, mode, format)
			})
		}
	}
}

func TestPushInAllModesAndForms(t *testing.T) {
	t.Parallel()
	modesAndForms(t, func(t *testing.T, mode, format string) {
		var r rig
		r = newRig(t, mode, format, func(w http.ResponseWriter, _ *http.Request, d delivered, _ int) {
			_, _ = io.WriteString(w, r.back.replyText(d, "收到 "+d.Fields["Content"]))
		}, nil)
		if err := r.Handshake(t.Context(), "demo"); err != nil {
			t.Error(err)
		}
		const content = "你好 <&> \"]]>\" 🀄\n第二行"
		got, err := r.Push(t.Context(), "demo", "u1", text(content))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Answered || got.Silent || got.Banner || got.Answer == nil || got.Answer.Content != "收到 "+content {
			t.Fatalf("result %+v, answer %+v", got, got.Answer)
		}
		if got.Answer.Encrypted != (mode != ModePlain) {
			t.Errorf("encrypted is %v", got.Answer.Encrypted)
		}
		d := r.back.all()[0]
		want := map[string]string{"ToUserName": testGH, "FromUserName": "u1", "MsgType": "text", "Content": content,
			"CreateTime": strconv.FormatInt(got.CreateTime, 10), "MsgId": got.MsgID}
		for name, value := range want {
			if d.Fields[name] != value {
				t.Errorf("%s is %q, not %q", name, d.Fields[name], value)
			}
		}
		if len(got.MsgID) != 19 {
			t.Errorf("MsgId %s", got.MsgID)
		}
		if d.Query["openid"] != "u1" || (mode == ModePlain) != (d.Query["encrypt_type"] == "") {
			t.Errorf("query %v", d.Query)
		}
		outer := map[string]int{ModePlain: 6, ModeCompat: 7, ModeSafe: 2}[mode]
		if len(d.Outer) != outer {
			t.Errorf("the body in clear has %v", d.Outer)
		}
	})
}

// TestEveryKindOfMessage compares what arrives, field by field, with what WeChat's documentation lists.
func TestEveryKindOfMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModeSafe, FormatXML, func(w http.ResponseWriter, _ *http.Request, _ delivered, _ int) {
		_, _ = io.WriteString(w, "success")
	}, nil)
	for _, test := range []struct {
		m    Message
		want string // fields besides the addresses, MsgId and CreateTime; sorted
	}{
		{Message{Type: "image", MsgID: "1"}, "MediaId=media_1 MsgType=image PicUrl=http://mmbiz.qpic.cn/mmbiz_jpg/1"},
		{Message{Type: "voice", MsgID: "2"}, "Format=amr MediaId=media_2 MsgType=voice Recognition="},
		{Message{Type: "video", MsgID: "3"}, "MediaId=media_3 MsgType=video ThumbMediaId=thumb_3"},
		{Message{Type: "location", MsgID: "4", Latitude: 23.134521, Longitude: -113.3, Label: "这里"}, "Label=这里 Location_X=23.134521 Location_Y=-113.300000 MsgType=location Scale=16"},
		{Message{Type: "link", MsgID: "5", Title: "T", Description: "D", URL: "http://u/"}, "Description=D MsgType=link Title=T Url=http://u/"},
		{Message{Type: "event", Event: "subscribe"}, "Event=subscribe EventKey= MsgType=event"},
		{Message{Type: "event", Event: "subscribe", EventKey: "qrscene_9", Ticket: "t"}, "Event=subscribe EventKey=qrscene_9 MsgType=event Ticket=t"},
		{Message{Type: "event", Event: "unsubscribe"}, "Event=unsubscribe EventKey= MsgType=event"},
		{Message{Type: "event", Event: "SCAN", EventKey: "9"}, "Event=SCAN EventKey=9 MsgType=event Ticket=TICKET_9"},
		{Message{Type: "event", Event: "CLICK", EventKey: "HELP"}, "Event=CLICK EventKey=HELP MsgType=event"},
		{Message{Type: "event", Event: "VIEW", EventKey: "http://u/", MenuID: "7"}, "Event=VIEW EventKey=http://u/ MenuId=7 MsgType=event"},
		{Message{Type: "event", Event: "LOCATION", Latitude: 1, Longitude: 2, Precision: 3}, "Event=LOCATION Latitude=1.000000 Longitude=2.000000 MsgType=event Precision=3.000000"},
		{Message{Type: "event", Event: "TEMPLATESENDJOBFINISH", MsgID: "8"}, "Event=TEMPLATESENDJOBFINISH MsgID=8 MsgType=event"},
	} {
		result, err := r.Push(t.Context(), "demo", "u1", test.m)
		if err != nil || !result.Silent {
			t.Fatalf("%+v: %v %+v", test.m, err, result)
		}
		d := r.back.all()
		var got []string
		for name, value := range d[len(d)-1].Fields {
			if !slices.Contains([]string{"ToUserName", "FromUserName", "CreateTime", "MsgId"}, name) {
				got = append(got, name+"="+value)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s %s: got %s, want %s", test.m.Type, test.m.Event, s, test.want)
		}
		if _, has := d[len(d)-1].Fields["MsgId"]; has == test.m.IsEvent() {
			t.Errorf("%s: MsgId present is %v", test.m.Type, has)
		}
	}
}

// inMemory serves requests by a handler without a socket, so that a synctest bubble can hold the whole exchange.
type inMemory struct{ http.Handler }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { // ends with the handler, which watches the request's context
		defer close(done)
		t.ServeHTTP(recorder, r)
	}()
	<-done
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

// bubble is a platform with WeChat's own times inside a synctest bubble.
func bubble(t *testing.T, answer answerFunc, edit func(*Options)) rig {
	back := &backend{t: t, mode: ModePlain, format: FormatXML, answer: answer}
	o := Options{
		Accounts: []Account{{ID: "demo", AppID: testAppID, OriginalID: testGH, Token: testToken, Mode: ModePlain, CallbackURL: "http://back.end/cb?fixed=1"}},
		Client:   &http.Client{Transport: inMemory{back}},
	}
	if edit != nil {
		edit(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return rig{p, back}
}

func TestDeliveriesFollowWeChatsClock(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, test := range []struct {
		name     string
		answer   func(b *backend) answerFunc
		starts   []time.Duration // of the deliveries, since the push
		outcomes []Outcome
		elapsed  time.Duration
		answered bool
		banner   bool
	}{
		{"answered at once", func(b *backend) answerFunc {
			return func(w http.ResponseWriter, _ *http.Request, d delivered, _ int) {
				_, _ = io.WriteString(w, b.replyText(d, "x"))
			}
		}, []time.Duration{0}, []Outcome{OutcomeAnswered}, 0, true, false},
		{"answered at 4.999 s", func(b *backend) answerFunc {
			return func(w http.ResponseWriter, _ *http.Request, d delivered, _ int) {
				time.Sleep(4999 * time.Millisecond)
				_, _ = io.WriteString(w, b.replyText(d, "x"))
			}
		}, []time.Duration{0}, []Outcome{OutcomeAnswered}, 4999 * time.Millisecond, true, false},
		{"answered on the third", func(b *backend) answerFunc {
			return func(w http.ResponseWriter, r *http.Request, d delivered, number int) {
				if number < 3 {
					hang(w, r)
					return
				}
				time.Sleep(time.Second)
				_, _ = io.WriteString(w, b.replyText(d, "x"))
			}
		}, []time.Duration{0, 5 * time.Second, 10 * time.Second}, []Outcome{OutcomeCutoff, OutcomeCutoff, OutcomeAnswered}, 11 * time.Second, true, false},
		{"never", func(*backend) answerFunc {
			return func(w http.ResponseWriter, r *http.Request, _ delivered, _ int) { hang(w, r) }
		}, []time.Duration{0, 5 * time.Second, 10 * time.Second}, []Outcome{OutcomeCutoff, OutcomeCutoff, OutcomeCutoff}, 15 * time.Second, false, true},
		{"503 twice, then success", func(*backend) answerFunc {
			return func(w http.ResponseWriter, _ *http.Request, _ delivered, number int) {
				time.Sleep(time.Second)
				if number < 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				_, _ = io.WriteString(w, "success")
			}
		}, []time.Duration{0, 5 * time.Second, 10 * time.Second}, []Outcome{OutcomeBadStatus, OutcomeBadStatus, OutcomeSilent}, 11 * time.Second, false, false},
		{"malformed on the second", func(*backend) answerFunc {
			return func(w http.ResponseWriter, r *http.Request, _ delivered, number int) {
				if number == 1 {
					hang(w, r)
					return
				}
				_, _ = io.WriteString(w, "<xml><Content></Content></xml>")
			}
		}, []time.Duration{0, 5 * time.Second}, []Outcome{OutcomeCutoff, OutcomeMalformed}, 5 * time.Second, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := bubble(t, nil, nil)
				r.back.answer = test.answer(r.back)
				started := time.Now()
				got, err := r.Push(t.Context(), "demo", "u1", text("x"))
				if err != nil {
					t.Fatal(err)
				}
				var outcomes []Outcome
				var starts []time.Duration
				for i, d := range got.Deliveries {
					outcomes, starts = append(outcomes, d.Outcome), append(starts, d.At.Sub(started))
					if d.Number != i+1 {
						t.Errorf("delivery %d has number %d", i+1, d.Number)
					}
				}
				if !slices.Equal(outcomes, test.outcomes) || !slices.Equal(starts, test.starts) {
					t.Errorf("deliveries %v at %v, want %v at %v", outcomes, starts, test.outcomes, test.starts)
				}
				if got.Elapsed != test.elapsed || got.Answered != test.answered || got.Banner != test.banner || (got.Answer != nil) != test.answered {
					t.Errorf("result %+v", got)
				}
				checkSameMessage(t, r.back.all())
			})
		})
	}
}

// checkSameMessage wants one message in all deliveries, each signed anew.
func checkSameMessage(t *testing.T, seen []delivered) {
	t.Helper()
	nonces := map[string]bool{}
	for _, d := range seen {
		for _, name := range []string{"MsgId", "CreateTime", "Content", "FromUserName"} {
			if d.Fields[name] != seen[0].Fields[name] {
				t.Errorf("%s changed between deliveries", name)
			}
		}
		if d.Query["fixed"] != "1" {
			t.Error("the callback URL's own parameters are lost")
		}
		if at := strconv.FormatInt(d.At.Unix(), 10); d.Query["timestamp"] != at {
			t.Errorf("timestamp %s of a delivery at %s", d.Query["timestamp"], at)
		}
		nonces[d.Query["nonce"]] = true
	}
	if len(nonces) != len(seen) {
		t.Error("a nonce was used twice")
	}
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	p, err := New(Options{Cutoff: 300 * time.Millisecond, Accounts: []Account{{ID: "demo", Token: "t", Mode: ModePlain, CallbackURL: address}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got, err := p.Push(t.Context(), "demo", "u1", text("x"))
	if err != nil || !got.Banner || len(got.Deliveries) != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	for i, d := range got.Deliveries {
		if d.Outcome != OutcomeRefused || strings.Contains(d.Detail, "signature") {
			t.Errorf("delivery %+v", d)
		}
		if i > 0 && d.At.Sub(got.Deliveries[i-1].At) < 300*time.Millisecond {
			t.Error("the next delivery came too soon")
		}
	}
}

// TestConnectionDropped breaks the connection in the middle of a reply, over a real socket.
func TestConnectionDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, func(w http.ResponseWriter, _ *http.Request, _ delivered, number int) {
		if number == 1 {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "suc")
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
	}, func(o *Options) { o.Cutoff, o.Deliveries = time.Second, 2 })
	got, err := r.Push(t.Context(), "demo", "u1", text("x"))
	if err != nil || !got.Banner {
		t.Fatalf("%+v %v", got, err)
	}
	if o := got.Deliveries[0]; o.Outcome != OutcomeRefused {
		t.Errorf("broken connection: %+v", o)
	}
	if o := got.Deliveries[1]; o.Outcome != OutcomeBadStatus || o.Status != http.StatusFound {
		t.Errorf("a redirect was followed: %+v", o)
	}
}

func TestUnsubscribeShowsNothing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusBadGateway} {
		synctest.Test(t, func(t *testing.T) {
			var r rig
			r = bubble(t, func(w http.ResponseWriter, _ *http.Request, d delivered, _ int) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, r.back.replyText(d, "再见"))
			}, nil)
			got, err := r.Push(t.Context(), "demo", "u1", Message{Type: "event", Event: "unsubscribe"})
			if err != nil || got.Answered || got.Banner || got.Answer != nil || got.Silent != (status == http.StatusOK) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func TestMisuseAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := bubble(t, func(_ http.ResponseWriter, r *http.Request, _ delivered, _ int) { <-r.Context().Done() }, nil)
		for _, m := range []Message{{}, {Type: "text"}, {Type: "event"}, {Type: "link"}, {Type: "location", Latitude: 91}, {Type: "location", Longitude: math.NaN()}, text("\xff")} {
			if _, err := r.Push(t.Context(), "demo", "u1", m); !errors.Is(err, ErrMessage) {
				t.Errorf("%+v: %v", m, err)
			}
		}
		if _, err := r.Push(t.Context(), "demo", "", text("x")); !errors.Is(err, ErrMessage) {
			t.Error(err)
		}
		if _, err := r.Push(t.Context(), "nobody", "u1", text("x")); !errors.Is(err, ErrUnknownAccount) {
			t.Error(err)
		}
		if n := len(r.Witness()); n != 0 {
			t.Errorf("misuse left %d records", n)
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 7*time.Second, cause)
		defer cancel()
		got, err := r.Push(ctx, "demo", "u1", text("x"))
		if !errors.Is(err, cause) || len(got.Deliveries) != 1 {
			t.Errorf("%v %+v", err, got)
		}
		time.AfterFunc(time.Second, r.Close)
		if _, err := r.Push(t.Context(), "demo", "u1", text("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("push on a platform that closes: %v", err)
		}
		if _, err := r.Push(t.Context(), "demo", "u1", text("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("push on a closed platform: %v", err)
		}
		if err := r.Handshake(t.Context(), "demo"); !errors.Is(err, ErrClosed) {
			t.Errorf("handshake on a closed platform: %v", err)
		}
		if last := r.Witness()[len(r.Witness())-1]; last.Kind != RecordEnd || last.Banner || !strings.Contains(last.Detail, "given up") {
			t.Errorf("the last record is %+v", last)
		}
	})
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	good := Account{ID: "demo", Token: "t", Mode: ModePlain, CallbackURL: "http://h/"}
	for name, edit := range map[string]func(*Account){
		"no id":    func(a *Account) { a.ID = "" },
		"no token": func(a *Account) { a.Token = "" },
		"mode":     func(a *Account) { a.Mode = "raw" },
		"format":   func(a *Account) { a.Format = "yaml" },
		"url":      func(a *Account) { a.CallbackURL = "ftp://h/" },
		"key":      func(a *Account) { a.Mode, a.AESKey = ModeSafe, "short" },
	} {
		a := good
		edit(&a)
		if _, err := New(Options{Accounts: []Account{a}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no account: accepted")
	}
	if _, err := New(Options{Accounts: []Account{good, good}}); err == nil {
		t.Error("two accounts of one id: accepted")
	}
}

func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"newline": func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Query().Get("echostr")) },
		"quotes":  func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%q", r.URL.Query().Get("echostr")) },
		"status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		p, err := New(Options{
			Accounts: []Account{{ID: "demo", Token: "t", Mode: ModePlain, CallbackURL: "http://back.end/"}},
			Client:   &http.Client{Transport: inMemory{answer}}, Cutoff: 10 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Handshake(t.Context(), "demo"); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if records := p.Witness(); len(records) != 1 || records[0].Kind != RecordHandshake || records[0].Detail == "" {
			t.Errorf("%s: records %+v", name, records)
		}
		p.Close()
	}
}

// TestBodiesReadBack encodes arbitrary texts in both forms and reads them with the standard library.
func TestBodiesReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := Message{Type: "text", Content: rapid.StringN(1, 60, -1).Draw(rt, "content"), MsgID: rapid.StringMatching(`[0-9a-z]{1,20}`).Draw(rt, "msgid"), CreateTime: 1}
		if m.check() != nil {
			rt.Skip("not UTF-8")
		}
		openID := rapid.StringMatching(`[A-Za-z0-9_-]{1,28}`).Draw(rt, "openid")
		for _, format := range []string{FormatXML, FormatJSON} {
			got := readFields(t, format, encode(format, m.fields(testGH, openID)))
			want := m.Content
			if format == FormatXML { // XML cannot carry every character, and reads CR as LF
				want = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.Map(xmlChar, want))
			}
			if got["Content"] != want || got["FromUserName"] != openID || got["MsgId"] != m.MsgID {
				rt.Fatalf("%s: %q became %q; MsgId %q became %q", format, want, got["Content"], m.MsgID, got["MsgId"])
			}
		}
	})
}

// TestSeveralAddresses: deliveries take the addresses in turn, and a repeated one goes to another than the one before.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	var asked [2]atomic.Int64
	serve := func(i, status int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked[i].Add(1)
			w.WriteHeader(status)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	p, err := New(Options{Cutoff: 50 * time.Millisecond, Accounts: []Account{{
		ID: "demo", AppID: "wx0", Token: "t", Mode: ModePlain,
		CallbackURL: serve(0, http.StatusServiceUnavailable), MoreURLs: []string{serve(1, http.StatusOK)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for i := range 4 { // the first delivery alternates; what goes to the broken one first is delivered again to the other
		r, err := p.Push(t.Context(), "demo", "u", Message{Type: "text", Content: "x"})
		if err != nil || !r.Silent || len(r.Deliveries) != 2-i%2 {
			t.Errorf("push %d: %v, %+v", i, err, r)
		}
	}
	if asked[0].Load() != 2 || asked[1].Load() != 4 {
		t.Errorf("the two addresses were asked %d and %d times, want 2 and 4", asked[0].Load(), asked[1].Load())
	}
	for _, r := range p.Witness() {
		if sent := r.Kind == RecordSent || r.Kind == RecordReceived; sent != (r.Host != "") {
			t.Errorf("record %+v: the host is missing or out of place", r)
		}
	}
}
