package model

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"hongyan/bots/upstream"
)

// endpoint is one place where the model is asked, and what it was found not to take.
type endpoint struct {
	client openai.Client
	key    *upstream.Key
	model  string
	host   string // for logs
	azure  bool   // takes its key in a header of its own too
	quirks quirks
}

const completions = "chat/completions"

// newEndpoint prepares the client of an endpoint. The library's defaults from the environment are left out, its retries are off:
// fail-over is the upstream's.
func newEndpoint(e Endpoint, base *url.URL, client *http.Client) *endpoint {
	root := *base
	root.RawQuery, root.Fragment = "", ""
	root.Path = strings.TrimSuffix(strings.TrimSuffix(root.Path, "/"), "/"+completions) + "/"
	opts := []option.RequestOption{
		option.WithBaseURL(root.String()), option.WithHTTPClient(client), option.WithMaxRetries(0),
		option.WithHeader("Accept", "text/event-stream"),
	}
	for name, values := range base.Query() {
		for _, value := range values {
			opts = append(opts, option.WithQueryAdd(name, value))
		}
	}
	return &endpoint{
		client: openai.Client{Options: opts}, key: e.Key, model: e.Model, host: base.Host,
		azure: strings.HasSuffix(base.Hostname(), ".azure.com") || base.Query().Has("api-version"),
	}
}

// currentKey is the key of now; empty where none is sent.
func (e *endpoint) currentKey() string {
	if e.key == nil {
		return ""
	}
	return e.key.Current()
}

// rotated tells, after the endpoint refused a key, whether there is another by now.
func (e *endpoint) rotated(refused string) bool {
	if e.key == nil {
		return false
	}
	e.key.Refused()
	return e.key.Current() != refused
}

// send makes one request and reads the reply as it comes. What was read counts beside an error too.
func (e *endpoint) send(ctx context.Context, key string, params openai.ChatCompletionNewParams, alive func()) (reply, error) {
	opts := make([]option.RequestOption, 0, 3)
	opts = append(opts, option.WithMiddleware(watch(alive)))
	if key != "" {
		opts = append(opts, option.WithHeader("Authorization", "Bearer "+key))
		if e.azure {
			opts = append(opts, option.WithHeader("api-key", key))
		}
	}
	var resp *http.Response
	if err := e.client.Post(ctx, completions, params, &resp, opts...); err != nil {
		return reply{}, withoutQuotes(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	r, err := read(resp)
	if err != nil {
		err = withoutQuotes(ctx, err)
	}
	return r, err
}

// params are the request's body.
func (t *turn) params(model string, quirks quirk, c composed, limit int, tools bool) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{Model: model}
	p.Messages = make([]openai.ChatCompletionMessageParamUnion, 0, 1+len(c.talk)+4*len(c.rounds))
	p.SetExtraFields(map[string]any{"stream": true})
	if t.system != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(t.system))
	}
	for _, u := range c.talk {
		p.Messages = append(p.Messages, u.message())
	}
	for _, x := range c.rounds {
		p.Messages = append(p.Messages, x.messages()...)
	}
	if quirks&newLimit == 0 {
		p.MaxTokens = openai.Int(int64(limit))
	} else {
		p.MaxCompletionTokens = openai.Int(int64(limit))
	}
	if quirks&noUsage == 0 {
		p.StreamOptions.IncludeUsage = openai.Bool(true)
	}
	if quirks&noUser == 0 {
		p.User = openai.String(t.user)
	}
	if temperature := t.bot.params.temperature; temperature != nil && quirks&noTemperature == 0 {
		p.Temperature = openai.Float(*temperature)
	}
	if tools && quirks&noTools == 0 {
		for _, tool := range t.bot.tools {
			p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
				Name: tool.Name, Description: openai.String(tool.Description), Parameters: tool.Parameters,
			}))
		}
	}
	return p
}

// message is an utterance in the library's form.
func (u utterance) message() openai.ChatCompletionMessageParamUnion {
	switch {
	case !u.user:
		return openai.AssistantMessage(u.text)
	case u.shows():
		return openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart(u.text),
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: u.picture.url}),
		})
	default:
		return openai.UserMessage(u.words())
	}
}
