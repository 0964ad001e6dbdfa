package ingress

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"hongyan/messages"
)

const (
	pathSingle = "/wechat/callback"
	pathPrefix = "/wechat/callback/"
)

// Lines about refused requests: strangers choose how many there would be.
const (
	refusalLinesPerSecond = 1
	refusalLinesBurst     = 10
)

// Header values. net/http does not change them.
var (
	typePlain = []string{"text/plain; charset=utf-8"}
	typeXML   = []string{"text/xml; charset=utf-8"}
	typeJSON  = []string{"application/json; charset=utf-8"}
	noSniff   = []string{"nosniff"}
	hangUp    = []string{"close"}
)

// refusal is the one body of everything that is not genuine.
var refusal = []byte("forbidden\n")

// Handler serves GET and POST /wechat/callback/{account}, and /wechat/callback where exactly one account is configured. Every
// request that is not genuine, whatever is wrong with it, gets the same 403 (DESIGN §8, promise P7). That goes for the cloud
// hosting's CheckContainerPath probe too, which nobody signs.
func (g *Ingress) Handler() http.Handler { return http.HandlerFunc(g.serve) }

func (g *Ingress) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{g: g, w: w, r: r, start: time.Now(), endpoint: endpointOther, status: statusAborted}
	defer x.count()
	switch path := r.URL.Path; {
	case path == pathSingle:
		x.endpoint, x.account = endpointSingle, g.single
	case strings.HasPrefix(path, pathPrefix):
		x.endpoint, x.account = endpointAccount, g.accounts[path[len(pathPrefix):]]
	}
	if !x.mayCome() {
		return
	}
	if x.endpoint == endpointOther {
		x.status = http.StatusNotFound
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		_ = x.respond(http.StatusMethodNotAllowed, typePlain, []byte("method not allowed\n"))
		return
	}
	if !g.gate.enter() {
		w.Header()["Connection"] = hangUp
		_ = x.respond(http.StatusServiceUnavailable, nil, nil)
		return
	}
	defer g.gate.leave()
	if x.account == nil {
		x.account = g.stranger
	}
	if r.Method == http.MethodGet {
		x.handshake()
	} else {
		x.post()
	}
}

// handshake echoes echostr and nothing else (wechat-protocol §1.2).
func (x *exchange) handshake() {
	q, ok := parseQuery(x.r.URL.RawQuery)
	why := reasonQuery
	if ok {
		why = x.account.verifyHandshake(&q, x.g.now())
	}
	if why = x.known(why); why != genuine {
		x.refuse(why)
		return
	}
	_ = x.respond(http.StatusOK, typePlain, []byte(q.echostr))
}

// post verifies a push and serves it.
func (x *exchange) post() {
	body := x.g.borrowBody()
	why := x.verify(body)
	x.g.returnBody(body) // the decoded push shares no memory with it
	if why != genuine {
		x.refuse(why)
		return
	}
	x.g.metrics.verify.Observe(time.Since(x.start).Seconds())
	x.traceStage(messages.StageVerified, nil)
	x.serveGenuine()
}

// verify reads the body into *body and sets x.push. Nothing has an effect before it returns genuine.
func (x *exchange) verify(body *[]byte) reason {
	q, ok := parseQuery(x.r.URL.RawQuery)
	if !ok {
		return x.known(reasonQuery)
	}
	now := x.g.now()
	if why := x.account.verifyHead(&q, now); why != genuine {
		return x.known(why)
	}
	if why := readBody(x.r, body, x.g.maxBody); why != genuine {
		return x.known(why)
	}
	p, why := x.account.verifyPush(&q, *body, now)
	x.push = p
	return x.known(why)
}

// known is why, except that nothing is genuine for an account that is not configured, or from an address that is refused.
func (x *exchange) known(why reason) reason {
	switch {
	case !x.account.configured:
		return reasonAccount
	case why == genuine:
		return x.fromWeChat()
	}
	return why
}

// refuse answers with the one refusal. The connection ends with it, so that an unread body needs no reading and leaves no
// trace in the headers.
func (x *exchange) refuse(why reason) {
	account := ""
	if x.account.configured {
		account = x.account.ID
	}
	x.g.metrics.refused.WithLabelValues(account, string(why)).Inc()
	x.g.logRefused(x.r, account, why)
	if x.g.trace != nil && x.account.configured {
		x.g.trace(messages.TraceEvent{
			At: x.g.now(), Stage: messages.StageRefused, Account: account, Partition: -1,
			Elapsed: time.Since(x.start), Detail: string(why),
		})
	}
	x.w.Header()["Connection"] = hangUp
	_ = x.respond(http.StatusForbidden, typePlain, refusal)
}

// logRefused writes a line, but not for every stranger: lines left out are counted in the next one.
func (g *Ingress) logRefused(r *http.Request, account string, why reason) {
	level := slog.LevelDebug
	if account != "" {
		level = slog.LevelWarn
	}
	if !g.logger.Enabled(r.Context(), level) {
		return
	}
	ok, leftOut := g.quiet.next()
	if !ok {
		return
	}
	g.logger.LogAttrs(r.Context(), level, "callback refused",
		slog.String("reason", string(why)), slog.String("account", account), slog.String("method", methodLabel(r.Method)),
		slog.String("remote", r.RemoteAddr), slog.Int64("left_out", leftOut))
}

// limiter bounds log lines and counts those that it kept back.
type limiter struct {
	allow *rate.Limiter
	kept  atomic.Int64
}

func (l *limiter) next() (ok bool, leftOut int64) {
	if !l.allow.Allow() {
		l.kept.Add(1)
		return false, 0
	}
	return true, l.kept.Swap(0)
}

// respond writes a whole response and forces it out, so that an error of the connection is seen here. Writing takes until
// the end of WeChat's patience at most.
func (x *exchange) respond(status int, contentType []string, body []byte) error {
	control := http.NewResponseController(x.w)
	patience := max(hangUpAfter-time.Since(x.start), minWrite)
	_ = control.SetWriteDeadline(time.Now().Add(patience)) // not every ResponseWriter has deadlines; the server's hold then
	h := x.w.Header()
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	h["X-Content-Type-Options"] = noSniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.status = status
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil {
		return err
	}
	return control.Flush()
}

// count is the request's last step, also when it is aborted.
func (x *exchange) count() {
	x.g.metrics.request(x.r.Method, x.endpoint, x.status, time.Since(x.start).Seconds())
}

// Bodies are read into buffers that are used again, unless they grew.
const (
	firstBody = 8 << 10
	reuseBody = 64 << 10
)

func (g *Ingress) borrowBody() *[]byte {
	if b, ok := g.bodies.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, firstBody)
	return &b
}

func (g *Ingress) returnBody(b *[]byte) {
	if cap(*b) <= reuseBody {
		*b = (*b)[:0]
		g.bodies.Put(b)
	}
}

// readBody reads the whole body into *b, or refuses it as soon as it is known to be over limit bytes. What it holds grows
// with what came, not with what the Content-Length claims.
func readBody(r *http.Request, b *[]byte, limit int64) reason {
	if r.ContentLength > limit {
		return reasonTooLarge
	}
	buf := (*b)[:0]
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(4*cap(buf), int(limit)+1))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		*b = buf
		switch {
		case int64(len(buf)) > limit:
			return reasonTooLarge
		case err == io.EOF:
			return genuine
		case err != nil:
			return reasonBody
		}
	}
}

// background is the request's context without its end: what the log is told to keep, it keeps, though WeChat hung up.
func (x *exchange) background() context.Context { return context.WithoutCancel(x.r.Context()) }
