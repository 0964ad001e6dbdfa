package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
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

// deadNode serves a real admin listener over a real log, and a configuration that reaches it.
type deadNode struct {
	log  *stream.Log
	file string
}

func newDeadNode(t *testing.T) *deadNode {
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
	log, err := stream.Open(t.Context(), conn, stream.Options{Partitions: 4, MaxBytes: 64 << 20, Node: "test", OpTimeout: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	handler, err := console.New(console.Options{Version: "v", Node: "n1", Listen: "127.0.0.1:0", Users: oneUser{}, Cluster: oneUser{}, Official: noOfficials{},
		Dead: log, Log: log, Accounts: []string{"demo"}, Gather: registry, Metrics: registry, Logger: slog.New(slog.DiscardHandler),
		Now:        time.Now,
		AdminToken: "a-long-admin-token"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return &deadNode{log, clientConfig(t, web.Listener.Addr().String(), "a-long-admin-token")}
}

// bury stores a letter that was buried so many minutes ago, and returns its id.
func (d *deadNode) bury(t *testing.T, user string, n, minutes int, change func(*messages.DeadLetter)) string {
	t.Helper()
	in := &messages.Inbound{Account: "demo", OpenId: user, MsgId: fmt.Sprint(n), Kind: messages.Kind_KIND_TEXT,
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: fmt.Sprintf("问题 %d\x1b[2J", n)}}}
	k := messages.DedupeKey(in)
	in.Key = k[:]
	letter := &messages.DeadLetter{Inbound: in, Generation: 1, Sequence: uint64(n), Reason: "bot", Detail: "no route", Attempt: 1,
		AtMs: time.Now().Add(-time.Duration(minutes) * time.Minute).UnixMilli()}
	if change != nil {
		change(letter)
	}
	p := messages.User{Account: "demo", OpenID: user}.Partition(4)
	id := fmt.Sprintf("%s.%d.%d", user, letter.GetAttempt(), n)
	if err := d.log.Bury(t.Context(), p, "demo", id, letter); err != nil {
		t.Fatal(err)
	}
	return stream.LetterID(p, "demo", id)
}

// entries is how many entries stand in the log.
func (d *deadNode) entries(t *testing.T) uint64 {
	t.Helper()
	end, err := d.log.End(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func (d *deadNode) run(t *testing.T, args ...string) outcome {
	t.Helper()
	got := execute(t, append([]string{"dead"}, append(args, "-c", d.file)...)...)
	if strings.Contains(got.stdout+got.stderr, "\x1b") {
		t.Errorf("%v commands the terminal: %+v", args, got)
	}
	return got
}

func TestDeadListCommand(t *testing.T) {
	t.Parallel()
	d := newDeadNode(t)
	if got := d.run(t, "ls"); got.code != 0 || got.stdout != "no dead letters\n" {
		t.Errorf("%+v", got)
	}
	old, young := d.bury(t, "u1", 1, 180, nil), d.bury(t, "u2", 2, 10, func(l *messages.DeadLetter) { l.Reason = "panic" })
	if taken, err := d.log.TakeUp(t.Context(), old, &messages.Redriven{Generation: 1, Sequence: 9}); err != nil || !taken {
		t.Fatal(taken, err)
	}
	for _, c := range []struct {
		args       []string
		has, hasNo string
	}{
		{[]string{"ls"}, young, old},
		{[]string{"ls", "--state", "redriven"}, old, young},
		{[]string{"ls", "--state", "all", "--reason", "bot"}, old, young},
		{[]string{"ls", "--state", "all", "--since", "1h"}, young, old},
		{[]string{"ls", "--state", "all", "--until", "1h"}, old, young},
		{[]string{"ls", "--state", "all", "--account", "demo", "--user", "u1"}, "demo/u1", young},
		{[]string{"ls", "--state", "all", "--limit", "1"}, "--limit 0 lists all", old},
		{[]string{"ls", "--state", "all", "--limit", "0", "--since", "2020-01-01"}, old, "--limit"},
		{[]string{"ls", "--until", "2020-01-01 08:00"}, "no dead letters", young},
	} {
		if got := d.run(t, c.args...); got.code != 0 || !strings.Contains(got.stdout, c.has) || strings.Contains(got.stdout, c.hasNo) {
			t.Errorf("%v: %+v, want %s and not %s", c.args, got, c.has, c.hasNo)
		}
	}
	var list struct {
		console.DeadList
		More bool
	}
	if got := d.run(t, "ls", "--state", "all", "-o", "json"); json.Unmarshal([]byte(got.stdout), &list) != nil ||
		len(list.Letters) != 2 || list.More {
		t.Errorf("%+v", got)
	}
	for i := range 1100 { // more than two pages
		d.bury(t, "u3", 100+i, 1, nil)
	}
	if got := d.run(t, "ls", "--limit", "0"); strings.Count(got.stdout, "demo/u3") != 1100 || strings.Count(got.stdout, "REASON") != 1 {
		t.Errorf("%d letters in %d tables", strings.Count(got.stdout, "demo/u3"), strings.Count(got.stdout, "REASON"))
	}
	if got := d.run(t, "ls", "--limit", "1001"); strings.Count(got.stdout, "\n") != 1001+3 {
		t.Errorf("%d lines", strings.Count(got.stdout, "\n"))
	}
}

func TestDeadShowCommand(t *testing.T) {
	t.Parallel()
	d := newDeadNode(t)
	first := d.bury(t, "u1", 1, 60, nil)
	if taken, err := d.log.TakeUp(t.Context(), first, &messages.Redriven{Generation: 1, Sequence: 77}); err != nil || !taken {
		t.Fatal(taken, err)
	}
	second := d.bury(t, "u1", 1, 5, func(l *messages.DeadLetter) {
		l.Attempt, l.Reason = 2, "unknown"
		l.Answer = &messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: "答案\x1b[31m"}}}
	})
	got := d.run(t, "show", second)
	for _, want := range []string{second, "demo/u1", "attempt 2", "open", "unknown", "nobody can tell", "Re-drive it only if",
		"no route", "[text] 问题 1",
		"答案", "attempts of this message (2)", first, "redriven at", "1:77"} {
		if got.code != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("the text lacks %q: %+v", want, got)
		}
	}
	var l console.LetterDetail
	if got := d.run(t, "show", second, "-o", "json"); json.Unmarshal([]byte(got.stdout), &l) != nil || l.ID != second || len(l.History) != 2 {
		t.Errorf("%+v", got)
	}
	undecodable := d.bury(t, "u2", 2, 5, func(l *messages.DeadLetter) { l.Inbound, l.Payload, l.Reason = nil, []byte("abc"), "undecodable" })
	if got := d.run(t, "show", undecodable); got.code != 0 || !strings.Contains(got.stdout, "3 bytes that are no entry") {
		t.Errorf("%+v", got)
	}
	if got := d.run(t, "show", "1.demo.gone"); got.code != 3 || !strings.Contains(got.stderr, "there is no dead letter 1.demo.gone") {
		t.Errorf("%+v", got)
	}
}

func TestDeadRedriveCommand(t *testing.T) {
	t.Parallel()
	d := newDeadNode(t)
	if got := d.run(t, "redrive", "--all"); got.code != 3 || !strings.Contains(got.stderr, "no dead letter was chosen") {
		t.Errorf("%+v", got)
	}
	a, b := d.bury(t, "u1", 1, 5, nil), d.bury(t, "u2", 2, 5, nil)
	bad := d.bury(t, "u2", 3, 5, func(l *messages.DeadLetter) { l.Inbound, l.Payload, l.Reason = nil, []byte("abc"), "undecodable" })

	got := d.run(t, "redrive", "--reason", "bot", "--dry-run")
	if got.code != 0 || d.entries(t) != 0 || !strings.Contains(got.stdout, "would be re-driven\t"+a) || !strings.Contains(got.stdout, b) ||
		!strings.Contains(got.stdout, "2 letters would be re-driven, 0 refused, 0 failed") {
		t.Errorf("%+v, %d entries", got, d.entries(t))
	}
	if got = d.run(t, "redrive", a); got.code != 0 || got.stdout != "1 letter re-driven, 0 refused, 0 failed\n" || d.entries(t) != 1 {
		t.Errorf("%+v, %d entries", got, d.entries(t))
	}
	if taken, err := d.log.TakeUp(t.Context(), a, &messages.Redriven{Generation: 1, Sequence: 1}); err != nil || !taken {
		t.Fatal(taken, err)
	}
	got = d.run(t, "redrive", a, bad)
	if got.code != 1 || got.stderr != "" || !strings.Contains(got.stdout, "refused\t"+a+"\tredriven: entry 1:1") ||
		!strings.Contains(got.stdout, "refused\t"+bad+"\tundecodable") || d.entries(t) != 1 {
		t.Errorf("%+v, %d entries", got, d.entries(t))
	}
	if got = d.run(t, "redrive", "--all"); got.code != 1 || !strings.Contains(got.stdout,
		"1 letter re-driven, 1 refused, 0 failed") || d.entries(t) != 2 {
		t.Errorf("%+v, %d entries", got, d.entries(t))
	}
	var sum console.DeadChanged
	if got = d.run(t, "redrive", "--account", "demo", "--user", "u2", "-o", "json"); got.code != 0 ||
		json.Unmarshal([]byte(got.stdout), &sum) != nil || sum.Done != 1 || len(sum.Results) != 1 {
		t.Errorf("%+v", got)
	}
	var burying sync.WaitGroup
	for u := range 60 { // 6,000 letters are more than one request does
		burying.Go(func() {
			for n := range 100 {
				d.bury(t, fmt.Sprint("m", u), 1000+n, 1, nil)
			}
		})
	}
	burying.Wait()
	before := d.entries(t)
	if got = d.run(t, "redrive", "--since", "2m"); got.code != 0 || !strings.Contains(got.stdout, "6000 letters re-driven") ||
		d.entries(t) != before+6000 {
		t.Errorf("%+v, %d entries more", got, d.entries(t)-before)
	}
}

func TestDeadDropCommand(t *testing.T) {
	t.Parallel()
	d := newDeadNode(t)
	a := d.bury(t, "u1", 1, 5, nil)
	d.bury(t, "u2", 2, 5, func(l *messages.DeadLetter) { l.Reason = "panic" })
	d.bury(t, "u2", 3, 5, nil)
	if got := d.run(t, "drop", "--all"); got.code != 2 || !strings.Contains(got.stderr, "add --yes") {
		t.Errorf("without anybody to ask: %+v", got)
	}
	if got := d.run(t, "drop", a, "--dry-run"); got.code != 0 || !strings.Contains(got.stdout, "1 letter would be dropped") {
		t.Errorf("%+v", got)
	}
	if n, err := d.log.DeadCount(t.Context()); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if got := d.run(t, "drop", a, "--yes"); got.code != 0 || got.stdout != "1 letter dropped, 0 refused, 0 failed\n" {
		t.Errorf("%+v", got)
	}
	if got := d.run(t, "drop", a, "--yes"); got.code != 1 || !strings.Contains(got.stdout, "no_letter") {
		t.Errorf("%+v", got)
	}
	if got := d.run(t, "drop", "--reason", "panic", "--yes", "-o", "json"); got.code != 0 || !strings.Contains(got.stdout, `"done": 1`) {
		t.Errorf("%+v", got)
	}
	if n, err := d.log.DeadCount(t.Context()); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// Before letters are deleted the command says how many and why they died, and only a yes goes on.
func TestDeadDropAsks(t *testing.T) {
	t.Parallel()
	d := newDeadNode(t)
	d.bury(t, "u1", 1, 5, nil)
	d.bury(t, "u1", 2, 5, nil)
	d.bury(t, "u2", 2, 5, func(l *messages.DeadLetter) { l.Reason = "panic" })
	cfg, err := loadForClient(d.file)
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "yep\n": false} {
		var asked bytes.Buffer
		c := letterChange{cfg: cfg, verb: deadVerb{path: "/api/v1/dead/drop"}, ask: console.DeadChange{Filter: &console.DeadFilter{}},
			err: &asked}
		agreed, err := c.confirm(t.Context(), strings.NewReader(answer))
		if agreed != want || (err == nil) != want || asked.String() != "Delete 3 dead letters for good (2 bot, 1 panic)? [y/N] " {
			t.Errorf("%q: %v, %v after %q", answer, agreed, err, asked.String())
		}
	}
	if n, err := d.log.DeadCount(t.Context()); n != 3 || err != nil {
		t.Error(n, err)
	}
}

func TestDeadCommandLines(t *testing.T) {
	t.Parallel()
	for line, stderr := range map[string]string{
		"ls x":                        "unknown command",
		"ls --user u1":                "--user needs --account",
		"ls --state gone":             "write open, redriven or all",
		"ls --since yesterday":        "--since",
		"ls --until -5m":              "--until",
		"ls --limit -1":               "--limit",
		"ls -o yaml":                  "write text or json",
		"show":                        "accepts 1 arg",
		"redrive":                     "--all",
		"redrive --state open":        "unknown flag",
		"redrive id --all":            "not both",
		"redrive id --reason bot":     "not both",
		"redrive --reason bot --all":  "--all is for",
		"drop":                        "--all",
		"drop --state redriven":       "--all",
		"drop --state redriven --all": "add --yes",
		"drop --user u1 --yes":        "--user needs --account",
		"redrive --all --yes":         "unknown flag",
		"bury":                        "there is no command",
	} {
		if got := execute(t, append([]string{"dead"}, strings.Fields(line)...)...); got.code != 2 ||
			!strings.Contains(got.stderr, stderr) || got.stdout != "" {
			t.Errorf("%s: %+v, want %q", line, got, stderr)
		}
	}
	for _, command := range []string{"ls", "show", "redrive", "drop"} {
		if got := execute(t, "dead", command, "--help"); got.code != 0 || !strings.Contains(got.stdout, "Exit codes") ||
			!strings.Contains(got.stdout, "Examples") {
			t.Errorf("%s --help: %+v", command, got)
		}
	}
}
