package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"golang.org/x/sync/errgroup"
)

// exchange is one round of tools: what the model called, and what it got to read.
type exchange struct {
	reply   reply
	results []string // as many as calls
}

// maxCalls bounds the calls of one round; what is beyond is left out, as if the model had not called it.
const maxCalls = 32

// perform calls the tools of one round side by side, and returns when all have ended: what the model gets to read, in the order of
// the calls.
func (t *turn) perform(ctx context.Context, calls []call) []string {
	if len(calls) > maxCalls {
		calls = calls[:maxCalls]
	}
	results := make([]string, len(calls))
	round := len(t.exchanges) + 1
	var group errgroup.Group
	group.SetLimit(maxToolsAtOnce)
	for i := range calls {
		id := t.callID(&calls[i])
		calls[i].id = orElse(calls[i].id, fmt.Sprintf("call_%d_%d", round, i+1))
		group.Go(func() error {
			results[i] = t.use(ctx, id, &calls[i])
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error: what went wrong is told to the model
	return results
}

// callID names a call, see ToolCall.ID. The model's own ids are random, and different when it is asked again.
func (t *turn) callID(c *call) string {
	arguments := bytes.Buffer{}
	if json.Compact(&arguments, c.arguments) != nil {
		arguments.Reset()
		arguments.Write(c.arguments)
	}
	sum := sha256.Sum256(append([]byte(c.name+"\x00"), arguments.Bytes()...))
	name := hex.EncodeToString(sum[:8])
	t.named[name]++
	return fmt.Sprintf("%s-%s-%d", t.req.ID, name, t.named[name])
}

// use calls one tool, and says in words what became of it.
func (t *turn) use(ctx context.Context, id string, c *call) string {
	tool := t.bot.toolOf(c.name)
	if tool == nil {
		t.bot.metrics.calls.WithLabelValues(t.bot.name, "unknown", toolUnknown).Inc()
		return "没有这个工具。"
	}
	arguments := bytes.TrimSpace(c.arguments)
	if len(arguments) == 0 {
		arguments = []byte("{}")
	}
	if !json.Valid(arguments) || arguments[0] != '{' {
		t.bot.metrics.calls.WithLabelValues(t.bot.name, tool.Name, toolBadArguments).Inc()
		return "参数不是合法的 JSON 对象，请改正后再调用。"
	}
	within, cancel := context.WithTimeout(ctx, tool.Timeout)
	defer cancel()
	start := time.Now()
	result, err := tool.safely(within, ToolCall{
		ID: id, Tool: tool.Name, Arguments: arguments, Account: t.req.Message.GetAccount(), User: t.req.Message.GetOpenId(),
	})
	outcome := toolOK
	var reported Reported
	switch {
	case err == nil:
		result = orElse(shortened(result), "（工具没有返回内容）")
	case errors.As(err, &reported):
		outcome, result = toolReported, orElse(shortened(reported.ToolReport()), noResult)
	case within.Err() != nil && ctx.Err() == nil:
		outcome, result = toolLate, fmt.Sprintf("工具在 %v 内没有返回结果。", tool.Timeout)
	default:
		outcome, result = toolFailed, noResult
	}
	t.bot.metrics.calls.WithLabelValues(t.bot.name, tool.Name, outcome).Inc()
	if err != nil && reported == nil && ctx.Err() == nil {
		t.bot.log.WarnContext(ctx, "tool failed, the model is told so", "bot", t.bot.name, "tool", tool.Name,
			"account", t.req.Message.GetAccount(), "user", t.user, "call", id, "result", outcome, "elapsed", time.Since(start), "error", err)
	}
	return result
}

// noResult is what the model is told of a tool that failed and does not say why.
const noResult = "工具出错了，没有结果。"

// shortened is what a tool says without blanks around it, and no longer than the model gets to read.
func shortened(result string) string {
	if len(result) > maxToolResult {
		result = strings.ToValidUTF8(result[:maxToolResult], "")
	}
	return strings.TrimSpace(result)
}

var errToolPanic = errors.New("the tool panicked")

// safely calls the tool and makes an error of its panic; the panic's value may quote arguments, so only its place is told.
func (tool *Tool) safely(ctx context.Context, c ToolCall) (result string, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%w\n%s", errToolPanic, debug.Stack())
		}
	}()
	return tool.Call(ctx, c)
}

func (b *Bot) toolOf(name string) *Tool {
	for i := range b.tools {
		if b.tools[i].Name == name {
			return &b.tools[i]
		}
	}
	return nil
}

// within cuts the results of a round to equal parts of the room that is left for them in the context.
func (t *turn) within(x exchange) exchange {
	x.reply.calls = x.reply.calls[:len(x.results)]
	room := t.budget() - t.fixed() - leastQuestion - x.tokens()
	for _, earlier := range t.exchanges {
		room -= earlier.tokens()
	}
	if room >= 0 {
		return x
	}
	for _, result := range x.results {
		room += estimate(result)
	}
	share := max(room, 0) / len(x.results)
	for i, result := range x.results {
		if x.results[i] = cut(result, share); x.results[i] == "" {
			x.results[i] = "…"
		}
	}
	return x
}

// tokens is the estimate of a round.
func (x exchange) tokens() int {
	n := perMessage + estimate(x.reply.text) + estimate(x.reply.reasoning)
	for i, c := range x.reply.calls {
		n += 2*perMessage + estimate(c.name) + estimate(string(c.arguments)) + estimate(x.results[i])
	}
	return n
}

// messages are a round in the library's form. Reasoning goes back to the model where it called tools: DeepSeek's and Kimi's refuse to
// go on without it.
func (x exchange) messages() []openai.ChatCompletionMessageParamUnion {
	said := openai.ChatCompletionAssistantMessageParam{}
	extra := map[string]any{}
	if x.reply.text != "" {
		said.Content.OfString = openai.String(x.reply.text)
	} else {
		extra["content"] = nil // some endpoints refuse a message in which it is absent
	}
	if x.reply.reasoning != "" {
		extra["reasoning_content"] = x.reply.reasoning
	}
	said.SetExtraFields(extra)
	all := []openai.ChatCompletionMessageParamUnion{{OfAssistant: &said}}
	for i, c := range x.reply.calls {
		arguments := string(c.arguments)
		if !json.Valid(c.arguments) { // endpoints refuse a history that holds anything else
			arguments = "{}"
		}
		said.ToolCalls = append(said.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID: c.id, Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: c.name, Arguments: arguments},
			},
		})
		all = append(all, openai.ToolMessage(x.results[i], c.id))
	}
	return all
}
