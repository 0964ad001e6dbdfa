package stream_test

import (
	"context"
	"testing"
	"time"

	"hongyan/internal/servers"
	"hongyan/stream"
)

// A server that is killed and comes back, under load: nothing that was acknowledged is lost, nothing that was refused is there,
// and the readers go on without a gap.
func TestServerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := startNATS(t, 1)[0]
	conn := dial(t, "publisher", server.Addr())
	w := newWitness(t, openOn(t, conn, stream.Options{Streams: 2}))
	readers := openOn(t, dial(t, "reader", server.Addr()), stream.Options{Streams: 2, Attach: true})
	for p := range 4 {
		w.follow(readers, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publishing := w.publish(ctx, 16, time.Millisecond)
	for range 3 {
		w.more(500)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("back after %v", w.more(50).Round(time.Millisecond))
	}
	w.more(200)
	cancel()
	publishing.Wait()
	w.judge(conn, stream.Options{Streams: 2, Attach: true})
}

// A leader that is killed among three: as above, and the ingress hears in time that its entry is not, or may not be, accepted.
func TestLeaderIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	all := startNATS(t, 3)
	conn := dial(t, "publisher", addresses(all)...)
	opts := stream.Options{Streams: 2, Replicas: 3}
	w := newWitness(t, openOn(t, conn, opts))
	opts.Attach = true
	readers := openOn(t, dial(t, "reader", addresses(all)...), opts)
	for p := range 4 {
		w.follow(readers, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publishing := w.publish(ctx, 16, 5*time.Millisecond)
	w.more(500)
	one := leader(t, conn, all, "HY_IN_0")
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("all partitions take entries again %v after the kill", w.everywhere().Round(time.Millisecond))
	w.more(500)
	if err := one.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.more(500)
	cancel()
	publishing.Wait()
	w.judge(conn, opts)
}

// cutFor is longer than it takes to notice a cut and to try a new connection in vain.
const cutFor = 6 * time.Second

// A reader's way to the server that is cut without a word, in one direction or both: it goes on soon after, without a gap.
func TestReaderBehindABlackHole(t *testing.T) {
	t.Parallel()
	for _, way := range []servers.Direction{servers.Downstream, servers.Upstream, servers.Both} {
		t.Run(way.String(), func(t *testing.T) {
			t.Parallel()
			server := startNATS(t, 1)[0]
			proxy, err := servers.NewProxy(server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(proxy.Close)
			conn := dial(t, "publisher", server.Addr())
			w := newWitness(t, openOn(t, conn, stream.Options{}))
			behind := dial(t, "reader", proxy.Addr())
			readers := openOn(t, behind, stream.Options{Attach: true})
			for p := range 4 {
				w.follow(readers, p)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			publishing := w.publish(ctx, 8, 10*time.Millisecond)
			w.more(200)
			proxy.Cut(way)
			cut := time.Now()
			until(t, "the cut is noticed", func() bool { return !behind.IsConnected() })
			noticed := time.Since(cut)
			until(t, "the cut to last", func() bool { return time.Since(cut) >= cutFor })
			proxy.Heal()
			healed := time.Now()
			last, err := readers.End(t.Context(), 0)
			for ; err != nil; last, err = readers.End(t.Context(), 0) {
				if time.Since(healed) > 30*time.Second {
					t.Fatalf("30 s after the cut's end: %v", err)
				}
			}
			until(t, "the readers are beyond the cut", func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, heard := range w.heard {
					if n := len(heard); n > 0 && heard[n-1].Sequence > last {
						return true
					}
				}
				return false
			})
			t.Logf("noticed after %v, reading again %v after the cut's end", noticed.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
			if noticed > 8*time.Second { // under 3 s on a machine that has the time
				t.Errorf("noticed after %v", noticed)
			}
			cancel()
			publishing.Wait()
			w.judge(conn, stream.Options{Attach: true})
		})
	}
}
