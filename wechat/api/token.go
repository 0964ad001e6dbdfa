package api

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// Token is an access token and how long it is good from now on.
type Token struct {
	Value     string
	ExpiresIn time.Duration
}

// Token fetches a new token from /cgi-bin/token. The one before stays good for about five minutes; 2,000 calls a day
// (wechat-protocol §4).
func (c *Client) Token(ctx context.Context) (Token, error) {
	var a tokenAnswer
	err := c.do(ctx, call{
		path: callToken, repeatable: true, result: &a,
		query: url.Values{"grant_type": {"client_credential"}, "appid": {c.appID}, "secret": {c.secret}},
	})
	return a.token(err)
}

// StableToken fetches the token from /cgi-bin/stable_token, which stays the same while it is good for five minutes more. With force
// WeChat makes a new one and ends the old one at once: 20 times a day, at least 30 s apart (wechat-protocol §4).
func (c *Client) StableToken(ctx context.Context, force bool) (Token, error) {
	o := newObject()
	o.text("grant_type", "client_credential")
	o.text("appid", c.appID)
	o.text("secret", c.secret)
	o.boolean("force_refresh", force)
	var a tokenAnswer
	err := c.do(ctx, call{path: callStableToken, body: o, repeatable: !force, result: &a})
	return a.token(err)
}

type tokenAnswer struct {
	Value   words  `json:"access_token"`
	Seconds number `json:"expires_in"`
}

func (a *tokenAnswer) complete() error {
	if a.Value == "" || a.Seconds.value <= 0 {
		return errors.New("no access_token, or none that is good for any time")
	}
	return nil
}

func (a *tokenAnswer) token(err error) (Token, error) {
	if err != nil {
		return Token{}, err
	}
	return Token{Value: string(a.Value), ExpiresIn: time.Duration(a.Seconds.value) * time.Second}, nil
}
