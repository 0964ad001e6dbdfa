package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"hongyan/bots/upstream"
)

// ToolCall is what a model asks a tool for.
type ToolCall struct {
	ID        string // the same where the call is repeated
	Tool      string
	Arguments json.RawMessage // as the model wrote them
	Account   string
	User      string // the OpenID: tools are the operator's own
}

// Tool calls one tool. What it returns is told to the model. A tool that says itself that it failed makes a *ToolError; all other errors
// are the way's to the tool, and quote nothing.
type Tool func(ctx context.Context, c ToolCall) (string, error)

// toolRequest is what a tool is sent: schema/tool-request.schema.json.
type toolRequest struct {
	V          int             `json:"v"`
	ID         string          `json:"id"`
	Tool       string          `json:"tool"`
	Arguments  json.RawMessage `json:"arguments"`
	Account    string          `json:"account"`
	User       string          `json:"user"`
	DeadlineMS int64           `json:"deadline_ms,omitempty"`
}

// toolResponse is what a tool answers: schema/tool-response.schema.json.
type toolResponse struct {
	V      int             `json:"v"`
	Result json.RawMessage `json:"result"` // a text, or any JSON
	Error  string          `json:"error"`  // told to the model in place of a result
}

// ToolError is the error of a tool that answered that it cannot do what it was asked for. What the tool says of it may quote the user:
// it is for the model, and no part of the error's own text.
type ToolError struct{ words string }

// Error implements error, without the tool's words.
func (e *ToolError) Error() string { return "the tool reports a failure" }

// ToolReport is what the tool says, for the model. It makes the error a model.Reported.
func (e *ToolError) ToolReport() string { return e.words }

// NewTool makes a tool of a transport: a NATS subject or a web hook, as for bots.
func NewTool(t Transport) Tool {
	return func(ctx context.Context, c ToolCall) (string, error) {
		data, err := t.Call(ctx, Exchange{
			ID: c.ID,
			Body: func(limit int) ([]byte, error) {
				return toolBody(toolRequest{
					V: Version, ID: c.ID, Tool: c.Tool, Arguments: c.Arguments, Account: c.Account, User: c.User, DeadlineMS: left(ctx),
				}, limit)
			},
			Alive: func() {},
			Again: func() {},
		})
		if err != nil {
			return "", err
		}
		return toolResult(data)
	}
}

// toolBody is the request in JSON. Arguments that are none are refused.
func toolBody(r toolRequest, limit int) ([]byte, error) {
	if len(bytes.TrimSpace(r.Arguments)) == 0 {
		r.Arguments = json.RawMessage("{}")
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, &upstream.Fault{Kind: upstream.Refused, Err: errors.New("the tool's arguments are not JSON")}
	}
	if limit > 0 && len(data) > limit {
		return nil, &upstream.Fault{Kind: upstream.Refused, Err: fmt.Errorf(
			"the tool's arguments have %d bytes, and the transport takes %d", len(data), limit)}
	}
	return data, nil
}

// toolResult is what the model is told.
func toolResult(data []byte) (string, error) {
	var r toolResponse
	if len(bytes.TrimSpace(data)) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return "", fmt.Errorf("the tool's response: %w", plain(err))
	}
	switch {
	case r.V != 0 && r.V != Version:
		return "", fmt.Errorf("the tool's response is of version %d; this engine speaks %d", r.V, Version)
	case r.Error != "":
		return "", &ToolError{words: r.Error}
	}
	var text string
	if json.Unmarshal(r.Result, &text) == nil {
		return text, nil
	}
	return string(r.Result), nil
}
