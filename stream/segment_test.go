package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"hongyan/messages"
	"hongyan/stream"
)

// userIn is a user of a partition, out of four.
func userIn(partition int) string {
	for n := 0; ; n++ {
		if u := fmt.Sprint("u", n); (messages.User{Account: "demo", OpenID: u}).Partition(4) == partition {
			return u
		}
	}
}

func streamOf(t *testing.T, s *server, name string) *jetstream.StreamInfo {
	t.Helper()
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	str, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return str.CachedInfo()
}

// Partitions spread over several streams, each with its own sequences, its own share of the cap and its own purging.
func TestSeveralStreams(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{Streams: 3, MaxBytes: 60 << 20})
	for p := range 4 {
		for n := range 5 + p {
			accept(t, s.log, userIn(p), n)
		}
	}
	for name, want := range map[string]uint64{"HY_IN_0": 5 + 8, "HY_IN_1": 6, "HY_IN_2": 7} { // partitions 0 and 3, 1, 2
		info := streamOf(t, s, name)
		if info.State.Msgs != want || info.Config.MaxBytes != 20<<20 {
			t.Errorf("%s has %d entries and a cap of %d, want %d and %d", name, info.State.Msgs, info.Config.MaxBytes, want, 20<<20)
		}
	}
	for p, want := range []uint64{13, 6, 7, 13} {
		if end, err := s.log.End(t.Context(), p); err != nil || end != want {
			t.Errorf("partition %d: the end is %d, %v, want %d", p, end, err, want)
		}
	}
	src, err := s.log.Read(t.Context(), 3, stream.Start{Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for n := range 8 {
		rec := next(t, src)
		if rec.Entry.GetInbound().GetMsgId() != fmt.Sprint(n) || rec.Sequence != uint64(6+n) {
			t.Errorf("partition 3: entry %d at %d, want %d at %d", n, rec.Sequence, n, 6+n)
		}
		if holds, err := s.log.Holds(t.Context(), 3, stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}); err != nil || !holds {
			t.Errorf("partition 3 holds %d: %v, %v", rec.Sequence, holds, err)
		}
		if holds, err := s.log.Holds(t.Context(), 2, stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}); err != nil || holds {
			t.Errorf("partition 2's stream holds what is in that of 3: %v, %v", holds, err)
		}
	}
	if err := s.log.Purge(t.Context(), 3, 13); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"HY_IN_0": 5 + 1, "HY_IN_1": 6, "HY_IN_2": 7} {
		if info := streamOf(t, s, name); info.State.Msgs != want {
			t.Errorf("after purging partition 3: %s has %d entries, want %d", name, info.State.Msgs, want)
		}
	}
	if err := s.log.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"HY_IN_0": 14, "HY_IN_1": 7, "HY_IN_2": 8} { // the probe was really there
		if info := streamOf(t, s, name); info.State.LastSeq != want || info.State.NumSubjects > 2 {
			t.Errorf("after a ping %s ends at %d with %d subjects, want %d", name, info.State.LastSeq, info.State.NumSubjects, want)
		}
	}
}

// Whoever opens a log with another layout is refused, and changes nothing.
func TestAnotherLayoutIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ was, is, partitions int }{
		"one, then three":          {1, 3, 4},
		"three, then one":          {3, 1, 4},
		"three, then two":          {3, 2, 4},
		"two, then four":           {2, 4, 4},
		"more partitions, as many": {2, 2, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, stream.Options{Streams: tt.was})
			for _, attach := range []bool{false, true} {
				_, err := stream.Open(t.Context(), s.conn, stream.Options{
					Partitions: tt.partitions, Streams: tt.is, MaxBytes: 1 << 20, OpTimeout: 10 * time.Second, Attach: attach,
				})
				if !errors.Is(err, stream.ErrLayout) && (!attach || !errors.Is(err, stream.ErrMissing)) {
					t.Errorf("attach %v: %v", attach, err)
				}
			}
			accept(t, s.log, "u", 1)
		})
	}
	if _, err := stream.Open(t.Context(), nil, stream.Options{Partitions: 2, Streams: 3}); err == nil || !strings.Contains(err.Error(), "nats.streams") {
		t.Errorf("more streams than partitions: %v", err)
	}
}

// A node without partitions finds the log, and never makes or changes it.
func TestAttach(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{Streams: 2, MaxBytes: 8 << 20})
	attached := stream.Options{Partitions: 4, Streams: 2, Attach: true, Node: "door", OpTimeout: 10 * time.Second}
	door, err := stream.Open(t.Context(), s.conn, attached)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, door, "u", 1)
	if err := door.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if info := streamOf(t, s, "HY_IN_1"); info.Config.MaxBytes != 4<<20 {
		t.Errorf("the cap is %d", info.Config.MaxBytes)
	}

	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"HY_IN_0", "HY_IN_1", "HY_DEAD"} {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Open(t.Context(), s.conn, attached); !errors.Is(err, stream.ErrMissing) || !strings.Contains(err.Error(), "start a worker") {
		t.Errorf("a log that is not there: %v", err)
	}
	if info, err := js.AccountInfo(t.Context()); err != nil || info.Streams != 0 {
		t.Errorf("attaching made %d streams, %v", info.Streams, err)
	}
	if _, err := door.Accept(t.Context(), entry("u", 2)); !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("accept without a stream: %v", err)
	}
}

// Full is any stream's matter, and who only reads learns it from Run.
func TestOneFullStreamOfSeveral(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{Streams: 2, MaxBytes: 128 << 10})
	var err error
	for n := 0; err == nil; n++ {
		_, err = s.log.Accept(t.Context(), entry(userIn(1), n))
	}
	if !errors.Is(err, stream.ErrFull) || !s.log.Full() {
		t.Fatalf("%v; full %v", err, s.log.Full())
	}
	accept(t, s.log, userIn(0), 1) // the other one has room, and that says nothing of the first
	if !s.log.Full() {
		t.Error("an entry in another stream made it forget that one is full")
	}
	if err := s.log.Ping(t.Context()); !errors.Is(err, stream.ErrFull) {
		t.Errorf("ping: %v", err)
	}

	reader, err := stream.Open(t.Context(), s.conn, stream.Options{Partitions: 4, Streams: 2, Attach: true, OpTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reader.Run(ctx) }() // ended by cancel
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until(t, "the reader knows that the log is full", reader.Full)
	end, err := s.log.End(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Purge(t.Context(), 1, end); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader knows that there is room", func() bool { return !reader.Full() })
}

// until polls for what comes soon.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute) // the machine may be very busy
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A reader beyond the end would skip what comes until the log has grown past it.
func TestNobodyReadsBeyondTheEnd(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
	at := accept(t, s.log, "u", 1)
	if _, err := s.log.Read(t.Context(), p, stream.Start{Sequence: at + 2}); !errors.Is(err, stream.ErrBeyondEnd) {
		t.Errorf("two behind the end: %v", err)
	}
	src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: at + 1})
	if err != nil {
		t.Fatalf("right behind the end: %v", err)
	}
	defer src.Close()
	want := accept(t, s.log, "u", 2)
	if rec := next(t, src); rec.Sequence != want {
		t.Errorf("read %d, want %d", rec.Sequence, want)
	}
}

// A reader that hears nothing while the log has more gives up, and the next one goes on without a gap. A reader leaves no
// consumer behind.
func TestSilentReaderGivesUp(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
	first := accept(t, s.log, "u", 1)
	src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	if rec := next(t, src); rec.Sequence != first {
		t.Fatalf("read %d, want %d", rec.Sequence, first)
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	consumers := func() (names []string) {
		str, err := js.Stream(t.Context(), "HY_IN")
		if err != nil {
			t.Fatal(err)
		}
		for name := range str.ConsumerNames(t.Context()).Name() {
			names = append(names, name)
		}
		return names
	}
	all := consumers()
	if len(all) != 1 {
		t.Fatalf("consumers of one reader: %v", all)
	}
	// A paused consumer is alive, sends heartbeats and delivers nothing: like one that a server's fault has left behind.
	if _, err := js.PauseConsumer(t.Context(), "HY_IN", all[0], time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	second := accept(t, s.log, "u", 2)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if rec, err := src.Next(ctx); !errors.Is(err, stream.ErrReaderClosed) {
		t.Fatalf("a silent reader: %+v, %v", rec, err)
	}
	src.Close()
	again, err := s.log.Read(t.Context(), p, stream.Start{Sequence: first + 1})
	if err != nil {
		t.Fatal(err)
	}
	if rec := next(t, again); rec.Sequence != second {
		t.Errorf("the next reader read %d, want %d", rec.Sequence, second)
	}
	again.Close()
	until(t, "the consumers are gone", func() bool { return len(consumers()) == 0 })
}

// A probe whose fate is unknown is taken out by the next one.
func TestLitterIsCleared(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	if err := s.log.Ping(cancelled(t)); !errors.Is(err, stream.ErrUnknown) {
		t.Fatalf("ping with an ended context: %v", err)
	}
	until(t, "the probe's arrival", func() bool { return streamOf(t, s, "HY_IN").State.Msgs == 1 })
	if err := s.log.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := streamOf(t, s, "HY_IN").State.Msgs; left != 0 {
		t.Errorf("%d probes are left", left)
	}
}
