package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/cluster"
	"hongyan/console"
	"hongyan/conversation"
	"hongyan/messages"
)

// oneUser is a node that knows demo/o 你/x alone.
type oneUser struct{ state []byte }

func (o oneUser) Inspect(_ context.Context, user messages.User) (*messages.UserView, error) {
	found := user == messages.User{Account: "demo", OpenID: "o 你/x"}
	return &messages.UserView{Account: user.Account, OpenId: user.OpenID, Found: found, Version: 3, Incarnation: 1, Node: "n1",
		Partition: 5, Epoch: 2, State: o.state, Queued: 1, Running: "ab"}, nil
}

// Report is an installation with a worker that is silent and a partition that moves.
func (oneUser) Report(context.Context) (cluster.Report, error) {
	return cluster.Report{
		Nodes: []cluster.NodeStatus{{Node: "w1", Roles: []string{"worker"}, Started: time.Now().Add(-90 * time.Second), Partitions: 1}},
		Partitions: []cluster.PartitionStatus{
			{Partition: 0, Owner: "w1", Epoch: 7, Lag: 12 * time.Millisecond, Unsettled: 3, Floor: 41, Newest: 44, Reported: true},
			{Partition: 1, Owner: "w2\x1b[2J", Epoch: 8, Moving: true},
		},
		Missing: []string{"w2"},
	}, nil
}

func TestNodesAndPartitions(t *testing.T) {
	t.Parallel()
	file := adminNode(t, "a-long-admin-token")
	for command, told := range map[string][]string{
		"nodes":      {"w1", "1m30s", "silent", "1 partition moving"},
		"partitions": {"12ms", "41", "44", "served", "moving"},
	} {
		got := execute(t, command, "-c", file)
		for _, word := range told {
			if got.code != 0 || !strings.Contains(got.stdout, word) {
				t.Errorf("%s does not tell %q: %+v", command, word, got)
			}
		}
		if strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%s commands the terminal: %q", command, got.stdout)
		}
		var list map[string]any
		if err := json.Unmarshal([]byte(execute(t, command, "-c", file, "-o", "json").stdout), &list); err != nil || list[command] == nil || list["moving"] != 1.0 {
			t.Errorf("%s -o json: %v, %v", command, list, err)
		}
		if got := execute(t, command, "-c", adminNode(t, "another-admin-token")); got.code != 1 || !strings.Contains(got.stderr, "token") {
			t.Errorf("%s with a wrong token: %+v", command, got)
		}
	}
}

// adminNode serves a real admin listener and returns a configuration that reaches it.
func adminNode(t *testing.T, token string) (file string) {
	t.Helper()
	blob, err := conversation.Seal(&messages.Answer{Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: "稍后\x1b[31m的答案"}}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := conversation.State{
		Applied: messages.Position{Generation: 1, Sequence: 9},
		Turns: []conversation.Turn{
			{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_TEXT), Text: "你好\n\x1b[2J", AtMS: time.Now().UnixMilli()},
			{Role: conversation.RoleUser, Kind: int32(messages.Kind_KIND_SUBSCRIBE), AtMS: time.Now().UnixMilli()},
			{Role: conversation.RoleBot, Text: "您好！", AtMS: time.Now().UnixMilli()},
		},
		Kept:    []conversation.Kept{{Key: messages.Key{0xee}, Answer: blob, AtMS: time.Now().UnixMilli()}},
		Session: map[string]string{"rules.step": "two"},
		Counts:  conversation.Counts{Turns: 2, Answered: 1, Limited: 4},

		Breaker:  conversation.Breaker{Failures: 3, UntilMS: time.Now().Add(time.Hour).UnixMilli()},
		Spent:    conversation.Spending{Day: conversation.DayOf(time.Now()), Tokens: 4711},
		Rate:     conversation.Rate{FullNS: time.Now().Add(time.Hour).UnixNano()},
		HandOver: &conversation.HandOver{Account: "kf\x1b@demo", AtMS: time.Now().UnixMilli()},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	handler, err := console.New(console.Options{Version: "v", Node: "n1", Listen: "127.0.0.1:0", Users: oneUser{state}, Cluster: oneUser{state}, Official: noOfficials{},
		Dead: struct{ console.DeadLetters }{}, Log: struct{ console.Log }{}, Gather: registry,
		Metrics: registry, Logger: slog.New(slog.DiscardHandler), Now: time.Now, AdminToken: token, Bots: someBots})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return clientConfig(t, server.Listener.Addr().String(), "a-long-admin-token")
}

func clientConfig(t *testing.T, admin, token string) string {
	t.Helper()
	return writeConfig(t, "hongyan.yaml", fmt.Sprintf("listen: {admin: %q}\nadmin: {token: %q}\naccounts: [{id: demo, mode: plain, token: abc}]\n", admin, token))
}

func TestUserShow(t *testing.T) {
	t.Parallel()
	file := adminNode(t, "a-long-admin-token")
	for _, args := range [][]string{{"demo/o 你/x"}, {"--account", "demo", "--user", "o 你/x"}} {
		got := execute(t, append([]string{"user", "show", "-c", file}, args...)...)
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("%+v", got)
		}
		for _, want := range []string{
			"demo/o 你/x", "node n1, partition 5, epoch 2", "version 3, incarnation 0000000000000001", "1:9", "answering ab, 1 queued",
			"conversation (3)", "你好⏎�[2J", "[subscribe]", "您好！", "kept for the next message (1)", "稍后�[31m的答案",
			"ee000000000000000000000000000000", "session (1)", "rules.step", "two", "turns 2, answered 1, silent 0, limited 4",
			"breaker    open until 2", "remote bots are not asked, 3 turns failed in a row", "tokens     4711 spent today",
			"rate       full again at 2", "hand-over  to kf�@demo since 2",
		} {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("the text lacks %q:\n%s", want, got.stdout)
			}
		}
		if strings.ContainsAny(got.stdout, "\x1b\x07") {
			t.Errorf("a user's text commands the terminal: %q", got.stdout)
		}
	}
	got := execute(t, "user", "show", "-c", file, "demo/o 你/x", "-o", "json")
	var u console.User
	if err := json.Unmarshal([]byte(got.stdout), &u); err != nil || u.Version != 3 || len(u.Turns) != 3 || got.code != 0 {
		t.Errorf("%v %+v", err, got)
	}
}

func TestUserShowTellsWhyNot(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	for _, c := range []struct {
		what, file string
		code       int
		stderr     string
	}{
		{"no such user", adminNode(t, "a-long-admin-token"), 3, "account demo has no user u1 here"},
		{"another token", adminNode(t, "not-this-token"), 1, "refuses the token"},
		{"nobody listens", clientConfig(t, nobody, "a-long-admin-token"), 1, "is it running? start it with `hongyan dev`"},
		{"another server", clientConfig(t, stranger.Listener.Addr().String(), "a-long-admin-token"), 1, "is not a node of Hongyan (status 404)"},
		{"no token", clientConfig(t, nobody, ""), 1, "has no admin.token"},
		{"port 0", clientConfig(t, "127.0.0.1:0", "a-long-admin-token"), 1, "has port 0"},
	} {
		got := execute(t, "user", "show", "-c", c.file, "demo/u1")
		if got.code != c.code || got.stdout != "" || !strings.Contains(got.stderr, c.stderr) || strings.Contains(got.stderr, "a-long-admin-token") {
			t.Errorf("%s: %+v", c.what, got)
		}
	}
}

func TestAdminBase(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:9090": "http://127.0.0.1:9090", "0.0.0.0:9": "http://127.0.0.1:9", "[::]:9": "http://[::1]:9", ":9": "http://127.0.0.1:9",
		"[::1]:9": "http://[::1]:9", "10.0.0.1:9": "http://10.0.0.1:9", "localhost:9": "http://localhost:9",
	} {
		if got, err := adminBase(listen); err != nil || got != want {
			t.Errorf("%s: %s, %v", listen, got, err)
		}
	}
}

// TestDevFileIsTheDefault changes the working directory and so runs alone.
func TestDevFileIsTheDefault(t *testing.T) {
	file := adminNode(t, "a-long-admin-token")
	t.Chdir(t.TempDir())
	if got := execute(t, "user", "show", "demo/u1"); got.code != 1 || !strings.Contains(got.stderr, "start `hongyan dev` here first") {
		t.Errorf("without %s: %+v", devConfigFile, got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(devConfigFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(devConfigFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := execute(t, "user", "show", "demo/o 你/x"); got.code != 0 || !strings.Contains(got.stdout, "您好！") {
		t.Errorf("with %s: %+v", devConfigFile, got)
	}
}

// noOfficials: no account calls WeChat's API.
type noOfficials struct{ console.AccountActors }

func (noOfficials) Official() []string { return nil }
