package ingress

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
)

const (
	written = messages.Verdict_VERDICT_WRITTEN
	refused = messages.Verdict_VERDICT_REFUSED
	unknown = messages.Verdict_VERDICT_UNKNOWN
	open    = messages.Verdict_VERDICT_OPEN
)

// stage is a bench in a synctest bubble, with its server on pipes.
type stage struct {
	*bench
	*pipes
	t *testing.T
}

// inBubble runs play on a stage of its own, with the clock of a synctest bubble.
func inBubble(t *testing.T, change func(*Options), play func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, ModePlain, change)
		p, stop := b.servePipes()
		defer stop()
		play(&stage{bench: b, pipes: p, t: t})
	})
}

// deliver sends a text message as WeChat does: it hangs up after 5 s. The result comes on the channel.
func (s *stage) deliver(msgID string, created time.Time) <-chan result {
	return s.deliverFor(msgID, created, 5*time.Second)
}

func (s *stage) deliverFor(msgID string, created time.Time, patience time.Duration) <-chan result {
	c := pushCall(s.t, ModePlain, testToken, "", textXML(msgID, "hi", created), time.Now())
	out := make(chan result, 1)
	go func() { out <- s.send(c, patience) }() // ends after patience
	return out
}

// entry waits until the log has n entries and returns the newest.
func (s *stage) entry(n int) *messages.Entry {
	s.t.Helper()
	synctest.Wait()
	all := s.log.all()
	if len(all) != n {
		s.t.Fatalf("the log has %d entries, want %d", len(all), n)
	}
	return all[n-1]
}

func offerOf(e *messages.Entry, text string) *messages.Offer {
	o := &messages.Offer{Slot: e.GetSlot().GetId(), Key: e.GetInbound().GetKey()}
	if text != "" {
		o.Answer = textAnswer(text)
	}
	return o
}

func (s *stage) offer(e *messages.Entry, text string) messages.Verdict {
	return s.Offer(context.Background(), offerOf(e, text)).GetVerdict()
}

func (s *stage) ask(e *messages.Entry) messages.Verdict {
	o := offerOf(e, "")
	o.Ask = true
	return s.Offer(context.Background(), o).GetVerdict()
}

func (s *stage) want(what string, got, want messages.Verdict) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestOfferIsWrittenOnceAndItsVerdictKept(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		if e.GetSlot().GetIngress() != "i1" || e.GetSlot().GetId() == 0 {
			t.Fatalf("slot %v", e.GetSlot())
		}
		s.want("question before", s.ask(e), open)
		time.Sleep(time.Second)
		reply := s.Offer(context.Background(), offerOf(e, "hello"))
		s.want("offer", reply.GetVerdict(), written)
		if reply.GetElapsedMs() != 1000 {
			t.Errorf("elapsed %d ms", reply.GetElapsedMs())
		}
		r := <-got
		if r.status != 200 || !strings.Contains(r.body, "<![CDATA[hello]]>") || r.at != time.Second {
			t.Errorf("WeChat got %+v", r)
		}
		s.want("the same offer again", s.offer(e, "hello"), written)
		s.want("another answer", s.offer(e, "other"), refused)
		s.want("success instead", s.offer(e, ""), refused)
		other := offerOf(e, "hello")
		other.Key = []byte("another message!")
		s.want("another message", s.Offer(context.Background(), other).GetVerdict(), refused)
		time.Sleep(time.Minute)
		s.want("question after a minute", s.ask(e), written)
		time.Sleep(time.Minute)
		s.want("question when it is forgotten", s.ask(e), unknown)
		s.want("offer when it is forgotten", s.offer(e, "hello"), refused)
	})
}

func TestOffersThatFindNoSlot(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		for _, ask := range []bool{false, true} {
			o := offerOf(e, "hello")
			o.Slot, o.Ask = 7, ask
			s.want("slot that never was", s.Offer(context.Background(), o).GetVerdict(), refused)
			o = offerOf(e, "not for this message")
			o.Key, o.Ask = make([]byte, messages.KeySize), ask
			s.want("another message's key", s.Offer(context.Background(), o).GetVerdict(), refused)
		}
		s.want("its own is unharmed", s.offer(e, "hello"), written)
		<-got
	})
}

func TestSuccessAndSilence(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		s.want("offer without an answer", s.offer(e, ""), written)
		if r := <-got; r.body != "success" || r.header.Get("Content-Type") != typePlain[0] {
			t.Errorf("WeChat got %+v", r)
		}
	})
}

// Two offers at the same instant: one response, and only the one that was written is told so.
func TestOffersAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, second := range []string{"hello", "other"} {
		inBubble(t, nil, func(s *stage) {
			hold := make(chan struct{})
			s.log.hook = func(context.Context, *messages.Entry) error {
				<-hold // so that both offers meet an exchange that cannot write yet
				return nil
			}
			seen := make(chan *messages.Entry, 1)
			inner := s.log.hook
			s.log.hook = func(ctx context.Context, e *messages.Entry) error {
				seen <- e
				return inner(ctx, e)
			}
			got := s.deliver("1", time.Now())
			e := <-seen
			verdicts := map[string]chan messages.Verdict{"first": make(chan messages.Verdict, 1), "second": make(chan messages.Verdict, 1)}
			go func() { verdicts["first"] <- s.offer(e, "hello") }()
			synctest.Wait()
			go func() { verdicts["second"] <- s.offer(e, second) }()
			synctest.Wait()
			select {
			case v := <-verdicts["first"]:
				t.Fatalf("%v before the log had the message", v)
			case r := <-got:
				t.Fatalf("%+v before the log had the message", r)
			default:
			}
			close(hold)
			s.want("first", <-verdicts["first"], written)
			want := written
			if second != "hello" {
				want = refused
			}
			s.want("second", <-verdicts["second"], want)
			if r := <-got; !strings.Contains(r.body, "hello") {
				t.Errorf("WeChat got %+v", r)
			}
		})
	}
}

// An offer whose owner cannot wait is unknown to it, and the verdict is there when it asks again.
func TestOfferThatDoesNotWait(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		seen := make(chan *messages.Entry, 1)
		s.log.hook = func(_ context.Context, e *messages.Entry) error {
			seen <- e
			time.Sleep(2 * time.Second)
			return nil
		}
		got := s.deliver("1", time.Now())
		e := <-seen
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.want("impatient offer", s.Offer(ctx, offerOf(e, "hello")).GetVerdict(), unknown)
		ask := offerOf(e, "hello")
		ask.Ask = true
		s.want("question while it is claimed", s.Offer(ctx, ask).GetVerdict(), unknown)
		if r := <-got; !strings.Contains(r.body, "hello") {
			t.Errorf("WeChat got %+v", r)
		}
		synctest.Wait()
		s.want("question afterwards", s.ask(e), written)
	})
}

func TestFirstDeliveryIsHeldUntilWeChatHangsUp(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		r := <-s.deliver("1", time.Now())
		if !errors.Is(r.err, errHungUp) || r.at != 5*time.Second {
			t.Errorf("WeChat got %+v, want nothing for 5 s", r)
		}
		e := s.entry(1)
		s.want("offer afterwards", s.offer(e, "hello"), refused)
		s.want("question afterwards", s.ask(e), refused)
	})
}

func TestExchangeIsCutWhereWeChatForgetsToHangUp(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		r := <-s.deliverFor("1", time.Now(), time.Minute)
		if !errors.Is(r.err, io.ErrUnexpectedEOF) || r.at != holdLimit {
			t.Errorf("WeChat got %+v, want the connection cut after %v", r, holdLimit)
		}
		s.want("offer afterwards", s.offer(s.entry(1), "hello"), refused)
	})
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliverFor("1", time.Now(), 2*time.Second)
		e := s.entry(1)
		<-got
		synctest.Wait() // the server saw it
		s.want("offer afterwards", s.offer(e, "hello"), refused)
		if n := counter(t, s.metrics.unanswered, endGone); n != 1 {
			t.Errorf("unanswered_total{gone} is %v", n)
		}
	})
}

func TestLateOfferIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		time.Sleep(writeCutOff + time.Millisecond)
		s.want("late offer", s.offer(e, "hello"), refused)
		if r := <-got; !errors.Is(r.err, errHungUp) {
			t.Errorf("WeChat got %+v", r)
		}
	})
}

// A client that does not read lets the write block: nobody can tell what arrived.
func TestWriteThatBlocksIsUnknown(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		conn := s.dial()
		defer conn.Close()
		c := pushCall(t, ModePlain, testToken, "", textXML("1", "hi", time.Now()), time.Now())
		if _, err := io.WriteString(conn, c.wire()); err != nil {
			t.Fatal(err)
		}
		e := s.entry(1)
		time.Sleep(4 * time.Second)
		reply := s.Offer(context.Background(), offerOf(e, "hello"))
		s.want("offer", reply.GetVerdict(), unknown)
		if reply.GetElapsedMs() != 5000 {
			t.Errorf("elapsed %d ms, want the write to end at 5 s", reply.GetElapsedMs())
		}
		s.want("question afterwards", s.ask(e), unknown)
		s.want("another answer", s.offer(e, "other"), refused)
	})
}

// A write that ends without an error but too late (the process stood still, say) is unknown too.
func TestWriteThatEndsLateIsUnknown(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		c := pushCall(t, ModePlain, testToken, "", textXML("1", "hi", time.Now()), time.Now())
		r := httptest.NewRequest(c.method, c.path+"?"+c.query.Encode(), strings.NewReader(c.body))
		w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), takes: 2 * time.Second}
		served := make(chan struct{})
		go func() { defer close(served); s.Handler().ServeHTTP(w, r) }() // ends with the write
		e := s.entry(1)
		time.Sleep(4 * time.Second)
		s.want("offer", s.offer(e, "hello"), unknown)
		<-served
	})
}

type slowWriter struct {
	*httptest.ResponseRecorder
	takes time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	return w.ResponseRecorder.Write(p)
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 10 s")
		}
	}
}
