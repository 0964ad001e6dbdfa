package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/stream"
	"hongyan/stream/outside"
)

// startNATS runs one real server, or three that form a cluster, healthy when it returns.
func startNATS(t *testing.T, count int) []*servers.NATS {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ports, routes := make([]int, count), make([]string, count)
	for n := range ports {
		var err error
		if ports[n], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
		routes[n] = fmt.Sprint("127.0.0.1:", ports[n])
	}
	var all []*servers.NATS
	for n, port := range ports {
		o := servers.NATSOptions{Dir: filepath.Join(t.TempDir(), fmt.Sprint("n", n)), Name: fmt.Sprint("n", n)}
		if count > 1 {
			o.ClusterPort, o.Routes = port, routes
		}
		s, err := servers.StartNATS(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if s.Running() {
				_ = s.Kill()
			}
		})
		all = append(all, s)
	}
	for _, s := range all {
		if err := s.AwaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// dial connects as a node does. addrs are host:port.
func dial(t *testing.T, name string, addrs ...string) *nats.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := outside.Connect(ctx, outside.Options{URL: "nats://" + strings.Join(addrs, ","), Name: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func openOn(t *testing.T, conn *nats.Conn, opts stream.Options) *stream.Log {
	t.Helper()
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 64 << 20
	}
	opts.Partitions, opts.Node, opts.Registerer = 4, conn.Opts.Name, prometheus.NewRegistry()
	log, err := stream.Open(t.Context(), conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func addresses(all []*servers.NATS) (out []string) {
	for _, s := range all {
		out = append(out, s.Addr())
	}
	return out
}

// leader is the server that leads a stream, by what the cluster says through conn.
func leader(t *testing.T, conn *nats.Conn, all []*servers.NATS, name string) *servers.NATS {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	var found *servers.NATS
	until(t, "a leader of "+name, func() bool {
		s, err := js.Stream(t.Context(), name)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for _, one := range all {
			if one.Name() == s.CachedInfo().Cluster.Leader {
				found = one
			}
		}
		return found != nil
	})
	return found
}

// What a publisher was told about its message.
const (
	acked = iota + 1
	refused
	unknown
)

// witness publishes under faults, reads under faults, and compares.
type witness struct {
	t       *testing.T
	log     *stream.Log // of the publishers
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	acks  atomic.Int64
	parts [4]atomic.Int64 // acknowledged, by partition
	total [unknown + 1]atomic.Int64
	slow  atomic.Int64 // the longest publish, ns

	mu    sync.Mutex
	told  map[string][]int                   // by user, by message
	heard map[int][]*stream.Received         // by partition, as the readers got it
	fails map[int]map[string]int             // by partition: why readers broke
	lost  func(partition int, m stream.Mark) // the log seems to be another one
}

// limit is what an ingress gives the log before it must answer WeChat.
const limit = 4 * time.Second

func newWitness(t *testing.T, log *stream.Log) *witness {
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	w := &witness{t: t, log: log, ctx: ctx, stop: stop, told: map[string][]int{}, heard: map[int][]*stream.Received{}, fails: map[int]map[string]int{}}
	w.lost = func(p int, m stream.Mark) { t.Errorf("partition %d: entry %d is not held any more", p, m.Sequence) }
	t.Cleanup(func() {
		stop()
		w.running.Wait()
	})
	return w
}

// publish starts users who send one message after the other, a pause between, until the context ends.
func (w *witness) publish(ctx context.Context, users int, pause time.Duration) *sync.WaitGroup {
	var all sync.WaitGroup
	for u := range users {
		user := fmt.Sprint("u", u)
		all.Go(func() { // ended by ctx
			for n := 0; ctx.Err() == nil; n++ {
				w.send(user, n)
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	return &all
}

func (w *witness) send(user string, n int) {
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	began := time.Now()
	_, err := w.log.Accept(ctx, entry(user, n))
	took := time.Since(began)
	for was := w.slow.Load(); int64(took) > was && !w.slow.CompareAndSwap(was, int64(took)); was = w.slow.Load() {
	}
	outcome := acked
	switch {
	case err == nil:
		w.acks.Add(1)
		w.parts[messages.User{Account: "demo", OpenID: user}.Partition(4)].Add(1)
	case errors.Is(err, stream.ErrUnknown):
		outcome = unknown
	case errors.Is(err, stream.ErrUnavailable), errors.Is(err, stream.ErrFull):
		outcome = refused
	default:
		w.t.Errorf("an error of no kind: %v", err)
	}
	w.total[outcome].Add(1)
	w.mu.Lock()
	w.told[user] = append(w.told[user], outcome)
	w.mu.Unlock()
}

// more waits until so many more entries are acknowledged.
func (w *witness) more(entries int64) time.Duration {
	w.t.Helper()
	began, from := time.Now(), w.acks.Load()
	until(w.t, "publishing goes on", func() bool { return w.acks.Load() >= from+entries })
	return time.Since(began)
}

// everywhere waits until every partition has acknowledged one more entry.
func (w *witness) everywhere() time.Duration {
	w.t.Helper()
	began := time.Now()
	for p := range w.parts {
		from := w.parts[p].Load()
		until(w.t, fmt.Sprintf("partition %d takes entries", p), func() bool { return w.parts[p].Load() > from })
	}
	return time.Since(began)
}

// follow reads a partition as its owner does: from the first entry, and behind the last one whenever the reader broke.
func (w *witness) follow(log *stream.Log, partition int) {
	w.running.Go(func() { // ended by w.ctx
		var last stream.Mark
		for w.ctx.Err() == nil {
			err := w.read(log, partition, &last)
			w.mu.Lock()
			if w.fails[partition] == nil {
				w.fails[partition] = map[string]int{}
			}
			w.fails[partition][fmt.Sprint(err)]++
			w.mu.Unlock()
			if last.Sequence > 0 {
				if holds, err := log.Holds(w.ctx, partition, last); err == nil && !holds {
					w.lost(partition, last)
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-w.ctx.Done():
			}
		}
	})
}

func (w *witness) read(log *stream.Log, partition int, last *stream.Mark) error {
	src, err := log.Read(w.ctx, partition, stream.Start{Sequence: last.Sequence + 1})
	if err != nil {
		return err
	}
	defer src.Close()
	for {
		rec, err := src.Next(w.ctx)
		if err != nil {
			return err
		}
		*last = stream.Mark{Sequence: rec.Sequence, LogTime: rec.LogTime}
		w.mu.Lock()
		w.heard[partition] = append(w.heard[partition], &rec)
		w.mu.Unlock()
	}
}

// judge waits until the readers have all that the log acknowledged, reads the log once more from its first entry, and compares:
// acknowledged entries are there once and in order, refused ones are not there, and the readers got neither gap nor double.
func (w *witness) judge(conn *nats.Conn, opts stream.Options) {
	w.t.Helper()
	log := openOn(w.t, conn, opts)
	for p := range 4 {
		truth := w.whole(log, p)
		next := map[string]int{}
		for _, rec := range truth {
			user := rec.Entry.GetInbound().GetOpenId()
			var n int
			if _, err := fmt.Sscan(rec.Entry.GetInbound().GetMsgId(), &n); err != nil {
				w.t.Fatal(err)
			}
			for ; next[user] < n; next[user]++ {
				if w.told[user][next[user]] == acked {
					w.t.Errorf("%s: message %d was acknowledged and is not there, or is out of order", user, next[user])
				}
			}
			if next[user] != n {
				w.t.Errorf("%s: message %d is there after message %d", user, n, next[user])
			}
			if w.told[user][n] == refused {
				w.t.Errorf("%s: message %d was refused and is there", user, n)
			}
			next[user] = n + 1
		}
		for user, told := range w.told {
			if (messages.User{Account: "demo", OpenID: user}).Partition(4) != p {
				continue
			}
			for n := next[user]; n < len(told); n++ {
				if told[n] == acked {
					w.t.Errorf("%s: message %d was acknowledged and is not at the end", user, n)
				}
			}
		}
		w.compare(p, truth)
	}
	w.t.Logf("%d acknowledged, %d refused, %d unknown; the longest publish took %v", w.total[acked].Load(), w.total[refused].Load(),
		w.total[unknown].Load(), time.Duration(w.slow.Load()).Round(time.Millisecond))
	if slow := time.Duration(w.slow.Load()); slow >= limit {
		w.t.Errorf("a publish took %v: too late for a 503 in time", slow)
	}
	if w.total[acked].Load() == 0 {
		w.t.Error("nothing was acknowledged: the test shows nothing")
	}
}

// whole is what the log has of a partition. It asks again where a cluster that has just come back does not answer.
func (w *witness) whole(log *stream.Log, p int) (out []stream.Received) {
	w.t.Helper()
	var has, done bool
	var src stream.Source
	var err error
	until(w.t, fmt.Sprintf("a look at partition %d", p), func() bool {
		has, err = log.HasEntries(w.t.Context(), p)
		return err == nil
	})
	if !has {
		return nil
	}
	until(w.t, fmt.Sprintf("a reader of partition %d", p), func() bool {
		src, err = log.Read(w.t.Context(), p, stream.Start{})
		return err == nil
	})
	defer src.Close()
	for !done {
		rec := next(w.t, src)
		out = append(out, rec)
		if rec.Pending == 0 {
			until(w.t, fmt.Sprintf("the end of partition %d", p), func() bool {
				done, err = src.CaughtUp(w.t.Context(), rec.Sequence)
				return err == nil
			})
		}
	}
	return out
}

// compare waits for a partition's reader, where there is one, and compares what it got.
func (w *witness) compare(p int, truth []stream.Received) {
	w.mu.Lock()
	_, follows := w.heard[p]
	w.mu.Unlock()
	if !follows {
		return
	}
	until(w.t, fmt.Sprintf("the reader of partition %d", p), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.heard[p]) >= len(truth)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.heard[p]) != len(truth) {
		w.t.Errorf("partition %d: the reader got %d entries of %d", p, len(w.heard[p]), len(truth))
		return
	}
	for i, rec := range w.heard[p] {
		if rec.Sequence != truth[i].Sequence || !rec.LogTime.Equal(truth[i].LogTime) {
			w.t.Errorf("partition %d: the reader's entry %d has sequence %d, the log's %d", p, i, rec.Sequence, truth[i].Sequence)
			return
		}
	}
	w.t.Logf("partition %d: %d entries; readers ended by %v", p, len(truth), w.fails[p])
}
