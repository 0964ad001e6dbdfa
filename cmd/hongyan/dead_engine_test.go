package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hongyan/config"
	"hongyan/messages"
)

// startEngine runs a whole node and returns it with a configuration that reaches its admin listener.
func startEngine(t *testing.T) (e *engine, file string) {
	t.Helper()
	rules := "rules: [{match: contains, value: [问题], reply: 回答}]\n"
	text := `node: {data_dir: %s}
listen: {callback: "127.0.0.1:0", admin: %q, cluster: "127.0.0.1:0"}
admin: {token: a-long-admin-token}
nats: {durability: os, max_bytes: 64MiB}
cluster: {partitions: 4}
accounts: [{id: demo, mode: plain, token: abc, bot: [rules]}]
bots: {rules: {type: rules, file: rules.yaml}}
`
	data := t.TempDir()
	first := writeConfig(t, "hongyan.yaml", fmt.Sprintf(text, data, "127.0.0.1:0"), "rules.yaml", rules)
	cfg, report := config.Load(first, nil)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	e = newEngine(cfg, slog.New(slog.DiscardHandler), nil)
	ready := make(chan string, 1)
	e.ready = func(_, admin string) { ready <- admin }
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- e.run(ctx) }() // ended by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case admin := <-ready:
		return e, writeConfig(t, "hongyan.yaml", fmt.Sprintf(text, filepath.ToSlash(data), admin), "rules.yaml", rules)
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the node is not ready within a minute")
	}
	return nil, ""
}

// Through a whole node: letters are re-driven in bulk, each has one effect however often the command runs, in the order of the
// messages, and stands there as re-driven.
func TestDeadLettersOfARunningNode(t *testing.T) {
	t.Parallel()
	e, file := startEngine(t)
	run := func(code int, args ...string) string {
		t.Helper()
		got := execute(t, append(args, "-c", file)...)
		if got.code != code {
			t.Fatalf("%v: %+v", args, got)
		}
		return got.stdout
	}
	const users, each = 3, 4
	for n := each; n > 0; n-- {
		for u := range users {
			in := &messages.Inbound{Account: "demo", OpenId: fmt.Sprint("u", u), MsgId: fmt.Sprint(n), Kind: messages.Kind_KIND_TEXT,
				MsgType:    "text",
				CreateTime: time.Now().Unix(), Body: &messages.Inbound_Text{Text: &messages.Text{Content: fmt.Sprintf("问题 %d", n)}}}
			k := messages.DedupeKey(in)
			in.Key = k[:]
			err := e.journal.Bury(t.Context(), e.journal.Partition(messages.User{Account: "demo", OpenID: in.GetOpenId()}), "demo",
				fmt.Sprintf("%s.1.%d", k, n), &messages.DeadLetter{Inbound: in, Generation: 1, Sequence: uint64(n), Reason: "bot",
					AtMs: time.Now().UnixMilli(), Attempt: 1})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 { // the second and the third may find letters whose entries are still on their way
		got := execute(t, "dead", "redrive", "--account", "demo", "-c", file)
		if got.code != 0 && got.code != 1 && got.code != 3 || strings.Contains(got.stdout, "failed\t") {
			t.Fatalf("%+v", got)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for strings.Count(run(0, "dead", "ls", "--state", "redriven", "--limit", "0"), "demo/u") != users*each {
		if time.Now().After(deadline) {
			t.Fatalf("not all letters were taken up:\n%s", run(0, "dead", "ls", "--state", "all"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	for u := range users {
		var shown string
		for shown = run(0, "user", "show", fmt.Sprintf("demo/u%d", u)); !strings.Contains(shown, fmt.Sprintf("turns %d,", each)) ||
			strings.Contains(shown, "queued"); {
			if time.Now().After(deadline) {
				t.Fatalf("u%d has not had its turns:\n%s", u, shown)
			}
			time.Sleep(20 * time.Millisecond)
			shown = run(0, "user", "show", fmt.Sprintf("demo/u%d", u))
		}
		last := -1
		for n := range each {
			at := strings.Index(shown, fmt.Sprintf("问题 %d", n+1))
			if at <= last || strings.Count(shown, fmt.Sprintf("问题 %d", n+1)) != 1 {
				t.Fatalf("u%d: message %d is not there once and in its place:\n%s", u, n+1, shown)
			}
			last = at
		}
	}
	if out := run(3, "dead", "redrive", "--all"); out != "" {
		t.Error(out)
	}
	if out := run(0, "dead", "drop", "--state", "redriven", "--all", "--yes"); !strings.Contains(out, "12 letters dropped") {
		t.Error(out)
	}
}
