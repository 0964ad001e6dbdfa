package actors

import (
	"errors"
	"strconv"
	"time"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// sentOf is what became of a call, for the user's actor.
func sentOf(err error, now time.Time, chance uint64) Sent {
	if err == nil {
		return Sent{Fate: FateDelivered}
	}
	s := Sent{Detail: err.Error()}
	if e, ok := errors.AsType[*api.Error](err); ok {
		s.Code = e.Code
		if e.RID != "" {
			s.Detail += " rid " + e.RID
		}
	}
	switch api.ClassOf(err) {
	case api.Unsent, api.Busy, api.Refused:
		s.Fate, s.Retry = FateNotMade, now.Add(time.Second+spread(time.Second, chance))
	case api.TokenInvalid:
		s.Fate, s.Retry = FateNotMade, now.Add(time.Second)
	case api.Config:
		s.Fate, s.Retry = FateNotMade, now.Add(alarmRetry)
	case api.DailyQuota, api.MinuteRate:
		_, until := blockOf(err, now, chance)
		s.Fate, s.Retry = FateNotMade, earliest(until, now.Add(lookAgain))
	case api.NoRight:
		s.Fate = FateNoRight
	case api.NoWindow:
		s.Fate = FateNoWindow
	case api.NoUser:
		s.Fate = FateNoUser
	case api.BadMessage, api.Typing: // a code that is not known is a definite refusal all the same
		s.Fate = FateBadMessage
	default:
		s.Fate = FateUnknown
	}
	return s
}

// blockOf says what of an error concerns all messages of the account, and until when, as far as this node can tell.
func blockOf(err error, now time.Time, chance uint64) (kind messages.AccountBlock_Kind, until time.Time) {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return messages.AccountBlock_KIND_NONE, time.Time{}
	}
	switch {
	case e.Class == api.DailyQuota:
		return messages.AccountBlock_KIND_DAILY_QUOTA, nextWeChatDay(now).Add(spread(minuteSlack, chance))
	case e.Class == api.MinuteRate:
		return messages.AccountBlock_KIND_MINUTE_RATE, now.Truncate(time.Minute).Add(time.Minute + spread(minuteSlack, chance))
	case e.Class == api.NoRight && (e.Code/1000 == 48 || e.Code/1000 == 50): // the others are about support agents
		return messages.AccountBlock_KIND_NO_RIGHT, now.Add(probeEvery)
	}
	return messages.AccountBlock_KIND_NONE, time.Time{}
}

// detailOf is what an operator is told.
func detailOf(err error) (code int, detail string) {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return 0, ""
	}
	detail = e.Msg
	if detail == "" {
		detail = "errcode " + strconv.Itoa(e.Code)
	}
	return e.Code, detail
}
