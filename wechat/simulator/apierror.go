package simulator

import "fmt"

// Codes of WeChat's API that the platform answers with (global return codes of its documentation).
const (
	CodeBusy           = -1
	CodeBadToken       = 40001
	CodeGrantType      = 40002
	CodeBadOpenID      = 40003
	CodeMediaType      = 40004
	CodeFileType       = 40005
	CodeMediaSize      = 40006
	CodeBadMedia       = 40007
	CodeMessageType    = 40008
	CodeBadAppID       = 40013
	CodeMalformedToken = 40014
	CodeCharset        = 40033
	CodeBadTemplate    = 40037
	CodeInvalidURL     = 40066
	CodeBadArgument    = 40097
	CodeBadSecret      = 40125
	CodeForbiddenIP    = 40164
	CodeSecretFrozen   = 40243
	CodeNoToken        = 41001
	CodeNoAppID        = 41002
	CodeNoSecret       = 41004
	CodeNoMedia        = 41005
	CodeTokenExpired   = 42001
	CodeNeedGET        = 43001
	CodeNeedPOST       = 43002
	CodeNotFollowing   = 43004
	CodeNotAccepted    = 43101
	CodeEmptyBody      = 44002
	CodeEmptyNews      = 44003
	CodeEmptyText      = 44004
	CodeTooLong        = 45002
	CodeTooManyNews    = 45008
	CodeDailyQuota     = 45009
	CodeMinuteRate     = 45011
	CodeWindowClosed   = 45015
	CodeGrantUsed      = 45047
	CodeTypingCommand  = 45072
	CodeNoInteraction  = 45080
	CodeTypingAlready  = 45081
	CodeUnparsable     = 47001
	CodeTemplateData   = 47003
	CodeNoRight        = 48001
	CodeNotReceiving   = 48002
	CodeClearances     = 48006
	CodeBadAgent       = 65401
	CodeNoRID          = 76001
	CodeForeignRID     = 76002
	CodeNoPath         = 76021
)

// apiError is an answer with an errcode.
type apiError struct {
	code int
	text string
}

// Error is the answer in words.
func (e *apiError) Error() string { return fmt.Sprintf("errcode %d: %s", e.code, e.text) }

// errorTexts are the beginnings of errmsg, close to WeChat's own.
var errorTexts = map[int]string{ //nolint:gosec // texts about tokens, no tokens
	CodeBusy:           "system error, please try again later",
	CodeBadToken:       "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken",
	CodeGrantType:      "invalid grant_type",
	CodeBadOpenID:      "invalid openid",
	CodeMediaType:      "invalid media type",
	CodeFileType:       "invalid file type",
	CodeMediaSize:      "invalid media size",
	CodeBadMedia:       "invalid media_id",
	CodeMessageType:    "invalid message type",
	CodeBadAppID:       "invalid appid",
	CodeMalformedToken: "invalid access_token",
	CodeCharset:        `invalid charset. please check your request, if include \uxxxx will create fail`,
	CodeBadTemplate:    "invalid template_id",
	CodeInvalidURL:     "invalid url",
	CodeBadArgument:    "invalid args",
	CodeBadSecret:      "invalid appsecret",
	CodeForbiddenIP:    "invalid ip, not in whitelist",
	CodeSecretFrozen:   "appsecret is frozen",
	CodeNoToken:        "access_token missing",
	CodeNoAppID:        "appid missing",
	CodeNoSecret:       "appsecret missing",
	CodeNoMedia:        "media data missing",
	CodeTokenExpired:   "access_token expired",
	CodeNeedGET:        "require GET method",
	CodeNeedPOST:       "require POST method",
	CodeNotFollowing:   "require subscribe",
	CodeNotAccepted:    "user refuse to accept the msg",
	CodeEmptyBody:      "empty post data",
	CodeEmptyNews:      "empty news data",
	CodeEmptyText:      "empty content",
	CodeTooLong:        "content size out of limit",
	CodeTooManyNews:    "article size out of limit",
	CodeDailyQuota:     "reach max api daily quota limit",
	CodeMinuteRate:     "api minute-quota reach limit, must slower, retry next minute",
	CodeWindowClosed:   "response out of time limit or subscription is canceled",
	CodeGrantUsed:      "out of response count limit",
	CodeTypingCommand:  "command field invalid",
	CodeNoInteraction:  "invalid context, no interaction with the user in the last 30 seconds",
	CodeTypingAlready:  "already typing",
	CodeUnparsable:     "data format error",
	CodeTemplateData:   "argument invalid! data is empty",
	CodeNoRight:        "api unauthorized",
	CodeNotReceiving:   "user has switched off receiving messages of this account",
	CodeClearances:     "forbid to clear quota because of reaching the limit",
	CodeBadAgent:       "invalid customer service account",
	CodeNoRID:          "rid not exist",
	CodeForeignRID:     "rid is of another account",
	CodeNoPath:         "cgi_path not found, please check",
}

func fail(code int) error {
	text := errorTexts[code]
	if text == "" {
		text = "error"
	}
	return &apiError{code, text}
}

func failText(code int, detail string) error {
	return &apiError{code, errorTexts[code] + ": " + detail}
}

// failIP is fail, with the caller's address where WeChat names it.
func (c *call) failIP(code int) error {
	if code == CodeForbiddenIP || code == 61004 {
		ip := c.clientIP()
		return &apiError{code, fmt.Sprintf("invalid ip %s ipv6 ::ffff:%s, not in whitelist", ip, ip)}
	}
	return fail(code)
}
