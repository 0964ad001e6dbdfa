package stream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/stream"
)

// slots answers every offer with one verdict, after an optional wait.
type slots struct {
	verdict messages.Verdict
	wait    chan struct{}
	mu      sync.Mutex
	offers  []*messages.Offer
}

func (s *slots) Offer(ctx context.Context, o *messages.Offer) *messages.OfferReply {
	s.mu.Lock()
	s.offers = append(s.offers, o)
	s.mu.Unlock()
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
		}
	}
	return &messages.OfferReply{Verdict: s.verdict, ElapsedMs: 7}
}

func (s *slots) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.offers)
}

// serve runs an ingress's slots behind offers until the test ends, and waits until they can be reached from elsewhere.
func serve(t *testing.T, here, elsewhere *stream.Offers, id string, s *slots) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- here.Serve(ctx, id, s) }() // ended by cancel
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := elsewhere.Offer(t.Context(), id, &messages.Offer{Slot: 1, Ask: true})
		if !errors.Is(err, stream.ErrNoIngress) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the slots cannot be reached")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOffersReachTheIngress(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	here, elsewhere := stream.NewOffers(s.conn), stream.NewOffers(s.conn)
	in := &slots{verdict: messages.Verdict_VERDICT_WRITTEN}
	serve(t, here, elsewhere, "ingress-1", in)
	offer := &messages.Offer{Slot: 9, Key: []byte("0123456789abcdef"), Answer: &messages.Answer{
		Content: &messages.Answer_Text{Text: &messages.TextAnswer{Content: "hi"}}}}
	for name, o := range map[string]*stream.Offers{"same process": here, "another process": elsewhere} {
		before := in.seen()
		reply, err := o.Offer(t.Context(), "ingress-1", offer)
		if err != nil || reply.GetVerdict() != messages.Verdict_VERDICT_WRITTEN || reply.GetElapsedMs() != 7 {
			t.Errorf("%s: %v, %v", name, reply, err)
		}
		if in.seen() != before+1 {
			t.Errorf("%s: heard %d times", name, in.seen()-before)
		}
	}
}

// Rule 12: an ingress that is gone is told from one that does not answer.
func TestOffersTellGoneFromSilent(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	here, elsewhere := stream.NewOffers(s.conn), stream.NewOffers(s.conn)
	if _, err := elsewhere.Offer(t.Context(), "nobody", &messages.Offer{Slot: 1}); !errors.Is(err, stream.ErrNoIngress) {
		t.Errorf("an ingress that is gone: %v", err)
	}
	silent, err := s.conn.SubscribeSync("hy.slot.silent")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Unsubscribe() }()
	if _, err := elsewhere.Offer(t.Context(), "silent", &messages.Offer{Slot: 1}); err == nil || errors.Is(err, stream.ErrNoIngress) {
		t.Errorf("an ingress that does not answer: %v", err)
	}
	in := &slots{verdict: messages.Verdict_VERDICT_REFUSED}
	serve(t, here, elsewhere, "ingress-2", in)
	if reply, err := elsewhere.Offer(t.Context(), "ingress-2", &messages.Offer{Slot: 1}); err != nil || reply.GetVerdict() != messages.Verdict_VERDICT_REFUSED {
		t.Errorf("a refusal: %v, %v", reply, err)
	}
}
