package embedded_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"hongyan/stream/embedded"
)

const doorToken = "a-token-for-the-bots"

// visit connects as a program outside this process. Errors of its connection come to the channel.
func visit(t *testing.T, url, token string) (*nats.Conn, <-chan error) {
	t.Helper()
	faults := make(chan error, 16)
	conn, err := nats.Connect(url, nats.Token(token), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { faults <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, faults
}

func startDoor(t *testing.T, token string) *embedded.Server {
	t.Helper()
	return start(t, embedded.Options{StoreDir: t.TempDir(), MaxStore: 1 << 30, Bots: embedded.Door{Listen: "127.0.0.1:0", Token: token}})
}

// A bot is what the door is for: a micro service that answers, and that service discovery finds. Without a token on loopback too.
func TestDoorLetsBotsServe(t *testing.T) {
	t.Parallel()
	for _, token := range []string{doorToken, ""} {
		s := startDoor(t, token)
		engine := connect(t, s)
		bot, faults := visit(t, s.URL(), token)
		service, err := micro.AddService(bot, micro.Config{
			Name: "parrot", Version: "1.0.0",
			Endpoint: &micro.EndpointConfig{Subject: "hy.bot.parrot", Handler: micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(r.Data()) })},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := bot.Flush(); err != nil {
			t.Fatal(err)
		}
		large := strings.Repeat("x", 2<<20) // a picture
		for subject, body := range map[string]string{"hy.bot.parrot": large, "$SRV.PING.parrot": ""} {
			answers, err := engine.SubscribeSync("hy.reply.1." + strings.TrimPrefix(subject, "$"))
			if err != nil {
				t.Fatal(err)
			}
			if err := engine.PublishRequest(subject, answers.Subject, []byte(body)); err != nil {
				t.Fatal(err)
			}
			msg, err := answers.NextMsg(5 * time.Second)
			if err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			if subject == "hy.bot.parrot" && string(msg.Data) != body {
				t.Errorf("the answer has %d bytes", len(msg.Data))
			}
		}
		if err := service.Stop(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-faults:
			t.Errorf("the bot was refused something: %v", err)
		default:
		}
	}
}

// A model's tool may live on a subject of its own, and serves there as bots do.
func TestDoorLetsToolsServe(t *testing.T) {
	t.Parallel()
	s := startDoor(t, doorToken)
	engine := connect(t, s)
	tool, faults := visit(t, s.URL(), doorToken)
	if _, err := tool.QueueSubscribe("hy.tool.weather", "q", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := tool.Flush(); err != nil {
		t.Fatal(err)
	}
	answers, err := engine.SubscribeSync("hy.reply.1.weather")
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.PublishRequest("hy.tool.weather", answers.Subject, []byte("rain?")); err != nil {
		t.Fatal(err)
	}
	if msg, err := answers.NextMsg(5 * time.Second); err != nil || string(msg.Data) != "rain?" {
		t.Errorf("%+v, %v", msg, err)
	}
	select {
	case err := <-faults:
		t.Errorf("the tool was refused something: %v", err)
	default:
	}
}

// What a bot must not do: read or write the log, the store, what the engine's own requests wait for, or JetStream's interface.
func TestDoorKeepsBotsOut(t *testing.T) {
	t.Parallel()
	s := startDoor(t, doorToken)
	engine := connect(t, s)
	js, err := jetstream.New(engine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "HY_IN", Subjects: []string{"hy.in.>"}}); err != nil {
		t.Fatal(err)
	}
	store, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "hy_state"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutString(t.Context(), "key", "secret"); err != nil {
		t.Fatal(err)
	}
	bot, faults := visit(t, s.URL(), doorToken)
	refused := func(what string) {
		t.Helper()
		if err := bot.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-faults:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("a bot may %s", what)
		}
	}
	for _, subject := range []string{">", "hy.>", "hy.in.>", "hy.dead.>", "hy.reply.>", "_INBOX.>", "$KV.>", "$JS.>", "$SYS.>", "*.bot.x"} {
		if _, err := bot.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		refused("hear " + subject)
	}
	for _, subject := range []string{
		"hy.in.0.demo", "hy.dead.0.demo.x", "hy.bot.other", "_INBOX.x", "$KV.hy_state.key", "$JS.API.INFO", "$JS.API.STREAM.MSG.GET.KV_hy_state",
		"$JS.API.DIRECT.GET.KV_hy_state.$KV.hy_state.key", "$JS.API.STREAM.DELETE.HY_IN", "$SRV.PING", "$SYS.REQ.SERVER.PING",
	} {
		heard, err := engine.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(engine.Flush(), bot.PublishRequest(subject, "hy.reply.mine", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		refused("say " + subject)
		if err := engine.Flush(); err != nil {
			t.Fatal(err)
		}
		if n, _, err := heard.Pending(); err != nil || n != 0 {
			t.Errorf("%d messages of the bot came through on %s (%v)", n, subject, err)
		}
	}
	log, err := js.Stream(t.Context(), "HY_IN")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := log.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("the log: %+v, %v", info, err)
	}
	if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value()) != "secret" {
		t.Errorf("the store: %v, %v", entry, err)
	}
}

func TestDoorAsksForItsToken(t *testing.T) {
	t.Parallel()
	s := startDoor(t, doorToken)
	for _, token := range []string{"", "wrong", doorToken + "x"} {
		conn, err := nats.Connect(s.URL(), nats.Token(token), nats.Timeout(5*time.Second))
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	for listen, want := range map[string]string{
		"0.0.0.0:0": "nats.bots.token", ":0": "nats.bots.token", "[::]:0": "nats.bots.token", "127.0.0.1": "host:port", "127.0.0.1:many": "host:port",
	} {
		_, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), Bots: embedded.Door{Listen: listen}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", listen, err)
		}
	}
	_, err := embedded.Start(embedded.Options{
		StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Token: "x", Bots: embedded.Door{Listen: "127.0.0.1:0"},
	})
	if err == nil || !strings.Contains(err.Error(), "nats.bots.listen") {
		t.Errorf("both: %v", err)
	}
}
