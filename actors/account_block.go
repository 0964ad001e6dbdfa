package actors

import (
	"log/slog"
	"slices"
	"time"

	"hongyan/messages"
)

// block says that WeChat takes no messages of the account for a while.
type block struct {
	Kind    messages.AccountBlock_Kind `cbor:"1,keyasint"`
	Code    int32                      `cbor:"2,keyasint,omitempty"`
	UntilMS int64                      `cbor:"3,keyasint,omitempty"` // 0: until WeChat takes a message again
	ProbeMS int64                      `cbor:"4,keyasint,omitempty"` // not looked at again before
	SinceMS int64                      `cbor:"5,keyasint,omitempty"`
	Detail  string                     `cbor:"6,keyasint,omitempty"`
}

const (
	probeEvery  = time.Minute     // of a block, over all nodes
	lookSoon    = 2 * time.Second // longer than nodes wait between two leases
	minuteSlack = 3 * time.Second // WeChat's minutes need not be ours
	// quotaPath is the call whose quota matters (wechat-protocol §5.3).
	quotaPath = "/cgi-bin/message/custom/send"
)

// blockWord is a block's kind in logs and reasons.
func blockWord(k messages.AccountBlock_Kind) string {
	switch k {
	case messages.AccountBlock_KIND_DAILY_QUOTA:
		return "daily_quota"
	case messages.AccountBlock_KIND_MINUTE_RATE:
		return "minute_rate"
	case messages.AccountBlock_KIND_NO_RIGHT:
		return "no_right"
	default:
		return "none"
	}
}

// liveBlocks are those that last.
func liveBlocks(blocks []block, now time.Time) []block {
	return slices.DeleteFunc(blocks, func(b block) bool { return b.UntilMS > 0 && now.UnixMilli() >= b.UntilMS })
}

// trouble takes a node's report.
func (s *accountState) trouble(t *messages.AccountTrouble, now time.Time, chance uint64) []accountAction {
	i := slices.IndexFunc(s.Blocks, func(b block) bool { return b.Kind == t.GetKind() })
	if t.GetCode() == 0 {
		if i < 0 {
			return nil
		}
		s.Blocks = slices.Delete(s.Blocks, i, i+1)
		return []accountAction{actLog{slog.LevelInfo, "WeChat takes the account's messages again",
			[]slog.Attr{slog.String("block_was", blockWord(t.GetKind()))}}}
	}
	b := block{Kind: t.GetKind(), Code: t.GetCode(), Detail: t.GetDetail(), SinceMS: now.UnixMilli(), ProbeMS: now.Add(probeEvery).UnixMilli()}
	switch t.GetKind() {
	case messages.AccountBlock_KIND_DAILY_QUOTA:
		b.UntilMS = nextWeChatDay(now).Add(spread(minuteSlack, chance)).UnixMilli()
	case messages.AccountBlock_KIND_MINUTE_RATE:
		b.UntilMS = now.Truncate(time.Minute).Add(time.Minute + spread(minuteSlack, chance)).UnixMilli()
	case messages.AccountBlock_KIND_NO_RIGHT:
	default:
		return nil
	}
	if i >= 0 {
		b.SinceMS = s.Blocks[i].SinceMS
		s.Blocks[i] = b
		return nil
	}
	s.Blocks = append(s.Blocks, b)
	level := slog.LevelWarn
	if b.Kind == messages.AccountBlock_KIND_NO_RIGHT {
		level = slog.LevelError
	}
	return []accountAction{actLog{level, "WeChat takes no messages of the account for now", []slog.Attr{
		slog.String("block", blockWord(b.Kind)), slog.Int("code", int(b.Code)), slog.String("detail", b.Detail),
	}}}
}

// blocksFor are the blocks as a node is told. Where one message may be tried all the same, it is this node's.
func (s *accountState) blocksFor(wants bool, now time.Time) (told []*messages.AccountBlock, probe bool) {
	for i := range s.Blocks {
		b := &s.Blocks[i]
		left := b.UntilMS - now.UnixMilli()
		if b.Kind == messages.AccountBlock_KIND_DAILY_QUOTA && s.quota { // a look at it is under way: ask again soon
			left = min(left, lookSoon.Milliseconds())
		}
		if b.Kind == messages.AccountBlock_KIND_NO_RIGHT {
			if left = b.ProbeMS - now.UnixMilli(); left <= 0 && wants {
				b.ProbeMS = now.Add(probeEvery).UnixMilli()
				left, probe = probeEvery.Milliseconds(), true
			}
		}
		told = append(told, &messages.AccountBlock{Kind: b.Kind, Code: b.Code, Detail: b.Detail, ForMs: max(left, 1)})
	}
	return told, probe
}

// dueQuota looks whether the day's quota has been filled up, by an operator or by WeChat.
func (s *accountState) dueQuota(now time.Time) []accountAction {
	i := slices.IndexFunc(s.Blocks, func(b block) bool { return b.Kind == messages.AccountBlock_KIND_DAILY_QUOTA })
	if i < 0 || s.quota || now.UnixMilli() < s.Blocks[i].ProbeMS {
		return nil
	}
	s.quota = true
	s.Blocks[i].ProbeMS = now.Add(probeEvery).UnixMilli()
	return []accountAction{actQuota{token: s.Token, generation: s.Generation}}
}

func (s *accountState) quotaRead(e quotaRead, now time.Time) []accountAction {
	s.quota = false
	s.refusedBy(e.err, e.generation, now)
	if e.err != nil || e.remain <= 0 {
		return nil // the next look comes in a minute; a new day ends the block in any case
	}
	before := len(s.Blocks)
	s.Blocks = slices.DeleteFunc(s.Blocks, func(b block) bool { return b.Kind == messages.AccountBlock_KIND_DAILY_QUOTA })
	if len(s.Blocks) == before {
		return nil
	}
	return []accountAction{actLog{slog.LevelInfo, "the day's quota is there again", []slog.Attr{slog.Int64("remain", e.remain)}}}
}
