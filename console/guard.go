package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guarded sets the security headers and, for a listener on loopback, refuses requests to foreign host names: a web page can
// make its own name point to 127.0.0.1 and then talk to this listener from a visitor's browser (DNS rebinding).
func guarded(listen string, next http.Handler) http.Handler {
	local := isLoopback(hostOf(listen))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		if local && !isLoopback(hostOf(r.Host)) {
			http.Error(w, "This listener answers requests to localhost, 127.0.0.1 and [::1] only.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf is an address without port and brackets.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// authorised lets a request through whose bearer token is one of the configured ones: the read-only token for GET and HEAD,
// the admin token for everything. All others get the same 401, and the comparison takes the same time.
func (h *handler) authorised(next http.HandlerFunc) http.HandlerFunc {
	admin, readOnly := sha256.Sum256([]byte(h.AdminToken)), sha256.Sum256([]byte(h.ReadOnlyToken))
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(token))
		isAdmin := subtle.ConstantTimeCompare(given[:], admin[:]) == 1 && h.AdminToken != ""
		isReader := subtle.ConstantTimeCompare(given[:], readOnly[:]) == 1 && h.ReadOnlyToken != ""
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if strings.EqualFold(scheme, "Bearer") && (isAdmin || isReader && reads) {
			next(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="hongyan"`)
		h.fail(w, http.StatusUnauthorized, "unauthorised", "a valid bearer token is needed")
	}
}
