package script

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hongyan/wechat/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMemory is a transport to a handler without a network.
type inMemory struct{ http.Handler }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// push is what the back end of these tests reads of a callback.
type push struct {
	ToUserName, FromUserName, MsgType, Content, Event, EventKey string
}

// play runs a script in virtual time against a back end; answer gives the text of the passive reply, "" for success.
func play(t *testing.T, source string, answer func(p *simulator.Platform, in push) string) (*Report, *simulator.Platform) {
	t.Helper()
	s, err := Parse("test.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var p *simulator.Platform
	back := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in push
		if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if text := answer(p, in); text != "" {
			fmt.Fprintf(w, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content><![CDATA[%s]]></Content></xml>",
				in.FromUserName, in.ToUserName, text)
		}
	})
	runner := NewRunner(s, "demo")
	p, err = simulator.New(simulator.Options{
		Accounts: []simulator.Account{{ID: "demo", AppID: "wx1", AppSecret: "s", Token: "t", Mode: simulator.ModePlain, CallbackURL: "http://back.end/", CustomerService: true}},
		Client:   &http.Client{Transport: inMemory{back}}, Watch: runner.Watch,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	report, err := runner.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got := runner.Progress(); got.Done != got.Users || got.Failed != report.Failed {
		t.Errorf("progress at the end: %+v", got)
	}
	return report, p
}

func echo(_ *simulator.Platform, in push) string {
	return "收到 " + in.Content + in.Event + in.EventKey
}

// customer sends a customer-service message through the platform's API.
func customer(t *testing.T, p *simulator.Platform, user, text string) int {
	call := func(method, path, body string) map[string]any {
		w := httptest.NewRecorder()
		p.APIHandler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		var out map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return out
	}
	token, _ := call(http.MethodPost, simulator.CallStableToken, `{"grant_type":"client_credential","appid":"wx1","secret":"s"}`)["access_token"].(string)
	out := call(http.MethodPost, simulator.CallCustomSend+"?access_token="+token, fmt.Sprintf(`{"touser":%q,"msgtype":"text","text":{"content":%q}}`, user, text))
	code, _ := out["errcode"].(float64)
	return int(code)
}

func TestScriptIsPlayed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order []string
		begun := time.Now()
		report, _ := play(t, `
users:
  - id: ming
    count: 2
    start: 1s
    spread: 10s
    repeat: 2
    steps:
      - event: subscribe
        expect: {contains: [收到, subscribe]}
      - text: "{user} {n} {round}"
        after: 2s
        count: 2
        every: 1s
        expect: {equals: "收到 {user} {n} {round}", via: passive, type: text, matches: "^收"}
      - event: {name: CLICK, key: HELP}
        expect: {contains: CLICKHELP}
`, func(p *simulator.Platform, in push) string {
			if in.FromUserName == "ming-2" {
				order = append(order, fmt.Sprint(time.Since(begun), " ", in.Content, in.Event))
			}
			return echo(p, in)
		})
		if !report.OK() || len(report.Rows) != 3 || report.Rows[1].Sent != 8 || report.Rows[1].Passive != 8 || report.Rows[0].Line != 9 {
			t.Errorf("report: %+v", report)
		}
		want := "6s subscribe,8s ming-2 1 1,9s ming-2 2 1,9s CLICK,9s subscribe,11s ming-2 1 2,12s ming-2 2 2,12s CLICK"
		if got := strings.Join(order, ","); got != want {
			t.Errorf("what ming-2 did:\n%s\nwanted:\n%s", got, want)
		}
	})
}

func TestExpectationsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, _ := play(t, `
users:
  - id: a
    steps:
      - text: wrong
        expect: {contains: other}
      - text: late
        expect: {within: 1s}
      - text: talks
        after: 3s
        expect: {silent: true, within: 2s}
      - text: quiet
        expect: {silent: true, within: 2s}
      - text: broken
      - text: broken
        after: 2s
        expect: {banner: true}
      - text: two
        expect: {messages: 2, within: 1s}
      - text: passive
        expect: {via: custom, within: 1s}
`, func(p *simulator.Platform, in push) string {
			switch in.Content {
			case "late":
				time.Sleep(1100 * time.Millisecond)
			case "quiet":
				return ""
			case "broken":
				return " "
			}
			return echo(p, in)
		})
		var lines []int
		for _, f := range report.Failures {
			lines = append(lines, f.Line)
		}
		if got := fmt.Sprint(lines); got != "[5 7 9 14 18 20]" || report.Failed != 6 || report.OK() {
			t.Errorf("failures at lines %s", got)
			for _, f := range report.Failures {
				t.Log(f)
			}
		}
		if f := report.Failures[0].String(); f != `test.yaml:5: a: expected an answer containing "other" within 5s; saw passive text "收到 wrong"` {
			t.Errorf("the first failure reads: %s", f)
		}
		var table, machine bytes.Buffer
		if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "test.yaml:14: a: the user saw the fault banner: malformed reply") || !strings.Contains(table.String(), "6 failures") {
			t.Errorf("table: %v\n%s", err, table.String())
		}
		var back Report
		if err := report.WriteJSON(&machine); err != nil || json.Unmarshal(machine.Bytes(), &back) != nil || back.Failed != 6 {
			t.Errorf("JSON: %v", err)
		}
	})
}

// TestCustomAnswers: what comes by the API counts, also without the platform's phone knowing the user.
func TestCustomAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, p := play(t, `
faults:
  - {kind: errcode, code: 45009, call: /cgi-bin/message/custom/send, after: 20s}
users:
  - id: a
    steps:
      - text: 3
        expect: {via: custom, messages: 3, within: 9s}
      - receive: false
      - text: 1
        expect: {silent: true, within: 3s}
      - receive: true
      - text: 1
        wait_for_answer: true
      - text: 1
        after: 20s
        expect: {silent: true}
`, func(p *simulator.Platform, in push) string {
			var n int
			_, _ = fmt.Sscan(in.Content, &n)
			time.AfterFunc(2*time.Second, func() {
				for range n {
					customer(t, p, in.FromUserName, "part")
				}
			})
			return ""
		})
		if !report.OK() || report.Rows[0].Custom != 3 || report.Rows[0].Max != 2*time.Second {
			t.Errorf("report: %+v", report)
		}
		codes := map[int]int{}
		for _, r := range p.Witness() {
			if r.Kind == simulator.RecordAPI && r.Call == simulator.CallCustomSend {
				codes[r.ErrCode]++
			}
		}
		if codes[0] != 4 || codes[simulator.CodeNotReceiving] != 1 || codes[simulator.CodeDailyQuota] != 1 {
			t.Errorf("errcodes: %v", codes)
		}
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		users := map[string]int{}
		report, _ := play(t, `
load: {id: many, users: 7, rate: 600/m, total: 50, text: "n{n}.", expect: {contains: "n{n}.", within: 1s}}
`, func(p *simulator.Platform, in push) string {
			users[in.FromUserName]++
			if in.Content == "n13." {
				return "something else"
			}
			return echo(p, in)
		})
		if took := time.Since(begun); took != 4900*time.Millisecond { // 49 gaps of 100 ms
			t.Errorf("the load took %v", took)
		}
		if report.Failed != 1 || report.Rows[0].Sent != 50 || len(users) != 7 || users["many-1"] != 8 {
			t.Errorf("report %+v, users %v", report, users)
		}
	})
}

// TestStopped: a run that is cut short is no success, and blames nobody.
func TestStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := Parse("x.yaml", []byte("users: [{id: a, steps: [{text: hi, expect: {within: 1h}}, {text: never}]}]"))
		if err != nil {
			t.Fatal(err)
		}
		runner := NewRunner(s, "demo")
		p, err := simulator.New(simulator.Options{
			Accounts: []simulator.Account{{ID: "demo", Token: "t", Mode: simulator.ModePlain, CallbackURL: "http://back.end/"}},
			Client:   &http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "success") })}}, Watch: runner.Watch,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		report, err := runner.Run(ctx, p)
		if err != nil || !report.Stopped || report.OK() || report.Failed != 0 || report.Rows[0].Sent != 1 || len(report.Rows) != 1 {
			t.Errorf("%v %+v", err, report)
		}
	})
}

func TestBadScripts(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"":                                "test.yaml:1: the script has neither users nor a load",
		"users: [":                        "test.yaml:1: ",
		"user: []":                        `test.yaml:1: unknown field "user"`,
		"users:\n  - id: a\n    stps: []": `test.yaml:3: unknown field "stps"`,
		"users:\n  - id: a":               `test.yaml:2: user "a" has no steps`,
		"users:\n  - steps: [{text: a}]":  "test.yaml:2: a user needs an id",
		"users:\n- {id: a, steps: [{text: a}]}\n- {id: a, steps: [{text: a}]}":            `test.yaml:3: user "a" stands in line 2 already`,
		"users:\n- id: a\n  steps:\n  - {text: a, event: b}":                              "test.yaml:4: a step is one of text, event, message, receive",
		"users:\n- id: a\n  steps:\n  - {}":                                               "test.yaml:4: the step does nothing",
		"users:\n- id: a\n  steps:\n  - text: a\n    wait_for_answer: soon":               "test.yaml:5: wait_for_answer is true or a time",
		"users:\n- id: a\n  steps:\n  - text: a\n    expect: {matches: '('}":              "test.yaml:5: matches: ",
		"users:\n- id: a\n  steps:\n  - text: a\n    expect: {via: post}":                 "test.yaml:5: via",
		"users:\n- id: a\n  steps:\n  - text: a\n    expect: {silent: true, contains: x}": "test.yaml:5: silent and banner stand alone",
		"users:\n- id: a\n  steps:\n  - message: {typ: text}":                             `test.yaml:4: json: unknown field "typ"`,
		"users:\n- id: a\n  steps:\n  - {text: a, after: soon}":                           `test.yaml:4: "soon" is no time`,
		"load: {total: 5}":                            "test.yaml:1: a load needs a rate",
		"load: {total: 5, rate: 5}":                   "test.yaml:1: rate",
		"load: {rate: 5/s}":                           "test.yaml:1: a load needs a total",
		"\nfaults:\n- {kind: latency, latency: slow}": "test.yaml:3: ",
	} {
		_, err := Parse("test.yaml", []byte(source))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n  error  %v\n  wanted %s", source, err, want)
		}
	}
}

// TestFaultThatCannotBe is found when it is injected, and named by its line.
func TestFaultThatCannotBe(t *testing.T) {
	t.Parallel()
	s, err := Parse("f.yaml", []byte("faults:\n- {kind: latency}\nusers: [{id: a, steps: [{text: a}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := simulator.New(simulator.Options{Accounts: []simulator.Account{{ID: "demo", Token: "t", Mode: simulator.ModePlain, CallbackURL: "http://back.end/"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := NewRunner(s, "demo").Run(t.Context(), p); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:2: ") {
		t.Errorf("error: %v", err)
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../examples/simulator/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "accounts.yaml" {
			accounts, err := OpenAccounts(file)
			if err != nil || len(accounts) != 2 || !accounts[0].CustomerService || accounts[0].DailyQuota[simulator.CallCustomSend] != 1000 {
				t.Errorf("%v %+v", err, accounts)
			}
			if p, err := simulator.New(simulator.Options{Accounts: accounts}); err != nil {
				t.Error(err)
			} else {
				p.Close()
			}
			continue
		}
		s, err := Open(file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if raw, err := os.ReadFile(file); err != nil || !bytes.Contains(raw, []byte("name: "+s.Name)) {
			t.Errorf("%s: %v, name %q", file, err, s.Name)
		}
	}
}

// TestDocumentedScript: the script in the manual is one.
func TestDocumentedScript(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```yaml\n")
	source, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the manual has no script")
	}
	if s, err := Parse("manual", []byte(source)); err != nil || len(s.Users) != 1 || len(s.Users[0].Steps) != 5 || s.Load == nil {
		t.Errorf("%v", err)
	}
}
