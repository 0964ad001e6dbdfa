package remote

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/bots"
	"hongyan/messages"
)

type tenMB struct{ given *atomic.Int64 }

func (m tenMB) Fetch(context.Context, string, string) (bots.Media, error) {
	m.given.Add(10 << 20)
	return bots.Media{Bytes: make([]byte, 10<<20), Type: "image/jpeg"}, nil
}

type waits struct{}

func (waits) Call(ctx context.Context, _ Exchange) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Turns that wait for a slow bot do not hold any number of pictures: a node of 2 GB would end at 200 of them.
func TestReviewPicturesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bot := newBot(t, Options{Media: MediaBytes}, waits{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var given atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				in := &messages.Inbound{Account: "demo", OpenId: "u", Kind: messages.Kind_KIND_IMAGE,
					Body: &messages.Inbound_Media{Media: &messages.Media{MediaId: "m"}}}
				_, _ = bot.Answer(ctx, &bots.Request{ID: "0123456789abcdef0123456789abcdef", Message: in, Media: tenMB{&given}})
			})
		}
		time.Sleep(30 * time.Second)
		if n := given.Load(); n > 64<<20 {
			t.Errorf("%d MB of pictures are held by 20 turns", n>>20)
		}
		cancel()
		all.Wait()
	})
}
