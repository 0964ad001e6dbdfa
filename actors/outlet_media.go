package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"hongyan/bots"
	"hongyan/wechat/api"
)

// MediaAPI is what a Sender calls of WeChat's API to fetch a file. *api.Client implements it.
type MediaAPI interface {
	GetMedia(ctx context.Context, token, mediaID string) (*api.Media, error)
}

var _ bots.MediaSource = (*Sender)(nil)

const (
	maxFetching   = 16       // files of one account at a time, on one node
	maxMediaBytes = 10 << 20 // of one file: WeChat takes no larger one from a user (wechat-protocol §5.3)
)

// What came of a fetch, in the label "result", where it is not the class of WeChat's own error.
const (
	fetchOK       = "ok"
	fetchNoToken  = "no_token"
	fetchTooLarge = "too_large"
	fetchNoFile   = "no_file" // a video, of which WeChat gives the address alone
	fetchGaveUp   = "gave_up" // the turn was over, or the node stopped
	fetchBroken   = "broken"  // the file broke off on its way
)

// Fetch implements bots.MediaSource, with the account's token as this node leased it. It waits for a place and for a token, and where
// WeChat refuses the token it tries once more with the next one. Its errors name neither the token nor the file.
func (s *Sender) Fetch(ctx context.Context, account, mediaID string) (bots.Media, error) {
	l := s.lines[account]
	switch {
	case l == nil || l.media == nil:
		return bots.Media{}, fmt.Errorf("fetch media of account %s: it cannot call WeChat's API; it needs app_id and app_secret in the configuration",
			account)
	case mediaID == "":
		return bots.Media{}, fmt.Errorf("fetch media of account %s: the message names none", account)
	}
	file, result, err := l.fetch(ctx, mediaID)
	l.metrics.fetches.WithLabelValues(account, result).Inc()
	if err != nil {
		return bots.Media{}, fmt.Errorf("fetch media of account %s: %w", account, err)
	}
	return file, nil
}

// fetch fetches one file; result is its label.
func (l *line) fetch(ctx context.Context, mediaID string) (file bots.Media, result string, err error) {
	select {
	case l.fetching <- struct{}{}:
		defer func() { <-l.fetching }()
	case <-ctx.Done():
		return bots.Media{}, fetchGaveUp, fmt.Errorf("all %d fetches at a time are taken: %w", maxFetching, ctx.Err())
	}
	a, result, err := l.token(ctx, 0)
	if err != nil {
		return bots.Media{}, result, err
	}
	opened, err := l.media.GetMedia(ctx, a.token, mediaID)
	if classOf(err) == api.TokenInvalid {
		l.post(refusedEvent{generation: a.generation})
		if a, result, err = l.token(ctx, a.generation); err != nil {
			return bots.Media{}, result, err
		}
		if opened, err = l.media.GetMedia(ctx, a.token, mediaID); classOf(err) == api.TokenInvalid {
			l.post(refusedEvent{generation: a.generation})
		}
	}
	if err != nil {
		return bots.Media{}, resultOfFetch(ctx, err), err
	}
	return readMedia(ctx, opened)
}

// token is a token that is believed to be good and is not that of a generation. It waits for one, if need be, but not for long.
func (l *line) token(ctx context.Context, after uint64) (a admission, result string, err error) {
	now := l.opts.Now()
	s := l.snapshot.Load()
	ok, _, _ := s.tokenReady(now)
	l.touch(now, !ok)
	if ok && s.generation != after {
		return admission{token: s.token, generation: s.generation}, "", nil
	}
	if a, ok = l.after(ctx, after); ok {
		return a, "", nil
	}
	if err := ctx.Err(); err != nil {
		return admission{}, fetchGaveUp, fmt.Errorf("there was no token in time: %w", err)
	}
	select {
	case <-l.ended:
		return admission{}, fetchGaveUp, errors.New("the node is stopping")
	default:
	}
	_, _, why := l.snapshot.Load().tokenReady(l.opts.Now())
	if why == "" {
		why = "token: WeChat refuses it, and there is no other"
	}
	return admission{}, fetchNoToken, errors.New(why)
}

// readMedia reads a file that WeChat sends.
func readMedia(ctx context.Context, m *api.Media) (file bots.Media, result string, err error) {
	if m.Body == nil {
		return bots.Media{}, fetchNoFile, errors.New("it is a video, of which WeChat gives the address and no bytes")
	}
	defer m.Body.Close()
	if m.Size > maxMediaBytes {
		return bots.Media{}, fetchTooLarge, fmt.Errorf("the file has %d bytes, more than %d", m.Size, maxMediaBytes)
	}
	bytes, err := io.ReadAll(io.LimitReader(m.Body, maxMediaBytes+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return bots.Media{}, fetchGaveUp, fmt.Errorf("the file broke off after %d bytes: %w", len(bytes), ctx.Err())
	case err != nil:
		return bots.Media{}, fetchBroken, fmt.Errorf("the file broke off after %d bytes: %w", len(bytes), err)
	case len(bytes) > maxMediaBytes:
		return bots.Media{}, fetchTooLarge, fmt.Errorf("the file has more than %d bytes", maxMediaBytes)
	}
	file = bots.Media{Bytes: bytes, Type: m.ContentType}
	if file.Type == "" {
		file.Type = http.DetectContentType(bytes)
	}
	return file, fetchOK, nil
}

func resultOfFetch(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return fetchGaveUp
	}
	return api.ClassOf(err).String()
}
