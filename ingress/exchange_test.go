package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
)

func TestLastDelivery(t *testing.T) {
	t.Parallel()
	for name, thinking := range map[string]string{"text": "still thinking", "success": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(o *Options) { o.Accounts[0].Thinking = thinking }, func(s *stage) {
				want := "<![CDATA[still thinking]]>"
				if thinking == "" {
					want = "success"
				}
				got := s.deliver("1", time.Now().Add(-10*time.Second)) // by age
				e := s.entry(1)
				r := <-got
				if r.status != 200 || !strings.Contains(r.body, want) || r.at != DefaultDeadline {
					t.Errorf("by age: WeChat got %+v", r)
				}
				s.want("offer afterwards", s.offer(e, "hello"), refused)

				created := time.Now()
				for range 2 { // three at once: by count
					s.deliver("2", created)
				}
				synctest.Wait()
				if r := <-s.deliver("2", created); r.status != 200 || !strings.Contains(r.body, want) {
					t.Errorf("by count: WeChat got %+v", r)
				}
				time.Sleep(time.Second)

				created = time.Now().Add(time.Hour) // WeChat's clock is far ahead, or ours behind
				s.deliver("3", created)
				time.Sleep(10 * time.Second)
				if r := <-s.deliver("3", created); r.status != 200 || !strings.Contains(r.body, want) {
					t.Errorf("by the time since the first: WeChat got %+v", r)
				}
			})
		})
	}
}

func TestAnswerBeatsTheTextOnALastDelivery(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now().Add(-10*time.Second))
		e := s.entry(1)
		time.Sleep(4500 * time.Millisecond)
		s.want("offer", s.offer(e, "hello"), written)
		if r := <-got; !strings.Contains(r.body, "hello") {
			t.Errorf("WeChat got %+v", r)
		}
	})
}

// An answer that cannot be a passive reply is refused, and the exchange ends as if nobody had offered one.
func TestUnsendableAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now().Add(-10*time.Second))
		e := s.entry(1)
		o := offerOf(e, "")
		o.Answer = &messages.Answer{Content: &messages.Answer_Image{Image: &messages.MediaAnswer{}}}
		s.want("image without an id", s.Offer(context.Background(), o).GetVerdict(), refused)
		s.want("another answer", s.offer(e, "hello"), refused)
		if r := <-got; !strings.Contains(r.body, "still thinking") {
			t.Errorf("WeChat got %+v", r)
		}
		if !strings.Contains(s.lines.String(), "level=ERROR") {
			t.Errorf("nothing in the log: %s", s.lines)
		}
	})
}

func TestLogThatDoesNotAccept(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(context.Context, *messages.Entry) error{
		"error": func(context.Context, *messages.Entry) error { return errors.New("no space left") },
		"hangs": func(ctx context.Context, _ *messages.Entry) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(s *stage) {
				seen := make(chan *messages.Entry, 1)
				s.log.hook = func(ctx context.Context, e *messages.Entry) error {
					seen <- e
					return hook(ctx, e)
				}
				got := s.deliver("1", time.Now())
				e := <-seen
				verdict := make(chan messages.Verdict, 1)
				go func() { verdict <- s.offer(e, "hello") }() // the entry was in the log all the same
				r := <-got
				if r.status != http.StatusServiceUnavailable || r.body != "" || r.at > 4*time.Second {
					t.Errorf("WeChat got %+v, want 503 without a body within 4 s", r)
				}
				s.want("offer meanwhile", <-verdict, refused)
				s.want("offer afterwards", s.offer(e, "hello"), refused)

				got = s.deliver("2", time.Now().Add(-10*time.Second))
				<-seen
				if r := <-got; r.status != 200 || !strings.Contains(r.body, "<![CDATA[not received]]>") {
					t.Errorf("last delivery: WeChat got %+v", r)
				}
				if n := counter(t, s.metrics.notReceived, "demo"); n != 1 {
					t.Errorf("not_received_total is %v", n)
				}
				if len(s.log.all()) != 0 || counter(t, s.metrics.accepted, "demo", "text") != 0 {
					t.Error("counted as accepted")
				}
			})
		})
	}
}

// The log has the first delivery and cannot take the last one: the user is not asked to send again what is being answered.
func TestLastDeliveryOfAnAcceptedMessage(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		var full atomic.Bool
		s.log.hook = func(context.Context, *messages.Entry) error {
			if full.Load() {
				return errors.New("no space left")
			}
			return nil
		}
		sent := time.Now()
		<-s.deliverFor("1", sent, 5*time.Second)
		<-s.deliverFor("1", sent, 5*time.Second)
		full.Store(true)
		if r := <-s.deliver("1", sent); r.status != 200 || !strings.Contains(r.body, "still thinking") {
			t.Errorf("last delivery: WeChat got %+v", r)
		}
		if n := counter(t, s.metrics.notReceived, "demo"); n != 0 {
			t.Errorf("not_received_total is %v for a message that was received", n)
		}
	})
}

// WeChat hangs up while the log is at work: the message is still accepted, so that the next delivery meets its turn.
func TestAcceptOutlivesTheClient(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		s.log.hook = func(ctx context.Context, _ *messages.Entry) error {
			select {
			case <-time.After(2 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		seen := make(chan *messages.Entry, 1)
		accept := s.log.hook
		s.log.hook = func(ctx context.Context, e *messages.Entry) error {
			seen <- e
			return accept(ctx, e)
		}
		<-s.deliverFor("1", time.Now(), time.Second)
		synctest.Wait()
		s.want("offer before the log's word", s.offer(<-seen, "hello"), refused)
		s.want("offer after it", s.offer(s.entry(1), "hello"), refused)
	})
}

func TestPanicInTheLogLeavesNoSlotOpen(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		seen := make(chan *messages.Entry, 1)
		s.log.hook = func(_ context.Context, e *messages.Entry) error {
			seen <- e
			panic("a fault in the log")
		}
		<-s.deliver("1", time.Now())
		s.want("offer", s.offer(<-seen, "hello"), refused)
		if n := s.slots.count(); n != 0 {
			t.Errorf("%d slots are open", n)
		}
		if err := s.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		brief, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Drain(brief); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an open slot: %v", err)
		}
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(context.Background()) }()
		synctest.Wait()
		if r := <-s.deliver("2", time.Now()); r.status != http.StatusServiceUnavailable || r.body != "" {
			t.Errorf("new exchange while draining: %+v", r)
		}
		s.want("offer while draining", s.offer(e, "hello"), written)
		if r := <-got; !strings.Contains(r.body, "hello") {
			t.Errorf("WeChat got %+v", r)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		s.want("question when drained", s.ask(e), written)
		s.entry(1)
	})
}

// Where nobody takes WeChat's later deliveries, a stop ends what waits with the text for that, and not by letting WeChat hang up three
// times; the slot is refused then, so that the answer comes later.
func TestDrainOfTheOnlyIngress(t *testing.T) {
	t.Parallel()
	inBubble(t, func(o *Options) { o.Alone = true }, func(s *stage) {
		got := s.deliver("1", time.Now())
		e := s.entry(1)
		began := time.Now()
		if err := s.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != partAfter {
			t.Errorf("it took %v, want %v", took, partAfter)
		}
		if r := <-got; r.status != http.StatusOK || !strings.Contains(r.body, "still thinking") {
			t.Errorf("WeChat got %+v", r)
		}
		s.want("offer behind it", s.offer(e, "hello"), refused)
	})
}

// The stations of one message, as whoever watches sees them.
func TestTrace(t *testing.T) {
	t.Parallel()
	var events []messages.TraceEvent
	inBubble(t, func(o *Options) { o.Trace = func(e messages.TraceEvent) { events = append(events, e) } }, func(s *stage) {
		s.log.hook = func(context.Context, *messages.Entry) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		got := s.deliver("1", time.Now())
		time.Sleep(100 * time.Millisecond)
		e := s.entry(1)
		time.Sleep(time.Second)
		s.offer(e, "hello")
		<-got
		synctest.Wait()
		var line []string
		for _, e := range events {
			line = append(line, fmt.Sprintf("%s %d %d %s %v", e.Stage, e.Slot, e.Sequence, e.Detail, e.Elapsed))
			if e.OpenID != openID || e.Partition < 0 || e.MsgID != "1" {
				t.Errorf("%+v", e)
			}
		}
		want := "verified 0 0  0s; accepted 1 1  100ms; offered 1 0 written 1s"
		if got := strings.Join(line, "; "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// A reset on a real connection while the answer is on its way never counts as written before the bytes are with the kernel,
// and an exchange that was reset earlier is refused.
func TestResetOnARealConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, ModePlain, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := b.Server()
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // ends with Close
	defer func() { _ = server.Close(); <-done }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	_, _ = io.WriteString(conn, pushCall(t, ModePlain, testToken, "", textXML("1", "hi", now), now).wire())
	eventually(t, func() bool { return len(b.log.all()) == 1 && b.slots.count() == 1 })
	_ = conn.(*net.TCPConn).SetLinger(0) // Close sends RST
	_ = conn.Close()
	eventually(t, func() bool { return b.slots.count() == 0 })
	if v := b.Offer(context.Background(), offerOf(b.log.all()[0], "hello")).GetVerdict(); v != refused {
		t.Errorf("%v, want refused", v)
	}
}
