package model

import (
	"context"
	"errors"
	"strings"

	"hongyan/bots/model/prose"
	"hongyan/bots/upstream"
)

// attempt is one round at one endpoint. What the endpoint refuses is left out, and remembered where that helped (quirks), a context that
// is too long for it is halved once, a key that was replaced meanwhile is used once more. Whatever ends in an error is one that the upstream can
// judge.
func (t *turn) attempt(ctx context.Context, c upstream.Call, tools bool) (reply, error) {
	e := t.bot.endpoints[c.Endpoint]
	budget, least := t.budget(), leastQuestion
	halved, rekeyed := false, false
	known, found := e.quirks.now(t.bot.now()), quirk(0)
	for {
		limit, err := t.answerTokens()
		if err != nil {
			return reply{}, &upstream.Fault{Kind: upstream.Refused, Err: err}
		}
		request := t.compose(budget, least)
		key := e.currentKey()
		params := t.params(e.model, known|found, request, limit, tools)
		r, err := e.send(ctx, key, params, c.Alive)
		t.count(r, request.tokens)
		var refusal *statusError
		switch {
		case err == nil:
			t.bot.learn(e, found)
			return finished(r, tools)
		case !errors.As(err, &refusal):
			return reply{}, broken(err)
		case refusal.filtered():
			return reply{filtered: true}, nil
		case refusal.tooLong() && !halved:
			halved, least = true, leastHalved
			budget = request.tokens - request.spoken/2
		case refusal.denied() && !rekeyed && e.rotated(key):
			rekeyed = true
		case refusal.quirk()&^(known|found) != 0:
			found |= refusal.quirk()
		default:
			return reply{}, refusal.fault(t.bot.now())
		}
	}
}

// count notes what a request cost: as the endpoint tells, else by estimate. One that never got so far as an answer is free.
func (t *turn) count(r reply, tokens int) {
	switch {
	case r.usage != nil:
		t.prompt.Add(r.usage.prompt())
		t.completion.Add(r.usage.completion())
	case r.begun:
		t.prompt.Add(int64(tokens))
		t.completion.Add(int64(r.estimated))
	}
}

// Errors of an answer that came whole.
var (
	errEmpty    = errors.New("the answer is empty")
	errNoRoom   = errors.New("the answer is empty, all its tokens went into reasoning; raise max_tokens")
	errNoAnswer = errors.New("the model calls tools although none are offered")
)

// finished makes an answer of a reply that came whole: reasoning and Markdown are taken out.
func finished(r reply, tools bool) (reply, error) {
	switch r.finish {
	case "content_filter", "sensitive":
		return reply{filtered: true}, nil
	case "insufficient_system_resource", "error":
		return reply{}, broken(errInterrupted)
	}
	r.text = prose.Unthink(r.text)
	if len(r.calls) > 0 && tools {
		return r, nil
	}
	if len(r.calls) > 0 && r.text == "" {
		return reply{}, broken(errNoAnswer)
	}
	r.calls = nil
	whole := r.text
	if r.text = prose.Plain(whole); r.text == "" {
		r.text = strings.TrimSpace(whole)
	}
	switch {
	case r.text != "":
		return r, nil
	case r.finish == "length":
		return reply{}, &upstream.Fault{Kind: upstream.Refused, Err: errNoRoom}
	default:
		return reply{}, broken(errEmpty)
	}
}
