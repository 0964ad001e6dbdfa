package remote

import (
	"context"
	"time"

	"hongyan/bots"
	"hongyan/messages"
)

// Media says whether a bot gets the bytes of what a user sent.
type Media uint8

// The values of Media.
const (
	MediaOff   Media = iota // the media id alone, and a picture's address
	MediaBytes              // pictures and voice messages too
)

const (
	mediaTime = 5 * time.Second // bounds the wait for a picture: the turn's time is for the bot
	maxMedia  = 10 << 20        // bytes of one file: WeChat takes no larger one from a user
	maxHeld   = 64 << 20        // bytes that all turns of a bot hold at a time, from before the fetch until the answer is there
)

// wants tells whether the bot is to get the bytes of the message, whose media is m.
func (b *Bot) wants(req *bots.Request, m *media) bool {
	kind := req.Message.GetKind()
	return b.media == MediaBytes && m != nil && m.ID != "" &&
		(kind == messages.Kind_KIND_IMAGE || kind == messages.Kind_KIND_VOICE)
}

// attach fetches the bytes of a picture or a voice message into m, or says there why they are missing. It returns how many bytes of
// b.held the turn has taken, which the caller gives back.
//
// Room is never waited for: it comes back when a bot answers, and the turn's time is better spent on a bot that is asked without bytes.
func (b *Bot) attach(ctx context.Context, req *bots.Request, m *media) (held int64) {
	m.Missing = missingUnavailable
	if req.Media == nil {
		return 0
	}
	if !b.held.TryAcquire(maxMedia) { // the size is not known before
		b.without(req, "the bot's turns hold as many bytes of media as they may")
		return 0
	}
	defer func() {
		held = int64(len(m.Data))
		b.held.Release(maxMedia - held)
	}()
	ctx, cancel := context.WithTimeout(ctx, mediaTime)
	defer cancel()
	got, err := req.Media.Fetch(ctx, req.Message.GetAccount(), m.ID)
	switch {
	case err != nil:
		b.without(req, err.Error())
	case len(got.Bytes) > maxMedia:
		m.Missing = missingTooLarge
		b.without(req, "the file is too large")
	default:
		m.Missing, m.ContentType, m.Data = "", got.Type, got.Bytes
	}
	return held // as the deferred function says
}

// without notes a request that goes out without its media.
func (b *Bot) without(req *bots.Request, why string) {
	b.metrics.omitted.WithLabelValues(b.name, "media").Inc()
	b.log.Debug("the bot gets a message without its media", "bot", b.name, "account", req.Message.GetAccount(), "reason", why)
}
