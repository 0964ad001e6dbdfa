package model

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"hongyan/bots"
	"hongyan/bots/upstream"
	"hongyan/messages"
)

// turn is one question on its way to an answer. Its rounds run one after the other.
type turn struct {
	bot      *Bot
	req      *bots.Request
	question question
	user     string // the hash that stands for the user towards the endpoint and in logs
	system   string

	picture *picture
	held    int64             // bytes of pictures that are taken from the bot's bound
	session map[string]string // what the session gets when the turn is answered

	exchanges []exchange     // the rounds of tools so far
	named     map[string]int // how often a call of the same tool with the same arguments was made

	prompt, completion atomic.Int64 // tokens spent, failed attempts included
	exhausted          bool         // the day's tokens ran out in mid-turn
}

func newTurn(b *Bot, req *bots.Request, q question) *turn {
	in := req.Message
	return &turn{
		bot: b, req: req, question: q, named: map[string]int{},
		user:   messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}.Hash(),
		system: fill(b.system, in.GetAccount(), req.Now),
	}
}

// run asks the model, and again with what its tools said, until it answers in words.
func (t *turn) run(ctx context.Context) (string, error) {
	for round := 0; ; round++ {
		r, err := t.ask(ctx, round < maxRounds)
		switch {
		case t.exhausted:
			return t.bot.exhausted, nil
		case err != nil:
			return "", err
		case r.filtered:
			return filteredReply, nil
		case len(r.calls) == 0:
			return r.text, nil
		}
		results := t.perform(ctx, r.calls)
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("calling the model's tools: %w", err)
		}
		t.exchanges = append(t.exchanges, t.within(exchange{reply: r, results: results}))
	}
}

// ask is one round: the upstream says at which endpoint, and at which next one.
func (t *turn) ask(ctx context.Context, tools bool) (reply, error) {
	var got reply
	err := t.bot.upstream.Do(ctx, func(ctx context.Context, c upstream.Call) error {
		var err error
		got, err = t.attempt(ctx, c, tools && len(t.bot.tools) > 0)
		return err
	})
	return got, err
}

// errExhausted ends an attempt for which no tokens are left.
var errExhausted = errors.New("the day's tokens are used up")

// answerTokens bounds the answer: by the configuration, and by what may still be spent.
func (t *turn) answerTokens() (int, error) {
	limit := t.bot.params.maxTokens
	if t.req.TokensLeft == bots.Unbounded {
		return limit, nil
	}
	left := t.req.TokensLeft - t.spent()
	if left <= 0 {
		t.exhausted = true
		return 0, errExhausted
	}
	return int(min(int64(limit), left)), nil
}

// spent is how many tokens the turn has cost so far.
func (t *turn) spent() int64 { return t.prompt.Load() + t.completion.Load() }

// budget is what a request of the turn may take in tokens, besides its answer.
func (t *turn) budget() int { return t.bot.params.context - t.bot.params.maxTokens - perReply }

// fixed is what of a request is there in any case: the system prompt and the tools' definitions.
func (t *turn) fixed() int { return messageTokens(t.system) + t.bot.schema }

// utterances are the question and what of the conversation before it goes into the budget beside everything else.
func (t *turn) utterances(budget int) []utterance {
	all := utterances(t.req.History, t.picture)
	newest := utterance{user: true, text: t.question.text}
	if t.picture != nil && t.picture.turn < 0 {
		newest.picture = t.picture
	}
	return fit(append(all, newest), budget)
}

// composed is what goes into a request.
type composed struct {
	talk   []utterance
	rounds []exchange
	tokens int // of everything but the answer
	spoken int // of them the talk's
}

// compose puts a request of at most so many tokens together, with at least so many for the question. Rounds of tools that leave no
// place for it are left out, the oldest first.
func (t *turn) compose(budget, least int) composed {
	c := composed{rounds: t.exchanges, tokens: t.fixed()}
	for _, x := range c.rounds {
		c.tokens += x.tokens()
	}
	for len(c.rounds) > 0 && c.tokens+least > budget {
		c.tokens -= c.rounds[0].tokens()
		c.rounds = c.rounds[1:]
	}
	c.talk = merge(t.utterances(max(budget-c.tokens, least)))
	for _, u := range c.talk {
		c.spoken += u.tokens()
	}
	c.tokens += c.spoken
	return c
}
