package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/messages"
	"hongyan/state"
)

// restartable is a server's place: connections find whatever server runs there.
type restartable struct {
	dir     string
	current atomic.Pointer[server.Server]
}

func (r *restartable) InProcessConn() (net.Conn, error) {
	if ns := r.current.Load(); ns != nil {
		return ns.InProcessConn()
	}
	return nil, errors.New("no server runs")
}

func (r *restartable) start(tb testing.TB) { r.current.Store(startServer(tb, r.dir)) }

func (r *restartable) stop() { stopServer(r.current.Swap(nil)) }

// until polls for what comes soon.
func until(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// connectedAgain tells whether the store's connection was cut so many times and is there: a cut shows only a moment after it.
func connectedAgain(s *Store, cuts uint64) func() bool {
	return func() bool { return s.conn.Stats().Reconnects >= cuts && s.conn.IsConnected() }
}

// A server that lost its latest writes in a power cut gives their sequences out again. A base from before has the right
// sequence then and is another version: only the tag in its revision tells.
func TestLostTailReusesSequences(t *testing.T) {
	t.Parallel()
	place := &restartable{dir: t.TempDir()}
	place.start(t)
	store := openStore(t, connect(t, place), Options{})
	first := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")

	place.stop()
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(place.dir)); err != nil {
		t.Fatal(err)
	}
	place.start(t)
	until(t, "reconnect", connectedAgain(store, 1))
	lost := mustCommit(t, store, testKey, first, 1, 2, "lost")

	place.stop()
	if err := os.RemoveAll(place.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(place.dir, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	place.start(t)
	until(t, "reconnect", connectedAgain(store, 2))
	other := openStore(t, connect(t, place), Options{})
	base, err := other.Load(t.Context(), testKey)
	if err != nil || base.Version != first.Version {
		t.Fatalf("after the power cut: %+v, %v; want %+v", base.Version, err, first.Version)
	}
	kept := mustCommit(t, other, testKey, base, 1, 3, "kept")
	if kept.Revision&maxSequence != lost.Revision&maxSequence {
		t.Fatalf("sequence %d, want %d again", kept.Revision&maxSequence, lost.Revision&maxSequence)
	}

	_, err = store.Commit(t.Context(), testKey, lost, state.Write{Epoch: 1, WriteID: 4, Value: []byte("over what is lost")})
	wantErr(t, err, state.ErrConflict)
	wantErr(t, store.Delete(t.Context(), testKey, lost, 1), state.ErrConflict)
	if rec, err := store.Load(t.Context(), testKey); err != nil || string(rec.Value) != "kept" {
		t.Fatalf("the store has %q, %v", rec.Value, err)
	}
}

// A base from before a reconnect is still good where nothing was lost.
func TestBaseOutlivesReconnect(t *testing.T) {
	t.Parallel()
	place := &restartable{dir: t.TempDir()}
	place.start(t)
	store := openStore(t, connect(t, place), Options{})
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	place.stop()
	until(t, "disconnect", func() bool { return !store.conn.IsConnected() })
	_, err := store.Commit(t.Context(), testKey, rec, state.Write{Epoch: 1, WriteID: 2})
	wantErr(t, err, state.ErrUnavailable)
	_, err = store.Load(t.Context(), testKey)
	wantErr(t, err, state.ErrUnavailable)
	wantErr(t, store.Ping(t.Context()), state.ErrUnavailable)
	place.start(t)
	until(t, "reconnect", connectedAgain(store, 1))
	mustCommit(t, store, testKey, rec, 1, 3, "second")
}

// Writers whose server is restarted under them know, or find out, what became of each write.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	place := &restartable{dir: t.TempDir()}
	place.start(t)
	store := openStore(t, connect(t, place), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var committed, unknown atomic.Uint64
	var ids atomic.Uint64
	var stopping atomic.Bool
	var wg sync.WaitGroup
	for n := range 20 {
		key := state.Key{Partition: n, User: messages.User{Account: "demo", OpenID: fmt.Sprint("user ", n)}}
		wg.Go(func() {
			var rec state.Record
			for !stopping.Load() && ctx.Err() == nil {
				w := state.Write{Epoch: 1, WriteID: ids.Add(1), Incarnation: 1, Value: []byte("turn")}
				next, err := store.Commit(ctx, key, rec, w)
				switch {
				case err == nil:
					rec = next
					committed.Add(1)
					continue
				case errors.Is(err, state.ErrUnavailable): // not sent: rec is what the store has
				case errors.Is(err, state.ErrUnknown): // this or that: the same write again, until somebody knows
					unknown.Add(1)
					for err != nil && ctx.Err() == nil {
						if next, err = store.Commit(ctx, key, rec, w); err == nil {
							rec = next
						} else if !errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknown) {
							t.Errorf("user %d: an unknown write sent again: %v", n, err)
							return
						}
					}
				default:
					t.Errorf("user %d: nobody else writes, and yet: %v", n, err)
					return
				}
			}
			got, err := store.Load(ctx, key)
			if err != nil || got.Version != rec.Version {
				t.Errorf("user %d: the store has %+v, %v; the writer %+v", n, got.Version, err, rec.Version)
			}
		})
	}
	for range 3 {
		before := committed.Load()
		until(t, "commits", func() bool { return committed.Load() > before+500 })
		place.stop()
		place.start(t)
	}
	before := committed.Load()
	until(t, "commits", func() bool { return committed.Load() > before+500 })
	stopping.Store(true)
	wg.Wait()
	t.Logf("%d commits, %d unknown", committed.Load(), unknown.Load())
}

func TestFull(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{MaxBytes: 64 << 10})
	value := strings.Repeat("x", 1000)
	recs := map[state.Key]state.Record{}
	var last state.Key
	var err error
	for n := 0; err == nil && n < 1000; n++ {
		last = state.Key{Partition: 1, User: messages.User{Account: "demo", OpenID: fmt.Sprint(n)}}
		var rec state.Record
		rec, err = store.Commit(t.Context(), last, state.Record{}, state.Write{WriteID: 1, Incarnation: 1, Value: []byte(value)})
		if err == nil {
			recs[last] = rec
		}
	}
	wantErr(t, err, state.ErrFull)
	_, err = store.Load(t.Context(), last)
	wantErr(t, err, state.ErrNotFound)
	for key, rec := range recs { // those who are in go on as long as they do not grow, and can leave
		_, err := store.Commit(t.Context(), key, rec, state.Write{Epoch: 1, WriteID: 2, Value: []byte(value + value)})
		wantErr(t, err, state.ErrFull)
	}
	for key, rec := range recs {
		rec = mustCommit(t, store, key, rec, 1, 3, value[:900])
		if err := store.Delete(t.Context(), key, rec, 1); err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, store, last, state.Record{}, 1, 4, value)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
	_, err := store.Commit(t.Context(), testKey, state.Record{}, state.Write{WriteID: 1, Incarnation: 1, Value: make([]byte, 1<<20)})
	wantErr(t, err, state.ErrInvalid)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
	rec := mustCommit(t, store, testKey, state.Record{}, 1, 1, "first")
	store.conn.Close()
	_, err := store.Commit(t.Context(), testKey, rec, state.Write{Epoch: 1, WriteID: 2})
	wantErr(t, err, state.ErrUnavailable)
}

// Without the stream nobody answers, and nothing is stored.
func TestBucketIsGone(t *testing.T) {
	t.Parallel()
	js := connect(t, startServer(t, t.TempDir()))
	store := openStore(t, js, Options{})
	if err := js.DeleteKeyValue(t.Context(), DefaultBucket); err != nil {
		t.Fatal(err)
	}
	_, err := store.Commit(t.Context(), testKey, state.Record{}, state.Write{Epoch: 1, WriteID: 1, Incarnation: 1})
	wantErr(t, err, state.ErrUnavailable)
	wantErr(t, store.Ping(t.Context()), state.ErrUnavailable)
}

func TestAckErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want error
	}{
		{&natsjs.APIError{ErrorCode: 10071, Description: "wrong last sequence: 5"}, errMoved},
		{&natsjs.APIError{ErrorCode: 10164, Description: "wrong last sequence"}, errMoved},
		{&natsjs.APIError{ErrorCode: 10163}, state.ErrUnavailable},
		{&natsjs.APIError{ErrorCode: 10167, Description: "too many requests"}, state.ErrUnavailable},
		{&natsjs.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}, state.ErrFull},
		{&natsjs.APIError{ErrorCode: 10077, Description: "write x.blk: no space left on device"}, state.ErrUnknown},
		{&natsjs.APIError{ErrorCode: 10023}, state.ErrFull},
		{&natsjs.APIError{ErrorCode: 10047}, state.ErrFull},
		{&natsjs.APIError{ErrorCode: 10054}, state.ErrInvalid},
		{&natsjs.APIError{ErrorCode: 1}, state.ErrUnknown},
		{natsjs.ErrNoStreamResponse, state.ErrUnavailable},
		{natsjs.ErrAsyncPublishTimeout, state.ErrUnknown},
		{natsjs.ErrInvalidJSAck, state.ErrUnknown},
		{nats.ErrDisconnected, state.ErrUnknown},
	} {
		if got := ackError(tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%v means %v, want %v", tt.err, got, tt.want)
		}
	}
	for err, want := range map[error]error{
		nats.ErrReconnectBufExceeded: state.ErrUnavailable, nats.ErrConnectionClosed: state.ErrUnavailable,
		natsjs.ErrTooManyStalledMsgs: state.ErrUnavailable, nats.ErrMaxPayload: state.ErrInvalid,
		errors.New("broken pipe"): state.ErrUnknown,
	} {
		if got := sendError(err); !errors.Is(got, want) {
			t.Errorf("%v means %v, want %v", err, got, want)
		}
	}
}
