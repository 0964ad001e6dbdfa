package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/openai/openai-go/v3/packages/ssestream"
)

// reply is what came of one request.
type reply struct {
	text      string
	calls     []call
	reasoning string // kept only to be sent back beside calls, which some models insist on
	finish    string // why it ended, as received; empty where the endpoint does not say
	usage     *usage // nil where it does not tell
	estimated int    // tokens of what came, reasoning included
	begun     bool   // the endpoint had begun to answer
	filtered  bool   // its content filter stopped it
}

// call is one call of a tool as the model put it.
type call struct {
	index     int // as received, -1 where it came without
	id, name  string
	arguments []byte // JSON, if the model did well
}

// usage is what an endpoint says that a request cost. Some write whole numbers with a point.
type usage struct {
	Prompt     float64 `json:"prompt_tokens"`
	Completion float64 `json:"completion_tokens"`
}

const mostTokens = 1 << 30 // of one request; who tells more is mistaken

func (u *usage) prompt() int64     { return int64(min(max(u.Prompt, 0), mostTokens)) }
func (u *usage) completion() int64 { return int64(min(max(u.Completion, 0), mostTokens)) }

// chunk is one event of a stream, or the whole of an answer in one piece: of what the field's endpoints send, the part that we read.
type chunk struct {
	Choices []struct {
		Index        int    `json:"index"`
		Delta        delta  `json:"delta"`
		Message      delta  `json:"message"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type delta struct {
	Content          words       `json:"content"`
	Refusal          words       `json:"refusal"`
	ReasoningContent words       `json:"reasoning_content"` // DeepSeek, Qwen, vLLM
	Reasoning        words       `json:"reasoning"`         // OpenRouter, newer vLLM
	ToolCalls        []callDelta `json:"tool_calls"`
}

type callDelta struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string    `json:"name"`
		Arguments arguments `json:"arguments"`
	} `json:"function"`
}

// words are a text: a JSON string, or a list of parts of which those of type text count. Anything else is no text.
type words string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(data []byte) error {
	*w = ""
	switch data[0] {
	case '"':
		return json.Unmarshal(data, (*string)(w))
	case '[':
		var parts []struct {
			Type string          `json:"type"`
			Text json.RawMessage `json:"text"`
		}
		if json.Unmarshal(data, &parts) != nil {
			return nil //nolint:nilerr // it is no text then, which is what the type says
		}
		for _, part := range parts {
			var text string
			if part.Type == "text" && json.Unmarshal(part.Text, &text) == nil {
				*w += words(text)
			}
		}
	}
	return nil
}

// arguments are those of a call: a piece of JSON in a string, or, where an endpoint takes a short cut, the object itself.
type arguments string

// UnmarshalJSON implements json.Unmarshaler.
func (a *arguments) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		return json.Unmarshal(data, (*string)(a))
	case '{':
		*a = arguments(data)
	}
	return nil
}

// Errors of what endpoints send.
var (
	errGarbage = errors.New("the stream holds an event that is not of the protocol")
	errNoEnd   = errors.New("the stream ended in the middle of an answer")
	errCalls   = errors.New("the calls of tools are longer than 256 KiB")
)

// read puts a response together. What came before an error is in the reply all the same.
func read(resp *http.Response) (reply, error) {
	c := collector{}
	c.begun = true
	var err error
	if isEvents(resp.Header) {
		err = c.stream(ssestream.NewDecoder(resp))
		if err == nil {
			drain(resp.Body)
		}
	} else {
		err = c.whole(resp.Body)
	}
	c.reply.text, c.reply.reasoning = c.text.String(), c.reasoning.String()
	c.estimated = c.estimate()
	return c.reply, err
}

// collector puts a reply together from its pieces.
type collector struct {
	reply
	text      strings.Builder
	reasoning strings.Builder
	thought   int // tokens of reasoning
	kept      int // bytes of text, reasoning and calls that are kept
	full      bool
}

func (c *collector) estimate() int {
	n := c.thought + estimate(c.text.String())
	for _, call := range c.calls {
		n += perMessage + estimate(call.name) + estimate(string(call.arguments))
	}
	return n
}

// stream reads events until [DONE], until there are no more, or until the answer is as long as we keep.
func (c *collector) stream(events ssestream.Decoder) error {
	done := false
	for !done && !c.full && events.Next() {
		data := bytes.TrimSpace(events.Event().Data)
		switch {
		case len(data) == 0:
		case bytes.HasPrefix(data, []byte("[DONE]")):
			done = true
		default:
			var piece chunk
			if json.Unmarshal(data, &piece) != nil {
				return errGarbage
			}
			if err := c.take(&piece); err != nil {
				return err
			}
		}
	}
	switch err := events.Err(); {
	case c.finish != "" || done || c.full: // what comes after the end is only the cost
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errInterrupted, err)
	default:
		return errNoEnd
	}
}

// whole reads an answer in one piece.
func (c *collector) whole(body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	var piece chunk
	if json.Unmarshal(data, &piece) != nil || len(piece.Choices) == 0 && !isError(piece.Error) {
		return errGarbage
	}
	return c.take(&piece)
}

// isError tells an error from its absence, which some endpoints spell out.
func isError(data json.RawMessage) bool { return len(data) > 0 && string(data) != "null" }

// take adds one piece.
func (c *collector) take(piece *chunk) error {
	if isError(piece.Error) {
		return newStreamError(piece.Error)
	}
	if piece.Usage != nil { // of the stream so far: the last word counts
		c.usage = piece.Usage
	}
	for i := range piece.Choices {
		choice := &piece.Choices[i]
		if choice.Index != 0 {
			continue
		}
		for _, d := range []*delta{&choice.Delta, &choice.Message} {
			if err := c.add(d); err != nil {
				return err
			}
		}
		if choice.FinishReason != "" {
			c.finish = choice.FinishReason
		}
	}
	return nil
}

// add takes what one choice brings.
func (c *collector) add(d *delta) error {
	thought := string(d.ReasoningContent) + string(d.Reasoning)
	c.thought += estimate(thought)
	if c.kept+len(thought) <= maxAnswerBytes/2 {
		c.kept += len(thought)
		c.reasoning.WriteString(thought)
	}
	text := string(d.Content) + string(d.Refusal)
	if room := maxAnswerBytes - c.text.Len(); len(text) > room {
		text, c.full = strings.ToValidUTF8(text[:room], ""), true
	}
	c.text.WriteString(text)
	for i := range d.ToolCalls {
		piece := &d.ToolCalls[i]
		at := c.callOf(piece)
		if at.id == "" {
			at.id = piece.ID
		}
		if at.name == "" {
			at.name = piece.Function.Name
		}
		if c.kept += len(piece.Function.Arguments) + len(piece.Function.Name) + len(piece.ID); c.kept > maxAnswerBytes {
			return errCalls
		}
		at.arguments = append(at.arguments, piece.Function.Arguments...)
	}
	return nil
}

// callOf is the call to which a piece belongs. Endpoints number them in different ways: each by its index, all by index 0 or none
// with an id each, or with neither, so that only a name tells where the next begins.
func (c *collector) callOf(piece *callDelta) *call {
	index := -1
	if piece.Index != nil {
		index = *piece.Index
	}
	for i := len(c.calls) - 1; i >= 0; i-- {
		current := &c.calls[i]
		if piece.Index != nil && current.index != index {
			continue
		}
		begins := piece.ID != "" && current.id != "" && piece.ID != current.id ||
			piece.ID == "" && piece.Function.Name != "" && piece.Function.Arguments != "" && json.Valid(current.arguments)
		if !begins {
			return current
		}
		break
	}
	c.calls = append(c.calls, call{index: index})
	return &c.calls[len(c.calls)-1]
}

// drainTime is how long the end of a response may take after the stream said that it is done.
const drainTime = 100 * time.Millisecond

// drain reads a response to its end, so that its connection can be used again, if the end is near. The timer's function ends by itself.
func drain(body io.ReadCloser) {
	late := time.AfterFunc(drainTime, func() { _ = body.Close() })
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, body, maxErrorBytes)
}
