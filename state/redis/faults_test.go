package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/internal/servers"
	"hongyan/messages"
	"hongyan/state"
	"hongyan/state/conformance"
)

// wire is a proxy that breaks the next write on its way, in one of the three ways of conformance.Fault.
type wire struct {
	listener net.Listener
	target   string
	next     atomic.Uint32 // a conformance.Fault
	mu       sync.Mutex
	open     map[net.Conn]bool
	serving  sync.WaitGroup
}

func newWire(tb testing.TB, target string) *wire {
	tb.Helper()
	l, err := servers.Listen()
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{listener: l, target: target, open: map[net.Conn]bool{}}
	w.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.serving.Go(func() { w.serve(c) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		w.hangUp()
		w.serving.Wait()
	})
	return w
}

// hangUp ends all connections.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		hangUp(c)
	}
}

// hangUp ends a connection so that the other side knows at once. Close alone does it only when the reader has let go of it.
func hangUp(c net.Conn) {
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.Close()
}

func (w *wire) keep(c net.Conn, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if open {
		w.open[c] = true
	} else {
		delete(w.open, c)
	}
}

// fail breaks the next write. For Unreached, connections end, and the next one ends before its first word.
func (w *wire) fail(f conformance.Fault) {
	w.next.Store(uint32(f))
	if f == conformance.Unreached {
		w.hangUp()
	}
}

func (w *wire) serve(c net.Conn) {
	defer c.Close()
	if w.next.CompareAndSwap(uint32(conformance.Unreached), 0) {
		return
	}
	up, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer up.Close()
	for _, conn := range []net.Conn{c, up} {
		w.keep(conn, true)
		defer w.keep(conn, false)
	}
	var mute atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := up.Read(buf)
			if err != nil || mute.Load() { // a muted answer was given, and ends the connection
				hangUp(c)
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		if isWrite := strings.Contains(string(buf[:n]), "evalsha"); isWrite {
			if w.next.CompareAndSwap(uint32(conformance.LostRequest), 0) {
				break
			}
			if w.next.CompareAndSwap(uint32(conformance.LostAnswer), 0) {
				mute.Store(true)
			}
		}
		if _, err := up.Write(buf[:n]); err != nil {
			break
		}
	}
	if !mute.Load() {
		_ = up.Close()
	}
	_ = c.Close()
	<-done
}

// TestConformanceFaults breaks the way between the store and a real server that fsyncs every write.
func TestConformanceFaults(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "always"})
	// The server has the script, so that a write is one exchange.
	openStore(t, Options{URL: urlOf(server.Addr())})
	if err := client(t, server.Addr()).ScriptLoad(t.Context(), changeScript).Err(); err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int32
	t.Run("suite", func(t *testing.T) {
		conformance.RunFaults(t, func(t *testing.T) (state.Store, func(conformance.Fault)) {
			w := newWire(t, server.Addr())
			store := openStore(t, Options{URL: urlOf(w.listener.Addr().String()), Prefix: fmt.Sprint("case", opened.Add(1))})
			return store, w.fail
		})
	})
}

// TestRestartUnderLoad kills a server three times under its writers, who know, or find out, what became of each write: nothing
// that was acknowledged is lost.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{AppendOnly: "always"})
	store := openStore(t, Options{URL: urlOf(server.Addr()), OpTimeout: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var committed, unknown, ids atomic.Uint64
	var stopping atomic.Bool
	var wg sync.WaitGroup
	for n := range 20 {
		key := state.Key{Partition: n, User: messages.User{Account: "demo", OpenID: fmt.Sprint("user ", n)}}
		wg.Go(func() {
			var rec state.Record
			for !stopping.Load() && ctx.Err() == nil {
				w := state.Write{Epoch: 1, WriteID: ids.Add(1), Incarnation: 1, Value: []byte("turn")}
				next, err := store.Commit(ctx, key, rec, w)
				for errors.Is(err, state.ErrUnknown) || errors.Is(err, state.ErrUnavailable) {
					if errors.Is(err, state.ErrUnknown) {
						unknown.Add(1)
					}
					time.Sleep(time.Millisecond) // what a caller does; not to wait for anything
					next, err = store.Commit(ctx, key, rec, w)
				}
				if err != nil {
					t.Errorf("user %d: nobody else writes, and yet: %v", n, err)
					return
				}
				rec = next
				committed.Add(1)
			}
			got, err := store.Load(ctx, key)
			if err != nil || got.Version != rec.Version {
				t.Errorf("user %d: the store has %+v, %v; the writer %+v", n, got.Version, err, rec.Version)
			}
		})
	}
	enough := func() {
		before := committed.Load()
		until(t, "commits", func() bool { return committed.Load() > before+300 })
	}
	for range 3 {
		enough()
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	enough()
	stopping.Store(true)
	wg.Wait()
	if unknown.Load() == 0 {
		t.Error("three kills under 20 writers, and no outcome was unknown")
	}
	t.Logf("%d commits, %d unknown", committed.Load(), unknown.Load())
}

// TestSilentServer: what is on its way is unknown after one time-out, and what waits behind it is refused then: it was not sent, and
// does not wait for a time-out of its own.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{})
	proxy, err := servers.NewProxy(server.Addr())
	must(t, err)
	t.Cleanup(proxy.Close)
	registry := prometheus.NewRegistry()
	store := openStore(t, Options{URL: urlOf(proxy.Addr()), OpTimeout: 2 * time.Second, Registerer: registry})
	mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	tried := func() float64 { // operations that a lane took up
		t.Helper()
		families, err := registry.Gather()
		must(t, err)
		for _, f := range families {
			if f.GetName() == "hongyan_redis_batch_operations" {
				return f.GetMetric()[0].GetHistogram().GetSampleSum()
			}
		}
		t.Fatal("the metric is missing")
		return 0
	}
	n, err := store.topology.node(1)
	must(t, err)
	waiting := func() int {
		n.writes.mu.Lock()
		defer n.writes.mu.Unlock()
		return len(n.writes.queue)
	}

	proxy.Cut(servers.Both)
	const callers = 50
	results := make([]chan error, lanes+callers)
	for c := range results {
		results[c] = make(chan error, 1)
		key := state.Key{Partition: 1, User: messages.User{Account: "demo", OpenID: fmt.Sprint(c)}}
		go func() { // ends with the commit
			_, err := store.Commit(t.Context(), key, state.Record{}, write(1, 2, "x"))
			results[c] <- err
		}()
		if c < lanes {
			until(t, "a lane to be busy", func() bool { return n.writes.busy.Load() == int32(c)+1 })
		}
	}
	until(t, "the others to wait", func() bool { return waiting() == callers })
	before := tried()
	unknown := 0
	for c, result := range results {
		err := <-result
		switch {
		case c < lanes && errors.Is(err, state.ErrUnknown):
			unknown++
		case errors.Is(err, state.ErrUnavailable): // it waited, or its lane dialled and the new connection was never greeted
		default:
			t.Errorf("caller %d: %v", c, err)
		}
	}
	if unknown == 0 {
		t.Error("what was sent over the connection of before is not unknown")
	}
	if after := tried(); after != before {
		t.Errorf("%v operations that waited were tried on the silent server", after-before)
	}
	_, err = store.Load(t.Context(), testKey)
	wantErr(t, err, state.ErrUnavailable)
	wantErr(t, store.Ping(t.Context()), state.ErrUnavailable) // a connection without a greeting: nothing was sent
	proxy.Heal()
	until(t, "the server again", func() bool { return store.Ping(t.Context()) == nil })
}

// TestFull: a server that is full refuses, and keeps what it has.
func TestFull(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{Args: []string{"--maxmemory", "3mb"}})
	store := openStore(t, Options{URL: urlOf(server.Addr())})
	value := strings.Repeat("x", 100<<10)
	var err error
	var last state.Key
	var before state.Record
	for n := uint64(1); err == nil && n < 100; n++ {
		last = state.Key{Partition: 1, User: messages.User{Account: "demo", OpenID: fmt.Sprint(n)}}
		var rec state.Record
		if rec, err = store.Commit(t.Context(), last, state.Record{}, write(1, n, value)); err == nil {
			before = rec
		}
	}
	wantErr(t, err, state.ErrFull)
	_, err = store.Load(t.Context(), last)
	wantErr(t, err, state.ErrNotFound)
	if before.Version == (state.Version{}) {
		t.Fatal("it was full from the start")
	}
}

// TestReplies says what each error of a server means for a write.
func TestReplies(t *testing.T) {
	t.Parallel()
	server := startRedis(t, servers.RedisOptions{})
	store := openStore(t, Options{URL: urlOf(server.Addr())})
	raw := client(t, server.Addr())
	changes := func() string {
		info, err := raw.InfoMap(t.Context(), "persistence").Result()
		must(t, err)
		return info["Persistence"]["rdb_changes_since_last_save"]
	}
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	before := changes()
	mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	if changes() == before {
		t.Error("a write that was there already was not written once more, so WAIT need not wait for it")
	}

	if err := raw.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := store.Commit(t.Context(), testKey, rec, write(1, 2, "second"))
	wantErr(t, err, state.ErrUnavailable)
	if err := raw.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := raw.ScriptFlush(t.Context()).Err(); err != nil { // the server forgets the script
		t.Fatal(err)
	}
	rec = mustCommit(t, store, testKey, rec, 1, 3, "second")

	if err := raw.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil { // READONLY, and MASTERDOWN for reads
		t.Fatal(err)
	}
	_, err = store.Commit(t.Context(), testKey, rec, write(1, 4, "third"))
	wantErr(t, err, state.ErrUnavailable)
	if err := raw.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, store, testKey, rec, 1, 5, "third")

	for name, damage := range map[string]func(key string) error{
		"another type": func(key string) error { return raw.LPush(t.Context(), key, "x").Err() },
		"cut off":      func(key string) error { return raw.Set(t.Context(), key, "x", 0).Err() },
		"later format": func(key string) error { return raw.Set(t.Context(), key, strings.Repeat("\x02", 50), 0).Err() },
		"no ids": func(key string) error {
			return raw.Set(t.Context(), key, "\x01\x00"+strings.Repeat("\x00", 50), 0).Err()
		},
	} {
		key := testKey
		key.User.OpenID = name
		if err := damage(store.keyOf(key)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context(), key); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: load: %v", name, err)
		}
		_, err := store.Commit(t.Context(), key, state.Record{}, write(1, 6, "over it"))
		if name != "no ids" && !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: commit: %v", name, err)
		}
		if err == nil {
			t.Errorf("%s: it was overwritten", name)
		}
	}
}
