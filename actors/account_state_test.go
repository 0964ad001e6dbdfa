package actors

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// machine drives an account's state machine through whatever happens to it, with WeChat's rules beside it, and restarts it from what
// was committed. It checks after each step what must hold however things go.
type machine struct {
	t    *rapid.T
	now  time.Time
	conf AccountSettings
	s    *accountState

	// What is on its way.
	fetch *actFetch
	began time.Time
	quota *actQuota
	ips   *actIPs

	// WeChat's side.
	token    int
	expires  time.Time
	forcedAt time.Time
	misfit   error // what token calls fail with

	// What was seen.
	forces    []time.Time
	alarmed   []time.Time // token calls during an alarm
	probes    []time.Time // of KIND_NO_RIGHT
	looks     []time.Time // at the quota
	tokens    map[uint64]string
	last      uint64
	perMinute map[int64]int64
	perDay    map[int64]int64
	refusals  map[uint64]bool
	chance    uint64
	serial    uint64
}

func (m *machine) step(event any) any {
	m.chance = m.chance*6364136223846793005 + 1442695040888963407
	reply, do := m.s.step(event, m.now, m.chance)
	for _, act := range do {
		switch act := act.(type) {
		case actFetch:
			if m.fetch != nil {
				m.t.Fatalf("two fetches at a time")
			}
			m.fetch, m.began = &act, m.now
			if act.force {
				m.forces = append(m.forces, m.now)
				if !m.refusals[m.s.Generation] {
					m.t.Fatalf("generation %d is forced out, and nobody was refused with it", m.s.Generation)
				}
				if !m.s.Intent {
					m.t.Fatalf("the token in use is to be ended, and the record does not say so")
				}
			}
			if m.s.Alarm.Reason != "" {
				m.alarmed = append(m.alarmed, m.now)
			}
		case actQuota:
			m.quota = &act
			m.looks = append(m.looks, m.now)
		case actIPs:
			m.ips = &act
		}
	}
	return reply
}

func (m *machine) lease(node string, refused uint64, want int, troubles ...*messages.AccountTrouble) *messages.AccountLeased {
	m.serial++
	if refused == m.s.Generation && refused != 0 {
		m.refusals[refused] = true
	}
	r := m.step(&messages.AccountLease{Node: node, Serial: m.serial, Need: true, Refused: refused, Want: int32(want), Troubles: troubles}).(*messages.AccountLeased)
	if r.GetProbe() {
		m.probes = append(m.probes, m.now)
	}
	m.perMinute[m.now.Unix()/60] += int64(r.GetPermits())
	m.perDay[wechatDay(m.now)] += int64(r.GetPermits())
	if int(r.GetPermits()) > want {
		m.t.Fatalf("%d permits for %d", r.GetPermits(), want)
	}
	return r
}

// restart begins anew from the committed record, as a new owner does. Whatever was on its way may have reached WeChat.
func (m *machine) restart() {
	if m.fetch != nil {
		m.wechatToken(m.fetch.force)
	}
	b, err := m.s.encode()
	if err != nil {
		m.t.Fatal(err)
	}
	rec, err := decodeAccount(b)
	if err != nil {
		m.t.Fatal(err)
	}
	m.fetch, m.quota, m.ips = nil, nil, nil
	m.s = newAccountState(rec, m.conf, m.now, m.chance)
}

// wechatToken is WeChat's answer to stable_token or token.
func (m *machine) wechatToken(force bool) api.Token {
	left := m.expires.Sub(m.now)
	switch {
	case m.conf.Classic, m.token == 0, left < 5*time.Minute:
		m.token++
		m.expires = m.now.Add(2 * time.Hour)
	case force && m.now.Sub(m.forcedAt) >= 30*time.Second:
		m.token++
		m.expires, m.forcedAt = m.now.Add(2*time.Hour), m.now
	}
	return api.Token{Value: fmt.Sprint("t", m.token), ExpiresIn: m.expires.Sub(m.now)}
}

func (m *machine) finishFetch() {
	if m.fetch == nil {
		return
	}
	f := *m.fetch
	m.fetch = nil
	e := tokenFetched{number: f.number, began: m.began, err: m.misfit}
	if m.misfit == nil {
		e.token = m.wechatToken(f.force)
	}
	m.step(e)
}

func (m *machine) finishOthers(remain int64) {
	if q := m.quota; q != nil {
		m.quota = nil
		m.step(quotaRead{generation: q.generation, remain: remain})
	}
	if i := m.ips; i != nil {
		m.ips = nil
		m.step(ipsFetched{generation: i.generation, err: errors.New("no answer")})
	}
}

func (m *machine) check() {
	if m.s.Generation < m.last {
		m.t.Fatalf("generation went from %d to %d", m.last, m.s.Generation)
	}
	m.last = m.s.Generation
	if before, ok := m.tokens[m.s.Generation]; ok && before != m.s.Token {
		m.t.Fatalf("generation %d was %q and is %q", m.s.Generation, before, m.s.Token)
	}
	m.tokens[m.s.Generation] = m.s.Token
	apart(m.t, "forced refreshes", m.forces, 30*time.Second)
	apart(m.t, "token calls during an alarm", m.alarmed, time.Minute)
	apart(m.t, "messages sent without the right", m.probes, time.Minute)
	apart(m.t, "looks at the quota", m.looks, time.Minute)
	days := make(map[int64]int)
	for _, f := range m.forces {
		if days[wechatDay(f)]++; days[wechatDay(f)] > forcesPerDay {
			m.t.Fatalf("more than %d forced refreshes in a day", forcesPerDay)
		}
	}
	for minute, n := range m.perMinute {
		if m.conf.PerMinute > 0 && n > int64(m.conf.PerMinute) {
			m.t.Fatalf("%d permits in minute %d, of %d", n, minute, m.conf.PerMinute)
		}
	}
	for day, n := range m.perDay {
		if m.conf.PerDay > 0 && n > int64(m.conf.PerDay) {
			m.t.Fatalf("%d permits on day %d, of %d", n, day, m.conf.PerDay)
		}
	}
}

func apart(t *rapid.T, what string, times []time.Time, least time.Duration) {
	for i := 1; i < len(times); i++ {
		if d := times[i].Sub(times[i-1]); d < least {
			t.Fatalf("%s are %v apart, not %v", what, d, least)
		}
	}
}

// Whatever nodes report, whatever WeChat answers and however often the owner changes: tokens are fetched one at a time, ended by force
// no more often than WeChat allows and only where one was refused, and no limit is passed.
func TestAccountStateKeepsItsLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			t: t, now: time.Date(2026, 3, 1, 15, 50, 0, 0, time.UTC), tokens: make(map[uint64]string), perMinute: make(map[int64]int64),
			perDay: make(map[int64]int64), refusals: make(map[uint64]bool), chance: rapid.Uint64().Draw(t, "chance"),
			conf: AccountSettings{
				ID: "demo", AppID: "wx", AppSecret: "s", API: &weixin{}, Classic: rapid.Bool().Draw(t, "classic"),
				Rate:      rapid.SampledFrom([]float64{0, 0.5, 20}).Draw(t, "rate"),
				PerMinute: rapid.SampledFrom([]int{0, 7, 100}).Draw(t, "minute"),
				PerDay:    rapid.SampledFrom([]int{0, 40, 5000}).Draw(t, "day"),
			},
		}
		m.s = newAccountState(accountRecord{}, m.conf, m.now, m.chance)
		kinds := []messages.AccountBlock_Kind{messages.AccountBlock_KIND_DAILY_QUOTA, messages.AccountBlock_KIND_MINUTE_RATE, messages.AccountBlock_KIND_NO_RIGHT}
		node := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"lease":   func(t *rapid.T) { m.lease(node.Draw(t, "node"), 0, rapid.IntRange(0, 50).Draw(t, "want")) },
			"refused": func(t *rapid.T) { m.lease(node.Draw(t, "node"), m.s.Generation, 1) },
			"refused long ago": func(t *rapid.T) {
				before, was := m.s.Generation, m.s.token.refused
				if before > 1 {
					if m.lease(node.Draw(t, "node"), before-1, 1); m.s.token.refused && !was {
						t.Fatalf("a refusal of generation %d counts against %d", before-1, before)
					}
				}
			},
			"trouble": func(t *rapid.T) {
				m.lease(node.Draw(t, "node"), 0, 1, &messages.AccountTrouble{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Code: 1})
			},
			"right again": func(t *rapid.T) {
				if len(m.probes) > 0 && slices.ContainsFunc(m.s.Blocks, func(b block) bool { return b.Kind == messages.AccountBlock_KIND_NO_RIGHT }) {
					m.probes = nil // what comes after is another story
					m.lease("a", 0, 0, &messages.AccountTrouble{Kind: messages.AccountBlock_KIND_NO_RIGHT})
				}
			},
			"fetched":       func(*rapid.T) { m.finishFetch() },
			"others":        func(t *rapid.T) { m.finishOthers(rapid.Int64Range(-1, 0).Draw(t, "remain")) },
			"who is WeChat": func(*rapid.T) { m.step(&messages.CallbackIPs{}) },
			"misfit": func(t *rapid.T) {
				m.misfit = rapid.SampledFrom([]error{
					nil, &api.Error{Code: 40125, Class: api.Config}, &api.Error{Class: api.Unknown}, &api.Error{Code: -1, Class: api.Busy},
					&api.Error{Code: 45009, Class: api.DailyQuota},
				}).Draw(t, "misfit")
			},
			"restart": func(*rapid.T) { m.restart() },
			"moment": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
			},
			"a while": func(t *rapid.T) { m.now = m.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "s")) * time.Second) },
			"hours": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "min")) * time.Minute)
			},
			"": func(*rapid.T) { m.check() },
		})
	})
}
