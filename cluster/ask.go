package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"hongyan/messages"
)

// A question to a user's actor over NATS: the user and how long the asker waits stand in the header, the message is the
// payload, as a google.protobuf.Any; so is the reply, or its header says what went wrong.
const (
	headerAccount = "hy-account"
	headerOpenID  = "hy-openid"
	headerWithin  = "hy-within-ms"
	headerError   = "hy-error"

	askQueue = "workers"
	askMost  = 64 // questions that one worker works on at a time
)

// ErrNoWorker: no worker answers questions, so nobody can be asked for a user.
var ErrNoWorker = errors.New("no worker is there to be asked")

// Ask asks a user's actor from a process that is no cluster member, through any worker that runs ServeAsk. What Node.Request
// says of repeated messages holds. Without a deadline in ctx it gives up after 5 s. name is the cluster's.
func Ask(ctx context.Context, conn *nats.Conn, name string, u messages.User, msg proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reply, err := ask(ctx, conn, name, u, msg)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", actorName(u), err)
	}
	return reply, nil
}

func ask(ctx context.Context, conn *nats.Conn, name string, u messages.User, msg proto.Message) (proto.Message, error) {
	payload, err := packed(msg)
	if err != nil {
		return nil, err
	}
	question := nats.NewMsg(nodeSubject(name, "ask"))
	deadline, _ := ctx.Deadline()
	question.Header.Set(headerAccount, u.Account)
	question.Header.Set(headerOpenID, u.OpenID)
	question.Header.Set(headerWithin, strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
	question.Data = payload
	reply, err := conn.RequestMsgWithContext(ctx, question)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, ErrNoWorker
	case err != nil:
		return nil, fmt.Errorf("no reply from a worker: %w", err)
	}
	if told := reply.Header.Get(headerError); told != "" {
		return nil, errors.New(told)
	}
	return unpacked(reply.Data)
}

func packed(msg proto.Message) ([]byte, error) {
	envelope, err := anypb.New(msg)
	if err != nil {
		return nil, fmt.Errorf("encode a %T: %w", msg, err)
	}
	b, err := proto.Marshal(envelope)
	if err != nil {
		return nil, fmt.Errorf("encode a %T: %w", msg, err)
	}
	return b, nil
}

func unpacked(b []byte) (proto.Message, error) {
	var envelope anypb.Any
	if err := proto.Unmarshal(b, &envelope); err != nil {
		return nil, fmt.Errorf("decode a question or its reply: %w", err)
	}
	msg, err := envelope.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("decode a question or its reply: %w; do all nodes run the same version?", err)
	}
	return msg, nil
}

// Requester is who answers for users: a Node.
type Requester interface {
	Request(ctx context.Context, u messages.User, msg proto.Message) (any, error)
}

// ServeAsk answers Ask until ctx ends, and returns when the questions under way have their answers. Workers run it. name is
// the cluster's.
func ServeAsk(ctx context.Context, conn *nats.Conn, name string, users Requester, logger *slog.Logger) error {
	subject := nodeSubject(name, "ask")
	var working sync.WaitGroup
	slots := make(chan struct{}, askMost)
	sub, err := conn.QueueSubscribe(subject, askQueue, func(msg *nats.Msg) {
		select {
		case slots <- struct{}{}:
		default:
			answerError(msg, "the worker that was asked is busy with other questions: ask again", logger)
			return
		}
		working.Go(func() { // ended by the question's own time limit
			defer func() { <-slots }()
			answer(ctx, msg, users, logger)
		})
	})
	if err != nil {
		return fmt.Errorf("answer questions about users on %s: %w", subject, err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // fails only with the connection
	working.Wait()
	return nil
}

func answer(ctx context.Context, question *nats.Msg, users Requester, logger *slog.Logger) {
	within, err := strconv.ParseInt(question.Header.Get(headerWithin), 10, 64)
	u := messages.User{Account: question.Header.Get(headerAccount), OpenID: question.Header.Get(headerOpenID)}
	if err != nil || within <= 0 || u.Account == "" || u.OpenID == "" {
		answerError(question, "the question names no user or no time limit", logger)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(within)*time.Millisecond, requestTimeout))
	defer cancel()
	msg, err := unpacked(question.Data)
	if err != nil {
		answerError(question, err.Error(), logger)
		return
	}
	reply, err := users.Request(ctx, u, msg)
	if err != nil {
		answerError(question, err.Error(), logger)
		return
	}
	said, ok := reply.(proto.Message)
	if !ok {
		answerError(question, fmt.Sprintf("the user's actor answered with %T", reply), logger)
		return
	}
	payload, err := packed(said)
	if err != nil {
		answerError(question, err.Error(), logger)
		return
	}
	if err := question.Respond(payload); err != nil {
		logger.Warn("an answer about a user could not be sent", "user", u.Hash(), "error", err)
	}
}

func answerError(question *nats.Msg, text string, logger *slog.Logger) {
	reply := nats.NewMsg(question.Reply)
	reply.Header.Set(headerError, text)
	if err := question.RespondMsg(reply); err != nil {
		logger.Warn("a question about a user could not be refused", "error", err)
	}
}
