package api

// meaning is what one errcode says.
type meaning struct {
	class  Class
	source string // where it is documented, see below
	next   string // what an operator should do; empty where there is nothing to do
}

// Sources: §n is wechat-protocol; "global" is WeChat's list of global return codes
// (https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html); "api" is the page of the very API.
const (
	renewAdvice = "the token is renewed by itself; if this comes again and again, another program renews it with the same secret"
	appAdvice   = "compare app_id and app_secret with the account's console"
	ipAdvice    = "add this server's outgoing IP address to the IP allow-list in the account's console"
	rightAdvice = "the account needs this right: see the list of rights in the account's console"
	agentAdvice = "compare the support agents of the account with the configuration"
	quotaAdvice = "wait until tomorrow, or reset the quota (ten times a month)"
)

// codes is every errcode that this client knows by name. classify says what is done with all others.
var codes = map[int]meaning{
	-1: {Busy, "§4", ""},

	40001: {TokenInvalid, "§4", renewAdvice},
	40014: {TokenInvalid, "§4", renewAdvice},
	42001: {TokenInvalid, "§4", renewAdvice},
	41001: {TokenInvalid, "global", renewAdvice}, // access_token missing: ours was empty

	40013: {Config, "§4", appAdvice},
	40125: {Config, "§4", appAdvice},
	40243: {Config, "§4", "the AppSecret is frozen: unfreeze it in the account's console"},
	41002: {Config, "global", appAdvice},
	41004: {Config, "global", appAdvice},
	40002: {Config, "global", "token_source does not fit this account"}, // invalid grant_type
	40164: {Config, "§4", ipAdvice},
	61004: {Config, "§4", ipAdvice},
	45035: {Config, "global", ipAdvice},
	89501: {Config, "api", "an administrator of the account must confirm this IP address"}, // cgi-bin/token
	89503: {Config, "api", "an administrator of the account must confirm this IP address"},
	89506: {Config, "api", "an administrator refused this IP address twice: try again after 24 hours"},
	89507: {Config, "api", "an administrator refused this IP address: try again after an hour"},

	45009: {DailyQuota, "§4", quotaAdvice},
	45011: {MinuteRate, "§4", "send more slowly: set api.per_minute of the account"},

	48001: {NoRight, "§4", rightAdvice},
	48004: {NoRight, "§4", "WeChat banned this API for the account: read the notices in its console"},
	48006: {NoRight, "api", "the quota was reset ten times this month: wait until next month"}, // clear_quota
	50001: {NoRight, "global", rightAdvice},
	50002: {NoRight, "§4", "the account is limited, migrated or frozen: read the notices in its console"},
	61007: {NoRight, "§7", rightAdvice},
	61451: {NoRight, "§5.1", agentAdvice},
	61452: {NoRight, "§5.1", agentAdvice},
	61453: {NoRight, "§5.1", agentAdvice},
	61454: {NoRight, "§5.1", agentAdvice},
	61455: {NoRight, "§5.1", agentAdvice},
	61456: {NoRight, "§5.1", agentAdvice},
	61457: {NoRight, "§5.1", agentAdvice},
	61458: {NoRight, "§5.1", agentAdvice},
	61459: {NoRight, "§5.1", agentAdvice},

	45015: {NoWindow, "§5.1", ""},
	45047: {NoWindow, "§5.1", ""},

	40003: {NoUser, "§4", ""},
	43004: {NoUser, "§5.1", ""},
	43019: {NoUser, "§5.1", ""},
	43101: {NoUser, "§5.3", ""}, // the user refused the subscription message
	48002: {NoUser, "§5.1", ""},
	50005: {NoUser, "§5.1", ""},

	40007: {BadMessage, "§4", "the media id is wrong or older than three days: upload it again"},
	40008: {BadMessage, "global", ""},
	40033: {BadMessage, "§4", ""},
	40037: {BadMessage, "§5.3", "compare template_id with the account's templates"},
	44004: {BadMessage, "§4", ""},
	45002: {BadMessage, "§4", ""},
	45008: {BadMessage, "§5.1", ""},
	45048: {BadMessage, "§5.1", ""},
	47001: {BadMessage, "§4", ""},
	47003: {BadMessage, "§5.3", "compare the data with the template's fields"},

	45072: {Typing, "§5.2", ""},
	45080: {Typing, "§5.2", ""},
	45081: {Typing, "§5.2", ""},
}

// classify is the class of a definite errcode that came back from the call. A code that is not in the list is one of its hundred,
// as WeChat orders them (global): 48xxx and 50xxx are rights, 65400 and more support agents, and the rest says that this request
// cannot succeed as it is.
func classify(call string, code int) Class {
	m, known := codes[code]
	switch {
	case known && m.class == TokenInvalid && (call == callToken || call == callStableToken):
		return Config // no token was given: the secret is wrong (§4)
	case known:
		return m.class
	case code >= 65400 && code < 65500, code/1000 == 48, code/1000 == 50:
		return NoRight
	default:
		return BadMessage
	}
}
