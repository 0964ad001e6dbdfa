package simulator

import (
	"slices"
	"time"
)

// clearancesPerMonth is how often an account may set its quotas back.
const clearancesPerMonth = 10

// usage counts an account's calls by path, for the day and the minute in progress.
type usage struct {
	day, minute       string
	today, thisMinute map[string]int // calls of the day, and of the minute
}

func newUsage() usage { return usage{today: map[string]int{}, thisMinute: map[string]int{}} }

// turn begins a new day or minute where one has begun.
func (u *usage) turn(now time.Time) {
	if day := dayOf(now); day != u.day {
		u.day = day
		clear(u.today)
	}
	if minute := now.In(china).Format("2006-01-02 15:04"); minute != u.minute {
		u.minute = minute
		clear(u.thisMinute)
	}
}

// count takes one call from the account's quotas. A call that is refused by them does not count.
func (c *call) count(e endpoint) error {
	u := &c.ledger.usage
	u.turn(c.now)
	daily, perMinute := c.account.limits(c.path, e)
	switch {
	case perMinute > 0 && u.thisMinute[c.path] >= perMinute:
		return fail(CodeMinuteRate)
	case daily > 0 && u.today[c.path] >= daily:
		return fail(CodeDailyQuota)
	}
	u.today[c.path]++
	u.thisMinute[c.path]++
	return nil
}

// limits are the calls that the account may make on a path; 0 is without limit.
func (a *account) limits(path string, e endpoint) (daily, perMinute int) {
	daily, perMinute = e.perDay, e.perMin
	if n, ok := a.DailyQuota[path]; ok {
		daily = n
	}
	if n, ok := a.MinuteQuota[path]; ok {
		perMinute = n
	}
	return daily, perMinute
}

// quota is POST /cgi-bin/openapi/quota/get.
func (c *call) quota() (any, error) {
	var in struct {
		Path string `json:"cgi_path"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	e, ok := c.p.api.endpoints[in.Path]
	if !ok {
		return nil, fail(CodeNoPath)
	}
	u := &c.ledger.usage
	u.turn(c.now)
	daily, perMinute := c.account.limits(in.Path, e)
	type quota struct {
		Limit  int `json:"daily_limit"`
		Used   int `json:"used"`
		Remain int `json:"remain"`
	}
	type rate struct {
		Count   int `json:"call_count"`
		Seconds int `json:"refresh_second"`
	}
	out := struct {
		Code  int    `json:"errcode"`
		Text  string `json:"errmsg"`
		Quota quota  `json:"quota"`
		Rate  *rate  `json:"rate_limit,omitempty"`
	}{Text: "ok", Quota: quota{daily, u.today[in.Path], max(0, daily-u.today[in.Path])}}
	if perMinute > 0 {
		out.Rate = &rate{perMinute, 60}
	}
	return out, nil
}

// clearQuota is POST /cgi-bin/clear_quota (with a token) and /cgi-bin/clear_quota/v2 (with the AppSecret): ten a month together.
func (c *call) clearQuota() (any, error) {
	var in struct {
		AppID  string `json:"appid"`
		Secret string `json:"appsecret"`
	}
	if c.path == CallClearQuota2 && len(c.body) == 0 { // this one also takes a query
		q := c.r.URL.Query()
		in.AppID, in.Secret = q.Get("appid"), q.Get("appsecret")
	} else if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case c.account == nil || in.AppID != c.account.AppID:
		return nil, fail(CodeBadAppID)
	case c.path == CallClearQuota2 && (c.account.AppSecret == "" || in.Secret != c.account.AppSecret):
		return nil, fail(CodeBadSecret)
	}
	month := c.now.In(china).Format("2006-01")
	c.ledger.clearances = slices.DeleteFunc(c.ledger.clearances, func(at time.Time) bool { return at.In(china).Format("2006-01") != month })
	if len(c.ledger.clearances) >= clearancesPerMonth {
		return nil, fail(CodeClearances)
	}
	c.ledger.clearances = append(c.ledger.clearances, c.now)
	clear(c.ledger.usage.today)
	c.note.Effect = true
	return ok(), nil
}
