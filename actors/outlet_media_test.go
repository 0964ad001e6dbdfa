package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// gallery is WeChat's side of media: files by id.
type gallery struct {
	*weixin
	files map[string]api.Media
	bytes map[string]string
	cut   bool // files break off in the middle

	mu         sync.Mutex
	open, most int // at a time, and of those at most
	closed     int
}

func (g *gallery) GetMedia(ctx context.Context, token, id string) (*api.Media, error) {
	g.mu.Lock()
	g.open++
	g.most = max(g.most, g.open)
	g.mu.Unlock()
	err := g.enter(ctx, "media")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	g.weixin.mu.Lock()
	defer g.weixin.mu.Unlock()
	if err == nil {
		err = g.valid("media", token)
	}
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(id, "video") {
		return &api.Media{URL: "http://video", Size: -1}, nil
	}
	content, known := g.bytes[id]
	if !known {
		return nil, refused("media", 40007, api.BadMessage)
	}
	m := g.files[id]
	var r io.Reader = strings.NewReader(content)
	if g.cut {
		r = io.MultiReader(strings.NewReader(content[:len(content)/2]), broken{})
	}
	m.Body = &counted{Reader: r, closed: &g.closed, mu: &g.mu}
	return &m, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type counted struct {
	io.Reader
	closed *int
	mu     *sync.Mutex
}

func (c *counted) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.closed++
	return nil
}

// fetcher starts a node that may fetch, and not send.
func (o *office) fetcher(name string, calls MediaAPI) (s *Sender, stop func()) {
	o.t.Helper()
	s, err := NewSender(SenderOptions{
		Node: name, Media: map[string]MediaAPI{account: calls}, Ask: o.ask, Now: o.now, Random: o.random,
		Logger: slog.New(o.lines), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ended by stop
		defer close(ended)
		_ = s.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	o.stops = append(o.stops, stop)
	return s, stop
}

// inGallery runs a test with an owner and the files picture, untyped, huge and long.
func inGallery(t *testing.T, f func(t *testing.T, o *office, g *gallery)) {
	inOffice(t, func(t *testing.T, o *office) {
		long := strings.Repeat("x", maxMediaBytes+1)
		g := &gallery{
			weixin: o.platform,
			bytes:  map[string]string{"picture": "JPEG", "untyped": "\x89PNG\x0D\x0A\x1A\x0A", "huge": "-", "long": long, "largest": long[1:]},
			files: map[string]api.Media{
				"picture": {ContentType: "image/jpeg", Size: 4}, "untyped": {Size: -1},
				"huge": {ContentType: "image/png", Size: maxMediaBytes + 1}, "long": {ContentType: "image/png", Size: -1},
				"largest": {ContentType: "image/png", Size: maxMediaBytes},
			},
		}
		o.settings.PerDay = 100
		o.start()
		f(t, o, g)
	})
}

// fetched counts a result.
func fetched(s *Sender, result string) int {
	return int(testutil.ToFloat64(s.lines[account].metrics.fetches.WithLabelValues(account, result)))
}

// An account that may call WeChat's API fetches media with the one token that it has, and does not send for it.
func TestFetchWithoutTheRightToSend(t *testing.T) {
	inGallery(t, func(t *testing.T, o *office, g *gallery) {
		s, _ := o.fetcher("n1", g)
		began := time.Now()
		for range 3 {
			file, err := s.Fetch(t.Context(), account, "picture")
			if err != nil || string(file.Bytes) != "JPEG" || file.Type != "image/jpeg" {
				t.Fatalf("%q %q, %v", file.Bytes, file.Type, err)
			}
		}
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if file, err := s.Fetch(t.Context(), account, "untyped"); err != nil || file.Type != "image/png" {
			t.Errorf("a file without a type: %q, %v", file.Type, err)
		}
		if file, err := s.Fetch(t.Context(), account, "largest"); err != nil || len(file.Bytes) != maxMediaBytes {
			t.Errorf("the largest file: %d bytes, %v", len(file.Bytes), err)
		}
		before := o.looked()
		for range 30 {
			time.Sleep(time.Second)
			if _, err := s.Fetch(t.Context(), account, "picture"); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.looked() - before; n > 30*30 {
			t.Errorf("the line looked %d times at the clock in 30 seconds", n)
		}
		if ok, _, _ := s.Ready(account); !ok {
			t.Error("not ready; Send says that there is no right")
		}
		if sent := s.Send(t.Context(), messages.User{Account: account, OpenID: "u"}, textAnswer("x")); sent.Fate != FateNoRight {
			t.Errorf("%+v", sent)
		}
		s.Typing(t.Context(), messages.User{Account: account, OpenID: "u"}, true)
		if n := o.platform.fetches(); n != 1 {
			t.Errorf("%d tokens were fetched", n)
		}
		if view := o.view(); view.GetPermitsToday() != 0 || view.GetNoApi() {
			t.Errorf("permits to send were taken by a node that does not send: %v", view)
		}
		if fetched(s, fetchOK) != 35 || g.closed != 35 {
			t.Errorf("%d counted, %d closed; want 35", fetched(s, fetchOK), g.closed)
		}
	})
}

// A refused token is refreshed once for all, and each fetch is made once more.
func TestFetchAfterARefusedToken(t *testing.T) {
	inGallery(t, func(t *testing.T, o *office, g *gallery) {
		var nodes []*Sender
		for n := range 4 {
			s, _ := o.fetcher(fmt.Sprint("n", n), g)
			if _, err := s.Fetch(t.Context(), account, "picture"); err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, s)
		}
		g.kill()
		before := g.count("media")
		var fetching sync.WaitGroup
		for _, s := range nodes {
			for range 8 {
				fetching.Go(func() {
					if _, err := s.Fetch(t.Context(), account, "picture"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		fetching.Wait()
		if n := o.platform.fetches(); n != 2 {
			t.Errorf("%d tokens were fetched, want 2", n)
		}
		if n := g.count("media") - before; n > 2*4*8 {
			t.Errorf("%d calls for 32 files", n)
		}
		g.behave(func(p *weixin) {
			p.refuse = func(call string, _ int) error {
				if call == "media" {
					return refused(call, 40001, api.TokenInvalid)
				}
				return nil
			}
		})
		began, calls := time.Now(), g.count("media")
		_, err := nodes[0].Fetch(t.Context(), account, "picture")
		if took := time.Since(began); err == nil || took > 2*refreshPatient {
			t.Errorf("refused for good: %v after %v", err, took)
		}
		if n := g.count("media") - calls; n > 2 {
			t.Errorf("%d calls", n)
		}
	})
}

// What cannot be fetched is said in words, without the token, and counted.
func TestFetchesThatFail(t *testing.T) {
	inGallery(t, func(t *testing.T, o *office, g *gallery) {
		s, stop := o.fetcher("n1", g)
		fails := func(id, result, says string) {
			t.Helper()
			before := fetched(s, result)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := s.Fetch(ctx, account, id)
			if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "token1") {
				t.Errorf("%s: %v, want %q in it", id, err, says)
			}
			if fetched(s, result) != before+1 {
				t.Errorf("%s: it was not counted as %s", id, result)
			}
		}
		fails("huge", fetchTooLarge, "more than 10485760")
		fails("long", fetchTooLarge, "more than 10485760")
		fails("video", fetchNoFile, "video")
		fails("nobody's", api.BadMessage.String(), "40007")
		g.cut = true
		fails("picture", fetchBroken, "broke off after 2 bytes")
		g.cut = false
		if g.closed != 3 {
			t.Errorf("%d files were closed, want all 3", g.closed)
		}
		g.behave(func(p *weixin) { p.slow = time.Hour })
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Fetch(short, account, "picture"); err == nil || fetched(s, fetchGaveUp) != 1 {
			t.Errorf("without time: %v", err)
		}
		g.behave(func(p *weixin) { p.slow = 0 })
		if _, err := s.Fetch(t.Context(), account, ""); err == nil {
			t.Error("no media id, and no error")
		}
		if _, err := s.Fetch(t.Context(), "other", "picture"); err == nil || !strings.Contains(err.Error(), "app_secret") {
			t.Errorf("an account without app_secret: %v", err)
		}
		stop()
		g.kill()
		fails("picture", fetchGaveUp, "stopping")
	})
}

// Where there is no token a fetch says why, after a moment.
func TestFetchWithoutAToken(t *testing.T) {
	inGallery(t, func(t *testing.T, o *office, g *gallery) {
		g.behave(func(p *weixin) {
			p.refuse = func(string, int) error { return refused("stable_token", 40125, api.Config) }
		})
		s, _ := o.fetcher("n1", g)
		began := time.Now()
		_, err := s.Fetch(t.Context(), account, "picture")
		if err == nil || !strings.Contains(err.Error(), "the AppSecret is wrong") || fetched(s, fetchNoToken) != 1 {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took < refreshPatient/2 || took > refreshPatient+time.Second {
			t.Errorf("after %v", took)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = s.Fetch(short, account, "picture"); !errors.Is(err, context.DeadlineExceeded) || fetched(s, fetchGaveUp) != 1 {
			t.Errorf("in a turn that ended first: %v", err)
		}
	})
}

// Sixteen at a time, and whoever waits for a place gives up with its turn.
func TestFetchesAtATime(t *testing.T) {
	inGallery(t, func(t *testing.T, o *office, g *gallery) {
		s, _ := o.fetcher("n1", g)
		if _, err := s.Fetch(t.Context(), account, "picture"); err != nil {
			t.Fatal(err)
		}
		g.behave(func(p *weixin) { p.slow = time.Second })
		var fetching sync.WaitGroup
		for range 4 * maxFetching {
			fetching.Go(func() {
				if _, err := s.Fetch(t.Context(), account, "picture"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := s.Fetch(short, account, "picture"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in front of sixty others: %v", err)
		}
		fetching.Wait()
		if g.most != maxFetching {
			t.Errorf("%d at a time, want %d", g.most, maxFetching)
		}
	})
}

// The real client fetches what stands at the whole simulated platform, over a token that somebody else ended.
func TestFetchFromTheSimulatedPlatform(t *testing.T) {
	t.Parallel()
	platform, calls := openPlatform(t)
	s, err := NewSender(SenderOptions{
		Node: "n", Media: map[string]MediaAPI{account: calls}, Ask: openAccount(t, calls), Now: time.Now, Random: (&office{}).random,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) }) // ended by cancel
	defer running.Wait()
	defer cancel()
	if _, err := s.Fetch(ctx, account, "media_0"); api.ClassOf(err) != api.BadMessage {
		t.Errorf("an unknown id: %v", err)
	}
	token, err := calls.StableToken(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	picture := bytes.Repeat([]byte("\x89PNG\r\n\x1a\n"), 100_000)
	up, err := calls.UploadMedia(ctx, token.Value, api.MediaImage, "a.png", bytes.NewReader(picture), int64(len(picture)))
	if err != nil {
		t.Fatal(err)
	}
	video, err := calls.UploadMedia(ctx, token.Value, api.MediaVideo, "a.mp4", strings.NewReader("mp4"), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.InvalidateTokens(account); err != nil {
		t.Fatal(err)
	}
	file, err := s.Fetch(ctx, account, up.MediaID)
	if err != nil || !bytes.Equal(file.Bytes, picture) || file.Type != "image/png" {
		t.Errorf("%d bytes of %s, %v", len(file.Bytes), file.Type, err)
	}
	if _, err = s.Fetch(ctx, account, video.MediaID); err == nil || fetched(s, fetchNoFile) != 1 {
		t.Errorf("a video: %v", err)
	}
	if n := platform.TokenGeneration(account); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}
