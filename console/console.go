package console

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hongyan/cluster"
	"hongyan/messages"
)

// Users tells what is known of one user. The cluster's node implements it.
type Users interface {
	// Inspect asks the user's owner. A user without a record is a view with Found false, not an error.
	Inspect(ctx context.Context, user messages.User) (*messages.UserView, error)
}

// Cluster tells what all nodes say of themselves and of their partitions.
type Cluster interface {
	Report(ctx context.Context) (cluster.Report, error)
}

// Options are what New needs. All of it stays valid as long as the handler is used.
type Options struct {
	Version  string        // of this program, shown on / and /health
	Node     string        // id of this node
	Listen   string        // address of the listener, host:port; on loopback, requests to other host names are refused
	Checks   []Check       // what readiness means
	Users    Users         // for /api/v1/users
	Cluster  Cluster       // for /api/v1/nodes and /api/v1/partitions
	Dead     DeadLetters   // for /api/v1/dead
	Official AccountActors // for /api/v1/accounts
	Log      Log           // where re-driven letters go
	// Bots tells how this node's bots are, by name, for /api/v1/bots; nil where it has none, as a node without the role worker.
	Bots func() []BotStatus
	// Accounts are the configured ids: a letter of another account is not re-driven.
	Accounts []string
	NoAPI    bool                  // this node has not the role console: the API says so and nothing else
	Gather   prometheus.Gatherer   // for /metrics
	Metrics  prometheus.Registerer // takes hongyan_admin_requests_total
	Logger   *slog.Logger
	Now      func() time.Time // time.Now

	AdminToken    string // opens the API; empty opens nothing
	ReadOnlyToken string // opens what only reads; empty opens nothing

	// Extra mounts further handlers: pattern of http.ServeMux → handler, "/phone/" for example. They see the whole path, get
	// the default security headers, which they may override, and have no time limit, because they may stream.
	Extra map[string]http.Handler
}

const (
	requestLimit = 15 * time.Second // of everything but Extra: reading the request and writing the answer
	inspectLimit = 5 * time.Second  // of one question to a user's owner
)

//go:embed index.html console.css
var assets embed.FS

var indexPage = template.Must(template.ParseFS(assets, "index.html"))

// handler answers for the admin listener.
type handler struct {
	Options
	checks  *prober
	started time.Time
}

// New is the handler of the admin listener. It fails where the metrics cannot be registered or a pattern is taken.
func New(o Options) (http.Handler, error) {
	if o.Users == nil || o.Cluster == nil || o.Official == nil || o.Dead == nil || o.Log == nil || o.Gather == nil || o.Metrics == nil || o.Logger == nil || o.Now == nil {
		return nil, errors.New("console: Users, Cluster, Official, Dead, Log, Gather, Metrics, Logger and Now must be set")
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hongyan_admin_requests_total",
		Help: "Requests to the admin listener, by route and status.",
	}, []string{"route", "status"})
	if err := o.Metrics.Register(requests); err != nil {
		return nil, fmt.Errorf("console: register the metrics: %w", err)
	}
	h := &handler{Options: o, checks: newProber(o.Checks, o.Now), started: o.Now()}
	mux := http.NewServeMux()
	routes := map[string]http.HandlerFunc{
		"GET /{$}":                             h.index,
		"GET /console.css":                     h.asset,
		"GET /livez":                           h.live,
		"GET /readyz":                          h.ready,
		"GET /health":                          h.health,
		"GET /metrics":                         promhttp.HandlerFor(o.Gather, promhttp.HandlerOpts{}).ServeHTTP,
		"GET /api/v1/users/{account}/{openid}": h.authorised(h.user),
		"GET /api/v1/nodes":                    h.authorised(h.nodes),
		"GET /api/v1/partitions":               h.authorised(h.partitions),
		"GET /api/v1/accounts":                 h.authorised(h.accounts),
		"GET /api/v1/bots":                     h.authorised(h.bots),
		"GET /api/v1/dead":                     h.authorised(h.deadList),
		"GET /api/v1/dead/{id}":                h.authorised(h.deadShow),
		"POST /api/v1/dead/redrive":            h.authorised(h.deadChange("redriven", redrive)),
		"POST /api/v1/dead/drop":               h.authorised(h.deadChange("dropped", drop)),
		"/api/v1/":                             h.authorised(h.noSuchCall),
	}
	if o.NoAPI {
		maps.DeleteFunc(routes, func(pattern string, _ http.HandlerFunc) bool { return strings.Contains(pattern, "/api/") })
		routes["/api/"] = h.noConsole
	}
	for pattern, handle := range routes {
		mux.Handle(pattern, timed(handle))
	}
	if err := mountAll(mux, o.Extra); err != nil {
		return nil, err
	}
	return counted(requests, guarded(o.Listen, mux)), nil
}

// mountAll adds the extra handlers. The mux panics over a pattern that is malformed or taken: that becomes an error.
func mountAll(mux *http.ServeMux, extra map[string]http.Handler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("console: mount an extra handler: %v", r)
		}
	}()
	for _, pattern := range slices.Sorted(maps.Keys(extra)) {
		mux.Handle(pattern, extra[pattern])
	}
	return nil
}

// timed bounds how long a request may be read and answered.
func timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control, deadline := http.NewResponseController(w), time.Now().Add(requestLimit)
		// A writer without deadlines (in tests) is only ever given short requests.
		_ = control.SetReadDeadline(deadline)
		_ = control.SetWriteDeadline(deadline)
		next.ServeHTTP(w, r)
	})
}

// counted counts requests by the pattern that matched, never by path: paths name users.
func counted(requests *prometheus.CounterVec, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, r)
		route := "none"
		if r.Pattern != "" {
			route = strings.TrimPrefix(r.Pattern, "GET ")
		}
		requests.WithLabelValues(route, strconv.Itoa(s.status)).Inc()
	})
}

// statusWriter notes the status. Unwrap gives http.ResponseController the deadlines; Flush serves those who ask directly.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status and passes it on.
func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush sends what is buffered.
func (s *statusWriter) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// index lists what this listener offers.
func (h *handler) index(w http.ResponseWriter, _ *http.Request) {
	var extra []string
	for _, pattern := range slices.Sorted(maps.Keys(h.Extra)) {
		if strings.HasPrefix(pattern, "/") {
			extra = append(extra, pattern)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err := indexPage.Execute(w, map[string]any{"Version": h.Version, "Node": h.Node, "Extra": extra})
	if err != nil {
		h.Logger.Debug("admin index not written", "error", err)
	}
}

func (h *handler) asset(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, assets, strings.TrimPrefix(r.URL.Path, "/")) //nolint:gosec // assets is an embedded tree, and rooted
}
