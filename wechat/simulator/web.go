package simulator

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"time"
)

//go:embed page
var pageFiles embed.FS

// contentSecurityPolicy allows the page its own files and nothing inline. Pictures may come from anywhere: a news card shows
// the one that the back end names.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data: blob: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// maxRequest bounds the body of a POST to the phone's API, in bytes; a picture comes as base64.
const maxRequest = 4 << 20

// heartbeat keeps proxies from closing a quiet event stream.
const heartbeat = 15 * time.Second

// Handler serves the phone page and its API:
//
//	GET  /             the page and its files
//	GET  /api/state    accounts, users, cut-off
//	GET  /api/history  ?account=&openid= that user's exchanges
//	GET  /api/events   server-sent events: user, exchange
//	GET  /api/witness  the witness log as JSON lines
//	GET  /api/nodes    the back end's processes, where Options.Nodes knows them
//	POST /api/nodes    {name, action}: one of NodeActions; answers with all of them
//	GET  /api/model    knobs and counts of the model that the back end asks, and the breakers in front of it, where Options.Model is set
//	POST /api/model    {delay_ms, failure_rate, …}: turn some of its knobs; answers with all
//	POST /api/push     {account, openid, message}: the user does something
//	POST /api/users    {account, openid}: add a user; an empty openid is chosen
//	POST /api/media    {data}: keep a picture (base64), served under /media/{id}
//	GET  /api/faults   what is injected into the API
//	POST /api/faults   a Fault: the API fails in one more way; answers with its id
//	DELETE /api/faults and /api/faults/{id}: end all faults, or one
//	POST /api/receiving {account, openid, on}: the user switches receiving of the account's messages off or on
//
// All addresses in the page are relative, so it works under any prefix with http.StripPrefix. POSTs need the content type
// application/json and must not come from another site. There is no login: serve it on loopback, or behind one.
func (p *Platform) Handler() http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the directory is part of the binary
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", noCache(http.FileServerFS(files)))
	mux.HandleFunc("GET /media/{id}", p.serveMedia)
	mux.HandleFunc("GET /api/state", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, p.state()) })
	mux.HandleFunc("GET /api/history", p.serveHistory)
	mux.HandleFunc("GET /api/events", p.serveEvents)
	mux.HandleFunc("GET /api/witness", p.serveWitness)
	mux.HandleFunc("GET /api/nodes", p.serveNodes)
	mux.HandleFunc("POST /api/nodes", accept(p.serveNodeAction))
	mux.HandleFunc("GET /api/model", p.serveModel)
	mux.HandleFunc("POST /api/model", accept(p.serveKnobs))
	mux.HandleFunc("POST /api/push", accept(p.servePush))
	mux.HandleFunc("POST /api/users", accept(p.serveUsers))
	mux.HandleFunc("POST /api/media", accept(p.serveNewMedia))
	mux.HandleFunc("GET /api/faults", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, p.listFaults()) })
	mux.HandleFunc("POST /api/faults", accept(p.serveFault))
	mux.HandleFunc("DELETE /api/faults", p.serveClear)
	mux.HandleFunc("DELETE /api/faults/{id}", p.serveClear)
	mux.HandleFunc("POST /api/receiving", accept(p.serveReceiving))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.URL.Path == "" { // the prefix without its slash: relative addresses would miss
			if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
				http.Redirect(w, r, u.EscapedPath()+"/", http.StatusMovedPermanently) //nolint:gosec // the request's own path
				return
			}
		}
		guarded.ServeHTTP(w, r)
	})
}

// noCache makes browsers ask again: the page changes with the binary, and embedded files have no date.
func noCache(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// accept turns a function of one JSON request into a handler; its errors become statuses by statusOf.
func accept[T any](f func(T) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			respondError(w, http.StatusUnsupportedMediaType, errors.New("the content type must be application/json"))
			return
		}
		var in T
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in); err != nil {
			respondError(w, http.StatusBadRequest, fmt.Errorf("the request cannot be read: %w", err))
			return
		}
		status, out, err := f(in)
		if err != nil {
			respondError(w, statusOf(err), err)
			return
		}
		respond(w, status, mustJSON(out))
	}
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrUnknownAccount), errors.Is(err, errUnknownUser), errors.Is(err, ErrUnknownNode), errors.Is(err, errNoModel):
		return http.StatusNotFound
	case errors.Is(err, errNotFollowing), errors.Is(err, ErrNodeState):
		return http.StatusConflict
	case errors.Is(err, errTooMany):
		return http.StatusTooManyRequests
	case errors.Is(err, ErrClosed):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

func respond(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the page is gone: nobody to tell
}

func respondError(w http.ResponseWriter, status int, err error) {
	respond(w, status, mustJSON(map[string]string{"error": err.Error()}))
}

type pushRequest struct {
	Account string  `json:"account"`
	OpenID  string  `json:"openid"`
	Message Message `json:"message"`
}

func (p *Platform) servePush(in pushRequest) (int, any, error) {
	id, err := p.say(in.Account, in.OpenID, in.Message)
	return http.StatusAccepted, map[string]uint64{"id": id}, err
}

type userRequest struct {
	Account string `json:"account"`
	OpenID  string `json:"openid"`
}

func (p *Platform) serveUsers(in userRequest) (int, any, error) {
	u, err := p.addUser(in.Account, in.OpenID)
	return http.StatusCreated, u, err
}

// serveFault injects one fault; invalidations are over at once and have no id.
func (p *Platform) serveFault(in Fault) (int, any, error) {
	id, err := p.Inject(in)
	return http.StatusCreated, map[string]string{"id": id}, err
}

// serveClear ends one fault or all of them and answers with what is left.
func (p *Platform) serveClear(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if p.Clear(id) == 0 && id != "" {
		respondError(w, http.StatusNotFound, fmt.Errorf("there is no fault %q", id))
		return
	}
	respond(w, http.StatusOK, p.listFaults())
}

func (p *Platform) listFaults() []byte {
	return mustJSON(struct {
		Faults []Fault `json:"faults"`
	}{p.Faults()})
}

type receivingRequest struct {
	Account string `json:"account"`
	OpenID  string `json:"openid"`
	On      bool   `json:"on"`
}

func (p *Platform) serveReceiving(in receivingRequest) (int, any, error) {
	return http.StatusOK, map[string]bool{"on": in.On}, p.SetReceiving(in.Account, in.OpenID, in.On)
}

type mediaRequest struct {
	Data []byte `json:"data"`
}

func (p *Platform) serveNewMedia(in mediaRequest) (int, any, error) {
	id, err := p.keepPicture(in.Data)
	return http.StatusCreated, map[string]string{"media_id": id}, err
}

func (p *Platform) serveMedia(w http.ResponseWriter, r *http.Request) {
	pic, ok := p.picture(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", pic.contentType)
	w.Header().Set("Cache-Control", "max-age=86400, immutable")
	_, _ = w.Write(pic.data)
}

func (p *Platform) serveHistory(w http.ResponseWriter, r *http.Request) {
	body, err := p.history(r.URL.Query().Get("account"), r.URL.Query().Get("openid"))
	if err != nil {
		respondError(w, statusOf(err), err)
		return
	}
	respond(w, http.StatusOK, body)
}

func (p *Platform) serveWitness(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	for _, record := range p.Witness() {
		if enc.Encode(record) != nil {
			return
		}
	}
}

// serveEvents streams until the page leaves, falls behind or the platform closes.
func (p *Platform) serveEvents(w http.ResponseWriter, r *http.Request) {
	events := p.phone.hub.join()
	if events == nil {
		respondError(w, http.StatusServiceUnavailable, ErrClosed)
		return
	}
	defer p.phone.hub.leave(events)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // a stream outlives a server's write timeout; not every writer knows deadlines
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "retry: 1000\nevent: hello\ndata: %s\n\n", mustJSON(map[string]time.Time{"now": p.now()}))
	if control.Flush() != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var frame []byte
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			frame = []byte(": still here\n\n")
		case next, ok := <-events:
			if !ok {
				return
			}
			frame = next
		}
		if _, err := w.Write(frame); err != nil || control.Flush() != nil {
			return
		}
	}
}
