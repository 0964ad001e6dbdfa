package bots_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"hongyan/bots"
	"hongyan/bots/remote"
	"hongyan/bots/upstream"
	"hongyan/internal/servers"
	"hongyan/messages"
)

// startTime bounds what a program needs before it listens, on a busy machine.
const startTime = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// example is how one of the bots is built and run.
type example struct {
	name    string
	prepare func(t *testing.T) (dir string, command []string)
}

var overNATS = []example{{name: "go", prepare: buildGo}, {name: "node", prepare: installNode}}

func buildGo(t *testing.T) (dir string, command []string) {
	t.Helper()
	dir = t.TempDir()
	program := filepath.Join(dir, "bot")
	if out, err := exec.Command("go", "build", "-o", program, "./go").CombinedOutput(); err != nil {
		t.Fatalf("build the bot in Go: %v\n%s", err, out)
	}
	return dir, []string{program}
}

// installNode copies the bot and installs what its lock file names.
func installNode(t *testing.T) (dir string, command []string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"bot.js", "package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci for the bot in JavaScript: %v\n%s", err, out)
	}
	return dir, []string{"node", "bot.js"}
}

// run starts a bot with some environment, and returns when it listens.
func run(t *testing.T, dir, output string, command []string, env ...string) *servers.Program {
	t.Helper()
	output = filepath.Join(t.TempDir(), output)
	p, err := servers.StartProgram(dir, output, []string{"NATS_", "BOT_"}, "env", append(env, command...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(startTime); ; {
		if said, err := os.ReadFile(output); err == nil && strings.Contains(string(said), "listening") {
			return p
		}
		if !p.Running() || time.Now().After(deadline) {
			t.Fatalf("%v does not listen:\n%s", command, p.Tail())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// natsYard is a real NATS server, and the engine's way to bots there.
func natsYard(t *testing.T) (url string, way *remote.NATS) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	server, err := servers.StartNATS(ctx, servers.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	way, err = remote.NewNATS(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := way.Close()
		conn.Close()
		if err := errors.Join(err, server.Stop()); err != nil {
			t.Error(err)
		}
	})
	return server.URL(), way
}

// newBot is the engine's side of a bot.
func newBot(t *testing.T, transport remote.Transport) *remote.Bot {
	t.Helper()
	u, err := upstream.New(upstream.Options{Name: "example", Endpoints: []upstream.Endpoint{{Name: "a", Weight: 1}}, MaxInFlight: 8})
	if err != nil {
		t.Fatal(err)
	}
	b, err := remote.New(remote.Options{Name: "example", Upstream: u, Transports: []remote.Transport{transport}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask is one turn of a user.
func ask(t *testing.T, b *remote.Bot, session map[string]string, in *messages.Inbound) bots.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in.Account, in.OpenId, in.Key, in.CreateTime = "demo", "oEXAMPLEuser0000000000000001", make([]byte, 16), 1_700_000_000
	resp, err := b.Answer(ctx, &bots.Request{ID: fmt.Sprintf("%032x", len(session)), Message: in, Session: session, Now: time.Now()})
	if err != nil {
		t.Error(err)
	}
	return resp
}

func text(content string) *messages.Inbound {
	return &messages.Inbound{Kind: messages.Kind_KIND_TEXT, MsgType: "text", Body: &messages.Inbound_Text{Text: &messages.Text{Content: content}}}
}

func event(kind messages.Kind, e *messages.Event) *messages.Inbound {
	return &messages.Inbound{Kind: kind, MsgType: "event", Body: &messages.Inbound_Event{Event: e}}
}

// story is what all three bots do.
func story(t *testing.T, b *remote.Bot) {
	t.Helper()
	picture := &messages.Inbound{Kind: messages.Kind_KIND_IMAGE, MsgType: "image", Body: &messages.Inbound_Media{
		Media: &messages.Media{MediaId: "MEDIA_ID", PicUrl: "http://example.com/p"},
	}}
	session := map[string]string{}
	for i, c := range []struct {
		in   *messages.Inbound
		want string
	}{
		{text("你好"), "第 1 句：你好"},
		{text("\"quoted\"\n😀"), "第 2 句：\"quoted\"\n😀"},
		{picture, "收到图片 MEDIA_ID"},
		{event(messages.Kind_KIND_CLICK, &messages.Event{Name: "CLICK", Key: "orders"}), "您点了 orders"},
		{text("慢"), "久等了。"},
	} {
		start := time.Now()
		resp := ask(t, b, session, c.in)
		if len(resp.Answers) != 1 || resp.Answers[0].GetText().GetContent() != c.want || resp.Session["turns"] != fmt.Sprint(i+1) {
			t.Errorf("turn %d: %+v, want %q", i+1, resp, c.want)
		}
		if c.want == "久等了。" && time.Since(start) < 4*time.Second {
			t.Errorf("the slow answer came after %v", time.Since(start))
		}
		session = resp.Session
	}
	if resp := ask(t, b, session, text("人工")); !resp.Handled || resp.HandOver == nil {
		t.Errorf("人工: %+v", resp)
	}
	if resp := ask(t, b, session, event(messages.Kind_KIND_SUBSCRIBE, &messages.Event{Name: "subscribe"})); resp.Handled {
		t.Errorf("subscribe: %+v", resp)
	}
}

func TestOverNATS(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts real processes; make test runs it")
	}
	t.Parallel()
	url, way := natsYard(t)
	for _, e := range overNATS {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			transport, err := way.Subject("hy.bot." + e.name)
			if err != nil {
				t.Fatal(err)
			}
			dir, command := e.prepare(t)
			env := []string{"NATS_URL=" + url, "BOT_SUBJECT=hy.bot." + e.name}
			first := run(t, dir, "first.log", command, env...)
			b := newBot(t, transport)
			story(t, b)
			succeeds(t, dir, command, env, transport, first)
			if err := first.Stop(); err == nil && first.Running() {
				t.Error("it runs on")
			}
		})
	}
}

// succeeds kills an instance over a request that it has in hand: another one answers it. And one that is stopped in order finishes what
// it has in hand.
func succeeds(t *testing.T, dir string, command, env []string, transport remote.Transport, first *servers.Program) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := func() (signs chan struct{}, answer chan error) {
		signs, answer = make(chan struct{}, 64), make(chan error, 1)
		go func() {
			data, err := transport.Call(ctx, remote.Exchange{
				ID: "slow-1",
				Body: func(int) ([]byte, error) {
					return []byte(`{"message": {"kind": "text", "text": "慢"}, "session": {}}`), nil
				},
				Alive: func() { signs <- struct{}{} },
				Again: func() {},
			})
			if err == nil && !strings.Contains(string(data), "久等了。") {
				err = fmt.Errorf("answered %s", data)
			}
			answer <- err
		}()
		return signs, answer
	}
	signs, answer := begin()
	<-signs // the first instance has it: there is no other
	second := run(t, dir, "second.log", command, env...)
	killed := time.Now()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	took := time.Since(killed)
	t.Logf("killed over a request: answered by the other after %v, of which it worked for 5 s itself", took.Round(10*time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("that took %v", took)
	}

	signs, answer = begin()
	<-signs
	if err := second.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("stopped over a request: %v", err)
	}
	for deadline := time.Now().Add(startTime); second.Running(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not end:\n%s", second.Tail())
		}
	}
	if code := second.ExitCode(); code != 0 {
		t.Errorf("it ends with %d:\n%s", code, second.Tail())
	}
}

func TestPythonOverHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts real processes; make test runs it")
	}
	t.Parallel()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "python", "python.log", []string{"python3", "-B", "bot.py"}, "BOT_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", fmt.Sprint("BOT_PORT=", port))
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	transport := upstream.NewTransport(8)
	t.Cleanup(transport.CloseIdleConnections)
	hook := func(secret string) remote.Transport {
		key, err := upstream.OpenKey(secret, "")
		if err != nil {
			t.Fatal(err)
		}
		h, err := remote.NewHTTP(remote.HTTPOptions{URL: url, Secret: key, Client: transport, Alone: true})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	story(t, newBot(t, hook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")))
	// While a secret changes, the engine signs with both.
	if resp := ask(t, newBot(t, hook("the-new-one whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")), nil, text("你好")); !resp.Handled {
		t.Errorf("two secrets: %+v", resp)
	}
	_, err = newBot(t, hook("another")).Answer(t.Context(), &bots.Request{Message: text("x")})
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("another's signature: %v", err)
	}
	unsigned, err := http.Post(url, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, unsigned.Body)
	_ = unsigned.Body.Close()
	if unsigned.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a signature: %s", unsigned.Status)
	}
}
