package simulator

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxAPIBody bounds the body of one API call: the largest upload that WeChat takes (10 MB) and the form around it, in bytes.
const maxAPIBody = 11 << 20

// maxJobs is how many results of jobs (template messages and the like) are pushed to the callback at once.
const maxJobs = 64

// api is the platform's other side: what WeChat keeps for the API of all accounts. One lock guards all of it, so that windows,
// grants and tokens change in the order of the witness log.
type api struct {
	mu        sync.Mutex
	ledgers   map[string]*ledger // by account id
	tokens    map[string]*token  // by value, of all accounts
	requests  requestLog
	endpoints map[string]endpoint
	jobs      chan struct{} // a place for each job result under way
}

// ledger is what the platform keeps for one account.
type ledger struct {
	followers  map[string]*follower // by OpenID
	tokens     tokenBook
	usage      usage
	media      mediaStore
	templates  sentTemplates
	clearances []time.Time // when quotas were cleared this month
}

// endpoint is one path of the API.
type endpoint struct {
	method   string
	noToken  bool // token calls prove themselves otherwise
	unlocked bool // run does I/O and takes the lock by itself
	perDay   int  // calls a day unless the account says otherwise
	perMin   int  // calls a minute; 0: no limit
	run      func(*call) (any, error)
}

// call is one request to the API and everything that is known of it.
type call struct {
	p       *Platform
	r       *http.Request
	path    string
	body    []byte
	now     time.Time // when it arrived
	rid     string
	account *account // nil until it is known
	ledger  *ledger
	token   *token
	note    Record   // becomes the witness's record of the call
	after   []func() // run without the lock, once the call has had its effect
}

// rawReply is a reply that is not JSON.
type rawReply struct {
	contentType, name string
	body              []byte
}

// APIHandler serves WeChat's API (paths /cgi-bin/…) for all accounts of the platform. Errors are HTTP 200 with errcode and errmsg,
// as WeChat's; Inject makes it fail in other ways. Which calls there are, and their rules, stands in docs/simulator.md.
func (p *Platform) APIHandler() http.Handler { return http.HandlerFunc(p.serveAPI) }

func newAPI(p *Platform) *api {
	a := &api{ledgers: map[string]*ledger{}, tokens: map[string]*token{}, jobs: make(chan struct{}, maxJobs), endpoints: endpoints()}
	for id := range p.accounts {
		a.ledgers[id] = &ledger{followers: map[string]*follower{}, templates: sentTemplates{byName: map[string]sentTemplate{}}, usage: newUsage(), media: newMediaStore()}
	}
	return a
}

// endpoints are the calls that the platform knows, with WeChat's quotas where they are published and generous ones elsewhere.
func endpoints() map[string]endpoint {
	const get, post = http.MethodGet, http.MethodPost
	return map[string]endpoint{
		CallToken:       {method: get, noToken: true, perDay: 2000, run: (*call).classicToken},
		CallStableToken: {method: post, noToken: true, perDay: 500_000, perMin: 10_000, run: (*call).stableToken},
		CallCustomSend:  {method: post, perDay: 500_000, run: (*call).customSend},
		CallTyping:      {method: post, perDay: 500_000, run: (*call).typing},
		CallTemplate:    {method: post, perDay: 100_000, run: (*call).templateSend},
		CallSubscribe:   {method: post, perDay: 100_000, run: (*call).subscribeSend},
		CallUpload:      {method: post, perDay: 100_000, run: (*call).upload},
		CallDownload:    {method: get, perDay: 200_000, run: (*call).download},
		CallUserInfo:    {method: get, perDay: 5_000_000, run: (*call).userInfo},
		CallQuota:       {method: post, perDay: 100_000, run: (*call).quota},
		CallClearQuota:  {method: post, run: (*call).clearQuota},
		CallClearQuota2: {method: post, noToken: true, run: (*call).clearQuota},
		CallCallbackIPs: {method: get, perDay: 100_000, run: (*call).callbackIPs},
		CallAPIIPs:      {method: get, perDay: 100_000, run: (*call).apiIPs},
		CallCheck:       {method: post, perDay: 100_000, unlocked: true, run: (*call).checkCallback},
		CallRID:         {method: post, perDay: 100_000, run: (*call).lookUpRID},
	}
}

// The calls of the API, by path.
const (
	CallToken       = "/cgi-bin/token"        //nolint:gosec // a path, no credential
	CallStableToken = "/cgi-bin/stable_token" //nolint:gosec // a path, no credential
	CallCustomSend  = "/cgi-bin/message/custom/send"
	CallTyping      = "/cgi-bin/message/custom/typing"
	CallTemplate    = "/cgi-bin/message/template/send"
	CallSubscribe   = "/cgi-bin/message/subscribe/bizsend"
	CallUpload      = "/cgi-bin/media/upload"
	CallDownload    = "/cgi-bin/media/get"
	CallUserInfo    = "/cgi-bin/user/info"
	CallQuota       = "/cgi-bin/openapi/quota/get"
	CallClearQuota  = "/cgi-bin/clear_quota"
	CallClearQuota2 = "/cgi-bin/clear_quota/v2"
	CallCallbackIPs = "/cgi-bin/getcallbackip"
	CallAPIIPs      = "/cgi-bin/get_api_domain_ip"
	CallCheck       = "/cgi-bin/callback/check"
	CallRID         = "/cgi-bin/openapi/rid/get"
)

// serveAPI is the way of one call: faults before it, the call itself, faults after it, and what the witness saw of all that.
func (p *Platform) serveAPI(w http.ResponseWriter, r *http.Request) {
	if !p.begin() {
		http.Error(w, ErrClosed.Error(), http.StatusServiceUnavailable)
		return
	}
	defer p.run.Done()
	if id, ok := strings.CutPrefix(r.URL.Path, videoPath); ok {
		p.serveVideo(w, id)
		return
	}
	c := &call{p: p, r: r, path: r.URL.Path, now: p.now(), rid: newRID(p.now())}
	c.note = Record{Kind: RecordAPI, Call: c.path, RID: c.rid}
	body, tooLong := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAPIBody))
	if tooLong != nil && !errors.As(tooLong, new(*http.MaxBytesError)) {
		c.end(0, "the caller broke off: "+tooLong.Error())
		return
	}
	c.body = body
	c.identify()

	plan := p.faults.draw(c)
	c.note.Fault = plan.names()
	if !p.pause(r.Context(), plan.latency(Before)) {
		c.end(0, "the caller broke off before the call")
		return
	}
	if f := plan.breaking(Before); f != nil {
		c.breakOff(w, f)
		return
	}
	reply := c.answer(plan, tooLong)
	for _, f := range c.after {
		f()
	}
	if !p.pause(r.Context(), plan.latency(After)) {
		c.end(0, "the caller broke off before the answer")
		return
	}
	if f := plan.breaking(After); f != nil {
		c.breakOff(w, f)
		return
	}
	c.end(http.StatusOK, "")
	reply.write(w)
}

// pause waits in real time; false: the caller or the platform ended meanwhile.
func (p *Platform) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-p.ctx.Done():
	}
	return false
}

// answer runs the call and gives the bytes of its reply.
func (c *call) answer(plan plan, tooLong error) *rawReply {
	var out any
	var err error
	switch e, known := c.p.api.endpoints[c.path]; {
	case plan.code() != 0:
		err = c.failIP(plan.code())
	case !known:
		err = fail(CodeInvalidURL)
	case e.method != c.r.Method && e.method == http.MethodGet:
		err = fail(CodeNeedGET)
	case e.method != c.r.Method:
		err = fail(CodeNeedPOST)
	case tooLong != nil:
		err = fail(CodeMediaSize)
	case e.unlocked:
		c.p.api.mu.Lock()
		err = c.admit(e, plan)
		c.p.api.mu.Unlock()
		if err == nil {
			out, err = e.run(c)
		}
	default:
		c.p.api.mu.Lock()
		if err = c.admit(e, plan); err == nil {
			out, err = e.run(c)
		}
		c.p.api.mu.Unlock()
	}
	return c.reply(out, err)
}

// admit checks the token and counts the call; the lock is held.
func (c *call) admit(e endpoint, plan plan) error {
	if !e.noToken {
		if err := c.checkToken(plan); err != nil {
			return err
		}
	}
	if c.account == nil {
		return nil // the token call itself says why
	}
	return c.count(e)
}

// reply turns what a call gave into bytes, notes them for the lookup by rid, and puts the code into the witness's record.
func (c *call) reply(out any, err error) *rawReply {
	var failed *apiError
	switch {
	case errors.As(err, &failed):
		c.note.ErrCode = failed.code
		out = map[string]any{"errcode": failed.code, "errmsg": fmt.Sprintf("%s rid: %s", failed.text, c.rid)}
	case err != nil:
		c.note.ErrCode = CodeBusy
		out = map[string]any{"errcode": CodeBusy, "errmsg": "system error: " + err.Error() + " rid: " + c.rid}
	}
	raw, ok := out.(*rawReply)
	if !ok {
		raw = &rawReply{contentType: "application/json; encoding=utf-8", body: plainJSON(out)}
	}
	c.p.api.mu.Lock()
	c.p.api.requests.add(c, raw)
	c.p.api.mu.Unlock()
	return raw
}

func (r *rawReply) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", r.contentType)
	if r.name != "" {
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", r.name))
	}
	_, _ = w.Write(r.body) // the caller is gone: nobody to tell
}

// end writes the witness's record of the call, with the HTTP status that the caller gets; 0 is none.
func (c *call) end(status int, detail string) {
	ended := c.p.now()
	c.note.At, c.note.Status, c.note.ElapsedMS = ended, status, milliseconds(ended.Sub(c.now))
	if detail != "" {
		c.note.Detail = detail
	}
	c.p.witness.add(c.note)
}

// identify finds whose call it is, as far as that can be told before it is checked: by its token, else by its AppID.
func (c *call) identify() {
	c.p.api.mu.Lock()
	defer c.p.api.mu.Unlock()
	if t := c.p.api.tokens[c.r.URL.Query().Get("access_token")]; t != nil {
		c.token = t
		c.claim(t.account)
		return
	}
	appID := c.r.URL.Query().Get("appid")
	if appID == "" {
		var in struct {
			AppID string `json:"appid"`
		}
		_ = json.Unmarshal(c.body, &in) // a body without one is no claim
		appID = in.AppID
	}
	for _, id := range c.p.order {
		if a := c.p.accounts[id]; appID != "" && a.AppID == appID {
			c.claim(a)
			return
		}
	}
}

func (c *call) claim(a *account) {
	c.account, c.ledger, c.note.Account = a, c.p.api.ledgers[a.ID], a.ID
	if c.token != nil {
		c.note.Generation = c.token.generation
	}
}

// decode reads the call's body, which must be JSON in UTF-8 without \u escapes of characters that need none (WeChat's 40033).
func (c *call) decode(into any) error {
	switch {
	case len(bytes.TrimSpace(c.body)) == 0:
		return fail(CodeEmptyBody)
	case needlesslyEscaped(c.body):
		return fail(CodeCharset)
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		return failText(CodeUnparsable, err.Error())
	}
	return nil
}

// needlesslyEscaped tells whether a JSON text has a \u escape of something but a control character or a line separator.
func needlesslyEscaped(body []byte) bool {
	for i := 0; i+5 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++
		if body[i] != 'u' {
			continue
		}
		code, err := hex.DecodeString(string(body[i+1 : i+5]))
		if err != nil {
			continue
		}
		if r := rune(code[0])<<8 | rune(code[1]); r >= 0x20 && r != 0x7f && r != 0x2028 && r != 0x2029 {
			return true
		}
	}
	return false
}

// clientIP is the address that the call came from.
func (c *call) clientIP() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

// plainJSON is v as JSON with <, > and & as they are.
func plainJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return mustJSON(map[string]any{"errcode": CodeBusy, "errmsg": err.Error()})
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// newRID is a request id in WeChat's form: the time and two random words, in hex.
func newRID(now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%08x-%x-%x", uint32(now.Unix()), b[:4], b[4:])
}

// ok is the reply of a call that has nothing else to say.
func ok() map[string]any { return map[string]any{"errcode": 0, "errmsg": "ok"} }
