package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hongyan/messages"
)

// Failure is the body of every answer of the API that is not 200.
type Failure struct {
	Error FailureDetail `json:"error"`
}

// FailureDetail says what went wrong. Codes are append-only: unauthorised, not_found, unavailable, timeout, internal,
// no_such_call, no_console, bad_request.
type FailureDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (h *handler) fail(w http.ResponseWriter, status int, code, message string) {
	h.writeJSON(w, status, Failure{FailureDetail{code, message}})
}

func (h *handler) writeJSON(w http.ResponseWriter, status int, value any) {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		h.Logger.Error("admin answer not encoded", "error", err)
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func (h *handler) noSuchCall(w http.ResponseWriter, _ *http.Request) {
	h.fail(w, http.StatusNotFound, "no_such_call", "there is no such call")
}

// noConsole answers for the API on a node without the role console.
func (h *handler) noConsole(w http.ResponseWriter, _ *http.Request) {
	h.fail(w, http.StatusNotFound, "no_console", "this node has not the role console: ask one that has it")
}

// user answers GET /api/v1/users/{account}/{openid}.
func (h *handler) user(w http.ResponseWriter, r *http.Request) {
	user := messages.User{Account: r.PathValue("account"), OpenID: r.PathValue("openid")}
	ctx, cancel := context.WithTimeout(r.Context(), inspectLimit)
	defer cancel()
	start := h.Now()
	view, err := h.Users.Inspect(ctx, user)
	log := h.Logger.With("account", user.Account, "user", user.Hash(), "elapsed", h.Now().Sub(start))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		log.Warn("user not shown", "error", err)
		h.fail(w, http.StatusGatewayTimeout, "timeout", "the user's owner did not answer within "+inspectLimit.String())
		return
	case err != nil:
		log.Warn("user not shown", "error", err)
		h.fail(w, http.StatusServiceUnavailable, "unavailable", "the user's owner cannot be asked now: "+err.Error())
		return
	case view.GetError() != "":
		log.Warn("user not shown", "error", view.GetError())
		h.fail(w, http.StatusServiceUnavailable, "unavailable", "the user's owner cannot tell: "+view.GetError())
		return
	case !view.GetFound():
		h.fail(w, http.StatusNotFound, "not_found", "there is no record of this user")
		return
	}
	shown, err := newUserView(view, h.Now())
	if err != nil {
		log.Error("user's state not readable", "error", err)
		h.fail(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	h.writeJSON(w, http.StatusOK, shown)
}
