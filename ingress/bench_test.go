package ingress

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
)

// readyLog accepts at once and has the answer ready, so that what is measured is the ingress alone.
type readyLog struct {
	g      *Ingress
	answer *messages.Answer
	n      atomic.Uint64
}

func (l *readyLog) Accept(_ context.Context, e *messages.Entry) (messages.Position, error) {
	go l.g.Offer(context.Background(), &messages.Offer{Slot: e.GetSlot().GetId(), Key: e.GetInbound().GetKey(), Answer: l.answer})
	return messages.Position{Generation: 1, Sequence: l.n.Add(1)}, nil
}

// BenchmarkCallback is a text message through the handler, without a connection: verified, accepted, answered.
func BenchmarkCallback(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.name(), func(b *testing.B) {
			l := &readyLog{answer: textAnswer("hello")}
			g, err := New(Options{
				Accounts: []Account{testAccount(mode)}, Log: l, ID: "i1", Registerer: prometheus.NewRegistry(),
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			l.g = g
			now := time.Now()
			calls := make([]call, 1024)
			for i := range calls {
				calls[i] = pushCall(b, mode, testToken, testAESKey, textXML(strconv.Itoa(i), "hi", now), now)
			}
			handler := g.Handler()
			var next atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c := calls[int(next.Add(1))%len(calls)]
					r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, c.path+"?"+c.query.Encode(), strings.NewReader(c.body))
					w := &sink{header: http.Header{}}
					handler.ServeHTTP(w, r)
					if w.status != http.StatusOK || w.n == 0 {
						b.Fatalf("%d, %d bytes", w.status, w.n)
					}
				}
			})
		})
	}
}

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	header http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(status int)           { s.status = status }
func (s *sink) Write(p []byte) (int, error)      { s.n += len(p); return len(p), nil }
func (s *sink) FlushError() error                { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
