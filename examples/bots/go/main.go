// A bot for Hongyan in Go, over NATS. Start it as often as you like: the instances share the messages.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Request is what this bot reads of a request; docs/bots.md has the rest.
type Request struct {
	Message struct {
		Kind, Text string
		Media      struct{ ID string }
		Event      struct{ Key string }
	}
	Session map[string]string // what this bot kept for this user
}

// Response is what this bot says.
type Response struct {
	Handled  *bool             `json:"handled,omitempty"` // false: the next bot of the chain is asked
	Answers  []any             `json:"answers,omitempty"` // texts, or objects for everything else
	Session  map[string]string `json:"session,omitempty"` // what to keep
	HandOver *struct{}         `json:"hand_over,omitempty"`
	Error    string            `json:"error,omitempty"` // a short word for the engine's log
}

// answer turns a request into a response. Everything that this bot can do is in here.
func answer(r Request) Response {
	turns, _ := strconv.Atoi(r.Session["turns"]) // the first time there is none: 0
	turns++
	say := func(text string) Response {
		return Response{Answers: []any{text}, Session: map[string]string{"turns": strconv.Itoa(turns)}}
	}
	switch m := r.Message; {
	case m.Kind == "text" && m.Text == "人工":
		return Response{HandOver: &struct{}{}} // to a support agent of the account
	case m.Kind == "text" && m.Text == "慢":
		time.Sleep(5 * time.Second) // the signs of life below keep the engine waiting
		return say("久等了。")
	case m.Kind == "text":
		return say(fmt.Sprintf("第 %d 句：%s", turns, m.Text))
	case m.Kind == "image":
		return say("收到图片 " + m.Media.ID) // by this id it can be sent back, or fetched from WeChat
	case m.Kind == "click": // of a menu button; the key is the one that you gave it
		return say("您点了 " + m.Event.Key)
	default:
		return Response{Handled: new(bool)}
	}
}

// serve answers one message of NATS.
func serve(req micro.Request) {
	// A sign of life at once and then every second: when this instance dies, the engine notices within three seconds, and asks another.
	sign := []byte(`{"working": true}`)
	_ = req.Respond(sign)
	done := make(chan Response, 1)
	go func() { // ends with the answer
		var r Request
		if err := json.Unmarshal(req.Data(), &r); err != nil {
			done <- Response{Error: "unreadable_request"}
			return
		}
		done <- answer(r)
	}()
	for signs := time.NewTicker(time.Second); ; {
		select {
		case response := <-done:
			signs.Stop()
			_ = req.RespondJSON(response) // it fails with the connection alone, and then the engine asks another instance
			return
		case <-signs.C:
			_ = req.Respond(sign)
		}
	}
}

func run(ctx context.Context) error {
	url := cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL)
	subject := cmp.Or(os.Getenv("BOT_SUBJECT"), "hy.bot.example") // hy.bot.<the bot's name in hongyan.yaml>
	conn, err := nats.Connect(url, nats.Token(os.Getenv("NATS_TOKEN")), nats.Name("example-bot"), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer conn.Close()
	var inHand sync.WaitGroup
	handler := micro.HandlerFunc(func(r micro.Request) { inHand.Go(func() { serve(r) }) }) // side by side, not one after the other
	service, err := micro.AddService(conn, micro.Config{                                   // its instances are one queue group
		Name: "example", Version: "1.0.0", Endpoint: &micro.EndpointConfig{Subject: subject, Handler: handler},
	})
	if err != nil {
		return err
	}
	slog.Info("listening", "subject", subject)
	<-ctx.Done() // then take nothing new, and finish what is in hand
	err = service.Stop()
	inHand.Wait()
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		slog.Error("the bot ends", "error", err)
		os.Exit(1)
	}
}
