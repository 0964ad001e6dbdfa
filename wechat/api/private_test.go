package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestNothingPrivate makes every call fail in every way, on servers that echo all they know: what was private in the request is in no
// error, however it is printed, in none that it wraps, and in no log line.
func TestNothingPrivate(t *testing.T) {
	t.Parallel()
	echo := func(status int, format string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://elsewhere/%zz?"+r.URL.RawQuery)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(status)
			fmt.Fprintf(w, format, strings.NewReplacer(`"`, "'", `\`, "").Replace(known(r)))
		}).URL
	}
	echoes := func(before string) string {
		return raw(t, func(_ int, conn *net.TCPConn) {
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, before+known(r)+"\r\n\r\n")
			}
		})
	}
	bases := map[string]string{
		"errcode":        echo(200, `{"errcode":40003,"errmsg":"invalid %s"}`),
		"not JSON":       echo(200, `you sent %s`),
		"wrong address":  echo(200, `{"ip_list":["%s"]}`),
		"server error":   echo(500, `%s`),
		"redirect":       echo(302, `%s`),
		"client error":   echo(404, `%s`),
		"unheard status": echo(499, `%s`),
		"no HTTP":        echoes(""),
		"broken header":  echoes("HTTP/1.1 200 OK\r\n"),
		"broken length":  echoes("HTTP/1.1 200 OK\r\nContent-Length: "),
		"broken off":     raw(t, func(_ int, conn *net.TCPConn) { readRequest(bufio.NewReader(conn)) }),
		"silence":        raw(t, func(_ int, conn *net.TCPConn) { io.Copy(io.Discard, conn) }),
		"nobody":         unused(t),
		"no TLS":         strings.Replace(echo(200, `%s`), "http:", "https:", 1),
	}
	for name, base := range bases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			c := newTestClient(t, base, func(o *Options) {
				o.Hosts = []string{unused(t)}
				o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			if name == "silence" {
				impatient(c, 100*time.Millisecond)
			}
			for call, err := range everyCall(t.Context(), c) {
				if err == nil {
					t.Errorf("%s: no error", call)
					continue
				}
				asError(t, err)
				for e := err; e != nil; e = errors.Unwrap(e) {
					requireNothingPrivate(t, fmt.Sprintf("%v %+v %#v %s", e, e, e, e))
				}
			}
			requireNothingPrivate(t, log.String())
		})
	}
}

// known is all that a server can say of a request: its query and its body, in all the forms that programs give them.
func known(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	plain, _ := url.QueryUnescape(r.URL.RawQuery)
	return strings.Join([]string{r.URL.RawQuery, plain, url.PathEscape(plain), string(body), url.QueryEscape(string(body))}, " ")
}

// everyCall makes each call once and returns their errors.
func everyCall(ctx context.Context, c *Client) map[string]error {
	errs := map[string]error{}
	_, errs["Token"] = c.Token(ctx)
	_, errs["StableToken"] = c.StableToken(ctx, false)
	errs["SendCustom"] = sendText(ctx, c, "x")
	errs["Typing"] = c.Typing(ctx, testToken, testOpenID, true)
	_, errs["SendTemplate"] = c.SendTemplate(ctx, testToken, TemplateMessage{OpenID: testOpenID})
	errs["SendSubscribe"] = c.SendSubscribe(ctx, testToken, SubscribeMessage{OpenID: testOpenID})
	_, errs["UserInfo"] = c.UserInfo(ctx, testToken, testOpenID, "")
	_, errs["Quota"] = c.Quota(ctx, testToken, callToken)
	errs["ClearQuota"] = c.ClearQuota(ctx, testToken)
	errs["ClearQuotaBySecret"] = c.ClearQuotaBySecret(ctx)
	_, errs["CallbackIPs"] = c.CallbackIPs(ctx, testToken)
	_, errs["APIDomainIPs"] = c.APIDomainIPs(ctx, testToken)
	_, errs["LookupRID"] = c.LookupRID(ctx, testToken, "x")
	return errs
}
