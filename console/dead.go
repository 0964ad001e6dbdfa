package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"hongyan/messages"
	"hongyan/stream"
)

// DeadLetters is the log of dead letters. stream.Log implements it.
type DeadLetters interface {
	Letters(ctx context.Context, f stream.LetterFilter, cursor uint64, limit int) (stream.LetterPage, error)
	Letter(ctx context.Context, id string) (*messages.DeadLetter, uint64, error)
	Drop(ctx context.Context, id string, revision uint64) error
	DeadEnd(ctx context.Context) (uint64, error)
	Partitions() int
}

// Log takes the entries of re-driven letters. stream.Log implements it.
type Log interface {
	Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error)
}

const (
	listLimit    = 8 * time.Second // of one list, which then ends with a cursor
	pageDefault  = 50
	pageMost     = 1000
	historyMost  = 20 // letters of one message that are shown together
	historyLimit = 3 * time.Second
)

// The states of a letter, as filters and answers name them.
const (
	StateOpen       = "open"       // nothing has taken it up
	StateRedriven   = "redriven"   // an entry of the log has
	StateUnreadable = "unreadable" // what is stored is no letter; counts as open
	StateAll        = "all"        // for filters: any
)

// DeadFilter chooses letters in the API; what is empty matches all.
type DeadFilter struct {
	Account string `json:"account,omitempty"`
	User    string `json:"user,omitempty"` // OpenID, with account
	Reason  string `json:"reason,omitempty"`
	Since   string `json:"since,omitempty"` // RFC 3339: buried then or later
	Until   string `json:"until,omitempty"` // RFC 3339: buried before
	State   string `json:"state,omitempty"` // open, redriven or all
}

// parse is the filter as the log takes it; whenEmpty is the state that no state means.
func (f *DeadFilter) parse(whenEmpty string) (out stream.LetterFilter, err error) {
	out = stream.LetterFilter{Account: f.Account, OpenID: f.User, Reason: f.Reason}
	if f.User != "" && f.Account == "" {
		return out, errors.New("user needs account: an OpenID means something within one account alone")
	}
	for _, at := range []struct {
		name, text string
		to         *time.Time
	}{{"since", f.Since, &out.Since}, {"until", f.Until, &out.Until}} {
		if at.text == "" {
			continue
		}
		if *at.to, err = time.Parse(time.RFC3339, at.text); err != nil {
			return out, fmt.Errorf("%s %q is no time: write it like 2026-01-31T08:00:00+08:00", at.name, at.text)
		}
	}
	state := f.State
	if state == "" {
		state = whenEmpty
	}
	switch state {
	case StateOpen, StateRedriven:
		redriven := state == StateRedriven
		out.Redriven = &redriven
	case StateAll:
	default:
		return out, fmt.Errorf("state %q is none: write open, redriven or all", f.State)
	}
	return out, nil
}

// DeadList is the answer of GET /api/v1/dead.
type DeadList struct {
	Letters []Letter `json:"letters"`
	Next    string   `json:"next,omitempty"` // cursor of the next page; without one the list is complete
}

// deadList answers GET /api/v1/dead.
func (h *handler) deadList(w http.ResponseWriter, r *http.Request) {
	filter, cursor, limit, err := listQuery(r.URL.Query())
	if err != nil {
		h.fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), listLimit)
	defer cancel()
	list := DeadList{Letters: []Letter{}}
	for began := h.Now(); len(list.Letters) < limit; {
		page, err := h.Dead.Letters(ctx, filter, cursor, limit-len(list.Letters))
		if err != nil {
			h.deadFailed(w, "dead letters not listed", err)
			return
		}
		for i := range page.Letters {
			list.Letters = append(list.Letters, newLetter(&page.Letters[i]))
		}
		if cursor = page.Next; cursor == 0 || h.Now().Sub(began) > listLimit/2 {
			break
		}
	}
	if cursor != 0 {
		list.Next = strconv.FormatUint(cursor, 10)
	}
	h.writeJSON(w, http.StatusOK, list)
}

// listQuery reads the parameters of a list. Unknown ones are refused: a misspelt filter must not match everything.
func listQuery(q url.Values) (filter stream.LetterFilter, cursor uint64, limit int, err error) {
	known := []string{"account", "user", "reason", "since", "until", "state", "limit", "cursor"}
	for name, values := range q {
		if !slices.Contains(known, name) || len(values) != 1 {
			return filter, 0, 0, fmt.Errorf("parameter %q is not known, or there twice: there are %v", name, known)
		}
	}
	f := DeadFilter{q.Get("account"), q.Get("user"), q.Get("reason"), q.Get("since"), q.Get("until"), q.Get("state")}
	if filter, err = f.parse(StateAll); err != nil {
		return filter, 0, 0, err
	}
	limit = pageDefault
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > pageMost {
			return filter, 0, 0, fmt.Errorf("limit %q is not from 1 to %d", text, pageMost)
		}
	}
	if text := q.Get("cursor"); text != "" {
		if cursor, err = strconv.ParseUint(text, 10, 64); err != nil {
			return filter, 0, 0, fmt.Errorf("cursor %q is not one that a list gave", text)
		}
	}
	return filter, cursor, limit, nil
}

// deadShow answers GET /api/v1/dead/{id}.
func (h *handler) deadShow(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), listLimit)
	defer cancel()
	id := r.PathValue("id")
	letter, revision, err := h.Dead.Letter(ctx, id)
	switch {
	case errors.Is(err, stream.ErrNoLetter):
		h.fail(w, http.StatusNotFound, "not_found", err.Error())
		return
	case err != nil && !errors.Is(err, stream.ErrBadLetter):
		h.deadFailed(w, "dead letter not shown", err)
		return
	}
	shown, err := newLetterDetail(&stream.StoredLetter{ID: id, Revision: revision, Letter: letter})
	if err != nil {
		h.Logger.Error("dead letter not readable", "letter", id, "error", err)
		h.fail(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	shown.History = h.deadHistory(ctx, letter)
	h.writeJSON(w, http.StatusOK, shown)
}

// deadHistory are the letters of one message, the first attempt first; what cannot be had in a short time is left out.
func (h *handler) deadHistory(ctx context.Context, letter *messages.DeadLetter) []Letter {
	out := []Letter{}
	in := letter.GetInbound()
	if in.GetOpenId() == "" {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, historyLimit)
	defer cancel()
	filter := stream.LetterFilter{Account: in.GetAccount(), OpenID: in.GetOpenId(), Key: messages.KeyOf(in)}
	for cursor := uint64(0); ; {
		page, err := h.Dead.Letters(ctx, filter, cursor, historyMost-len(out))
		if err != nil {
			h.Logger.Warn("the history of a dead letter is not complete", "error", err)
			break
		}
		for i := range page.Letters {
			out = append(out, newLetter(&page.Letters[i]))
		}
		if cursor = page.Next; cursor == 0 || len(out) >= historyMost {
			break
		}
	}
	slices.SortStableFunc(out, func(a, b Letter) int { return a.At.Compare(b.At) })
	return out
}

// deadFailed answers where the log of dead letters could not be asked.
func (h *handler) deadFailed(w http.ResponseWriter, what string, err error) {
	h.Logger.Warn(what, "error", err)
	if errors.Is(err, context.DeadlineExceeded) {
		h.fail(w, http.StatusGatewayTimeout, "timeout", "the log of dead letters did not answer within "+listLimit.String())
		return
	}
	h.fail(w, http.StatusServiceUnavailable, "unavailable", "the log of dead letters cannot be asked now: "+err.Error())
}
