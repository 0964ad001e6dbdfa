// Package model is the bot that asks a language model: any endpoint that speaks OpenAI's chat completions. It puts the
// conversation within a budget of tokens, lets the model call tools, leaves its reasoning out and hands one plain text back.
// Fail-over, breakers, places and rates are bots/upstream's; pages are the conversation's.
//
// A turn, file by file:
//
//	question.go   what the user said, in words and pictures; what is no question for a model passes on
//	picture.go    a picture and the question about it are messages of their own: the picture is kept for a few turns
//	context.go    system prompt, history and question within the budget, by the estimate of tokens.go
//	turn.go       rounds: ask, call tools, ask again
//	attempt.go    one round at one endpoint: what the endpoint refuses is left out, what is too long is halved
//	request.go    what is sent; wire.go what comes back, guarded; reply.go the stream put together
//	quirks.go     what an endpoint does not take of a request
//	fault.go      what a failure means for the endpoint
//	tools.go      the tools' side of a round
//	prose/        reasoning left out, Markdown reduced
//
// Nothing of prompts, answers, arguments, keys or OpenIDs stands in its errors and logs.
package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"hongyan/bots"
	"hongyan/bots/rules"
	"hongyan/bots/upstream"
	"hongyan/messages"
)

// Bounds of a turn.
const (
	maxRounds       = 5         // rounds of tools; then the model must answer without any
	maxToolsAtOnce  = 8         // of one turn
	maxToolResult   = 16 << 10  // bytes of one tool's result; the rest is cut off
	maxAnswerBytes  = 256 << 10 // of text and arguments that are kept of one answer
	leastQuestion   = 128       // tokens that system prompt, tools and answer must leave for the question
	leastHalved     = 16        // the same where an endpoint's context is shorter than configured
	defaultTokens   = 1024      // MaxTokens where it is 0
	defaultContext  = 8192      // ContextTokens where it is 0
	defaultToolTime = 10 * time.Second
)

// What is said where Options leave it empty.
const (
	DefaultNewReply  = "好的，我们重新开始。"
	DefaultExhausted = "今天的使用额度已经用完，明天再来吧。"
)

// filteredReply is said where the endpoint's content filter stops the question or the answer.
const filteredReply = "抱歉，这个问题我没法回答，换个说法试试吧。"

// ImageMode says how the model gets a user's pictures.
type ImageMode uint8

// The values of ImageMode.
const (
	ImagesOff   ImageMode = iota // not at all: pictures pass on to the next link
	ImagesURL                    // by WeChat's address of it (PicUrl)
	ImagesBytes                  // by its bytes, fetched from WeChat, as a data: URL
)

// Options describe a model bot. It may serve several accounts: which one a turn belongs to stands in its message.
type Options struct {
	Name      string             // the bot's name, a label of the metrics
	Upstream  *upstream.Upstream // what stands in front of Endpoints
	Endpoints []Endpoint         // in the upstream's order
	// System is the system prompt; {date} and {time} (China's), and {account} are filled in. Empty: none.
	System        string
	Temperature   *float64 // nil: the endpoint's own
	MaxTokens     int      // of one answer; 0: 1024
	ContextTokens int      // of one request, the answer included; 0: 8192
	Images        ImageMode
	NewWords      []string // whole messages that start the conversation afresh, compared like rules do
	NewReply      string   // answers them; empty: DefaultNewReply
	Exhausted     string   // answers where the day's tokens are used up; empty: DefaultExhausted
	Tools         []Tool
	HTTP          *http.Client // nil: one of upstream.NewTransport for the upstream's places
	Logger        *slog.Logger // nil: slog.Default()
	Registerer    prometheus.Registerer
	// Now is the clock, nil: time.Now. It tells how far away a date of Retry-After is, and when to offer an endpoint again what it
	// refused.
	Now func() time.Time
}

// Endpoint is one place where the model is to be had.
type Endpoint struct {
	BaseURL string        // the root of its API, e.g. https://api.deepseek.com/v1; a query (?api-version=…) goes along with each request
	Key     *upstream.Key // nil: none is sent
	Model   string
}

// Tool is something that the model may call.
type Tool struct {
	Name        string         // [A-Za-z0-9_-]{1,64}
	Description string         // tells the model when to call it
	Parameters  map[string]any // JSON Schema of the arguments; nil: an object without any
	Timeout     time.Duration  // of one call; 0: 10s
	// Call does the work and says what the model gets to read. It may be called from several goroutines at once. Of an error that is
	// Reported the model gets the report, and nothing is logged. Any other error is logged, so it must not quote arguments, results or
	// secrets; the model is told in general words that the tool failed.
	Call func(ctx context.Context, c ToolCall) (string, error)
}

// Reported is the error of a tool that says itself why it cannot do what it was asked for.
type Reported interface {
	error
	ToolReport() string // for the model; it may quote what the user wrote
}

// ToolCall is one call by the model.
type ToolCall struct {
	// ID names the call: the turn's id, a hash of tool and arguments, and a number that tells equal calls of one turn apart. It is
	// the same where the turn is asked again because a node died over it and the model wants the same again, so that a tool can
	// tell a repetition.
	ID        string
	Tool      string
	Arguments json.RawMessage // a JSON object
	Account   string
	User      string // the OpenID: tools are the operator's own. The model itself knows the user's hash alone.
}

// Bot answers by a model. It implements bots.Bot and keeps nothing of a turn.
type Bot struct {
	name      string
	upstream  *upstream.Upstream
	endpoints []*endpoint
	system    string
	params    settings
	images    ImageMode
	pictures  *semaphore.Weighted // bytes of pictures that turns hold
	newWords  []string            // folded
	newReply  string
	exhausted string
	tools     []Tool
	schema    int // tokens that the tools' definitions take
	log       *slog.Logger
	metrics   *metrics
	now       func() time.Time
}

// settings are the same for each request.
type settings struct {
	temperature *float64
	maxTokens   int
	context     int
}

var toolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// New checks the options and builds the bot; it asks nobody.
func New(opts Options) (*Bot, error) {
	b := &Bot{
		name: opts.Name, upstream: opts.Upstream, system: opts.System, images: opts.Images,
		params: settings{
			temperature: opts.Temperature,
			maxTokens:   orElse(opts.MaxTokens, defaultTokens), context: orElse(opts.ContextTokens, defaultContext),
		},
		pictures:  semaphore.NewWeighted(maxPicturesHeld),
		newReply:  orElse(strings.TrimSpace(opts.NewReply), DefaultNewReply),
		exhausted: orElse(strings.TrimSpace(opts.Exhausted), DefaultExhausted),
		tools:     slices.Clone(opts.Tools), log: opts.Logger, now: opts.Now,
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if b.now == nil {
		b.now = time.Now
	}
	for _, word := range opts.NewWords {
		if folded := rules.Fold(word); folded != "" {
			b.newWords = append(b.newWords, folded)
		}
	}
	if err := b.connect(opts); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := b.equip(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	var err error
	if b.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return b, nil
}

// connect prepares the endpoints.
func (b *Bot) connect(opts Options) error {
	if opts.Upstream == nil {
		return errors.New("it has no upstream; build one with upstream.New")
	}
	status := opts.Upstream.Status()
	if len(opts.Endpoints) == 0 || len(opts.Endpoints) != len(status.Endpoints) {
		return fmt.Errorf("it has %d endpoints and its upstream %d; give both the same, in one order",
			len(opts.Endpoints), len(status.Endpoints))
	}
	client := opts.HTTP
	if client == nil {
		client = &http.Client{Transport: upstream.NewTransport(status.MaxInFlight)}
	}
	for i, e := range opts.Endpoints {
		u, err := url.Parse(e.BaseURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("base_url of endpoint %d is no http or https address; give the root of its API, like "+
				"https://api.example.com/v1", i+1)
		}
		if strings.TrimSpace(e.Model) == "" {
			return fmt.Errorf("endpoint %d names no model", i+1)
		}
		b.endpoints = append(b.endpoints, newEndpoint(e, u, client))
	}
	return nil
}

// equip checks the tools, and that they and the system prompt leave room for a question.
func (b *Bot) equip() error {
	seen := map[string]bool{}
	for i := range b.tools {
		t := &b.tools[i]
		switch {
		case !toolName.MatchString(t.Name):
			return fmt.Errorf("%q cannot name a tool: 1 to 64 letters, digits, _ and -", t.Name)
		case seen[t.Name]:
			return fmt.Errorf("two tools are named %s", t.Name)
		case t.Call == nil:
			return fmt.Errorf("tool %s does nothing: it has no Call", t.Name)
		}
		seen[t.Name] = true
		t.Timeout = orElse(t.Timeout, defaultToolTime)
		if t.Parameters == nil {
			t.Parameters = map[string]any{"type": "object", "properties": map[string]any{}}
		}
		definition, err := json.Marshal(t.Parameters)
		if err != nil {
			return fmt.Errorf("parameters of tool %s: %w", t.Name, err)
		}
		b.schema += perMessage + estimate(t.Name) + estimate(t.Description) + estimate(string(definition))
	}
	longest := fill(b.system, strings.Repeat("w", longestAccount), time.Time{})
	if fixed := messageTokens(longest) + b.schema + b.params.maxTokens; fixed+leastQuestion > b.params.context {
		return fmt.Errorf("system prompt, tools and max_tokens take %d of context_tokens %d, which leaves less than %d for a question; "+
			"raise context_tokens or lower max_tokens", fixed, b.params.context, leastQuestion)
	}
	return nil
}

// Name implements bots.Bot.
func (b *Bot) Name() string { return b.name }

// Answer implements bots.Bot. It passes on what is no question for a model (see question). Its errors are the upstream's:
// they wrap bots.ErrUnavailable where nobody could be asked. Response.Tokens counts beside an error too.
func (b *Bot) Answer(ctx context.Context, req *bots.Request) (bots.Response, error) {
	q, ok := b.question(req)
	if !ok {
		return bots.Response{}, nil
	}
	if resp, ok := b.handy(req); ok {
		return resp, nil
	}
	t := newTurn(b, req, q)
	defer t.release()
	if err := t.look(ctx); err != nil {
		return bots.Response{}, err
	}
	text, err := t.run(ctx)
	resp := bots.Response{Tokens: t.spent()}
	b.metrics.spent(req.Message.GetAccount(), b.name, t.prompt.Load(), t.completion.Load())
	if err != nil {
		return resp, err
	}
	resp.Handled, resp.Answers, resp.Session = true, answer(text), t.session
	return resp, nil
}

// AtHand implements bots.AtHand: a new conversation, and the word that the day's tokens are used up, need no endpoint.
func (b *Bot) AtHand(req *bots.Request) bool {
	if _, ok := b.question(req); !ok {
		return false
	}
	_, ok := b.handy(req)
	return ok
}

// handy is the answer to a question for which no endpoint is asked; false where one must be.
func (b *Bot) handy(req *bots.Request) (bots.Response, bool) {
	switch {
	case b.startsAfresh(req.Message):
		return bots.Response{Handled: true, Forget: true, Answers: answer(b.newReply)}, true
	case req.TokensLeft == 0:
		return bots.Response{Handled: true, Answers: answer(b.exhausted)}, true
	default:
		return bots.Response{}, false
	}
}

// startsAfresh tells a message that is one of the words for it.
func (b *Bot) startsAfresh(in *messages.Inbound) bool {
	return in.GetKind() == messages.Kind_KIND_TEXT && slices.Contains(b.newWords, rules.Fold(in.GetText().GetContent()))
}

func answer(text string) []*messages.Answer { return []*messages.Answer{bots.Text(text)} }

// orElse is v, or other where v is zero.
func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}
