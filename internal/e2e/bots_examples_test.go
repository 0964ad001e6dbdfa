package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/internal/servers"
	"hongyan/wechat/simulator"
)

// hookSecret signs what the engine sends to the bot in Python.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestExampleBots: the three example bots, each a process of its own, answer users through a real engine and a real NATS server; and of two
// instances one is killed over what it has in hand.
func TestExampleBots(t *testing.T) {
	realProcess(t)
	nats := startNATS(t)
	hook := freeAddress(t)
	var accounts []official
	for _, language := range []string{"go", "node", "python"} {
		accounts = append(accounts, official{id: language, chain: language + ", rules"})
	}
	d := newDeskWith(t, settings{
		nats: nats.URL(), durability: "os", rules: "rules:\n  - {match: event, value: subscribe, reply: 欢迎}\n",
		bots: fmt.Sprintf("  go: {type: nats}\n  node: {type: nats}\n  python: {type: http, url: \"http://%s/\", secret: %s}\n", hook, hookSecret),
	}, accounts...)
	d.openAPI()
	d.start()

	overNATS := []string{"NATS_URL=" + nats.URL()}
	_, port, _ := net.SplitHostPort(hook)
	for _, a := range accounts {
		t.Run(a.id, func(t *testing.T) {
			t.Parallel()
			c := chat{t: t, desk: d, account: a.id}
			if a.id == "python" {
				c.bot = prepareBot(t, a.id, "BOT_PORT="+port, "BOT_SECRET="+hookSecret)
			} else {
				c.bot = prepareBot(t, a.id, append(overNATS, "BOT_SUBJECT=hy.bot."+a.id)...)
			}
			first := c.bot.start(t)
			d.awaitReady()
			c.story()
			if a.id != "python" { // there is one of it
				c.twoInstances(first)
			}
		})
	}
}

// startNATS runs a real nats-server until the test ends.
func startNATS(t *testing.T) *servers.NATS {
	t.Helper()
	server, err := servers.StartNATS(t.Context(), servers.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// exampleBot is what starts one of examples/bots.
type exampleBot struct {
	name, dir string
	command   []string
}

func prepareBot(t *testing.T, name string, env ...string) exampleBot {
	t.Helper()
	b := exampleBot{name: name, dir: t.TempDir()}
	command, err := servers.PrepareExampleBot(filepath.Join("..", ".."), name, b.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.command = slices.Concat(env, command)
	return b
}

// start runs an instance, and returns when it listens.
func (b exampleBot) start(t *testing.T) *servers.Program {
	t.Helper()
	output := filepath.Join(t.TempDir(), "bot.log")
	p, err := servers.StartProgram(b.dir, output, []string{"NATS_", "BOT_"}, "env", b.command...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	listens := poll(t.Context(), startLimit, func() bool {
		said, err := os.ReadFile(output)
		return err == nil && strings.Contains(string(said), "listening") || !p.Running()
	})
	if !listens || !p.Running() {
		t.Fatalf("the bot in %s does not listen; it said:\n%s", b.name, p.Tail())
	}
	return p
}

// chat is one account's users.
type chat struct {
	t       *testing.T
	desk    *desk
	account string
	bot     exampleBot
}

// says lets a user do something and returns what the phone shows.
func (c chat) says(openID string, m simulator.Message) simulator.Answer {
	c.t.Helper()
	result, err := c.desk.platform.Push(c.t.Context(), c.account, openID, m)
	if err != nil || result.Banner || result.Answer == nil {
		c.t.Errorf("%s: %s %q: %v, no answer: %+v", c.account, m.Type, m.Content, err, result.Deliveries)
		return simulator.Answer{}
	}
	return *result.Answer
}

// story is what all three do: count texts in the session, see pictures and the menu, pass on what is not theirs, hand over.
func (c chat) story() {
	c.t.Helper()
	text := func(s string) simulator.Message { return simulator.Message{Type: "text", Content: s} }
	user := "oStory-" + c.account
	for _, s := range []struct {
		does simulator.Message
		want string
	}{
		{simulator.Message{Type: "event", Event: "subscribe"}, "欢迎"}, // the bot passes it on to the rules
		{text("你好"), "第 1 句：你好"},
		{text("天气 <&> 😀"), "第 2 句：天气 <&> 😀"},
		{simulator.Message{Type: "image", MediaID: "MEDIA-7"}, "收到图片 MEDIA-7"},
		{simulator.Message{Type: "event", Event: "CLICK", EventKey: "orders"}, "您点了 orders"},
		{text("再见"), "第 5 句：再见"},
	} {
		if got := c.says(user, s.does); got.Content != s.want {
			c.t.Errorf("%s: the answer to %s %q is %q, want %q", c.account, s.does.Type, s.does.Content, got.Content, s.want)
		}
	}
	if got := c.says("oOther-"+c.account, text("你好")); got.Content != "第 1 句：你好" {
		c.t.Errorf("%s: another user's first text is answered %q", c.account, got.Content)
	}
	if got := c.says(user, text("人工")); got.Type != "transfer_customer_service" {
		c.t.Errorf("%s: 人工 is answered by %+v, not by a hand-over", c.account, got)
	}
}

// twoInstances kills one of two over what it has in hand. Every user gets one answer all the same.
func (c chat) twoInstances(first *servers.Program) {
	c.t.Helper()
	const users = 12 // shared out by chance: that the killed one has none of them does not happen
	c.bot.start(c.t)
	var asking sync.WaitGroup
	for u := range users {
		asking.Go(func() { // ends after three deliveries at the latest
			openID := fmt.Sprintf("oSlow-%s-%02d", c.account, u)
			if got := c.says(openID, simulator.Message{Type: "text", Content: "慢"}); got.Content != "久等了。" {
				c.t.Errorf("%s: the answer to user %d is %q", c.account, u, got.Content)
			}
		})
	}
	eventually(c.t, 10*time.Second, "the bot has all questions", func() bool { return c.desk.upstream(c.account).InFlight == users })
	killed := time.Now()
	if err := first.Kill(); err != nil {
		c.t.Error(err)
	}
	asking.Wait()
	took := time.Since(killed)
	again := c.desk.metrics()[fmt.Sprintf("hongyan_remote_resent_total{bot=%q}", c.account)]
	c.t.Logf("%s: one of two instances killed over %d questions: %v went out again, all answered %v after the kill", c.account, users, again,
		took.Round(10*time.Millisecond))
	if again == 0 || again == users {
		c.t.Errorf("%s: %v of %d questions went out again; the killed instance should have had some", c.account, again, users)
	}
	shown := make(map[string]int)
	for _, r := range c.desk.platform.Witness() {
		if r.Answer != nil && r.Account == c.account && r.Answer.Content == "久等了。" {
			shown[r.OpenID]++
		}
	}
	for u := range users {
		openID := fmt.Sprintf("oSlow-%s-%02d", c.account, u)
		remembered := c.desk.user(c.account, openID)
		if shown[openID] != 1 || len(remembered.Turns) != 2 || remembered.Counts.Turns != 1 {
			c.t.Errorf("%s: user %d saw %d answers; the record has %+v", c.account, u, shown[openID], remembered.Turns)
		}
	}
}
