package example

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Types of OpenAI's errors.
const (
	invalidRequest = "invalid_request_error"
	serverError    = "server_error"
	tooMany        = "rate_limit_error"
)

// apiError is an error in OpenAI's form.
type apiError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   string `json:"param,omitempty"`
	Code    string `json:"code,omitempty"`
}

// usage counts tokens as the example estimates them.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// completion is an answer, whole or a chunk of a stream.
type completion struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int     `json:"index"`
	Message      *said   `json:"message,omitempty"`
	Delta        *said   `json:"delta,omitempty"`
	FinishReason *string `json:"finish_reason"`
}

// said is what the assistant says, or adds to it.
type said struct {
	Role      string       `json:"role,omitempty"`
	Content   *string      `json:"content,omitempty"`
	Reasoning string       `json:"reasoning_content,omitempty"`
	ToolCalls []calledTool `json:"tool_calls,omitempty"`
}

type calledTool struct {
	Index *int `json:"index,omitempty"` // in a stream
	toolCall
}

// answer is one request's way through the endpoint.
type answer struct {
	*Endpoint
	w       http.ResponseWriter
	done    <-chan struct{} // the client went
	in      *chatRequest
	head    completion
	thought []string // tokens of the reasoning
	words   []string // tokens of the text
	calls   []toolCall
	finish  string
	usage   usage
	breaks  bool // half-way
}

func (e *Endpoint) serveChat(w http.ResponseWriter, r *http.Request) {
	if !e.enter() {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, apiError{
			Message: fmt.Sprintf("The example model answers %d requests at a time; try again in a second.", MaxInFlight), Type: tooMany,
		})
		return
	}
	a := &answer{Endpoint: e, w: w, done: r.Context().Done()}
	how := gone // where net/http ends the handler
	defer func() { e.leave(how, a.usage) }()
	how = a.run(r)
	e.log.Debug("example model", "stream", a.in != nil && a.in.Stream, "fate", int(how), "tokens", a.usage.TotalTokens)
	if how == broken {
		reset(w)
	}
}

// run answers one request, and says how it ended. It does not reset connections itself.
func (a *answer) run(r *http.Request) fate {
	came := a.now()
	if a.Knobs().Down {
		return broken
	}
	in, refused := readRequest(a.w, r)
	if refused != nil {
		if r.Context().Err() != nil {
			return gone
		}
		refuse(a.w, http.StatusBadRequest, *refused)
		return failed
	}
	if how := a.wait(a.done, came, func(k Knobs) time.Duration { return k.Delay }); how != goesOn {
		return how
	}
	k := a.Knobs()
	if a.strikes(k.FailureRate) {
		refuse(a.w, http.StatusInternalServerError, apiError{Message: "The example model was told to fail now and then.", Type: serverError})
		return failed
	}
	a.breaks = a.strikes(k.BreakRate)
	a.compose(in, k.Reasoning)
	if in.Stream {
		return a.stream()
	}
	if a.breaks {
		return broken
	}
	return a.whole()
}

// compose decides what is said.
func (a *answer) compose(in *chatRequest, reasoning bool) {
	a.in = in
	a.head = completion{
		ID: fmt.Sprintf("chatcmpl-example-%d", a.serial.Add(1)), Object: "chat.completion", Created: a.now().Unix(), Model: in.Model,
	}
	for _, m := range in.Messages {
		a.usage.PromptTokens += 4 + len(pieces(m.Content.text)) // 4: the message's own frame
	}
	question := understand(in)
	if reasoning {
		a.thought = pieces(question.reasoning())
	}
	a.finish = "stop"
	if call, ok := question.call(in); ok {
		a.calls = []toolCall{{ID: "call-" + strings.TrimPrefix(a.head.ID, "chatcmpl-"), Type: "function", Function: call}}
		a.finish = "tool_calls"
		a.usage.CompletionTokens = len(pieces(call.Arguments))
	} else {
		a.words = pieces(question.answer())
	}
	if limit := in.limit(); limit > 0 && len(a.thought)+len(a.words) > limit {
		a.thought = a.thought[:min(len(a.thought), limit)]
		a.words = a.words[:limit-len(a.thought)]
		a.finish = "length"
	}
	a.usage.CompletionTokens += len(a.thought) + len(a.words)
	a.usage.TotalTokens = a.usage.PromptTokens + a.usage.CompletionTokens
}

// whole answers in one piece. The time that a stream takes between its tokens passes before it.
func (a *answer) whole() fate {
	last := a.now()
	all := func(k Knobs) time.Duration { return time.Duration(int64(k.PerToken) * int64(a.usage.CompletionTokens)) }
	if how := a.wait(a.done, last, all); how != goesOn {
		return how
	}
	text := strings.Join(a.words, "")
	message := &said{Role: "assistant", Content: &text, Reasoning: strings.Join(a.thought, "")}
	if len(a.calls) > 0 {
		message.Content = nil
		message.ToolCalls = []calledTool{{toolCall: a.calls[0]}}
	}
	a.head.Choices, a.head.Usage = []choice{{Message: message, FinishReason: &a.finish}}, &a.usage
	if respond(a.w, http.StatusOK, a.head) != nil {
		return gone
	}
	return answered
}

// stream answers token by token, as server-sent events.
func (a *answer) stream() fate {
	a.head.Object = "chat.completion.chunk"
	h := a.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	deltas := a.deltas()
	half := len(deltas) / 2
	for i, d := range deltas {
		if i > 0 {
			if how := a.wait(a.done, a.now(), func(k Knobs) time.Duration { return k.PerToken }); how != goesOn {
				return how
			}
		}
		if a.breaks && i == half {
			_ = http.NewResponseController(a.w).Flush() // the first half arrives; a client that went makes no difference
			return broken
		}
		if a.send(choice{Delta: d}) != nil {
			return gone
		}
		if i == 0 || a.Knobs().PerToken > 0 {
			if http.NewResponseController(a.w).Flush() != nil {
				return gone
			}
		}
	}
	if a.send(choice{Delta: &said{}, FinishReason: &a.finish}) != nil {
		return gone
	}
	if a.in.StreamOptions.IncludeUsage {
		a.head.Usage = &a.usage
		if a.send() != nil {
			return gone
		}
	}
	if _, err := a.w.Write([]byte("data: [DONE]\n\n")); err != nil {
		return gone
	}
	return answered
}

// deltas are what a stream is made of: who speaks, the reasoning, then words, or the call of a tool with its arguments in two parts.
func (a *answer) deltas() []*said {
	empty := ""
	out := []*said{{Role: "assistant", Content: &empty}}
	for _, token := range a.thought {
		out = append(out, &said{Reasoning: token})
	}
	for _, token := range a.words {
		out = append(out, &said{Content: &token})
	}
	for i, call := range a.calls {
		begin, rest := call, toolCall{}
		half := len(pieces(call.Function.Arguments)) / 2
		begin.Function.Arguments = strings.Join(pieces(call.Function.Arguments)[:half], "")
		rest.Function.Arguments = strings.TrimPrefix(call.Function.Arguments, begin.Function.Arguments)
		out = append(out, &said{ToolCalls: []calledTool{{Index: &i, toolCall: begin}}}, &said{ToolCalls: []calledTool{{Index: &i, toolCall: rest}}})
	}
	return out
}

// send writes one event.
func (a *answer) send(choices ...choice) error {
	chunk := a.head
	chunk.Choices = choices
	if choices == nil {
		chunk.Choices = []choice{} // the event with the usage has an empty list
	}
	b, err := encode(chunk)
	if err != nil {
		return err
	}
	_, err = a.w.Write(append(append([]byte("data: "), b...), '\n', '\n'))
	return err
}

func refuse(w http.ResponseWriter, status int, e apiError) {
	_ = respond(w, status, struct { // whoever asked has gone
		Error apiError `json:"error"`
	}{e})
}

func respond(w http.ResponseWriter, status int, body any) error {
	b, err := encode(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(b)
	return err
}

// encode is compact JSON on one line, with <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
