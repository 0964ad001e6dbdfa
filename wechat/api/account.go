package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// UserInfo is what WeChat tells about a user (wechat-protocol §5.3). Name and picture are not filled any more since 2021.
type UserInfo struct {
	Subscribed   bool // false: all below but OpenID is empty
	OpenID       string
	UnionID      string
	Language     string
	Remark       string
	Tags         []int64
	SubscribedAt time.Time
	Scene        string // ADD_SCENE_QR_CODE …
	QRScene      string // the number of a QR code's scene as text
	QRSceneText  string
}

// UserInfo asks for one user; lang is zh_CN, zh_TW or en, empty for WeChat's default.
func (c *Client) UserInfo(ctx context.Context, token, openID, lang string) (UserInfo, error) {
	query := url.Values{"openid": {openID}}
	if lang != "" {
		query.Set("lang", lang)
	}
	var a userAnswer
	err := c.do(ctx, call{path: callUserInfo, token: token, query: query, repeatable: true, result: &a, private: openID})
	if err != nil {
		return UserInfo{}, err
	}
	u := UserInfo{
		Subscribed: a.Subscribe.value != 0, OpenID: string(a.OpenID), UnionID: string(a.UnionID), Language: string(a.Language),
		Remark: string(a.Remark), Scene: string(a.Scene), QRScene: string(a.QRScene), QRSceneText: string(a.QRSceneText),
	}
	if a.SubscribeTime.value > 0 {
		u.SubscribedAt = time.Unix(a.SubscribeTime.value, 0)
	}
	for _, tag := range a.Tags {
		u.Tags = append(u.Tags, tag.value)
	}
	return u, nil
}

type userAnswer struct {
	Subscribe     number   `json:"subscribe"`
	OpenID        words    `json:"openid"`
	UnionID       words    `json:"unionid"`
	Language      words    `json:"language"`
	Remark        words    `json:"remark"`
	Tags          []number `json:"tagid_list"`
	SubscribeTime number   `json:"subscribe_time"`
	Scene         words    `json:"subscribe_scene"`
	QRScene       words    `json:"qr_scene"`
	QRSceneText   words    `json:"qr_scene_str"`
}

func (a *userAnswer) complete() error {
	if a.OpenID == "" {
		return errors.New("no openid in it")
	}
	return nil
}

// Quota is what is left of an API for today (wechat-protocol §5.3).
type Quota struct {
	DailyLimit, Used, Remain int64
	Rate                     Rate // zero where the API has none
}

// Rate is how many calls an API takes in some time.
type Rate struct {
	Calls int64
	Per   time.Duration
}

// Quota asks about one API by its path, such as /cgi-bin/message/custom/send.
func (c *Client) Quota(ctx context.Context, token, cgiPath string) (Quota, error) {
	o := newObject()
	o.text("cgi_path", cgiPath)
	var a quotaAnswer
	if err := c.do(ctx, call{path: callQuota, token: token, body: o, repeatable: true, result: &a}); err != nil {
		return Quota{}, err
	}
	return Quota{
		DailyLimit: a.Quota.DailyLimit.value, Used: a.Quota.Used.value, Remain: a.Quota.Remain.value,
		Rate: Rate{Calls: a.Rate.Calls.value, Per: time.Duration(a.Rate.Seconds.value) * time.Second},
	}, nil
}

type quotaAnswer struct {
	Quota *struct {
		DailyLimit number `json:"daily_limit"`
		Used       number `json:"used"`
		Remain     number `json:"remain"`
	} `json:"quota"`
	Rate struct {
		Calls   number `json:"call_count"`
		Seconds number `json:"refresh_second"`
	} `json:"rate_limit"`
}

func (a *quotaAnswer) complete() error {
	if a.Quota == nil {
		return errors.New("no quota in it")
	}
	return nil
}

// ClearQuota sets the account's daily counts of all APIs to zero: ten times a month, together with ClearQuotaBySecret.
func (c *Client) ClearQuota(ctx context.Context, token string) error {
	o := newObject()
	o.text("appid", c.appID)
	return c.do(ctx, call{path: callClearQuota, token: token, body: o})
}

// ClearQuotaBySecret does the same without a token: the quota of the token calls may be what is used up.
func (c *Client) ClearQuotaBySecret(ctx context.Context) error {
	o := newObject()
	o.text("appid", c.appID)
	o.text("appsecret", c.secret)
	return c.do(ctx, call{path: callClearQuotaV2, body: o})
}

// CallbackIPs are the addresses from which WeChat pushes. They change: read them daily (wechat-protocol §5.3).
func (c *Client) CallbackIPs(ctx context.Context, token string) ([]netip.Prefix, error) {
	return c.addresses(ctx, token, callCallbackIPs)
}

// APIDomainIPs are the addresses of WeChat's API, for firewalls.
func (c *Client) APIDomainIPs(ctx context.Context, token string) ([]netip.Prefix, error) {
	return c.addresses(ctx, token, callDomainIPs)
}

func (c *Client) addresses(ctx context.Context, token, path string) ([]netip.Prefix, error) {
	var a addressAnswer
	if err := c.do(ctx, call{path: path, token: token, repeatable: true, result: &a}); err != nil {
		return nil, err
	}
	return a.prefixes, nil
}

type addressAnswer struct {
	List     []words `json:"ip_list"`
	prefixes []netip.Prefix
}

// complete refuses the list as a whole where one of its entries cannot be read: a list that is enforced must not lack one.
func (a *addressAnswer) complete() error {
	for _, entry := range a.List {
		prefix, err := parsePrefix(strings.TrimSpace(string(entry)))
		if err != nil {
			return fmt.Errorf("ip_list: %q is neither an address nor a range", entry)
		}
		a.prefixes = append(a.prefixes, prefix)
	}
	if len(a.prefixes) == 0 {
		return errors.New("no ip_list in it, or an empty one")
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

// CallbackCheck is how WeChat reaches the account's callback URL.
type CallbackCheck struct {
	DNS  []ResolvedAddress
	Ping []PingResult
}

// ResolvedAddress is an address of the callback URL's host as WeChat resolves it.
type ResolvedAddress struct {
	IP       string
	Operator string // whose network the address is in: UNICOM, CHINANET, CAP …
}

// PingResult is how WeChat reaches an address from one operator's network.
type PingResult struct {
	IP          string
	From        string // operator
	PackageLoss string // as WeChat writes it, such as "0%"
	Time        string // as WeChat writes it, such as "23.079ms"
}

// CheckCallback lets WeChat test the callback URL. action is all, dns or ping; operator is DEFAULT, CHINANET, UNICOM or CAP.
func (c *Client) CheckCallback(ctx context.Context, token, action, operator string) (CallbackCheck, error) {
	o := newObject()
	o.text("action", action)
	o.text("check_operator", operator)
	var a checkAnswer
	if err := c.do(ctx, call{path: callCheck, token: token, body: o, repeatable: true, long: true, result: &a}); err != nil {
		return CallbackCheck{}, err
	}
	var check CallbackCheck
	for _, d := range a.DNS {
		check.DNS = append(check.DNS, ResolvedAddress{IP: string(d.IP), Operator: string(d.Operator)})
	}
	for _, p := range a.Ping {
		check.Ping = append(check.Ping, PingResult{
			IP: string(p.IP), From: string(p.From), PackageLoss: string(p.PackageLoss), Time: string(p.Time),
		})
	}
	return check, nil
}

type checkAnswer struct {
	DNS []struct {
		IP       words `json:"ip"`
		Operator words `json:"real_operator"`
	} `json:"dns"`
	Ping []struct {
		IP          words `json:"ip"`
		From        words `json:"from_operator"`
		PackageLoss words `json:"package_loss"`
		Time        words `json:"time"`
	} `json:"ping"`
}

func (a *checkAnswer) complete() error {
	if a.DNS == nil && a.Ping == nil { // empty ones are an answer: the name is not known
		return errors.New("neither dns nor ping in it")
	}
	return nil
}

// RequestRecord is what WeChat noted about one request of the last days.
type RequestRecord struct {
	InvokedAt    time.Time
	Cost         time.Duration
	URL          string // the query; tokens and secrets in it are replaced
	RequestBody  string // may hold what users are told: not for logs
	ResponseBody string
	ClientIP     string
}

// LookupRID asks what WeChat noted about a request that failed, by the rid of its error (wechat-protocol §4).
func (c *Client) LookupRID(ctx context.Context, token, rid string) (RequestRecord, error) {
	o := newObject()
	o.text("rid", rid)
	var a ridAnswer
	if err := c.do(ctx, call{path: callRID, token: token, body: o, repeatable: true, result: &a}); err != nil {
		return RequestRecord{}, err
	}
	r := a.Request
	return RequestRecord{
		InvokedAt: time.Unix(r.InvokeTime.value, 0), Cost: time.Duration(r.CostMS.value) * time.Millisecond,
		URL: hideCredentials(string(r.URL)), RequestBody: hideCredentials(string(r.RequestBody)),
		ResponseBody: hideCredentials(string(r.ResponseBody)), ClientIP: string(r.ClientIP),
	}, nil
}

// Tokens and secrets in a query, and in a JSON body.
var (
	inQuery = regexp.MustCompile(`(?i)\b(access_token|appsecret|secret)=[^&\s"]*`)
	inJSON  = regexp.MustCompile(`(?i)("(?:access_token|appsecret|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"`)
)

func hideCredentials(text string) string {
	return inJSON.ReplaceAllString(inQuery.ReplaceAllString(text, "$1=***"), `$1"***"`)
}

type ridAnswer struct {
	Request *struct {
		InvokeTime   number `json:"invoke_time"`
		CostMS       number `json:"cost_in_ms"`
		URL          words  `json:"request_url"`
		RequestBody  words  `json:"request_body"`
		ResponseBody words  `json:"response_body"`
		ClientIP     words  `json:"client_ip"`
	} `json:"request"`
}

func (a *ridAnswer) complete() error {
	if a.Request == nil {
		return errors.New("no request in it")
	}
	return nil
}
