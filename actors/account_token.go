package actors

import (
	"errors"
	"log/slog"
	"time"

	"hongyan/wechat/api"
)

// When the token is renewed (wechat-protocol §4). stable_token gives the same token until less than sameUntil of it is left, so a call
// at renewBefore mostly learns nothing new; the next one is made once that moment is past, and then again and again.
const (
	renewBefore  = 10 * time.Minute
	renewSpread  = time.Minute
	sameUntil    = 5 * time.Minute
	askAgain     = 20 * time.Second
	forceApart   = 31 * time.Second // WeChat: 30 s; closer calls do not refresh
	forcesPerDay = 20
	idleAfter    = 15 * time.Minute // a token that nobody asked for in that time is not renewed
	alarmRetry   = time.Minute
	fetchBackoff = time.Second // doubled with each failure
	fetchMost    = 30 * time.Second
)

// Alarms: why an account gets no token until somebody acts. They stand in hongyan_account_alarm and messages.AccountView; append-only.
const (
	AlarmAppSecret  = "app_secret"        // 40125, or 40001 from a token call: the AppSecret is wrong
	AlarmAppID      = "app_id"            // 40013
	AlarmIP         = "ip_not_allowed"    // 40164, 61004: the caller's address is not in the account's allow-list
	AlarmFrozen     = "app_secret_frozen" // 40243
	AlarmTokenQuota = "token_quota"       // 45009 from a token call
	AlarmNoRight    = "no_right"          // 48001, 48004, 50002 from a token call
	AlarmConfig     = "configuration"     // any other refusal of the credentials, the address or the kind of token
)

// refresher is what of the token's refreshing needs no record: a successor that knows nothing of it only asks once more than needed.
type refresher struct {
	fetching  bool
	number    uint64 // of the fetch under way
	force     bool   // it kills the token in use
	failures  int    // in a row
	notBefore time.Time
	renewAt   time.Time
	asked     time.Time // when somebody last needed a token
	refused   bool      // WeChat refused the current generation
	checked   bool      // and gave the very same token when asked without force
	recheck   time.Time // a refusal before then is not believed again
	last      string    // why the last fetch failed, for people
}

func (r *refresher) needed(now time.Time) { r.asked = now }

// expires is when the token ends.
func (s *accountState) expires() time.Time { return time.UnixMilli(s.ExpiresMS) }

// usable tells whether there is a token that WeChat is believed to take.
func (s *accountState) usable(now time.Time) bool {
	return s.Token != "" && now.Before(s.expires()) && !s.token.refused
}

// nextAsk is when to ask for the next token, the current one being as it is.
func (s *accountState) nextAsk(now time.Time, chance uint64) time.Time {
	if s.Token == "" {
		return now
	}
	if s.conf.Classic { // each call gives a new one
		life := time.Duration(s.ExpiresMS-s.ObtainedMS) * time.Millisecond
		return s.expires().Add(-min(renewBefore, life/4) - spread(min(renewSpread, life/20), chance))
	}
	if early := s.expires().Add(-renewBefore - renewSpread); now.Before(early) {
		return early.Add(spread(renewSpread, chance))
	}
	same := s.expires().Add(-sameUntil).Add(time.Second + spread(askAgain, chance))
	if now.Before(same) {
		return same
	}
	return now.Add(askAgain)
}

// refusal takes a node's word that WeChat refused a generation. An old one needs nothing: the current one is handed out.
func (s *accountState) refusal(generation uint64, now time.Time) {
	if generation != s.Generation || s.token.refused || s.Token == "" || now.Before(s.token.recheck) {
		return
	}
	s.token.refused, s.token.checked = true, false
}

// refusedBy is refusal for the actor's own calls.
func (s *accountState) refusedBy(err error, generation uint64, now time.Time) {
	if err != nil && api.ClassOf(err) == api.TokenInvalid {
		s.refusal(generation, now)
	}
}

// dueFetch starts a fetch where one is due. One at a time; a fetch that kills the token in use stands in the record first.
func (s *accountState) dueFetch(now time.Time) (actFetch, bool) {
	t := &s.token
	if !s.conf.calls() || t.fetching || now.Before(t.notBefore) || now.UnixMilli() < s.Alarm.RetryMS {
		return actFetch{}, false
	}
	inUse := now.Sub(t.asked) < idleAfter && !t.asked.IsZero()
	force := false
	switch {
	case t.refused && t.checked:
		if !s.mayForce(now) {
			return actFetch{}, false
		}
		force = true
	case t.refused:
	case inUse && (s.Token == "" || !now.Before(s.expires()) || !now.Before(t.renewAt)):
	default:
		return actFetch{}, false
	}
	t.fetching, t.force = true, force
	t.number++
	if force {
		if day := wechatDay(now); s.ForcedDay != day {
			s.ForcedDay, s.ForcedCount = day, 0
		}
		s.ForcedMS = now.UnixMilli()
		s.ForcedCount++
	}
	if s.Alarm.Reason != "" { // a try; were its owner to die over it, the next one comes no sooner
		s.Alarm.RetryMS = now.Add(alarmRetry).UnixMilli()
	}
	s.Intent = (force || s.conf.Classic) && s.Token != ""
	return actFetch{number: t.number, force: force}, true
}

// mayForce tells whether WeChat would heed force_refresh now.
func (s *accountState) mayForce(now time.Time) bool {
	return now.UnixMilli()-s.ForcedMS >= forceApart.Milliseconds() && s.forcesLeft(now) > 0
}

func (s *accountState) forcesLeft(now time.Time) int {
	if s.ForcedDay != wechatDay(now) {
		return forcesPerDay
	}
	return forcesPerDay - s.ForcedCount
}

// fetched takes a fetch's outcome.
func (s *accountState) fetched(e tokenFetched, now time.Time, chance uint64) []accountAction {
	t := &s.token
	if !t.fetching || e.number != t.number {
		return nil
	}
	t.fetching, s.Intent = false, false
	if e.err != nil {
		return s.fetchFailed(e.err, now, chance)
	}
	var do []accountAction
	if s.Alarm.Reason != "" {
		do = append(do, actLog{slog.LevelInfo, "the account gets tokens again", []slog.Attr{slog.String("alarm_was", s.Alarm.Reason)}})
	}
	s.Alarm, t.failures, t.last = accountAlarm{}, 0, ""
	same := e.token.Value == s.Token
	s.Token = e.token.Value
	s.ExpiresMS = e.began.Add(e.token.ExpiresIn).UnixMilli() // from the call's beginning: rather too early than too late
	if !same {
		s.Generation++
		s.ObtainedMS = e.began.UnixMilli()
		t.refused, t.checked, t.recheck = false, false, time.Time{}
		do = append(do, actLog{slog.LevelInfo, "the account has a new token", []slog.Attr{
			slog.Uint64("generation", s.Generation), slog.Duration("expires_in", s.expires().Sub(now).Round(time.Second)), slog.Bool("forced", t.force),
		}})
	} else if t.refused {
		t.checked = true
		if s.forcesLeft(now) <= 0 { // nothing is left to be done but to believe WeChat: it says that the token is good
			t.refused, t.checked, t.recheck = false, false, now.Add(forceApart)
			do = append(do, actLog{slog.LevelWarn, "WeChat refused the token, gives the same one again, and its forced refreshes of " +
				"today are used up; look for another program that uses the same AppSecret", nil})
		}
	}
	t.renewAt = s.nextAsk(now, chance)
	return do
}

// fetchFailed decides when to ask again. What only an operator can mend is asked once a minute.
func (s *accountState) fetchFailed(err error, now time.Time, chance uint64) []accountAction {
	t := &s.token
	t.failures++
	t.last = err.Error()
	reason, advice := alarmOf(err, s.conf)
	if reason == "" {
		wait := min(fetchBackoff<<min(t.failures-1, 5), fetchMost)
		t.notBefore = now.Add(wait/2 + spread(wait, chance))
		if e, ok := errors.AsType[*api.Error](err); ok && e.Class == api.MinuteRate {
			t.notBefore = now.Truncate(time.Minute).Add(time.Minute + spread(3*time.Second, chance))
		}
		return []accountAction{actLog{slog.LevelWarn, "no token from WeChat; it is asked again", []slog.Attr{
			slog.Int("failures", t.failures), slog.Duration("in", t.notBefore.Sub(now).Round(time.Millisecond)), slog.Any("error", err),
		}}}
	}
	t.last = advice
	before := s.Alarm
	s.Alarm = accountAlarm{Reason: reason, Detail: advice, SinceMS: now.UnixMilli(), RetryMS: now.Add(alarmRetry).UnixMilli()}
	if before.Reason == reason {
		s.Alarm.SinceMS = before.SinceMS
		if before.Detail == advice {
			return nil
		}
	}
	return []accountAction{actLog{slog.LevelError, "the account gets no token: " + advice,
		[]slog.Attr{slog.String("alarm", reason), slog.Any("error", err)}}}
}

// alarmOf sorts an error of a token call: an empty reason means that waiting may help.
func alarmOf(err error, conf AccountSettings) (reason, advice string) {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return "", ""
	}
	const console = ` on mp.weixin.qq.com under "基本配置"`
	switch e.Code {
	case 40001, 40125:
		return AlarmAppSecret, "the AppSecret is wrong; compare app_secret of account " + conf.ID + " with the one" + console +
			", and restart the workers"
	case 40013:
		return AlarmAppID, "the AppID is wrong; compare app_id of account " + conf.ID + " with the one" + console + ", and restart the workers"
	case 40164, 61004:
		seen := "of this node"
		if e.SeenIP.IsValid() {
			seen = e.SeenIP.String()
		}
		return AlarmIP, "WeChat does not let the address " + seen + " ask for tokens; add it to the account's IP allow-list" + console
	case 40243:
		return AlarmFrozen, "the AppSecret is frozen; unfreeze it" + console
	}
	switch e.Class {
	case api.DailyQuota:
		return AlarmTokenQuota, "the day's token calls are used up; look for another program that fetches tokens with the same AppSecret"
	case api.NoRight:
		return AlarmNoRight, "WeChat has banned, limited or moved the account; read the notices in its console"
	case api.TokenInvalid, api.Config:
		return AlarmConfig, e.Error()
	default:
		return "", ""
	}
}
