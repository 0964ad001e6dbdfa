package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// userInfo is GET /cgi-bin/user/info?openid=&lang=. Nickname and picture are empty, as WeChat gives them since 2021.
func (c *call) userInfo() (any, error) {
	openID := c.r.URL.Query().Get("openid")
	f := c.ledger.followers[openID]
	c.note.OpenID = openID
	switch {
	case f == nil:
		return nil, fail(CodeBadOpenID)
	case !f.following:
		return map[string]any{"subscribe": 0, "openid": openID, "tagid_list": []int{}}, nil
	}
	language := c.r.URL.Query().Get("lang")
	if language == "" {
		language = "zh_CN"
	}
	scene := "ADD_SCENE_SEARCH"
	if f.scene != "" {
		scene = "ADD_SCENE_QR_CODE"
	}
	var number int
	_, _ = fmt.Sscan(f.scene, &number) // scenes are numbers or words
	return map[string]any{
		"subscribe": 1, "openid": openID, "nickname": "", "sex": 0, "language": language, "city": "", "province": "", "country": "",
		"headimgurl": "", "subscribe_time": f.since.Unix(), "remark": "", "groupid": 0, "tagid_list": []int{},
		"subscribe_scene": scene, "qr_scene": number, "qr_scene_str": f.scene,
	}, nil
}

func (c *call) callbackIPs() (any, error) { return map[string]any{"ip_list": c.p.callbackIPs}, nil }
func (c *call) apiIPs() (any, error)      { return map[string]any{"ip_list": c.p.apiIPs}, nil }

// checkCallback is POST /cgi-bin/callback/check: it looks the callback's host up and connects to it.
func (c *call) checkCallback() (any, error) {
	var in struct {
		Action   string `json:"action"`
		Operator string `json:"check_operator"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Action != "all" && in.Action != "dns" && in.Action != "ping" {
		return nil, failText(CodeBadArgument, "action is all, dns or ping")
	}
	u, err := url.Parse(c.account.CallbackURL)
	if err != nil {
		return nil, failText(CodeBadArgument, "callback URL: "+err.Error())
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.p.cutoff)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		addresses = nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	dns, ping := []map[string]any{}, []map[string]any{}
	for _, ip := range addresses {
		dns = append(dns, map[string]any{"ip": ip, "real_operator": "UNICOM"})
		started := time.Now()
		loss, took := "100%", ""
		if connection, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(ip, port)); err == nil {
			_ = connection.Close()
			loss, took = "0%", fmt.Sprintf("%.3fms", milliseconds(time.Since(started)))
		}
		ping = append(ping, map[string]any{"ip": ip, "from_operator": "CAP", "package_loss": loss, "time": took})
	}
	out := map[string]any{}
	if in.Action != "ping" {
		out["dns"] = dns
	}
	if in.Action != "dns" {
		out["ping"] = ping
	}
	return out, nil
}

// requestLog remembers the newest calls for /cgi-bin/openapi/rid/get.
type requestLog struct {
	byRID map[string]loggedRequest
	order []string
}

// Bounds of the log: calls, and bytes of each body.
const (
	maxRequests     = 1000
	maxRequestBytes = 4 << 10
)

type loggedRequest struct {
	account *account
	Time    int64  `json:"invoke_time"`
	Cost    int64  `json:"cost_in_ms"`
	URL     string `json:"request_url"`
	Body    string `json:"request_body"`
	Reply   string `json:"response_body"`
	Client  string `json:"client_ip"`
}

// add notes a call; the api's lock is held.
func (l *requestLog) add(c *call, reply *rawReply) {
	if l.byRID == nil {
		l.byRID = map[string]loggedRequest{}
	}
	query := c.r.URL.Query()
	for _, secret := range []string{"access_token", "secret", "appsecret"} {
		if query.Has(secret) {
			query.Set(secret, "***")
		}
	}
	l.byRID[c.rid] = loggedRequest{
		account: c.account, Time: c.now.Unix(), Cost: c.p.now().Sub(c.now).Milliseconds(), Client: c.clientIP(),
		URL: c.path + "?" + query.Encode(), Body: c.loggedBody(), Reply: loggedReply(reply),
	}
	if l.order = append(l.order, c.rid); len(l.order) > maxRequests {
		delete(l.byRID, l.order[0])
		l.order = l.order[1:]
	}
}

// loggedBody is the request's body, without what must not be told again.
func (c *call) loggedBody() string {
	if c.path == CallStableToken || c.path == CallClearQuota2 || c.path == CallUpload {
		return "***"
	}
	return strings.ToValidUTF8(string(c.body[:min(len(c.body), maxRequestBytes)]), "")
}

func loggedReply(r *rawReply) string {
	if !json.Valid(r.body) || strings.Contains(string(r.body), `"access_token"`) {
		return "***"
	}
	return strings.ToValidUTF8(string(r.body[:min(len(r.body), maxRequestBytes)]), "")
}

// lookUpRID is POST /cgi-bin/openapi/rid/get.
func (c *call) lookUpRID() (any, error) {
	var in struct {
		RID string `json:"rid"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	found, known := c.p.api.requests.byRID[in.RID]
	switch {
	case !known:
		return nil, fail(CodeNoRID)
	case found.account != c.account:
		return nil, fail(CodeForeignRID)
	}
	return map[string]any{"errcode": 0, "errmsg": "ok", "request": found}, nil
}

// menuID is an item's id as text.
func menuID(v any) string {
	switch id := v.(type) {
	case string:
		return id
	case float64:
		return fmt.Sprint(id)
	}
	return ""
}
