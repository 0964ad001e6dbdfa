package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"time"
)

// Rules of tokens (WeChat's pages on getAccessToken and getStableAccessToken).
const (
	tokenLife    = 7200 * time.Second
	tokenOverlap = 5 * time.Minute // an old token lives on beside its successor; stable tokens are renewed when less is left
	forceGap     = 30 * time.Second
	forcesPerDay = 20
	keptTokens   = 64 // per account, so that an old one can be told from one that never was
)

// Families of tokens; none invalidates one of the other.
const (
	familyClassic = "token"
	familyStable  = "stable_token"
)

// token is one access_token. Its generation counts an account's tokens of both families, from 1.
type token struct {
	account    *account
	value      string
	family     string
	generation uint64
	expires    time.Time // as promised to the caller
	ends       time.Time // when it stops working: expires, or sooner for one that was replaced
}

// tokenBook is what one account's tokens are.
type tokenBook struct {
	issued  uint64    // generation of the newest
	current [2]*token // classic, stable
	kept    []*token  // the newest, so that the others can be dropped
	forced  []time.Time
}

func (b *tokenBook) of(family string) **token {
	if family == familyStable {
		return &b.current[1]
	}
	return &b.current[0]
}

type tokenReply struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
}

// classicToken is GET /cgi-bin/token: a new token each time; the one before lives five minutes more.
func (c *call) classicToken() (any, error) {
	q := c.r.URL.Query()
	if err := c.authenticate(q.Get("grant_type"), q.Get("appid"), q.Get("secret")); err != nil {
		return nil, err
	}
	t := c.issue(familyClassic, tokenOverlap)
	return c.tokenReply(t), nil
}

// stableToken is POST /cgi-bin/stable_token: the same token until less than five minutes are left, or until it is forced anew.
func (c *call) stableToken() (any, error) {
	var in struct {
		GrantType string `json:"grant_type"`
		AppID     string `json:"appid"`
		Secret    string `json:"secret"`
		Force     bool   `json:"force_refresh"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.authenticate(in.GrantType, in.AppID, in.Secret); err != nil {
		return nil, err
	}
	book := &c.ledger.tokens
	current := *book.of(familyStable)
	overlap := tokenOverlap
	switch {
	case current == nil || !c.now.Before(current.ends):
	case in.Force:
		if n := len(book.forced); n > 0 && c.now.Sub(book.forced[n-1]) < forceGap {
			return c.tokenReply(current), nil
		}
		book.forced = slices.DeleteFunc(book.forced, func(at time.Time) bool { return dayOf(at) != dayOf(c.now) })
		if len(book.forced) >= forcesPerDay {
			return nil, failText(CodeDailyQuota, "force_refresh was used 20 times today")
		}
		book.forced = append(book.forced, c.now)
		overlap = 0
	case current.ends.Sub(c.now) >= tokenOverlap:
		return c.tokenReply(current), nil
	}
	return c.tokenReply(c.issue(familyStable, overlap)), nil
}

// authenticate checks who asks for a token and from where.
func (c *call) authenticate(grantType, appID, secret string) error {
	switch {
	case grantType != "client_credential":
		return fail(CodeGrantType)
	case appID == "":
		return fail(CodeNoAppID)
	case secret == "":
		return fail(CodeNoSecret)
	case c.account == nil || c.account.AppID != appID:
		return fail(CodeBadAppID)
	case c.account.AppSecret == "" || secret != c.account.AppSecret:
		return fail(CodeBadSecret)
	case len(c.account.AllowedIPs) > 0 && !slices.Contains(c.account.AllowedIPs, c.clientIP()):
		return c.failIP(CodeForbiddenIP)
	}
	return nil
}

// issue makes a token that replaces the family's current one, which works for overlap more.
func (c *call) issue(family string, overlap time.Duration) *token {
	book := &c.ledger.tokens
	if old := *book.of(family); old != nil && old.ends.After(c.now.Add(overlap)) {
		old.ends = c.now.Add(overlap)
	}
	book.issued++
	t := &token{
		account: c.account, family: family, generation: book.issued,
		value: newTokenValue(book.issued), expires: c.now.Add(tokenLife), ends: c.now.Add(tokenLife),
	}
	*book.of(family) = t
	c.p.api.tokens[t.value] = t
	if book.kept = append(book.kept, t); len(book.kept) > keptTokens {
		delete(c.p.api.tokens, book.kept[0].value)
		book.kept = slices.Delete(book.kept, 0, 1)
	}
	c.note.Effect = true
	c.p.witness.add(Record{
		At: c.now, Kind: RecordToken, Account: c.account.ID, Call: c.path, RID: c.rid, Generation: t.generation, Effect: true, Detail: family,
	})
	return t
}

func (c *call) tokenReply(t *token) tokenReply {
	c.note.Generation = t.generation
	return tokenReply{AccessToken: t.value, ExpiresIn: int64(t.ends.Sub(c.now) / time.Second)}
}

// newTokenValue looks like WeChat's: a number, and 512 bits and more that nobody can guess.
func newTokenValue(generation uint64) string {
	var b [99]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%d_%s", 10+generation%90, base64.RawURLEncoding.EncodeToString(b[:]))
}

// checkToken wants a token that works. An account is known afterwards.
func (c *call) checkToken(plan plan) error {
	value := c.r.URL.Query().Get("access_token")
	switch {
	case value == "":
		return fail(CodeNoToken)
	case c.token == nil && len(value) < 64:
		return fail(CodeMalformedToken)
	case c.token == nil, plan.refuses(c.token):
		return fail(CodeBadToken)
	case c.now.Before(c.token.ends):
		return nil
	case !c.now.Before(c.token.expires):
		return fail(CodeTokenExpired)
	}
	return fail(CodeBadToken)
}

// InvalidateTokens makes every token of the account worthless at once (errcode 40001 from now on), as when somebody reset the
// AppSecret or asked for a token behind the owner's back. The next token call gives a new one.
func (p *Platform) InvalidateTokens(account string) error {
	a, err := p.account(account)
	if err != nil {
		return err
	}
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	p.invalidate(a)
	return nil
}

func (p *Platform) invalidate(a *account) {
	now, book := p.now(), &p.api.ledgers[a.ID].tokens
	for _, t := range book.kept {
		if t.ends.After(now) {
			t.ends = now
		}
	}
	book.current = [2]*token{}
	p.witness.add(Record{At: now, Kind: RecordFault, Account: a.ID, Generation: book.issued, Detail: "all tokens were made invalid"})
}

// TokenGeneration is the generation of the account's newest token: how many were issued, by both calls. 0 without any.
func (p *Platform) TokenGeneration(account string) uint64 {
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	if l := p.api.ledgers[account]; l != nil {
		return l.tokens.issued
	}
	return 0
}

// china is the zone of WeChat's days and months.
var china = time.FixedZone("UTC+8", 8*60*60)

// dayOf is the day that quotas count.
func dayOf(at time.Time) string { return at.In(china).Format(time.DateOnly) }
