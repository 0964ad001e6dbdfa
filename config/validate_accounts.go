package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxTextBytes is WeChat's limit for the text of a passive reply (wechat-protocol §3).
const maxTextBytes = 2048

// maxAccounts keeps a slip of a generator from starting ten thousand bots.
const maxAccounts = 1000

// reservedID keeps the engine's own records apart from the users'.
const reservedID = "_"

var (
	appIDForm  = regexp.MustCompile(`^wx[0-9a-f]{16}$`)
	tokenForm  = regexp.MustCompile(`^[A-Za-z0-9]{3,32}$`)
	aesKeyForm = regexp.MustCompile(`^[A-Za-z0-9]{43}$`)
)

func (v *validator) accounts() {
	switch n := len(v.cfg.Accounts); {
	case n == 0:
		v.fault("accounts", "there is no account", "add at least one, with id, app_id, token and encoding_aes_key")
	case n > maxAccounts:
		v.fault("accounts", fmt.Sprintf("%d accounts are more than %d", n, maxAccounts), "run several engines")
		return
	}
	first := make(map[string]int)
	for i, a := range v.cfg.Accounts {
		at := fmt.Sprintf("accounts[%d]", i)
		switch j, taken := first[a.ID]; {
		case a.ID == "":
			v.fault(at+".id", "the account has no id", accountIDForm)
		case !accountID.MatchString(a.ID):
			v.fault(at+".id", fmt.Sprintf("%q is not an account id", a.ID), accountIDForm)
		case taken:
			v.fault(at+".id", fmt.Sprintf("the id %q is also that of accounts[%d]", a.ID, j), "use another")
		case a.ID == reservedID:
			v.fault(at+".id", fmt.Sprintf("the id %q is the engine's own", a.ID), "use another")
		default:
			first[a.ID] = i
		}
		v.credentials(at, a)
		v.chain(at, a)
		v.reply(at+".reply", a.Reply)
		v.conversation(at+".conversation", a.Conversation)
		v.bounds(at, a)
		if a.MaxClockSkew == 0 {
			v.warn(at+".max_clock_skew", "the check of a callback's age is off, so that an old one can be sent again by whoever saw it", "write 15m")
		} else {
			v.duration(at+".max_clock_skew", a.MaxClockSkew, 24*time.Hour)
		}
	}
}

func (v *validator) credentials(at string, a Account) {
	if a.Mode == ModePlain {
		v.warn(at+".mode", "plain mode cannot authenticate bodies: whoever saw one signed address can send any message in any user's name",
			"choose safe (安全模式) here and in WeChat's settings")
	} else {
		if a.AppID == "" {
			v.fault(at+".app_id", "the account has no app_id, which encrypted callbacks name as their receiver", "copy it from WeChat's settings: wx and 16 hex digits")
		}
		v.aesKey(at+".encoding_aes_key", a.EncodingAESKey, true)
	}
	if a.AppID != "" && !appIDForm.MatchString(a.AppID) {
		v.warn(at+".app_id", "this does not look like an AppID", "it has wx and 16 hex digits in WeChat's settings; compare")
	}
	if a.OriginalID != "" && !strings.HasPrefix(a.OriginalID, "gh_") {
		v.warn(at+".original_id", "this does not look like an original id", "it begins with gh_ in WeChat's settings; compare")
	}
	v.aesKey(at+".previous_aes_key", a.PreviousAESKey, false)
	if a.Token == "" {
		v.fault(at+".token", "the account has no token", "write the one of WeChat's settings as token, or its file as token_file")
	}
	for _, t := range []struct {
		key   string
		token Secret
	}{{".token", a.Token}, {".previous_token", a.PreviousToken}} {
		if t.token != "" && !tokenForm.MatchString(t.token.Reveal()) {
			v.warn(at+t.key, "WeChat's tokens have 3 to 32 letters and digits; this one is different", "compare it with WeChat's settings")
		}
	}
	if a.PreviousToken != "" && a.PreviousToken == a.Token {
		v.warn(at+".previous_token", "the previous token is the current one", "remove it")
	}
	if a.PreviousAESKey != "" && a.PreviousAESKey == a.EncodingAESKey {
		v.warn(at+".previous_aes_key", "the previous key is the current one", "remove it")
	}
	v.api(at, a)
}

func (v *validator) api(at string, a Account) {
	for _, by := range []struct {
		key   string
		needs bool
	}{{"customer_service", a.CustomerService}, {"callback_ips", a.CallbackIPs != CallbackIPsOff}} {
		if by.needs && a.AppSecret == "" {
			v.fault(at+".app_secret", by.key+" calls WeChat's API and needs the app_secret", "set app_secret or app_secret_file")
		}
		if by.needs && a.AppID == "" && a.Mode == ModePlain {
			v.fault(at+".app_id", by.key+" calls WeChat's API and needs the app_id", "copy it from WeChat's settings: wx and 16 hex digits")
		}
	}
	if a.CustomerService && a.Reply.Deadline < time.Second && a.Reply.Deadline >= 500*time.Millisecond {
		v.fault(at+".reply.deadline", fmt.Sprintf("%s leaves no time: with customer_service the first delivery ends half a second earlier", a.Reply.Deadline),
			"write a duration from 1s to less than 5s")
	}
	v.apiRoot(at+".api_base", a.APIBase)
	for i, host := range a.APIHosts {
		v.apiRoot(fmt.Sprintf("%s.api_hosts[%d]", at, i), host)
	}
	for _, limit := range []struct {
		key   string
		calls int
	}{{".api.per_minute", a.API.PerMinute}, {".api.per_day", a.API.PerDay}} {
		if limit.calls < 0 {
			v.fault(at+limit.key, fmt.Sprintf("%d calls are fewer than none", limit.calls), "write a number, or 0 for no limit of our own")
		}
	}
	if a.CallbackIPs != CallbackIPsOff && len(v.cfg.Listen.TrustedProxies) == 0 {
		v.warn(at+".callback_ips", "without listen.trusted_proxies the address of the proxy in front counts as the caller's",
			"name the proxy's network there, or leave it if WeChat reaches this listener directly")
	}
}

func (v *validator) apiRoot(path, address string) {
	v.url(path, address, "https://api.weixin.qq.com", "https", "http")
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		v.warn(path, "access tokens would travel without encryption", "write https")
	}
}

func (v *validator) aesKey(path string, key Secret, needed bool) {
	switch {
	case key == "" && needed:
		v.fault(path, "the account has no encoding_aes_key, which this mode needs", "write the one of WeChat's settings, 43 letters and digits")
	case key != "" && len(key) != 43:
		v.fault(path, fmt.Sprintf("the key has %d characters", len(key)), "it has 43 letters and digits in WeChat's settings; copy all of it")
	case key != "" && !aesKeyForm.MatchString(key.Reveal()):
		v.fault(path, "the key has characters other than letters and digits", "it has 43 letters and digits in WeChat's settings; copy it again")
	}
}

func (v *validator) chain(at string, a Account) {
	if len(a.Bot) == 0 {
		what := "no message is answered"
		if a.Reply.Fallback != "" {
			what = "every message gets the fallback text"
		}
		v.warn(at+".bot", "the account has no bot: "+what, "write bot: [rules], and rules under bots")
	}
	for i, name := range a.Bot {
		path := fmt.Sprintf("%s.bot[%d]", at, i)
		if _, ok := v.cfg.Bots[name]; !ok {
			v.fault(path, fmt.Sprintf("there is no bot %q", name), v.whichBot(name))
		}
		if slices.Contains(a.Bot[:i], name) {
			v.fault(path, fmt.Sprintf("the bot %q stands in the chain twice", name), "remove one")
		}
	}
}

func (v *validator) whichBot(name string) string {
	if len(v.cfg.Bots) == 0 {
		return fmt.Sprintf("add it: bots: {%s: {type: rules, file: rules.yaml}}", name)
	}
	return didYouMean(name, v.botNames())
}

func (v *validator) reply(at string, r Reply) {
	if r.Deadline < 500*time.Millisecond || r.Deadline >= 5*time.Second {
		v.fault(at+".deadline", fmt.Sprintf("%s is out of range: WeChat hangs up at 5s", r.Deadline), "write a duration from 500ms to less than 5s")
	}
	if r.Deadline > 4800*time.Millisecond && r.Deadline < 5*time.Second {
		v.warn(at+".deadline", "little time is left for the answer to travel before WeChat hangs up at 5s", "write 4600ms")
	}
	if r.Deliveries < 2 || r.Deliveries > 4 {
		v.fault(at+".deliveries", fmt.Sprintf("%d is not a number of deliveries that WeChat makes", r.Deliveries), "write 2, 3 or 4; 3 is what it does today")
	}
	for _, t := range []struct{ key, text string }{
		{".fallback", r.Fallback}, {".thinking", r.Thinking}, {".not_received", r.NotReceived}, {".flooded", r.Flooded}, {".limited", r.Limited},
		{".busy", r.Busy}, {".unavailable", r.Unavailable}, {".more", r.More},
	} {
		v.text(at+t.key, t.text)
	}
	v.neededText(at+".hand_over", r.HandOver)
	if r.KeepFor < time.Minute || r.KeepFor > 30*24*time.Hour {
		v.fault(at+".keep_for", fmt.Sprintf("%s is out of range", r.KeepFor), "write a duration from 1m to 720h")
	}
	if strings.TrimSpace(r.NotReceived) == "" {
		v.fault(at+".not_received", "the text is empty, and an empty answer shows the user a fault", "write a short sentence, or remove the key")
	}
}

func (v *validator) conversation(at string, c Conversation) {
	if c.MaxTurns < 1 || c.MaxTurns > 1000 {
		v.fault(at+".max_turns", fmt.Sprintf("%d turns cannot be kept", c.MaxTurns), "write a number from 1 to 1000")
	}
	if c.MaxBytes < 256 || c.MaxBytes > 256<<10 {
		v.fault(at+".max_bytes", fmt.Sprintf("%s cannot be kept", c.MaxBytes), "write a size from 256 to 256KiB")
	}
	v.duration(at+".idle", c.Idle, 30*24*time.Hour)
}
