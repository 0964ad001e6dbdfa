package bots

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
)

func unavailable(name string) scripted {
	return fails(name, fmt.Errorf("no place is free: %w", ErrUnavailable))
}

// remote builds a chain whose links named with a capital ask an upstream.
func remote(t *testing.T, bots ...Bot) *Chain {
	t.Helper()
	opts := Options{Account: "demo", Fallback: "fallback", Apology: "sorry"}
	for _, b := range bots {
		opts.Links = append(opts.Links, Link{Bot: b, Timeout: time.Second, Remote: strings.ToUpper(b.Name()) == b.Name()})
	}
	chain, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// What a remote link came to decides what stands in for an answer, and what the user's breaker counts.
func TestRemoteLinks(t *testing.T) {
	t.Parallel()
	const none, ok, failed = conversation.UpstreamNotAsked, conversation.UpstreamOK, conversation.UpstreamFailed
	down := errors.New("down")
	tests := []struct {
		name     string
		links    []Bot
		change   func(*Request)
		want     string
		upstream conversation.Upstream
		tried    string
	}{
		{"it answers", []Bot{passes("a"), says("M", "from M")}, nil, "from M", ok, "a passed, M answered"},
		{"it passes", []Bot{passes("M")}, nil, "fallback", none, "M passed, fallback answered"},
		{"it fails", []Bot{fails("M", down)}, nil, "sorry", failed, "M error, fallback answered"},
		{"it is late", []Bot{waits("M")}, nil, "sorry", failed, "M timeout, fallback answered"},
		{"it cannot be asked", []Bot{unavailable("M")}, nil, "sorry", none, "M unavailable, fallback answered"},
		{"another one helps", []Bot{fails("M", down), says("b", "from b")}, nil, "from b", failed, "M error, b answered"},
		{"another remote one helps", []Bot{fails("M", down), says("N", "from N")}, nil, "from N", failed, "M error, N answered"},
		{"one that cannot be asked is no failure", []Bot{unavailable("M"), says("N", "from N")}, nil, "from N", ok, "M unavailable, N answered"},
		{"a link of ours that fails", []Bot{fails("a", down)}, nil, "fallback", none, "a error, fallback answered"},
		{"in a hurry", []Bot{says("M", "from M")}, func(r *Request) { r.Hurry = true }, "sorry", none, "M skipped, fallback answered"},
		{"the user's breaker is open", []Bot{says("M", "from M"), says("b", "from b")}, func(r *Request) { r.Resting = true }, "from b", none,
			"M skipped, b answered"},
		{"an event gets no apology", []Bot{fails("M", down)}, func(r *Request) { r.Message = subscribe().Message }, "", failed,
			"M error, fallback silent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				req := text("x")
				if tt.change != nil {
					tt.change(req)
				}
				got, err := remote(t, tt.links...).Answer(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				var tried []string
				for _, l := range got.Tried {
					tried = append(tried, l.Link+" "+l.Result)
				}
				if first(got).GetText().GetContent() != tt.want || got.Upstream != tt.upstream || strings.Join(tried, ", ") != tt.tried {
					t.Errorf("got %q, upstream %d, tried %q; want %q, %d, %q", first(got).GetText().GetContent(), got.Upstream, tried,
						tt.want, tt.upstream, tt.tried)
				}
			})
		})
	}
}

// handy answers "/new" by itself, and panics over "boom".
type handy struct{ Bot }

func (handy) AtHand(req *Request) bool {
	if req.Message.GetText().GetContent() == "boom" {
		panic("boom")
	}
	return req.Message.GetText().GetContent() == "/new" && req.Session["key"] == "value"
}

// What a remote link answers by itself is answered in a hurry and while the user's breaker is open, and says nothing of the upstream.
func TestAtHand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text          string
		hurry, rest   bool
		want, tried   string
		upstreamAsked bool
	}{
		{"/new", true, false, "from M", "M answered", false},
		{"/new", false, true, "from M", "M answered", false},
		{"/new", false, false, "from M", "M answered", false},
		{"x", true, false, "sorry", "M skipped, fallback answered", false},
		{"x", false, true, "sorry", "M skipped, fallback answered", false},
		{"x", false, false, "from M", "M answered", true},
		{"boom", false, true, "sorry", "M skipped, fallback answered", false},
	}
	for _, tt := range tests {
		req := text(tt.text)
		req.Hurry, req.Resting, req.Session = tt.hurry, tt.rest, map[string]string{"M.key": "value"}
		got, err := remote(t, handy{says("M", "from M")}).Answer(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var tried []string
		for _, l := range got.Tried {
			tried = append(tried, l.Link+" "+l.Result)
		}
		said, asked := first(got).GetText().GetContent(), got.Upstream != conversation.UpstreamNotAsked
		if said != tt.want || strings.Join(tried, ", ") != tt.tried || asked != tt.upstreamAsked {
			t.Errorf("%q, hurry %t, resting %t: %q, %q, upstream %d", tt.text, tt.hurry, tt.rest, said, tried, got.Upstream)
		}
	}
}

// A link that hands the user over says nothing else: WeChat's one reply is the transfer.
func TestHandOver(t *testing.T) {
	t.Parallel()
	hands := func(resp Response) Bot {
		resp.Handled = true
		return scripted{"M", func(context.Context, *Request) (Response, error) { return resp, nil }}
	}
	got, err := remote(t, hands(Response{HandOver: &HandOver{Account: "kf@demo"}})).Answer(t.Context(), text("x"))
	if err != nil || first(got).GetTransfer().GetKfAccount() != "kf@demo" || len(got.Answers) != 1 || got.Tried[0].Result != "handed_over" {
		t.Errorf("got %v, %v", got, err)
	}
	both := hands(Response{HandOver: &HandOver{}, Answers: []*messages.Answer{Text("wait")}})
	if got, err = remote(t, both).Answer(t.Context(), text("x")); err != nil || got.Tried[0].Result != "error" {
		t.Errorf("an answer beside a hand-over: %v, %v", got.Tried, err)
	}
}

// Every link's tokens count, those of links that failed and of a turn that was broken off too.
func TestTokensOfAllLinks(t *testing.T) {
	t.Parallel()
	spends := func(name string, tokens int64, err error) Bot {
		return scripted{name, func(context.Context, *Request) (Response, error) { return Response{Tokens: tokens}, err }}
	}
	got, err := remote(t, spends("M", 30, errors.New("down")), spends("N", 5, nil), says("b", "B")).Answer(t.Context(), text("x"))
	if err != nil || got.Tokens != 35 {
		t.Errorf("%d tokens, %v; want 35", got.Tokens, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	off := scripted{"N", func(context.Context, *Request) (Response, error) {
		cancel()
		return Response{Tokens: 2}, ctx.Err()
	}}
	if got, err = remote(t, spends("M", 30, nil), off).Answer(ctx, text("x")); err == nil || got.Tokens != 32 {
		t.Errorf("%d tokens, %v; want 32 and the turn's end", got.Tokens, err)
	}
}

// shouting is a filter.
type shouting struct{}

func (shouting) Clean(account string, a *messages.Answer) *messages.Answer {
	return Text(account + ": " + strings.ToUpper(a.GetText().GetContent()))
}

// Answers leave through the account's filter, whoever said them, and what a link handed out is not changed.
func TestFilter(t *testing.T) {
	t.Parallel()
	kept := []*messages.Answer{Text("one"), Text("two")}
	before := slices.Clone(kept)
	bot := scripted{"a", func(context.Context, *Request) (Response, error) { return Response{Handled: true, Answers: kept}, nil }}
	for _, l := range [][]Link{{{Bot: bot}}, nil} {
		chain, err := New(Options{Account: "demo", Links: l, Fallback: "one", Filter: shouting{}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := chain.Answer(t.Context(), text("x"))
		if err != nil || first(got).GetText().GetContent() != "demo: ONE" {
			t.Errorf("got %v, %v", got.Answers, err)
		}
	}
	if !slices.Equal(kept, before) {
		t.Error("the link's own answers were changed")
	}
}

// sample is media.
type sample struct{}

func (sample) Fetch(context.Context, string, string) (Media, error) {
	return Media{Type: "image/png"}, nil
}

// Links get media from where the chain says.
func TestMedia(t *testing.T) {
	t.Parallel()
	var seen MediaSource
	bot := scripted{"a", func(_ context.Context, req *Request) (Response, error) {
		seen = req.Media
		return Response{}, nil
	}}
	chain, err := New(Options{Account: "demo", Links: links(bot), Media: sample{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Answer(t.Context(), text("x")); err != nil || seen == nil {
		t.Errorf("the link's media are %v, %v", seen, err)
	}
}
