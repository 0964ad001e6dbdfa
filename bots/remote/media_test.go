package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/bots"
	"hongyan/bots/upstream"
	"hongyan/messages"
)

// gallery gives files of one size after a second, and counts them.
type gallery struct {
	size  int
	given atomic.Int64
}

func (g *gallery) Fetch(ctx context.Context, _, _ string) (bots.Media, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return bots.Media{}, ctx.Err()
	}
	g.given.Add(1)
	return bots.Media{Bytes: make([]byte, g.size), Type: "image/jpeg"}, nil
}

// pictureTurn is one whose picture is in the gallery.
func pictureTurn(from bots.MediaSource) *bots.Request {
	req := goldenRequest(mediaOf(messages.Kind_KIND_IMAGE, "image", &messages.Media{MediaId: "MEDIA_ID"}))
	req.Media = from
	return req
}

// hall is a bot with room for many calls, that gets bytes, and answers when it is let to.
type hall struct {
	bot     *Bot
	release chan struct{}
	missing [2]atomic.Int64 // of the requests, how many had bytes, and none
}

func newHall(t *testing.T, places int) *hall {
	t.Helper()
	h := &hall{release: make(chan struct{})}
	u, err := upstream.New(upstream.Options{Name: "b", Endpoints: []upstream.Endpoint{{Name: "a", Weight: 1}}, MaxInFlight: places,
		Breaker: upstream.Settings{Failures: 1, Open: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	h.bot, err = New(Options{Name: "b", Upstream: u, Media: MediaBytes, Registerer: prometheus.NewRegistry(), Transports: []Transport{
		carrier(func(ctx context.Context, x Exchange) ([]byte, error) {
			data, err := x.Body(64 << 10) // so bytes that are there are too large, and not written: that would take long
			var r request
			if err = errors.Join(err, json.Unmarshal(data, &r)); err != nil {
				return nil, err
			}
			h.missing[map[string]int{"": 0, missingTooLarge: 0, missingUnavailable: 1}[r.Message.Media.Missing]].Add(1)
			select {
			case <-h.release:
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// saw says how many requests had bytes, and none.
func (h *hall) saw() string {
	return fmt.Sprint(h.missing[0].Load(), h.missing[1].Load())
}

// Turns that wait for a slow bot do not hold any number of pictures: a small node would end at a few hundred of them. Who finds no room is
// asked for without bytes, at once; and answers, faults and turns that are given up give the room back.
func TestMediaThatTurnsHoldIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, files := newHall(t, 1000), &gallery{size: maxMedia}
		var turns sync.WaitGroup
		wave := func(ctx context.Context) {
			for range 20 {
				turns.Go(func() { _, _ = h.bot.Answer(ctx, pictureTurn(files)) })
			}
			synctest.Wait()
			time.Sleep(2 * time.Second)
		}
		given, cancel := context.WithCancel(t.Context())
		wave(given)
		if got := h.saw(); got != "6 14" || files.given.Load() != 6 {
			t.Errorf("%s, %d fetched", got, files.given.Load())
		}
		if n := testutil.ToFloat64(h.bot.metrics.omitted.WithLabelValues("b", "media")); n != 20 { // 14 by us, 6 by the transport
			t.Errorf("%v were counted as left out", n)
		}
		cancel() // all of them are given up
		turns.Wait()

		files.size = 1 << 20 // small ones hold what they have
		wave(t.Context())
		if got := h.saw(); got != "12 28" {
			t.Errorf("while 6 are fetched there is no room for more: %s", got)
		}
		hold := int64(6)
		for range 9 {
			wave(t.Context())
			hold += (maxHeld>>20 - hold) / (maxMedia >> 20) // so many may fetch at a time beside those that wait
		}
		if n := h.missing[0].Load() - 6; n != hold {
			t.Errorf("%d turns hold a picture of 1 MiB, want %d", n, hold)
		}
		close(h.release)
		turns.Wait()

		files.size = maxMedia + 1
		m := &media{ID: "MEDIA_ID"}
		if held := h.bot.attach(t.Context(), pictureTurn(files), m); held != 0 || m.Missing != missingTooLarge || m.Data != nil {
			t.Errorf("of a file that WeChat would not have taken %d bytes are held, missing %q", held, m.Missing)
		}
		if !h.bot.held.TryAcquire(maxHeld) {
			t.Error("not all room was given back")
		}
	})
}

// Nothing is fetched for a bot that cannot be asked.
func TestNothingIsFetchedForABotThatRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, files := newHall(t, 1), &gallery{size: 1}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := h.bot.Answer(ctx, pictureTurn(files)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who waits too long: %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		if _, err := h.bot.Answer(ctx, pictureTurn(files)); !errors.Is(err, upstream.ErrBusy) || !errors.Is(err, bots.ErrUnavailable) {
			t.Errorf("its one place is taken: %v", err)
		}
		first.Wait()
		if _, err := h.bot.Answer(t.Context(), pictureTurn(files)); !errors.Is(err, upstream.ErrOpen) {
			t.Errorf("its breaker is open: %v", err)
		}
		if n := files.given.Load(); n != 1 {
			t.Errorf("%d files were fetched", n)
		}
		if !h.bot.held.TryAcquire(maxHeld) {
			t.Error("not all room was given back")
		}
	})
}
