package bots

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"hongyan/messages"
)

// scripted is a bot that does what its function says.
type scripted struct {
	name   string
	answer func(ctx context.Context, req *Request) (Response, error)
}

func (s scripted) Name() string { return s.name }

func (s scripted) Answer(ctx context.Context, req *Request) (Response, error) {
	return s.answer(ctx, req)
}

func says(name, text string) scripted {
	return scripted{name, func(context.Context, *Request) (Response, error) {
		return Response{Handled: true, Answers: []*messages.Answer{Text(text)}}, nil
	}}
}

func passes(name string) scripted {
	return scripted{name, func(context.Context, *Request) (Response, error) { return Response{}, nil }}
}

func silent(name string) scripted {
	return scripted{name, func(context.Context, *Request) (Response, error) { return Response{Handled: true}, nil }}
}

func fails(name string, err error) scripted {
	return scripted{name, func(context.Context, *Request) (Response, error) { return Response{}, err }}
}

func waits(name string) scripted {
	return scripted{name, func(ctx context.Context, _ *Request) (Response, error) {
		<-ctx.Done()
		return Response{}, ctx.Err()
	}}
}

func panics(name string, with any) scripted {
	return scripted{name, func(context.Context, *Request) (Response, error) { panic(with) }}
}

func text(content string) *Request {
	return &Request{Message: &messages.Inbound{
		Account: "demo", OpenId: "oUser", Kind: messages.Kind_KIND_TEXT, Key: make([]byte, messages.KeySize),
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: content}},
	}}
}

func subscribe() *Request {
	return &Request{Message: &messages.Inbound{
		Account: "demo", OpenId: "oUser", Kind: messages.Kind_KIND_SUBSCRIBE,
		Body: &messages.Inbound_Event{Event: &messages.Event{Name: "subscribe"}},
	}}
}

func links(bots ...Bot) []Link {
	var l []Link
	for _, b := range bots {
		l = append(l, Link{Bot: b, Timeout: time.Second})
	}
	return l
}

func TestChainAsksInOrder(t *testing.T) {
	t.Parallel()
	blank := Response{Handled: true, Answers: []*messages.Answer{Text(" \n")}}
	hollow := Response{Handled: true, Answers: []*messages.Answer{{}}}
	of := func(name string, r Response) scripted {
		return scripted{name, func(context.Context, *Request) (Response, error) { return r, nil }}
	}
	tests := []struct {
		name     string
		links    []Bot
		fallback string
		req      *Request
		link     string // who must have handled it
		want     string // the answer's text; "" is silence
		counts   string // results by link, in the links' order
	}{
		{"first wins", []Bot{says("a", "A"), says("b", "B")}, "F", text("x"), "a", "A", "a=answered"},
		{"passed on", []Bot{passes("a"), says("b", "B")}, "F", text("x"), "b", "B", "a=passed b=answered"},
		{"silence ends the chain", []Bot{silent("a"), says("b", "B")}, "F", text("x"), "a", "", "a=silent"},
		{"error asks the next", []Bot{fails("a", errors.New("down")), says("b", "B")}, "", text("x"), "b", "B", "a=error b=answered"},
		{"panic asks the next", []Bot{panics("a", "boom"), says("b", "B")}, "", text("x"), "b", "B", "a=panic b=answered"},
		{"late asks the next", []Bot{waits("a"), says("b", "B")}, "", text("x"), "b", "B", "a=timeout b=answered"},
		{"blank text is an error", []Bot{of("a", blank), says("b", "B")}, "", text("x"), "b", "B", "a=error b=answered"},
		{"no content is an error", []Bot{of("a", hollow), says("b", "B")}, "", text("x"), "b", "B", "a=error b=answered"},
		{"fallback", []Bot{passes("a")}, "F", text("x"), "fallback", "F", "a=passed fallback=answered"},
		{"fallback after errors", []Bot{fails("a", errors.New("down"))}, "F", text("x"), "fallback", "F", "a=error fallback=answered"},
		{"empty fallback", []Bot{passes("a")}, "", text("x"), "fallback", "", "a=passed fallback=silent"},
		{"no links", nil, "F", text("x"), "fallback", "F", "fallback=answered"},
		{"events have no fallback", []Bot{passes("a")}, "F", subscribe(), "fallback", "", "a=passed fallback=silent"},
		{"events can be handled", []Bot{says("a", "A")}, "F", subscribe(), "a", "A", "a=answered"},
		{"unknown kinds have no fallback", nil, "F", &Request{Message: &messages.Inbound{}}, "fallback", "", "fallback=silent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				reg := prometheus.NewRegistry()
				chain, err := New(Options{
					Account: "demo", Links: links(tt.links...), Fallback: tt.fallback, Registerer: reg, Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				got, err := chain.Answer(t.Context(), tt.req)
				if err != nil {
					t.Fatal(err)
				}
				if !got.Handled || got.Link != tt.link || first(got).GetText().GetContent() != tt.want {
					t.Errorf("got handled=%v by %q: %q, want %q by %q", got.Handled, got.Link, first(got).GetText().GetContent(),
						tt.want, tt.link)
				}
				if (first(got) != nil) != (tt.want != "") {
					t.Errorf("got the answer %v for %q", first(got), tt.want)
				}
				for pair := range strings.FieldsSeq(tt.counts) {
					link, result, _ := strings.Cut(pair, "=")
					if n := testutil.ToFloat64(chain.metrics.turns.WithLabelValues("demo", link, result)); n != 1 {
						t.Errorf("%s was counted %v times, want 1", pair, n)
					}
				}
				if n := testutil.CollectAndCount(chain.metrics.turns); n != len(strings.Fields(tt.counts)) {
					t.Errorf("%d results were counted, want %q", n, tt.counts)
				}
			})
		})
	}
}

func TestChainRefusesNames(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]Bot{
		"empty":    {passes("")},
		"dot":      {passes("a.b")},
		"twice":    {passes("a"), passes("b"), passes("a")},
		"reserved": {passes(FallbackLink)},
	} {
		if _, err := New(Options{Account: "demo", Links: links(bad...)}); err == nil {
			t.Errorf("%s: the chain took it", name)
		}
	}
}

// TestChainEndsWithTheTurn shows that nothing is said, and nobody else asked, once the turn's own context has ended.
func TestChainEndsWithTheTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := false
		next := scripted{"b", func(context.Context, *Request) (Response, error) {
			asked = true
			return Response{Handled: true, Answers: []*messages.Answer{Text("B")}}, nil
		}}
		chain, err := New(Options{Account: "demo", Links: []Link{{Bot: waits("a")}, {Bot: next}}, Fallback: "F"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		got, err := chain.Answer(ctx, text("x"))
		if !errors.Is(err, context.DeadlineExceeded) || got.Handled || asked {
			t.Errorf("got %+v, %v, asked the next: %v; want only the context's end", got, err, asked)
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("it took %v, want 3s: a link without a timeout has the turn's", waited)
		}
	})
}

// TestChainLogsNoContent shows that a panic's own words, which may quote the user, and the OpenID stay out of the log.
func TestChainLogsNoContent(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	chain, err := New(Options{
		Account: "demo", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Links: links(panics("a", "secret words"), scripted{"b", func(_ context.Context, req *Request) (Response, error) {
			return Response{}, fmt.Errorf("%d", 1/len(req.Session))
		}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Answer(t.Context(), text("secret words")); err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"secret words", "oUser"} {
		if strings.Contains(log.String(), never) {
			t.Errorf("the log holds %q:\n%s", never, &log)
		}
	}
	user := messages.User{Account: "demo", OpenID: "oUser"}
	for _, must := range []string{"bot=a", "with a string", "bot=b", "divide by zero", "chain_test.go", user.Hash()} {
		if !strings.Contains(log.String(), must) {
			t.Errorf("the log lacks %q:\n%s", must, &log)
		}
	}
}

// TestChainsShareMetrics shows that two accounts count on one registry.
func TestChainsShareMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	for _, account := range []string{"one", "two"} {
		chain, err := New(Options{Account: account, Links: links(says("a", "A")), Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chain.Answer(t.Context(), text("x")); err != nil {
			t.Fatal(err)
		}
	}
	want := `
# HELP hongyan_bot_turns_total Turns that came to a bot, by what it made of them: see docs/bots.md.
# TYPE hongyan_bot_turns_total counter
hongyan_bot_turns_total{account="one",link="a",result="answered"} 1
hongyan_bot_turns_total{account="two",link="a",result="answered"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "hongyan_bot_turns_total"); err != nil {
		t.Error(err)
	}
	other := prometheus.NewRegistry()
	other.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "hongyan_bot_turns_total", Help: "another one"}))
	if _, err := New(Options{Account: "one", Registerer: other}); err == nil {
		t.Error("a metric of the same name that is another one was no error")
	}
}

// TestSessionsAreApart checks that links see and change only their own session values, whatever the keys look like.
func TestSessionsAreApart(t *testing.T) {
	t.Parallel()
	names := []string{"a", "ab", "b"}
	key := rapid.StringMatching(`[ab.]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		// What each link owns, by its plain keys; the session is the sum under the chain's keys.
		owned := make(map[string]map[string]string)
		session := make(map[string]string)
		for _, name := range names {
			owned[name] = rapid.MapOf(key, rapid.StringMatching(`[xy]{1,2}`)).Draw(t, name)
			for k, v := range owned[name] {
				session[name+"."+k] = v
			}
		}
		before := maps.Clone(session)
		answering := rapid.SampledFrom(names).Draw(t, "answering")
		patch := rapid.MapOf(key, rapid.StringMatching(`z?`)).Draw(t, "patch")

		var bots []Bot
		for _, name := range names {
			bots = append(bots, scripted{name, func(_ context.Context, req *Request) (Response, error) {
				if !maps.Equal(req.Session, owned[name]) {
					t.Errorf("%s sees %v, owns %v", name, req.Session, owned[name])
				}
				req.Session["mine"] = "changed" // its own copy: nobody else sees it
				return Response{Handled: name == answering, Answers: []*messages.Answer{Text("x")}, Session: patch}, nil
			}})
		}
		chain, err := New(Options{Account: "demo", Links: links(bots...)})
		if err != nil {
			t.Fatal(err)
		}
		req := text("x")
		req.Session = session
		got, err := chain.Answer(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for k, v := range patch {
			want[answering+"."+k] = v
		}
		if !maps.Equal(got.Session, want) {
			t.Errorf("the patch is %v, want %v", got.Session, want)
		}
		if !maps.Equal(session, before) {
			t.Errorf("the turn's own session was changed to %v", session)
		}
	})
}

// first is the first answer; nil where there is none.
func first(r Response) *messages.Answer {
	if len(r.Answers) == 0 {
		return nil
	}
	return r.Answers[0]
}
