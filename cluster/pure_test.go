package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"pgregory.net/rapid"

	"hongyan/messages"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// skippingClock is the real clock, plus what was skipped.
type skippingClock struct {
	mu   sync.Mutex
	plus time.Duration
}

func newSkippingClock() *skippingClock { return &skippingClock{} }

func (c *skippingClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.plus)
}

func (c *skippingClock) skip(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plus += d
}

func workerIDs(t *rapid.T, n int) []string {
	return rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9A-Za-z]{22}`), n, n, rapid.ID[string]).Draw(t, "workers")
}

func loads(owners []string) map[string]int {
	l := map[string]int{}
	for _, o := range owners {
		l[o]++
	}
	return l
}

func TestPlacementSpreads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := workerIDs(t, 3)
		owners := place(64, workers)
		for w, n := range loads(owners) {
			if w == "" || float64(n) > 1.3*64/3 {
				t.Fatalf("%q has %d of 64 partitions", w, n)
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 256).Draw(t, "partitions"), rapid.IntRange(1, 12).Draw(t, "nodes")
		workers := workerIDs(t, k)
		owners := place(n, workers)
		shuffled := rapid.Permutation(workers).Draw(t, "shuffled")
		if fmt.Sprint(owners) != fmt.Sprint(place(n, shuffled)) {
			t.Fatal("the order of the workers matters")
		}
		for w, load := range loads(owners) {
			if w == "" || load > capacity(n, k) {
				t.Fatalf("%q has %d of %d partitions", w, load, n)
			}
		}
	})
}

// A leave moves the partitions of the one that left, and few others.
func TestPlacementMovesLittle(t *testing.T) {
	t.Parallel()
	var moved, must, rounds, worst int
	rapid.Check(t, func(t *rapid.T) {
		workers := workerIDs(t, rapid.IntRange(2, 8).Draw(t, "nodes"))
		before, after := place(64, workers), place(64, workers[1:])
		extra := 0
		for p := range before {
			switch {
			case before[p] == workers[0]:
				must++
			case before[p] != after[p]:
				extra++
			}
		}
		moved += extra
		rounds++
		worst = max(worst, extra)
		if extra > 64/4 {
			t.Fatalf("%d partitions moved between nodes that stayed", extra)
		}
	})
	t.Logf("%d rounds: %.1f partitions had to move, %.1f moved besides, at most %d", rounds, float64(must)/float64(rounds), float64(moved)/float64(rounds), worst)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		0: 100 * time.Millisecond, 1: 200 * time.Millisecond, 3: 800 * time.Millisecond, 4: time.Second, 1000: time.Second,
	} {
		if got := backoff(failures); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
}

func TestPIDCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newPIDCache(100)
	for i := range 1000 {
		c.put(fmt.Sprint(i), actor.NewPID("a:1", fmt.Sprint(i)))
		if c.get("0") == nil { // used all the time: it stays
			t.Fatalf("the entry in use was forgotten after %d others", i)
		}
	}
	if n := len(c.young) + len(c.old); n > 200 {
		t.Errorf("%d entries", n)
	}
	c.remove("0", actor.NewPID("b:1", "0"))
	if c.get("0") == nil {
		t.Error("another activation was removed")
	}
	c.remove("0", actor.NewPID("a:1", "0"))
	if c.get("0") != nil {
		t.Error("the activation was not removed")
	}
	c.put("x", actor.NewPID("b:1", "x"))
	c.keep(map[string]bool{"b:1": true})
	if c.get("x") == nil || c.get("999") != nil {
		t.Error("keep kept the wrong ones")
	}
}

func TestMemberRecords(t *testing.T) {
	t.Parallel()
	m := Member{ID: "0123456789abcdefghijkl", Node: "n", Address: "[::1]:70", Worker: true}
	got, err := decodeMember(m.encode())
	if err != nil || got != m {
		t.Fatalf("%+v, %v", got, err)
	}
	if p := got.proto(); p.Address() != m.Address || !p.HasKind(userKind) {
		t.Errorf("proto.actor sees %v", p)
	}
	for name, bad := range map[string]string{
		"no JSON":  `{`,
		"wildcard": `{"id":"aaaaaaaaaaaa.>","address":"127.0.0.1:1"}`,
		"short id": `{"id":"a","address":"127.0.0.1:1"}`,
		"address":  `{"id":"aaaaaaaaaaaa","address":"nowhere"}`,
		"port":     `{"id":"aaaaaaaaaaaa","address":"127.0.0.1:70000"}`,
	} {
		if m, err := decodeMember([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzDecodeMember(f *testing.F) {
	f.Add([]byte(`{"id":"0123456789abcdefghijkl","node":"a","address":"127.0.0.1:70","worker":true}`))
	f.Add([]byte(`{"id":"0123456789abcdefghijkl","address":"[::1]:0","bye":true}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMember(b)
		if err != nil {
			return
		}
		if again, err := decodeMember(m.encode()); err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
		if m.proto() == nil {
			t.Fatal("a valid record has no place in proto.actor")
		}
	})
}

// What proto.actor attaches to its log lines may name users or carry what they wrote.
func TestLibraryLogIsDiscreet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := libraryLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	secret := "o-secret-open-id"
	log.Info("[DeadLetter]",
		slog.Any("pid", actor.NewPID("127.0.0.1:1", "partition-7/"+secret)),
		slog.Any("message", &messages.Activate{Account: "demo", OpenId: secret}),
		slog.String("identity", "demo/"+secret))
	log.With(slog.Any("message", &messages.Text{Content: secret})).Warn("with")
	log.Debug("below", "text", secret)
	if contains(out.String(), secret) || contains(out.String(), "below") {
		t.Errorf("the log shows %s", out.String())
	}
	if !contains(out.String(), "127.0.0.1:1/partition-7/…") || !contains(out.String(), "*messages.Activate") {
		t.Errorf("the log hides too much: %s", out.String())
	}
}
