package main

import (
	"bufio"
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

	"hongyan/wechat/simulator"
	"hongyan/wechat/simulator/script"
)

// parrot is somebody else's back end: plain mode, no check of anything, and it repeats what it hears.
func parrot(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, r.URL.Query().Get("echostr"))
			return
		}
		var in struct{ ToUserName, FromUserName, Content string }
		if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>%s</Content></xml>",
			in.FromUserName, in.ToUserName, in.Content)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/callback"
}

func TestSimulatorRun(t *testing.T) {
	t.Parallel()
	folder, callback := t.TempDir(), parrot(t)
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", "users: [{id: a, count: 3, steps: [{text: hi, expect: {equals: hi}}]}]")
	bad := write("bad.yaml", "users:\n- id: a\n  steps:\n  - text: hi\n    expect: {equals: ho, within: 100ms}")
	broken := write("broken.yaml", "users:\n- ids: a")
	own := write("own.yaml", fmt.Sprintf("accounts: [{id: mine, app_id: wx1, token: t, mode: plain, callback: %q}]\nusers: [{id: a, steps: [{text: hi, expect: {equals: hi}}]}]", callback))
	witness := filepath.Join(folder, "witness.jsonl")
	flags := []string{"--callback", callback, "--token", "t", "--mode", "plain", "--app-id", "wx1"}
	for _, c := range []struct {
		name       string
		args       []string
		code       int
		out, notes string
	}{
		{"as expected", append([]string{good, "--witness", witness, "--api-listen", "127.0.0.1:0"}, flags...), exitOK, "everything was as expected", "API (api_base) http://127.0.0.1:"},
		{"not as expected", append([]string{bad}, flags...), exitError, bad + `:4: a: expected an answer equal to "ho"`, ""},
		{"a script that is none", append([]string{broken}, flags...), exitError, "", broken + `:2: unknown field "ids"`},
		{"accounts in the script", []string{own}, exitOK, "everything was as expected", ""},
		{"no accounts", []string{good}, exitUsage, "", "there is no account"},
		{"accounts twice", append([]string{good, "--accounts", own}, flags...), exitUsage, "", "one of -c, --accounts and --callback"},
		{"nobody there", []string{good, "--callback", "http://127.0.0.1:1/", "--token", "t", "--mode", "plain"}, exitError, "", "the callback cannot be reached"},
	} {
		var out, notes bytes.Buffer
		if code := run(t.Context(), append([]string{"simulator", "run"}, c.args...), &out, &notes); code != c.code ||
			!strings.Contains(out.String(), c.out) || !strings.Contains(notes.String(), c.notes) {
			t.Errorf("%s: exit code %d\n%s%s", c.name, code, out.String(), notes.String())
		}
	}
	var out bytes.Buffer
	var report script.Report
	if code := run(t.Context(), append([]string{"simulator", "run", bad, "-o", "json"}, flags...), &out, io.Discard); code != exitError ||
		json.Unmarshal(out.Bytes(), &report) != nil || report.Failed != 1 || report.Failures[0].Line != 4 {
		t.Errorf("-o json: exit code %d, %s", code, out.String())
	}
	file, err := os.Open(witness)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ends := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var record simulator.Record
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		if record.Kind == simulator.RecordEnd && record.Outcome == simulator.OutcomeAnswered {
			ends++
		}
	}
	if ends != 3 {
		t.Errorf("the witness tells of %d answered messages", ends)
	}
}

// greetings collects what a command says and tells when a line of it has come.
type greetings struct {
	pipe *io.PipeWriter
	seen chan string
}

func newGreetings(t *testing.T) *greetings {
	t.Helper()
	r, w := io.Pipe()
	g := &greetings{w, make(chan string, 100)}
	go func() { // ends when the pipe is closed
		defer close(g.seen)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			g.seen <- lines.Text()
		}
	}()
	return g
}

// after waits for a line that contains a mark and returns what stands behind it.
func (g *greetings) after(t *testing.T, mark string) string {
	t.Helper()
	for line := range g.seen {
		if _, rest, ok := strings.Cut(line, mark); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("the command ended without %q", mark)
	return ""
}

// TestSimulatorServe: page, control and API are there, and end in order.
func TestSimulatorServe(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newGreetings(t)
	ended := make(chan int, 1)
	var notes bytes.Buffer
	go func() { // ends with ctx
		defer out.pipe.Close()
		ended <- run(ctx, []string{"simulator", "serve", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--callback", parrot(t),
			"--token", "t", "--mode", "plain", "--app-id", "wx1", "--app-secret", "s"}, out.pipe, &notes)
	}()
	page := out.after(t, "Open  ")
	api := out.after(t, "(api_base)  ")
	for _, base := range []string{strings.TrimSuffix(page, "/"), api} {
		body := get(t, base+simulator.CallToken+"?grant_type=client_credential&appid=wx1&secret=s")
		if !strings.Contains(body, `"expires_in":7200`) {
			t.Errorf("token from %s: %s", base, body)
		}
	}
	if body := get(t, page+"api/state"); !strings.Contains(body, `"id":"demo"`) {
		t.Errorf("state: %s", body)
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d: %s", code, notes.String())
	}
	if _, err := http.Get(page); err == nil {
		t.Error("the page is still served")
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
