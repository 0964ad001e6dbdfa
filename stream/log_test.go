package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hongyan/messages"
	"hongyan/stream"
	"hongyan/stream/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real embedded server with a log on it.
type server struct {
	*embedded.Server
	conn *nats.Conn
	log  *stream.Log
}

func open(t *testing.T, opts stream.Options) *server {
	t.Helper()
	return openIn(t, t.TempDir(), opts)
}

func openIn(t *testing.T, dir string, opts stream.Options) *server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{StoreDir: dir, MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 64 << 20
	}
	opts.Partitions, opts.Node, opts.OpTimeout = 4, "test", 10*time.Second
	opts.Logger, opts.Registerer = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	log, err := stream.Open(t.Context(), conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{Server: s, conn: conn, log: log}
	t.Cleanup(srv.end)
	return srv
}

func (s *server) end() {
	s.conn.Close()
	_ = s.Close()
}

func entry(user string, n int) *messages.Entry {
	in := &messages.Inbound{
		Account: "demo", OpenId: user, MsgId: fmt.Sprint(n), Kind: messages.Kind_KIND_TEXT,
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: fmt.Sprint(n)}},
	}
	k := messages.DedupeKey(in)
	in.Key = k[:]
	return &messages.Entry{Inbound: in, Slot: &messages.Slot{Ingress: "i", Id: uint64(n)}}
}

func accept(t *testing.T, l *stream.Log, user string, n int) uint64 {
	t.Helper()
	at, err := l.Accept(t.Context(), entry(user, n))
	if err != nil {
		t.Fatal(err)
	}
	return at.Sequence
}

func next(t *testing.T, src stream.Source) stream.Received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	rec, err := src.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// What is accepted by many at once is read by partition, each entry once, in the order of its sequence.
func TestAcceptedIsReadInOrder(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	const users, each = 8, 200
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for n := range each {
				if _, err := s.log.Accept(t.Context(), entry(fmt.Sprint("u", u), n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()

	total := 0
	for p := range 4 {
		src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: 1})
		if err != nil {
			t.Fatal(err)
		}
		want, last, seen := map[string]int{}, uint64(0), 0
		expected := 0
		for u := range users {
			if (messages.User{Account: "demo", OpenID: fmt.Sprint("u", u)}).Partition(4) == p {
				expected += each
			}
		}
		for seen < expected {
			rec := next(t, src)
			user := rec.Entry.GetInbound().GetOpenId()
			if rec.Sequence <= last || rec.Entry.GetInbound().GetMsgId() != fmt.Sprint(want[user]) {
				t.Fatalf("partition %d: entry %d of %s after %d, want message %d", p, rec.Sequence, user, last, want[user])
			}
			want[user]++
			last = rec.Sequence
			seen++
		}
		if ok, err := src.CaughtUp(t.Context(), last); err != nil || !ok {
			t.Errorf("partition %d: caught up %v, %v at its last entry", p, ok, err)
		}
		if expected > 0 {
			if ok, err := src.CaughtUp(t.Context(), last-1); err != nil || ok {
				t.Errorf("partition %d: caught up %v, %v before its last entry", p, ok, err)
			}
		}
		total += seen
		src.Close()
	}
	if total != users*each {
		t.Errorf("%d entries read, want %d", total, users*each)
	}
}

func TestReadFromSequenceAndTime(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
	accept(t, s.log, "u", 1)
	second := accept(t, s.log, "u", 2)
	accept(t, s.log, "u", 3)
	src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: second})
	if err != nil {
		t.Fatal(err)
	}
	rec := next(t, src)
	src.Close()
	if rec.Sequence != second {
		t.Errorf("read %d, want %d", rec.Sequence, second)
	}
	again, err := s.log.Read(t.Context(), p, stream.Start{Time: rec.LogTime})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if rec := next(t, again); rec.Sequence != second {
		t.Errorf("by time: read %d, want %d", rec.Sequence, second)
	}
	next(t, again)
	if _, err := again.Next(cancelled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("next with an ended context: %v", err)
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// The log survives its process; a reader that lives through a restart of the server goes on behind its last entry.
func TestLogSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := openIn(t, dir, stream.Options{})
	p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
	seq := accept(t, first.log, "u", 1)
	src, err := first.log.Read(t.Context(), p, stream.Start{Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	rec := next(t, src)
	mark := stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}
	src.Close()
	first.end()

	again := openIn(t, dir, stream.Options{})
	if holds, err := again.log.Holds(t.Context(), p, mark); err != nil || !holds {
		t.Errorf("after a restart the entry is held: %v, %v", holds, err)
	}
	mark.LogTime = mark.LogTime.Add(1)
	if holds, err := again.log.Holds(t.Context(), p, mark); err != nil || holds {
		t.Errorf("an entry of another time is held: %v, %v", holds, err)
	}
	if holds, err := again.log.Holds(t.Context(), p, stream.Mark{Sequence: seq + 9}); err != nil || holds {
		t.Errorf("an entry beyond the end is held: %v, %v", holds, err)
	}
	if end, err := again.log.End(t.Context(), p); err != nil || end != seq {
		t.Errorf("end %d, %v", end, err)
	}
	for q, want := range map[int]bool{p: true, (p + 1) % 4: false} {
		if has, err := again.log.HasEntries(t.Context(), q); err != nil || has != want {
			t.Errorf("partition %d has entries: %v, %v", q, has, err)
		}
	}
}

// Rule 7: purging touches one partition, strictly below the sequence.
func TestPurge(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	var mine []uint64
	p := messages.User{Account: "demo", OpenID: "u0"}.Partition(4)
	for n := range 60 {
		user := fmt.Sprint("u", n%6)
		seq := accept(t, s.log, user, n)
		if (messages.User{Account: "demo", OpenID: user}).Partition(4) == p {
			mine = append(mine, seq)
		}
	}
	if err := s.log.Purge(t.Context(), p, mine[4]); err != nil {
		t.Fatal(err)
	}
	src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if rec := next(t, src); rec.Sequence != mine[4] {
		t.Errorf("the oldest entry is %d, want %d", rec.Sequence, mine[4])
	}
	for q := range 4 {
		if q == p {
			continue
		}
		has, err := s.log.HasEntries(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		want := false
		for n := range 6 {
			want = want || messages.User{Account: "demo", OpenID: fmt.Sprint("u", n)}.Partition(4) == q
		}
		if has != want {
			t.Errorf("partition %d has entries: %v", q, has)
		}
	}
}

// Promise P6: a full log says so, keeps what it has, and takes entries again once there is room.
func TestFullLog(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{MaxBytes: 64 << 10})
	var last uint64
	var err error
	for n := range 5000 {
		var at messages.Position
		if at, err = s.log.Accept(t.Context(), entry("u", n)); err != nil {
			break
		}
		last = at.Sequence
	}
	if !errors.Is(err, stream.ErrFull) {
		t.Fatalf("a log beyond its cap: %v", err)
	}
	if !s.log.Full() {
		t.Error("the log does not know that it is full")
	}
	if err := s.log.Ping(t.Context()); !errors.Is(err, stream.ErrFull) {
		t.Errorf("readiness of a full log: %v", err)
	}
	p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
	if err := s.log.Purge(t.Context(), p, last); err != nil {
		t.Fatal(err)
	}
	if _, err := s.log.Accept(t.Context(), entry("u", 9999)); err != nil {
		t.Errorf("after purging: %v", err)
	}
	if s.log.Full() {
		t.Error("the log has room again and does not know")
	}
	if err := s.log.Ping(t.Context()); err != nil {
		t.Errorf("readiness after purging: %v", err)
	}
}

// The probe leaves nothing behind.
func TestPingLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	for range 3 {
		if err := s.log.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for p := range 4 {
		if has, err := s.log.HasEntries(t.Context(), p); err != nil || has {
			t.Errorf("partition %d has entries: %v, %v", p, has, err)
		}
	}
}

// A server that is gone is no acceptance, and the call ends.
func TestAcceptWithoutServer(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	_ = s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := s.log.Accept(ctx, entry("u", 1))
	if !errors.Is(err, stream.ErrUnavailable) && !errors.Is(err, stream.ErrUnknown) {
		t.Errorf("accept without a server: %v", err)
	}
}

// Rule 11: with a barrier an entry is accepted only behind it; where it fails nobody may say success.
func TestBarrierStandsBehindThePublish(t *testing.T) {
	t.Parallel()
	b := &barrier{}
	s := open(t, stream.Options{Barrier: b})
	accept(t, s.log, "u", 1)
	if b.calls != 1 {
		t.Errorf("%d barriers behind one entry", b.calls)
	}
	b.err = errors.New("disk")
	if _, err := s.log.Accept(t.Context(), entry("u", 2)); !errors.Is(err, stream.ErrUnknown) {
		t.Errorf("accept with a broken barrier: %v", err)
	}
}

type barrier struct {
	calls int
	err   error
}

func (b *barrier) Sync(context.Context) error {
	b.calls++
	return b.err
}

// Rule 19: a dead letter is stored once, however often it is published.
func TestDeadLettersAreStoredOnce(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	for range 3 {
		if err := s.log.Bury(t.Context(), 1, "demo", "key.1", &messages.DeadLetter{Reason: "deadly"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.log.Bury(t.Context(), 1, "demo", "key.2", &messages.DeadLetter{Reason: "deadly"}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.log.DeadCount(t.Context()); err != nil || n != 2 {
		t.Errorf("%d dead letters, %v, want 2", n, err)
	}
}

// What is no entry is handed over as it stands, with the reason.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	if err := s.conn.Publish(stream.InSubject(2, "demo"), []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	src, err := s.log.Read(t.Context(), 2, stream.Start{Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if rec := next(t, src); rec.Entry != nil || rec.Err == nil || string(rec.Payload) != "garbage" {
		t.Errorf("received %+v", rec)
	}
}
